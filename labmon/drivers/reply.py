"""The reply of a text or binary request: which of the forms it has, made for one device."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from labmon.drivers import grammar
from labmon.drivers.columns import MOST, Beside, Column, DelimitedBlock, FixedBlock, Slice
from labmon.drivers.hex_reply import HexReply
from labmon.drivers.placeholders import filled, filled_hex, filled_reply, hex_template
from labmon.drivers.setting import Setting, sentinels_of
from labmon.drivers.template import TemplateError, TextBlock
from labmon.drivers.text_field import TextField
from labmon.drivers.words import ByteBlock, ByteField, WordField, bytes_of_type
from labmon.links.pattern import Pattern
from labmon.model.reading import Raw

_FIELD = re.compile(r"\{([a-z0-9-]+)\}")
_QUOTE = re.compile(r"([\\\[\]{} ])")


class Reply(Protocol):
    """A form of reply, both ways."""

    @property
    def fields(self) -> Sequence[TextField | WordField]:
        """The values that it holds."""
        ...

    @property
    def prefix(self) -> bytes:
        """What every reply begins with."""
        ...

    @property
    def expect(self) -> Pattern | re.Pattern[bytes]:
        """What the whole reply must match."""
        ...

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields. Raises ValueError on another reply."""
        ...

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """A reply with these raw values. Raises ValueError where it cannot be made."""
        ...


def reply_of(request: grammar.Request, fields: Mapping[str, grammar.Field], setting: Setting) -> Reply:
    """The form of a request's reply; `fields` are those that this device has.

    Raises TemplateError for one that does not fit its fields, ValueError for parameters that do not.
    """
    if request.bytes is not None:
        return _bytes(request, fields, setting)
    if request.reply is not None and setting.binary:
        if not request.fields:
            return HexReply(request.reply, setting.values)
        return _hex_template(request.reply, fields, setting)
    if request.columns is not None:
        return _columns(request.columns, fields, setting, _starts(request, setting))
    left_out = [name for name in request.fields if name not in fields]
    certain = [name for name, f in fields.items() if f.when is not None]
    made = [text_field(name, f, setting) for name, f in fields.items()]
    template = pattern = None
    if request.reply is not None:
        template = filled_reply(request.reply, setting.values, request.fields, lambda t: _QUOTE.sub(r"\\\1", t))
    if request.pattern is not None:
        if isinstance(request.pattern, str):
            pattern = filled_reply(request.pattern, setting.values, (), re.escape)
        elif (pattern := setting.value(request.pattern)) is None:
            raise TemplateError("the pattern is a parameter that is not set")
    return TextBlock(made, template, pattern, left_out=left_out, certain=certain)


def _starts(request: grammar.Request, setting: Setting) -> bytes:
    given = request.starts or ""
    if setting.binary:
        return filled_hex(given, setting.values)
    return filled(given, setting.values).encode("latin-1")


def text_field(name: str, field: grammar.Field, setting: Setting) -> TextField:
    """A field of a text reply, with its parameters filled in."""
    word = None
    if field.as_ is not None:
        word = ByteField(name, 0, field.as_, _order(field, setting), registers=bytes_of_type(field.as_))
    return TextField(
        name,
        field.type,
        setting.value(field.form),
        field.digits,
        field.codes or {},
        sentinels_of(field, setting),
        field.comma,
        word,
        part_bits(field),
        field.bits or {},
    )


def byte_field(name: str, field: grammar.Field, at: int, setting: Setting) -> ByteField:
    """A field of a binary reply; `at` is the offset of its first byte."""
    return ByteField(
        name,
        at,
        field.type,
        _order(field, setting),
        field.byte,
        field.bit,
        bytes_of_type(field.type, field.length),
        sentinels_of(field, setting),
        part_bits(field),
        bits=field.bits or {},
    )


def part_bits(field: grammar.Field) -> tuple[int, int] | None:
    """The bits that a field is a part of."""
    return None if field.part is None else (field.part[0], field.part[1])


def _order(field: grammar.Field, setting: Setting) -> str:
    return str(setting.value(field.order if field.order is not None else setting.file.order))


