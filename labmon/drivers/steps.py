"""One request of a query with its parameters filled in: the link's Request, and the fields of its reply both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from labmon.drivers import grammar
from labmon.drivers.given import applies
from labmon.drivers.reply import Reply, part_bits, reply_of
from labmon.drivers.setting import Setting
from labmon.drivers.text_field import TextField
from labmon.drivers.words import BitBlock, WordBlock, WordField, registers_of
from labmon.links import modbus, pdu, text
from labmon.links.checksum import Checksum
from labmon.links.errors import Garbled
from labmon.links.link import Link, Request
from labmon.links.pattern import Pattern
from labmon.model.reading import Raw

FUNCTIONS = {"coils": 1, "discrete": 2, "holding": 3, "input": 4}
_MODICON = {"coils": 0, "discrete": 1, "input": 3, "holding": 4}
_PLACEHOLDER = re.compile(r"\{([a-z0-9-]+)\}")


class Words:
    """A read of registers or bits. `table`, `address` (from 0) and `count` are what a simulator has to serve."""

    def __init__(self, request: Request, table: str, block: WordBlock | BitBlock) -> None:
        self.request = request
        self.table = table
        self.address = block.start
        self.count = block.count
        self.fields = block.fields
        self.decode = block.decode
        self.encode = block.encode

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Exchange once; raises what the link raises."""
        return self.decode(await link.exchange(self.request, timeout, gap=gap))


class Write:
    """A write of one register that the file declares. It yields no fields."""

    table = "holding"
    fields: tuple[WordField, ...] = ()

    def __init__(self, request: Request, address: int, value: int) -> None:
        self.request = request
        self.address = address
        self.value = value

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Exchange once; raises what the link raises."""
        return self.decode(await link.exchange(self.request, timeout, gap=gap))

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """The reply repeats the request, which the link has verified."""
        return ()

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The payload of the reply: address and value."""
        return self.address.to_bytes(2, "big") + self.value.to_bytes(2, "big")


class Text:
    """A text request and its reply."""

    def __init__(self, request: text.TextRequest, block: Reply, frame: grammar.Frame, ends: Sequence[bytes]):
        self.request = request
        self.fields = tuple(block.fields)
        self.block = block
        self.frame = frame
        self.ends = tuple(ends)
        self.encode = block.encode

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Exchange once; raises what the link raises."""
        return self.decode(await link.exchange(self.request, timeout, gap=gap))

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """Raw values of the fields. Raises Garbled for text that is none of what the reply may be."""
        try:
            return self.block.decode(payload)
        except ValueError as error:
            raise Garbled(str(error)) from None

    def framed(self, payload: bytes) -> bytes:
        """The reply on the wire: echo, payload, checksum, terminator."""
        check = self.frame.checksum
        if check is not None:
            payload += Checksum(check.name, check.encoding).encode(payload[check.start :])
        echo = self.request.encode(0) if self.frame.echo else b""
        return echo + payload + self.ends[0]


class Identification:
    """Modbus device identification. Fields are objects, by id."""

    def __init__(self, request: Request, framing: str, unit: int, objects: Mapping[str, int]) -> None:
        self.request = request
        self.fields = tuple(TextField(name, "text") for name in objects)
        self._framing = cast(modbus.ModbusFraming, framing)
        self._unit = unit
        self._objects = dict(objects)

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Exchange as often as the device says that more follows; raises what the link raises."""
        found = await modbus.identify(link, self._framing, self._unit, tuple(self._objects.values()), timeout, gap=gap)
        return self._texts(found)

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """Texts of the objects in one reply; None for one that is not in it. Raises Garbled."""
        try:
            return self._texts(modbus.parse_identification(payload).objects)
        except ValueError as error:
            raise Garbled(str(error)) from None

    def _texts(self, found: Mapping[int, bytes]) -> Sequence[Raw]:
        return [
            found[number].decode("ascii", "replace").strip() if number in found else None
            for number in self._objects.values()
        ]

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The payload of a reply that holds these texts and says that nothing follows."""
        objects = sorted((number, str(raws.get(name) or "").encode("ascii")) for name, number in self._objects.items())
        body = b"".join(bytes([number, len(data)]) + data for number, data in objects)
        return bytes([1, 0, 0, len(objects)]) + body


Step = Words | Write | Text | Identification


def step(request: grammar.Request, setting: Setting) -> Step:
    """A request for one device. Raises ValueError where the file or the device's settings do not allow it."""
    fields = {name: f for name, f in request.fields.items() if applies(f.when, setting.params)}
    if request.send is not None:
        return _text(request, fields, setting)
    if not isinstance(setting.address, int):
        raise ValueError("a Modbus device needs a unit id as its address")  # noqa: TRY004
    framing = cast(modbus.ModbusFraming, setting.framing)
    if request.write is not None:
        address, value = pdu_address(request.at, "holding", setting), int(setting.value(request.value))
        return Write(modbus.write_register(framing, setting.address, address, value), address, value)
    if request.read == "identification":
        objects = {n: f.object or 0 for n, f in fields.items()}
        highest = max(objects.values())
        # Basic, regular or extended: what modbus.identify asks for, too.
        code = 1 if highest < 3 else 2 if highest < 0x80 else 3
        asked = modbus.device_identification(framing, setting.address, code)
        return Identification(asked, framing, setting.address, objects)
    table = request.read or ""
    start, count = pdu_address(request.at, table, setting), request.count or 0
    words = [word_field(name, f, table, setting) for name, f in fields.items()]
    block = (BitBlock if table in ("coils", "discrete") else WordBlock)(start, count, words)
    function = cast(pdu.ReadFunction, FUNCTIONS[table])
    return Words(modbus.read(framing, setting.address, function, start, count), table, block)


