"""Values in Modbus words: where they stand, and decoding and encoding of a whole block at once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import cast

from labmon.model.reading import Raw

_CODES = {
    "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip
_REGISTERS = {"u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}


def registers_of(type_: str, length: int | None) -> int:
    """Registers that a value of this type takes; `length` is that of an ascii field."""
    return (length or 1) if type_ == "ascii" else _REGISTERS.get(type_, 1)


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
        return [position for word in words for position in word]

    @property
    def code(self) -> str:
        """The struct code of its bytes in the order of `positions`."""
        if self.type == "ascii":
            return f"{2 * self.registers}s"
        return "H" if self.type == "bit" else _CODES[self.type]

    def encode(self, raw: Raw) -> bytes:
        """Bytes in the order of `positions`. Raises ValueError for a raw value that the type cannot hold."""
        try:
            if self.type == "ascii":
                data = str(raw).encode("ascii")
                if len(data) > 2 * self.registers:
                    raise ValueError(f"{self.name}: {raw!r} is longer than {2 * self.registers} characters")
                return data.ljust(2 * self.registers, b"\0")
            if self.type in ("f32", "f64"):
                return struct.pack(">" + self.code, float(raw or 0.0))
            return struct.pack(">" + self.code, int(raw or 0))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{self.name}: {raw!r} is no {self.type}") from error


def _ascii(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii", "replace").strip()


def _bit(number: int) -> Callable[[int], int]:
    return lambda word: word >> number & 1


class WordBlock:
    """Fields in one block of registers. Decoding is one struct.unpack, after one permutation if order asks for it."""

    def __init__(self, start: int, count: int, fields: Sequence[WordField]) -> None:
        self.start = start
        self.count = count
        self.fields = tuple(fields)
        positions = [p for f in fields for p in f.positions(start)]
        self._pick: Callable[[bytes], tuple[int, ...]] | None = None
        if positions == sorted(set(positions)):
            self._struct = struct.Struct(_padded(start, count, fields))
        else:
            self._pick = cast(Callable[[bytes], tuple[int, ...]], itemgetter(*positions))
            self._struct = struct.Struct(">" + "".join(f.code for f in fields))
        self._shape = [
            (n, _ascii if f.type == "ascii" else _bit(f.bit or 0))
            for n, f in enumerate(fields)
            if f.type in ("ascii", "bit")
        ]

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields; `data` is exactly the block's bytes."""
        if self._pick is not None:
            data = bytes(self._pick(data))
        values: Sequence[Raw] = self._struct.unpack(data)
        if self._shape:
            values = list(values)
            for n, shape in self._shape:
                values[n] = shape(values[n])  # type: ignore[arg-type]
        return values

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """The inverse of decode, from raw values by name; what is not given, and what no field covers, is 0."""
        data = bytearray(2 * self.count)
        for f in self.fields:
            if f.name not in raws:
                continue
            places = f.positions(self.start)
            if f.type == "bit":
                word = data[places[0]] << 8 | data[places[1]]
                mask = 1 << (f.bit or 0)
                encoded = (word | mask if raws[f.name] else word & ~mask).to_bytes(2, "big")
            else:
                encoded = f.encode(raws[f.name])
            for place, byte in zip(places, encoded, strict=True):
                data[place] = byte
        return bytes(data)


def _padded(start: int, count: int, fields: Sequence[WordField]) -> str:
    form, at = ">", 0
    for f in fields:
        places = f.positions(start)
        form += "x" * (places[0] - at) + f.code
        at = places[-1] + 1
    return form + "x" * (2 * count - at)


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
