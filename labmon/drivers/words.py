"""Values in Modbus words and binary replies: where they stand, and decoding and encoding of a whole block at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import cast

from labmon.links.pattern import Pattern
from labmon.model.reading import Raw

_CODES = {
    "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip
_BYTES = {
    "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "u64": 8, "i64": 8, "f32": 4,
    "f64": 8, "bool": 2, "bit": 2,
}  # fmt: skip
RAW_TYPES = {
    "u8": "H", "i8": "h", "u16": "H", "i16": "h", "u24": "I", "i24": "i", "u32": "I", "i32": "i", "u64": "Q",
    "i64": "q", "f32": "f", "f64": "d", "bit": "H", "bool": "H", "bcd": "q",
}  # fmt: skip
"""How the journal packs raw values of a type (see labmon.model.exchange.Column)."""
_MOST_DIGITS = 18
"""Digits of a bcd number that 64 bits hold."""

Shape = Callable[[Raw], Raw]
_Bytes = Callable[[bytes], tuple[int, ...]]


def registers_of(type_: str, length: int | None) -> int:
    """Registers that a value of this type takes; `length` is that of an ascii or bcd field."""
    return (length or 1) if type_ in ("ascii", "bcd") else (_BYTES[type_] + 1) // 2


def bytes_of_type(type_: str, length: int | None = None) -> int:
    """Bytes that a value takes in a binary reply; `length` is that of an ascii or bcd field."""
    if type_ in ("ascii", "bcd"):
        return length or 1
    return 1 if type_ in ("bit", "bool") else _BYTES[type_]


@dataclass(frozen=True, slots=True)
class WordField:
    """One value in a block of registers, coils or discrete inputs. `address` is the PDU's, from 0."""

    name: str
    address: int
    type: str
    order: str = "ABCD"
    byte: str = "low"
    bit: int | None = None
    registers: int = 1
    sentinels: Mapping[Raw, str] = field(default_factory=dict)
    """Raw value -> reason."""
    part: tuple[int, int] | None = None
    """Lowest and highest bit of the number that are the value."""
    chars: str = "two"
    bits: Mapping[str, int] = field(default_factory=dict)
    """Name -> number of single bits."""

    def positions(self, start: int) -> list[int]:
        """Indexes of this value's bytes in the block's data, in the order high to low (ascii: as read)."""
        first = 2 * (self.address - start)
        words = [[first + 2 * n, first + 2 * n + 1] for n in range(self.registers)]
        if self.order in ("CDAB", "DCBA") and self.type != "ascii":
            words.reverse()
        if self.order in ("BADC", "DCBA"):
            words = [[low, high] for high, low in words]
        if self.type in ("u8", "i8"):
            return [words[0][0 if self.byte == "high" else 1]]
        if self.type in ("u24", "i24"):
            return [position for word in words for position in word][1:]
        if self.type == "ascii" and self.chars != "two":
            return [word[0 if self.chars == "high" else 1] for word in words]
        return [position for word in words for position in word]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.positions(self.address))

    @property
    def code(self) -> str:
        """The struct code of its bytes in the order of `positions`."""
        if self.type in ("ascii", "bcd", "u24", "i24"):
            return f"{self.size}s"
        if self.type in ("bit", "bool"):
            return "H" if self.size == 2 else "B"
        return _CODES[self.type]

    @property
    def raw_type(self) -> str:
        """How the journal packs its raw values."""
        return RAW_TYPES.get(self.type, "-")

    @property
    def whole(self) -> bool:
        """Whether its raw values are whole numbers."""
        return self.type not in ("f32", "f64", "ascii")

    @property
    def places(self) -> tuple[int, int] | None:
        """Lowest and highest bit of the number that belong to it; None for all."""
        return (self.bit or 0, self.bit or 0) if self.type == "bit" else self.part

    def shape(self) -> Shape | None:
        """What makes the raw value of what struct unpacks, where that is not it already."""
        if self.type == "ascii":
            return cast(Shape, _ascii)
        if self.type == "bcd":
            return cast(Shape, _bcd if self.part is None else _bcd_part(self.part))
        if self.type == "bool":
            return lambda word: int(bool(word))
        if self.type == "bit":
            return cast(Shape, _bit(self.bit or 0))
        shapes: list[Shape] = []
        if self.type in ("u24", "i24"):
            signed = self.type == "i24"
            shapes.append(lambda data: int.from_bytes(cast(bytes, data), "big", signed=signed))
        if self.part is not None:
            shapes.append(part_of(self.part, self.type.startswith("i")))
        if len(shapes) == 2:
            first, second = shapes
            return lambda raw: second(first(raw))
        return shapes[0] if shapes else None

    def encode(self, raw: Raw) -> bytes:
        """Bytes in the order of `positions`. Raises ValueError for a raw value that the type cannot hold."""
        try:
            if self.type == "ascii":
                data = str(raw).encode("ascii")
                if len(data) > self.size:
                    raise ValueError(f"{self.name}: {raw!r} is longer than {self.size} characters")
                return data.ljust(self.size, b"\0")
            if self.type == "bcd":
                return _bcd_bytes(raw, self.size)
            if self.type in ("f32", "f64"):
                return struct.pack(">" + self.code, 0.0 if raw is None else float(raw))
            return int(raw or 0).to_bytes(self.size, "big", signed=self.type.startswith("i"))
        except (struct.error, OverflowError, UnicodeEncodeError) as error:
            raise ValueError(f"{self.name}: {raw!r} is no {self.type}") from error

    def put(self, data: bytearray, start: int, raw: Raw) -> None:
        """Write the raw value to its place in a block's data. Raises ValueError for one that has no room there."""
        places = self.positions(start)
        bits = self.places
        if bits is None:
            encoded = self.encode(raw)
        else:
            low, high = bits
            if self.type == "bcd":
                raw = int.from_bytes(self.encode(raw), "big")
            word = int.from_bytes(bytes(data[place] for place in places), "big")
            encoded = with_part(word, low, high, raw, self.name).to_bytes(len(places), "big")
        for place, byte in zip(places, encoded, strict=True):
            data[place] = byte