def pdu_address(given: Any, table: str, setting: Setting) -> int:
    """The PDU's address, from 0, of a number in the file's convention. Raises ValueError for one of another table."""
    number = int(setting.value(given))
    convention = setting.value(setting.file.base)
    if convention != "modicon":
        return number - int(convention)
    for step_size in (10_000, 100_000):
        first = _MODICON[table] * step_size
        if first < number < first + step_size:
            return number - first - 1
    raise ValueError(f"{number} is no number of the table {table}")


def word_field(name: str, field: grammar.Field, table: str, setting: Setting) -> WordField:
    """A field of a block of registers, with its parameters filled in."""
    return WordField(
        name,
        pdu_address(field.at, table, setting),
        field.type,
        setting.value(field.order if field.order is not None else setting.file.order),
        field.byte,
        field.bit,
        registers_of(field.type, field.registers),
        setting.sentinels(field),
        part_bits(field),
        field.chars,
        field.bits or {},
    )


def _text(request: grammar.Request, fields: Mapping[str, grammar.Field], setting: Setting) -> Text:
    frame = setting.file.frame
    if frame is None:
        raise ValueError("a text request needs the text block")
    starts = b"" if request.starts is None else started(request.starts, setting)
    block = reply_of(request, fields, setting, starts)
    ends = [str(setting.value(end)).encode("latin-1") for end in frame.reply_ends or [frame.end]]
    length = frame.reply_length
    end: text.ReplyEnd = text.Terminated(tuple(ends))
    if length is not None:
        end = text.LengthField(length.at, length.size, length.encoding, length.plus, ends[0])
    check = None
    if frame.checksum is not None:
        check = text.Check(Checksum(frame.checksum.name, frame.checksum.encoding), frame.checksum.start)
    made_request = text.TextRequest(
        filled(request.send or "", setting).encode("latin-1"),
        end,
        terminator=str(setting.value(frame.end)).encode("latin-1"),
        request_check=check,
        reply_check=check,
        # An error has another length; what stands before the length is the same.
        begins_with=block.prefix[: length.at] if length is not None else b"",
        echo=frame.echo,
        expect=block.expect,
        error=None if frame.error is None else Pattern(frame.error.encode("ascii")),
        reply_size=len(request.reply or request.pattern or "") + 16,
    )
    return Text(made_request, block, frame, ends)


def started(template: str, setting: Setting) -> bytes:
    """What a reply begins with. Raises ValueError."""
    text = filled(template, setting)
    return bytes.fromhex(text) if setting.framing == "binary" else text.encode("latin-1")


def filled(template: str, setting: Setting) -> str:
    """A request with its placeholders filled in. Raises ValueError for one that is neither address nor parameter."""

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        if name == "address" and setting.address is not None:
            return str(setting.address)
        if name in setting.params:
            return str(setting.params[name])
        raise ValueError(f"`{{{name}}}` in the request is neither the address nor a parameter with a value")

    return _PLACEHOLDER.sub(fill, template)
