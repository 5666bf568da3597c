"""What is done to the bytes of a frame on its way: hex text, byte stuffing, bit 7."""

from __future__ import annotations

from binascii import hexlify, unhexlify
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from labmon.links.errors import Garbled

_STRIP = bytes(byte & 0x7F for byte in range(256))
_SET = bytes(byte | 0x80 for byte in range(256))


@dataclass(frozen=True, slots=True)
class Escape:
    """Byte stuffing (SHDLC, PPP): each byte of `of`, and `escape` itself, goes as `escape` and the byte xor `xor`."""

    escape: int
    xor: int
    of: frozenset[int]

    def stuffed(self, data: bytes) -> bytes:
        """What is sent for `data`."""
        found = bytearray()
        for byte in data:
            if byte == self.escape or byte in self.of:
                found += bytes([self.escape, byte ^ self.xor])
            else:
                found.append(byte)
        return bytes(found)

    def plain(self, data: bytes) -> bytes:
        """What was sent as `data`. Raises Garbled for one that ends in the middle."""
        found = bytearray()
        following = False
        for byte in data:
            if following:
                found.append(byte ^ self.xor)
                following = False
            elif byte == self.escape:
                following = True
            else:
                found.append(byte)
        if following:
            raise Garbled("the frame ends within a stuffed byte")
        return bytes(found)


Transform = Literal["strip-bit-7", "set-bit-7", "hex-text"] | Escape


def transform(data: bytes, transforms: Sequence[Transform]) -> bytes:
    """The bytes between header and end as they are sent."""
    for one in transforms:
        if isinstance(one, Escape):
            data = one.stuffed(data)
        elif one == "hex-text":
            data = hexlify(data).upper()
    return data


def restore(data: bytes, transforms: Sequence[Transform]) -> bytes:
    """The bytes that arrived as `data`. Raises Garbled."""
    for one in reversed(transforms):
        if isinstance(one, Escape):
            data = one.plain(data)
        elif one == "hex-text":
            try:
                data = unhexlify(data)
            except ValueError:
                raise Garbled(f"no hex digits: {data[:40]!r}") from None
    return data


def sent(frame: bytes, transforms: Sequence[Transform]) -> bytes:
    """A whole frame as it leaves: bit 7 set, where that is asked for."""
    return frame.translate(_SET) if "set-bit-7" in transforms else frame


def received(data: bytes, transforms: Sequence[Transform]) -> bytes:
    """Bytes as they are judged: bit 7 cleared, where that is asked for."""
    return data.translate(_STRIP) if "strip-bit-7" in transforms else data