def _bytes(request: grammar.Request, fields: Mapping[str, grammar.Field], setting: Setting) -> ByteBlock:
    starts = _starts(request, setting)
    made = [byte_field(name, f, int(setting.value(f.at)), setting) for name, f in fields.items()]
    least = max([len(starts), *(f.address + f.registers for f in made)])
    exact = not isinstance(request.bytes, bool)
    if exact and least > (request.bytes or 0):
        raise TemplateError(f"the fields reach to byte {least}, but the reply has {request.bytes}")
    count = int(request.bytes or 0) if exact else least
    optional = {name for name, f in fields.items() if f.optional}
    if optional and exact:
        raise TemplateError("a reply of so many bytes exactly has no optional fields: say `bytes: true`")
    certain = max([len(starts), *(f.address + f.registers for f in made if f.name not in optional)])
    for one in made:
        if one.name in optional and one.address < certain:
            raise TemplateError(f"{one.name} is optional, but what stands up to byte {certain} is not")
    return ByteBlock(max(count, 1), made, exact=exact, fixed=dict(enumerate(starts)), optional=optional)


def _hex_template(template: str, fields: Mapping[str, grammar.Field], setting: Setting) -> ByteBlock:
    made: list[ByteField] = []
    fixed: dict[int, int] = {}
    at = 0
    for n, piece in enumerate(_FIELD.split(template)):
        if n % 2 and piece in fields:
            made.append(byte_field(piece, fields[piece], at, setting))
            at += made[-1].registers
            continue
        try:
            known = hex_template(f"{{{piece}}}" if n % 2 else piece, setting.values)
        except ValueError as error:
            raise TemplateError(str(error)) from None
        fixed |= {at + m: byte for m, byte in enumerate(known) if byte is not None}
        at += len(known)
    placed = {f.name for f in made}
    for name, field in fields.items():
        if name not in placed and field.at is not None:
            made.append(byte_field(name, field, int(setting.value(field.at)), setting))
        elif name not in placed:
            raise TemplateError(f"field {name} does not stand in the reply: `{{{name}}}` is missing")
    if any(f.address + f.registers > at for f in made):
        raise TemplateError(f"a field stands behind the {at} bytes of the reply")
    order = list(fields)
    return ByteBlock(max(at, 1), sorted(made, key=lambda f: order.index(f.name)), exact=True, fixed=fixed)


def _columns(
    columns: Literal["fixed"] | grammar.Columns, fields: Mapping[str, grammar.Field], setting: Setting, starts: bytes
) -> DelimitedBlock | FixedBlock:
    if columns == "fixed" or columns.fixed is not None:
        length = None if columns == "fixed" else columns.fixed
        slices = [Slice(text_field(n, f, setting), f.from_ or 0, f.to, f.optional) for n, f in fields.items()]
        if columns == "fixed" and all(s.to is not None for s in slices):
            length = max((s.to or 0 for s in slices), default=None)
        return FixedBlock(slices, length, starts)
    made = [
        Column(text_field(n, f, setting), _beside(f.beside) if f.beside else f.column or 0, f.optional)
        for n, f in fields.items()
    ]
    places = [c.at for c in made if isinstance(c.at, int)]
    required = [c.at for c in made if isinstance(c.at, int) and not c.optional]
    most = max(places, default=0) + 1
    least = max(required, default=0) + 1
    if any(f.beside for f in fields.values()):
        most = MOST
    if columns.count is not None:
        least, most = (columns.count[0], columns.count[1]) if isinstance(columns.count, list) else (columns.count,) * 2
    if required and max(required) >= least:
        raise TemplateError(f"column {max(required)} is not among the {least} that a reply has at least")
    if places and max(places) >= most:
        raise TemplateError(f"column {max(places)} is not among the {most} that a reply has at most")
    delimiters = columns.delimiter if isinstance(columns.delimiter, list) else [columns.delimiter or ","]
    return DelimitedBlock(made, delimiters, least, most, starts)


def _beside(given: grammar.Beside) -> Beside:
    texts = [given.text] if isinstance(given.text, str) else given.text
    return Beside(frozenset(texts), given.offset, given.first, given.step)
