"""One request of a driver file: its block, its fields in it, its reply's form, and whether it may write."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from labmon.config.errors import Path
from labmon.drivers import grammar
from labmon.drivers.asking import changes
from labmon.drivers.given import applies
from labmon.drivers.setting import Setting
from labmon.drivers.steps import pdu_address, steps, word_field
from labmon.drivers.template import TemplateError
from labmon.drivers.text_step import sendable
from labmon.drivers.words import WordField, registers_of

Report = Callable[..., None]

_WORDS = get_args(grammar.WordType)
_TEXTS = get_args(grammar.TextType)
_MOST = {"coils": 2000, "discrete": 2000, "holding": 125, "input": 125}
_KEYS = {
    # Where a key of a field belongs.
    "registers": ("ascii",),
    "bit": ("bit",),
    "byte": ("u8", "i8"),
    "order": _WORDS,
    "at": _WORDS,
    "object": ("text",),
    "form": ("number", "hex", "time"),
    "digits": ("number", "integer", "hex", "word", "text"),
    "codes": ("word",),
}


def check_request(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    """Report what is wrong with one request, for a device with these settings."""
    is_text = setting.framing in ("text", "binary")
    if request.wait is not None:
        return
    if request.listen is not None and not is_text:
        report((*path, "listen"), "only a device that speaks text or binary is listened to", at_key=True)
        return
    if is_text is not (request.send is not None or request.listen is not None):
        report(path, f"a device that speaks {setting.framing} is asked with {'send' if is_text else 'read or write'}")
        return
    if request.read == "identification" and not request.fields:
        report((*path, "read"), "name the objects that are wanted under `fields`")
        return
    fine = True
    for name, field in request.fields.items():
        fine &= _field((*path, "fields", name), field, request, setting, report)
    if not fine:
        return
    if request.send is not None:
        _text(path, request, setting, report)
    elif request.listen is not None:
        _form(path, request, setting, report)
    elif request.write is not None:
        _write(path, request, setting, report)
    elif request.read != "identification":
        _block(path, request, setting, report)


def _field(path: Path, field: grammar.Field, request: grammar.Request, setting: Setting, report: Report) -> bool:
    textual = request.send is not None or request.listen is not None or request.read == "identification"
    allowed = ("text",) if request.read == "identification" else _TEXTS if textual else _WORDS
    if request.read in ("coils", "discrete"):
        allowed = ("bit",)
    if field.type not in allowed:
        report((*path, "type"), f"{field.type} is no type of this reply", f"types here: {', '.join(allowed)}")
        return False
    wrong = [key for key, types in _KEYS.items() if key in field.model_fields_set and field.type not in types]
    for key in wrong:
        report((*path, key), f"a field of type {field.type} has no {key}", at_key=True)
    needed = _needed(field, request)
    if needed is not None:
        report(path, f"needs `{needed}`", at_key=True)
    form = {"number": grammar.FORM_NUMBER, "hex": grammar.FORM_HEX, "time": grammar.FORM_TIME}.get(field.type)
    given = setting.value(field.form)
    if given is not None and form is not None and not form.fullmatch(str(given)):
        report((*path, "form"), "is no form", "a number: `+06.2f`; hex: x or X; a time: `%d.%m.%y %H:%M:%S`")
    for index, sentinel in enumerate(field.sentinels):
        if isinstance(sentinel.raw, str) and field.type not in _TEXTS and field.type != "ascii":
            report((*path, "sentinels", index, "raw"), f"a field of type {field.type} is never text")
    return not wrong and needed is None


def _needed(field: grammar.Field, request: grammar.Request) -> str | None:
    if request.read == "identification":
        return "object" if field.object is None else None
    if request.send is not None or request.listen is not None:
        return "form" if field.type == "time" and field.form is None else None
    if field.at is None:
        return "at"
    if field.type == "ascii" and field.registers is None:
        return "registers"
    if field.type == "bit" and field.bit is None and request.read in ("holding", "input"):
        return "bit"
    return None


def _text(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    check_send(path, request.send or "", changes(request), setting, report)
    try:
        sendable(request.send or "", setting)
    except ValueError as error:
        report((*path, "send"), str(error))
        return
    _form(path, request, setting, report)


def _form(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    if setting.binary and request.reply is not None and request.fields:
        report((*path, "fields"), "the reply is given whole, so it has no fields", at_key=True)
        return
    try:
        steps(request, setting)
    except TemplateError as error:
        report((*path, "reply" if request.reply is not None else "pattern"), str(error))
    except ValueError as error:
        report(path, str(error))


def check_send(path: Path, send: str, changed: bool, setting: Setting, report: Report) -> None:
    """Report a `send` that changes the instrument, or is taken to, and that `writes` does not allow."""
    if changed and send not in [w.send for w in setting.file.writes]:
        report(
            (*path, "send"),
            f"{send!r} changes the instrument, but is not declared under `writes`",
            "declare it with its effect; if it only asks, and nothing is read, say `changes: false`",
            at_key=True,
        )


def _write(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    coils = request.write in ("coil", "coils")
    first = int(setting.value(request.at))
    size = 1 if coils else registers_of(request.type, None)
    allowed = {
        n
        for w in setting.file.writes
        if (start := w.coil if coils else w.holding) is not None
        for n in range(start, start + w.count)
    }
    for number in range(first, first + size * len(request.values or [0])):
        if number not in allowed:
            report(
                (*path, "write"),
                f"{'coil' if coils else 'register'} {number} is written, but not declared under `writes`",
                "writes are denied unless declared with their effect",
                at_key=True,
            )
            break
    _made(path, request, setting, report)


def _block(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    table, count = request.read or "", request.count or 0
    try:
        start = pdu_address(request.at, table, setting)
    except ValueError as error:
        report((*path, "at"), str(error))
        return
    if count > _MOST[table]:
        report((*path, "count"), f"one request reads at most {_MOST[table]}")
        return
    taken: dict[tuple[int, int | None], str] = {}
    for name, field in request.fields.items():
        if not applies(field.when, setting.params):
            continue
        at = (*path, "fields", name)
        try:
            word = word_field(name, field, table, setting)
        except ValueError as error:
            report((*at, "at"), str(error))
            continue
        if not start <= word.address or word.address + word.registers > start + count:
            report((*at, "at"), f"{word.type} at {setting.value(field.at)} is not wholly within the {count} read")
            continue
        _overlap(at, word, start, table, taken, report)
    _made(path, request, setting, report)


def _overlap(
    path: Path,
    word: WordField,
    start: int,
    table: str,
    taken: dict[tuple[int, int | None], str],
    report: Report,
) -> None:
    # Bits of one register stand side by side; a whole word over them does not.
    bit_number = word.bit if word.type == "bit" and table not in ("coils", "discrete") else None
    positions = [word.address] if table in ("coils", "discrete") else word.positions(start)
    places: list[tuple[int, int | None]] = [(position, bit_number) for position in positions]
    for position, bit in places:
        others = [n for (p, b), n in taken.items() if p == position and (b is None or bit is None or b == bit)]
        if others:
            report((*path, "at"), f"overlaps field {others[0]}")
            return
    for place in places:
        taken[place] = word.name


def _made(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    try:
        steps(request, setting)
    except ValueError as error:
        report(path, str(error))
