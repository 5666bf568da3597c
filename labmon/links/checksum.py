"""Named checksums of serial protocols and the ways they are written on the wire (facts: R7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import xor
from typing import Literal, get_args

from pymodbus.framer import FramerAscii, FramerRTU

ChecksumName = Literal[
    "xor", "inverted-xor", "sum6", "sum8", "sum16", "lrc", "crc8", "crc16-modbus", "crc16-ccitt", "crc16-x25"
]
Encoding = Literal["hex-lower", "hex-upper", "decimal", "raw", "raw-little", "six-bits"]


@lru_cache(maxsize=32)
def _table(width: int, poly: int, reflected: bool) -> tuple[int, ...]:
    top, mask = 1 << (width - 1), (1 << width) - 1
    if reflected:
        poly = int(f"{poly:0{width}b}"[::-1], 2)
    table = []
    for byte in range(256):
        register = byte if reflected else byte << (width - 8)
        for _ in range(8):
            if reflected:
                register = (register >> 1) ^ (poly if register & 1 else 0)
            else:
                register = ((register << 1) ^ (poly if register & top else 0)) & mask
        table.append(register)
    return tuple(table)


def crc(data: bytes, width: int, poly: int, init: int, reflected: bool, xor_out: int) -> int:
    """A CRC of 8 or 16 bits in the parameters of the usual catalogue (`poly` written unreflected)."""
    table = _table(width, poly, reflected)
    register = init
    if reflected:
        for byte in data:
            register = (register >> 8) ^ table[(register ^ byte) & 0xFF]
    else:
        for byte in data:
            register = ((register << 8) & ((1 << width) - 1)) ^ table[(register >> (width - 8)) ^ byte]
    return register ^ xor_out


def _crc16_modbus(data: bytes) -> int:
    # pymodbus returns the two bytes in the order of the wire, low byte first.
    return int.from_bytes(FramerRTU.compute_CRC(data).to_bytes(2, "big"), "little")


_SIMPLE: dict[str, tuple[int, Callable[[bytes], int]]] = {
    # Name: bits, value.
    "xor": (8, lambda data: reduce(xor, data, 0)),
    "inverted-xor": (8, lambda data: reduce(xor, data, 0) ^ 0xFF),
    "sum6": (6, lambda data: sum(data) & 0x3F),
    "sum8": (8, lambda data: sum(data) & 0xFF),
    "sum16": (16, lambda data: sum(data) & 0xFFFF),
    "lrc": (8, FramerAscii.compute_LRC),
    "crc16-modbus": (16, _crc16_modbus),
}
_CRCS: dict[str, tuple[int, int, int, bool, int]] = {
    "crc8": (8, 0x07, 0x00, False, 0x00),
    "crc16-ccitt": (16, 0x1021, 0xFFFF, False, 0x0000),
    "crc16-x25": (16, 0x1021, 0xFFFF, True, 0xFFFF),
}


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum by name, and how it is written.

    `raw` is high byte first, `raw-little` low byte first (as Modbus RTU and Watlow write theirs), `decimal` has
    leading zeros to full width, `six-bits` is one character for each six bits, the highest first: `plus` and those
    bits, so that all of them can be printed. `poly`, `init`, `reflected` and `xor_out` replace the named CRC's own
    parameters (crc8: polynomial 0x07, init 0; crc16-ccitt: 0x1021, init 0xFFFF; crc16-x25: the same reflected and
    inverted).
    `inverted` turns all bits of the value round, `high_bit` sets bit 7 of each byte on the wire.
    Raises ValueError on a name or encoding that does not exist, on CRC parameters given to what is no CRC, and where
    `plus` is missing or has no meaning.
    """

    name: ChecksumName
    encoding: Encoding = "raw"
    poly: int | None = None
    init: int | None = None
    reflected: bool | None = None
    xor_out: int | None = None
    inverted: bool = False
    high_bit: bool = False
    plus: int | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(ChecksumName):
            raise ValueError(f"no checksum is called {self.name!r}; known are {', '.join(get_args(ChecksumName))}")
        if self.encoding not in get_args(Encoding):
            raise ValueError(f"no encoding is called {self.encoding!r}; known are {', '.join(get_args(Encoding))}")
        if self.name not in _CRCS and any(v is not None for v in (self.poly, self.init, self.reflected, self.xor_out)):
            raise ValueError(f"{self.name} has no polynomial, init, reflection or final xor to set")
        if (self.encoding == "six-bits") is (self.plus is None):
            raise ValueError("`plus` is what six-bits adds to each six bits, and belongs to no other encoding")

    @property
    def _bits(self) -> int:
        return _CRCS[self.name][0] if self.name in _CRCS else _SIMPLE[self.name][0]

    @property
    def _bytes(self) -> int:
        return (self._bits + 7) // 8

    @property
    def width(self) -> int:
        """Bytes that it takes on the wire."""
        if self.encoding in ("raw", "raw-little"):
            return self._bytes
        if self.encoding == "six-bits":
            return (self._bits + 5) // 6
        return 2 * self._bytes if self.encoding != "decimal" else (3 if self._bytes == 1 else 5)

    def compute(self, data: bytes) -> int:
        """The checksum's value over `data`."""
        value = self._value(data)
        return value ^ ((1 << self._bits) - 1) if self.inverted else value

    def _value(self, data: bytes) -> int:
        if self.name not in _CRCS:
            return _SIMPLE[self.name][1](data)
        width, poly, init, reflected, xor_out = _CRCS[self.name]
        return crc(
            data,
            width,
            poly if self.poly is None else self.poly,
            init if self.init is None else self.init,
            reflected if self.reflected is None else self.reflected,
            xor_out if self.xor_out is None else self.xor_out,
        )

    def encode(self, data: bytes) -> bytes:
        """The checksum over `data` as it goes on the wire."""
        written = self._written(data)
        return bytes(byte | 0x80 for byte in written) if self.high_bit else written

    def _written(self, data: bytes) -> bytes:
        value = self.compute(data)
        if self.encoding == "raw":
            return value.to_bytes(self._bytes, "big")
        if self.encoding == "raw-little":
            return value.to_bytes(self._bytes, "little")
        if self.encoding == "six-bits":
            sixes = range(6 * (self.width - 1), -1, -6)
            return bytes((self.plus or 0) + (value >> shift & 0x3F) for shift in sixes)
        if self.encoding == "decimal":
            return f"{value:0{self.width}d}".encode()
        return f"{value:0{self.width}{'x' if self.encoding == 'hex-lower' else 'X'}}".encode()

    def agrees(self, data: bytes, received: bytes) -> bool:
        """Whether `received` is the checksum over `data`; hex digits are accepted in either case."""
        expected = self.encode(data)
        return received == expected or (self.encoding.startswith("hex") and received.lower() == expected.lower())
