"""The exchanges of a request for one device: the link's Request, and the fields of its reply both ways."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from labmon.drivers import grammar
from labmon.drivers.call_step import Calling
from labmon.drivers.given import applies
from labmon.drivers.reply import part_bits
from labmon.drivers.setting import Setting, sentinels_of
from labmon.drivers.text_field import TextField
from labmon.drivers.text_step import Text, Untold, listen_step, text_step
from labmon.drivers.words import BitBlock, WordBlock, WordField, registers_of
from labmon.links import modbus, pdu
from labmon.links.errors import Garbled
from labmon.links.link import Link, Request
from labmon.model.reading import Raw

FUNCTIONS = {"coils": 1, "discrete": 2, "holding": 3, "input": 4}
_MODICON = {"coils": 0, "discrete": 1, "input": 3, "holding": 4}


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
    """A write of registers or coils that the file declares. It yields no fields.

    `words` are what registers get, `bits` what coils get, from `address` (from 0) on.
    """

    fields: tuple[WordField, ...] = ()

    def __init__(self, request: Request, table: str, address: int, values: Sequence[int], several: bool) -> None:
        self.request = request
        self.table = table
        self.address = address
        self.values = tuple(values)
        self._several = several

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Exchange once; raises what the link raises."""
        return self.decode(await link.exchange(self.request, timeout, gap=gap))

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """The reply repeats what the request says, which the link has verified."""
        return ()

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The payload of the reply: address, and value or number."""
        said = len(self.values) if self._several else self.values[0] * (0xFF00 if self.table == "coils" else 1)
        return self.address.to_bytes(2, "big") + said.to_bytes(2, "big")


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


Step = Words | Write | Text | Untold | Identification | Calling


def steps(request: grammar.Request, setting: Setting) -> list[Step]:
    """The exchanges of a request for one device, in their order: one, but for 32-bit writes by function code 6.

    A `wait` has none. Raises ValueError where the file or the device's settings do not allow it.
    """
    fields = {name: f for name, f in request.fields.items() if applies(f.when, setting.params)}
    if request.wait is not None:
        return []
    if request.call is not None:
        return [Calling(request, fields, setting)]
    if request.send is not None:
        return [text_step(request, fields, setting)]
    if request.listen is not None:
        return [listen_step(request, fields, setting)]
    if not isinstance(setting.address, int):
        raise ValueError("a Modbus device needs a unit id as its address")  # noqa: TRY004
    if request.write is not None:
        return list(_writes(request, setting.address, setting))
    framing = cast(modbus.ModbusFraming, setting.framing)
    if request.read == "identification":
        objects = {n: f.object or 0 for n, f in fields.items()}
        highest = max(objects.values())
        # Basic, regular or extended: what modbus.identify asks for, too.
        code = 1 if highest < 3 else 2 if highest < 0x80 else 3
        asked = modbus.device_identification(framing, setting.address, code)
        return [Identification(asked, framing, setting.address, objects)]
    table = request.read or ""
    words = [word_field(name, f, table, setting) for name, f in fields.items()]
    if request.merge is not None:
        return [_block(table, *block, setting) for block in merged(words, request.merge)]
    start, count = pdu_address(request.at, table, setting), request.count or 0
    return [_block(table, start, count, words, setting)]


def merged(fields: Sequence[WordField], merge: grammar.Merge) -> list[tuple[int, int, list[WordField]]]:
    """The blocks to read for these fields, in the order of their addresses: start, count and fields of each.

    No value is ever split over two blocks, and no more than `gap` places are read that no field names.
    """
    blocks: list[tuple[int, int, list[WordField]]] = []
    for one in sorted(fields, key=lambda f: f.address):
        end = one.address + one.registers
        if blocks:
            start, count, before = blocks[-1]
            longer = max(count, end - start)
            if one.address <= start + count + merge.gap and longer <= merge.most:
                blocks[-1] = start, longer, [*before, one]
                continue
        blocks.append((one.address, one.registers, [one]))
    return blocks


def _block(table: str, start: int, count: int, fields: Sequence[WordField], setting: Setting) -> Words:
    block = (BitBlock if table in ("coils", "discrete") else WordBlock)(start, count, fields)
    function = cast(pdu.ReadFunction, FUNCTIONS[table])
    framing = cast(modbus.ModbusFraming, setting.framing)
    assert isinstance(setting.address, int)
    return Words(modbus.read(framing, setting.address, function, start, count), table, block)


def _writes(request: grammar.Request, unit: int, setting: Setting) -> Iterator[Write]:
    framing = cast(modbus.ModbusFraming, setting.framing)
    table = "coils" if request.write in ("coil", "coils") else "holding"
    start = pdu_address(request.at, table, setting)
    given = [request.value] if request.values is None else request.values
    values = [setting.value(one) for one in given]
    if any(value is None for value in values):
        raise ValueError("a parameter of what is written has no value")
    if table == "coils":
        if any(value not in (0, 1) for value in values):
            raise ValueError(f"a coil is 0 or 1, not {values}")
        bits = [int(value) for value in values]
        if request.write == "coil":
            yield Write(modbus.write_coil(framing, unit, start, bool(bits[0])), table, start, bits, False)
        else:
            asked = modbus.write_coils(framing, unit, start, [bool(bit) for bit in bits])
            yield Write(asked, table, start, bits, True)
        return
    order = setting.value(request.order if request.order is not None else setting.file.order)
    words = [word for value in values for word in _words(value, request.type, order, start)]
    if request.write == "holdings":
        yield Write(modbus.write_registers(framing, unit, start, words), table, start, words, True)
        return
    for n, word in enumerate(words):
        yield Write(modbus.write_register(framing, unit, start + n, word), table, start + n, [word], False)


def _words(value: float, type_: str, order: str, address: int) -> list[int]:
    """A value as registers, in their order. Raises ValueError for one that the type cannot hold."""
    if type_ != "f32" and value != int(value):
        raise ValueError(f"register {address} := {value}: not a whole number")
    low, high = {"u16": (0, 0xFFFF), "i16": (-0x8000, 0x7FFF)}.get(type_, (-math.inf, math.inf))
    if not low <= value <= high:
        raise ValueError(f"register {address} := {value}: must be within {low}..{high}")
    count = registers_of(type_, None)
    field = WordField("value", 0, type_, order, registers=count)
    block = WordBlock(0, count, [field]).encode({"value": value if type_ == "f32" else int(value)})
    return [int.from_bytes(block[n : n + 2], "big") for n in range(0, len(block), 2)]


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
        sentinels_of(field, setting),
        part_bits(field),
        field.chars,
        field.bits or {},
    )
