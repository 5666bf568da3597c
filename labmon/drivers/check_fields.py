"""One field of a reply: whether its keys go with its type and with the form of the reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from labmon.config.errors import Path, did_you_mean, one_of
from labmon.drivers import grammar
from labmon.drivers.moment import fields_of_time
from labmon.drivers.setting import Setting
from labmon.drivers.words import bytes_of_type

Report = Callable[..., None]

_WORDS = get_args(grammar.WordType)
_TEXTS = get_args(grammar.TextType)
_WHOLE = ("u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "hex", "integer")
_KEYS = {
    # Key of a field: the types that have it, the kinds of reply that do.
    "registers": (("ascii", "bcd"), ("registers",)),
    "length": (("ascii", "bcd"), ("bytes",)),
    "chars": (("ascii",), ("registers",)),
    "bit": (("bit",), ("registers", "bytes")),
    "byte": (("u8", "i8"), ("registers",)),
    "part": ((*_WHOLE, "bcd"), ()),
    "bits": (_WHOLE, ()),
    "order": ((*_WORDS, "hex"), ()),
    "at": (_WORDS, ("registers", "coils", "bytes")),
    "object": (("text",), ("identification",)),
    "form": (("number", "hex", "time"), ()),
    "digits": (("number", "integer", "hex", "word", "text"), ()),
    "codes": (("word",), ()),
    "comma": (("number",), ()),
    "as_": (("hex",), ()),
    "column": (_TEXTS, ("delimited",)),
    "beside": (_TEXTS, ("delimited",)),
    "from_": (_TEXTS, ("fixed",)),
    "to": (_TEXTS, ("fixed",)),
    "optional": ((*_TEXTS, *_WORDS), ("delimited", "fixed", "bytes")),
}


def kind_of(request: grammar.Request, setting: Setting) -> str:
    """Which form the reply has: identification, coils, registers, bytes, delimited, fixed or text."""
    if request.read == "identification":
        return "identification"
    if request.send is None and request.listen is None:
        return "coils" if request.read in ("coils", "discrete") else "registers"
    if request.bytes is not None or (request.reply is not None and setting.framing == "binary"):
        return "bytes"
    if request.columns is None:
        return "text"
    return "delimited" if request.columns != "fixed" and request.columns.delimiter is not None else "fixed"


def _types(kind: str) -> tuple[str, ...]:
    if kind == "identification":
        return ("text",)
    if kind == "coils":
        return ("bit",)
    return _WORDS if kind in ("registers", "bytes") else _TEXTS


def check_field(path: Path, field: grammar.Field, request: grammar.Request, setting: Setting, report: Report) -> bool:
    """Report what is wrong with one field; whether it is fit to be made."""
    kind = kind_of(request, setting)
    allowed = _types(kind)
    if field.type not in allowed:
        report((*path, "type"), f"{field.type} is no type of this reply", f"types here: {', '.join(allowed)}")
        return False
    fine = True
    for key, (types, kinds) in _KEYS.items():
        if key not in field.model_fields_set:
            continue
        told = key.rstrip("_")
        if field.type not in types:
            report((*path, told), f"a field of type {field.type} has no {told}", at_key=True)
            fine = False
        elif kinds and kind not in kinds:
            report((*path, told), f"a field of this kind of reply has no {told}", at_key=True)
            fine = False
    needed = _needed(field, request, kind)
    if needed is not None:
        report(path, f"needs `{needed}`", at_key=True)
        return False
    if field.column is not None and field.beside is not None:
        report((*path, "beside"), "stands in a column, or beside one, not both", at_key=True)
    form = {"number": grammar.FORM_NUMBER, "hex": grammar.FORM_HEX, "time": grammar.FORM_TIME}.get(field.type)
    given = setting.value(field.form)
    if given is not None and form is not None and not form.fullmatch(str(given)):
        report((*path, "form"), "is no form", "a number: `+06.2f`; hex: x or X; a time: `%d.%m.%y %H:%M:%S`")
    for index, sentinel in enumerate(field.sentinels):
        if isinstance(sentinel.raw, str) and field.type not in _TEXTS and field.type != "ascii":
            report((*path, "sentinels", index, "raw"), f"a field of type {field.type} is never text")
        elif isinstance(sentinel.raw, int) and field.type in _WHOLE and (width := _width(field)) is not None:
            # A signed word may be given as its bits: 0x8000 for -32768.
            least = 0 if field.type.startswith("u") else -(1 << width - 1)
            if not least <= sentinel.raw < 1 << width:
                report((*path, "sentinels", index, "raw"), f"a field of type {field.type} is never {sentinel.raw}")
    return _bits(path, field, report) and fine


def _bits(path: Path, field: grammar.Field, report: Report) -> bool:
    """Report bits that the field does not have; whether its length is right, too."""
    width = _width(field)
    fine = True
    if field.as_ is not None:
        digits = 2 * bytes_of_type(field.as_)
        if field.digits is not None and field.digits != digits:
            report((*path, "digits"), f"{field.as_} has {digits} digits, not {field.digits}")
            fine = False
        if width is None and (field.part is not None or field.bits is not None):
            report((*path, "as"), f"{field.as_} has no bits")
            fine = False
    if field.part is not None and width is not None:
        low, high = field.part
        if low > high or high >= width:
            report((*path, "part"), f"is the lowest and the highest bit, within 0 to {width - 1}")
            fine = False
        else:
            width = high - low + 1
    for name, bit in (field.bits or {}).items():
        if width is not None and bit >= width:
            report((*path, "bits", name), f"this field has bits 0 to {width - 1} only")
            fine = False
    if field.type == "bcd" and (field.registers or 0) > 4:
        report((*path, "registers"), "a bcd number has at most 4 registers: 16 digits")
        fine = False
    if field.type == "bcd" and (field.length or 0) > 8:
        report((*path, "length"), "a bcd number has at most 8 bytes: 16 digits")
        fine = False
    return fine


def _width(field: grammar.Field) -> int | None:
    type_ = field.as_ or field.type
    if type_ in ("hex", "integer"):
        return 63
    if type_ == "bcd":
        return 8 * (field.length or 2 * (field.registers or 0))
    return int(type_[1:]) if type_ in _WHOLE else None


def _needed(field: grammar.Field, request: grammar.Request, kind: str) -> str | None:
    if kind == "identification":
        return "object" if field.object is None else None
    if kind in ("text", "delimited", "fixed") and field.type == "time" and field.form is None:
        return "form"
    if kind == "delimited":
        return "column" if field.column is None and field.beside is None else None
    if kind == "fixed":
        return "from" if field.from_ is None else None
    if kind == "text":
        return None
    if field.at is None and (kind != "bytes" or request.bytes is not None):
        return "at"
    if field.type in ("ascii", "bcd"):
        missing = (field.length if kind == "bytes" else field.registers) is None
        return ("length" if kind == "bytes" else "registers") if missing else None
    if field.type == "bit" and field.bit is None and kind != "coils":
        return "bit"
    return None


def check_time(path: Path, spec: grammar.TimeSpec, fields: Mapping[str, grammar.Field], report: Report) -> None:
    """Report fields of a moment that do not exist, or say no time."""
    for key, name in fields_of_time(spec).items():
        place = (*path, key) if key else path
        field = fields.get(name)
        if field is None:
            report(place, f"no field {name}", did_you_mean(name, fields) or one_of(list(fields)))
        elif (key in ("text", "date", "time")) is not (field.type == "time") and key:
            wanted = "a text field of type time" if key in ("text", "date", "time") else "a number"
            report(place, f"field {name} of type {field.type} is not {wanted}")
        elif field.type in ("ascii", "text", "words", "word", "bit"):
            report(place, f"field {name} of type {field.type} is no time")