@dataclass(frozen=True, slots=True)
class ByteField(WordField):
    """One value in a binary reply. `address` is the offset of its first byte, `registers` the number of its bytes."""

    def positions(self, start: int) -> list[int]:
        """Indexes of its bytes, in the order high to low. Orders swap pairs of bytes as they do in registers."""
        bytes_ = list(range(self.address - start, self.address - start + self.registers))
        if self.type in ("ascii", "u8", "i8", "bit", "bool"):
            return bytes_
        if self.registers % 2:
            return bytes_[::-1] if self.order in ("DCBA", "CDAB") else bytes_
        words = [bytes_[n : n + 2] for n in range(0, self.registers, 2)]
        if self.order in ("CDAB", "DCBA"):
            words.reverse()
        if self.order in ("BADC", "DCBA"):
            words = [word[::-1] for word in words]
        return [position for word in words for position in word]


def bits_of(field: WordField, start: int) -> dict[int, int]:
    """Which bits of which bytes of a block a field takes: position -> mask."""
    places = field.positions(start)
    if field.places is None:
        return dict.fromkeys(places, 0xFF)
    low, high = field.places
    word = (1 << high + 1) - (1 << low)
    masks = {place: word >> 8 * n & 0xFF for n, place in enumerate(reversed(places))}
    return {place: mask for place, mask in masks.items() if mask}


def _ascii(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii", "replace").strip()


def _bcd(data: bytes) -> Raw:
    """The number of packed decimal digits; where one is above 9, the digits as text, which is no value."""
    digits = data.hex()
    return int(digits) if digits.isdigit() and len(digits.lstrip("0")) <= _MOST_DIGITS else digits.upper()


def _bcd_part(part: tuple[int, int]) -> Callable[[bytes], Raw]:
    take = part_of(part, False)
    return lambda data: _bcd(cast(int, take(int.from_bytes(data, "big"))).to_bytes(len(data), "big"))


def _bcd_bytes(raw: Raw, size: int) -> bytes:
    digits = raw if isinstance(raw, str) else str(int(raw or 0))
    try:
        return bytes.fromhex(digits.rjust(2 * size, "0")) if len(digits) <= 2 * size else _no_bcd(raw, size)
    except ValueError:
        return _no_bcd(raw, size)


def _no_bcd(raw: Raw, size: int) -> bytes:
    raise ValueError(f"{raw!r} has no {2 * size} decimal digits")


def _bit(number: int) -> Callable[[int], int]:
    return lambda word: word >> number & 1


def part_of(part: tuple[int, int], signed: bool) -> Shape:
    """What takes the bits from the lowest to the highest out of a number; texts stay as they are."""
    low, high = part
    mask = (1 << high - low + 1) - 1
    sign = 1 << high - low if signed else 0

    def take(raw: Raw) -> Raw:
        if not isinstance(raw, int):
            return raw
        value = raw >> low & mask
        return (value ^ sign) - sign

    return take


def with_part(word: int, low: int, high: int, raw: Raw, name: str) -> int:
    """The word with these bits changed. Raises ValueError for a value that they cannot hold."""
    width = high - low + 1
    value = int(raw or 0)
    if not -(1 << width - 1) <= value < 1 << width:
        raise ValueError(f"{name}: {raw!r} has more than {width} bits")
    mask = (1 << width) - 1
    return word & ~(mask << low) | (value & mask) << low


class WordBlock:
    """Fields in one block of registers. Decoding is one struct.unpack, after one permutation if order asks for it."""

    width = 2
    """Bytes in one register."""

    def __init__(self, start: int, count: int, fields: Sequence[WordField]) -> None:
        self.start = start
        self.count = count
        self.fields = tuple(fields)
        each = [f.positions(start) for f in fields]
        positions = [p for places in each for p in places]
        self._pick: _Bytes | None = None
        if positions == sorted(set(positions)) and all(p[-1] - p[0] == len(p) - 1 for p in each):
            self._struct = struct.Struct(_padded(start, self.width * count, fields))
        else:
            self._pick = cast(_Bytes, itemgetter(*positions))
            self._struct = struct.Struct(">" + "".join(f.code for f in fields))
        self._shape = [(n, shape) for n, f in enumerate(fields) if (shape := f.shape()) is not None]

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields; `data` is exactly the block's bytes."""
        if self._pick is not None:
            data = bytes(self._pick(data))
        values: Sequence[Raw] = self._struct.unpack(data)
        if self._shape:
            values = list(values)
            for n, shape in self._shape:
                values[n] = shape(values[n])
        return values

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The inverse of decode, from raw values by name; what is not given, and what no field covers, is 0."""
        data = bytearray(self.width * self.count)
        for f in self.fields:
            if f.name in raws:
                f.put(data, self.start, raws[f.name])
        return bytes(data)


def _padded(start: int, size: int, fields: Sequence[WordField]) -> str:
    form, at = ">", 0
    for f in fields:
        places = f.positions(start)
        form += "x" * (places[0] - at) + f.code
        at = places[-1] + 1
    return form + "x" * (size - at)


class BitBlock:
    """Coils or discrete inputs: the first in the lowest bit of the first byte."""

    def __init__(self, start: int, count: int, fields: Sequence[WordField]) -> None:
        self.start = start
        self.count = count
        self.fields = tuple(fields)
        self._shifts = [f.address - start for f in fields]

    def decode(self, data: bytes) -> Sequence[Raw]:
        """0 or 1 for each field."""
        word = int.from_bytes(data, "little")
        return [word >> shift & 1 for shift in self._shifts]

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The inverse of decode; what is not given is 0."""
        word = 0
        for f, shift in zip(self.fields, self._shifts, strict=True):
            word |= int(bool(raws.get(f.name))) << shift
        return word.to_bytes((self.count + 7) // 8, "little")


class ByteBlock(WordBlock):
    """Fields in a binary reply of a known form: at least, or exactly, so many bytes, those of `fixed` as given.

    A reply may end where one of the `optional` fields begins, which stand behind all others: those that it has not
    are None.
    """

    width = 1
    reversible = True

    def __init__(
        self,
        count: int,
        fields: Sequence[ByteField],
        *,
        exact: bool,
        fixed: Mapping[int, int] | None = None,
        optional: Collection[str] = (),
    ) -> None:
        super().__init__(0, count, fields)
        self.length = count if exact else None
        """Bytes of the whole reply, where they are known."""
        self._fixed = dict(fixed or {})
        self._ends = {n: f.address + f.registers for n, f in enumerate(fields) if f.name in optional}
        self._begins = sorted({fields[n].address for n in self._ends})
        parts = [b"\\x%02x" % self._fixed[n] if n in self._fixed else b"." for n in range(self._least)]
        self.expect = Pattern(b"".join(parts) + (b"" if exact else b".*"))
        """What the whole reply must match."""

    @property
    def _least(self) -> int:
        """Bytes that a reply has at least."""
        return self._begins[0] if self._begins else self.count

    @property
    def prefix(self) -> bytes:
        """What every reply begins with."""
        found = bytearray()
        while len(found) in self._fixed:
            found.append(self._fixed[len(found)])
        return bytes(found)

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields. Raises ValueError for bytes of another form."""
        there = len(data)
        if there < self.count and there not in self._begins:
            raise ValueError(f"{there} bytes instead of {self.count}")
        if self.length is not None and there != self.length:
            raise ValueError(f"{there} bytes instead of {self.length}")
        for at, byte in self._fixed.items():
            if data[at] != byte:
                raise ValueError(f"byte {at} is {data[at]:02X} instead of {byte:02X}")
        if there >= self.count:
            return super().decode(data[: self.count])
        values = super().decode(data.ljust(self.count, b"\0"))
        return [None if self._ends.get(n, 0) > there else value for n, value in enumerate(values)]

    def encode(self, raws: Mapping[str, Raw], shown: bytes = b"") -> bytes:
        """The inverse of decode; it ends at the first optional field not given, other bits are as in `shown`."""
        given = {name: raw for name, raw in raws.items() if raw is not None}
        data = bytearray(shown[: self.count].ljust(self.count, b"\0"))
        for f in self.fields:
            for at, mask in bits_of(f, 0).items():
                data[at] &= ~mask & 0xFF
            if f.name in given:
                f.put(data, 0, given[f.name])
        data += shown[self.count :]
        missing = [self.fields[n].address for n in self._ends if self.fields[n].name not in given]
        if missing:
            del data[min(missing) :]
        for at, byte in self._fixed.items():
            data[at] = byte
        return bytes(data)
