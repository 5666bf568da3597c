"""How a simulated line cuts requests out of its bytes and wraps replies: the instrument's side of each framing.

Written against the specifications (Modbus over Serial Line V1.02; Messaging on TCP/IP V1.0b) and not against
labmon.links, so that the two check each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as an instrument gets it: the unit (None for text), the PDU or the line, and what the reply needs."""

    unit: int | None
    body: bytes
    tag: bytes = b""


class Framing(Protocol):
    """Requests out of a byte stream, and replies back into it."""

    @property
    def echoes(self) -> bool:
        """Whether each character is repeated as it comes."""
        ...

    def requests(self, buffer: bytearray) -> Iterator[Asked]:
        """Take all complete requests out of `buffer`; what is no request is dropped, what is incomplete stays."""
        ...

    def reply(self, asked: Asked, body: bytes, unit: int | None) -> bytes:
        """The frame of a reply to `asked` that says it comes from `unit`."""
        ...

    def spoiled(self, frame: bytes, chance: random.Random) -> bytes:
        """The frame with noise in it, such as this kind of line brings."""
        ...

    def unsummed(self, frame: bytes) -> bytes:
        """The frame with another checksum. Raises ValueError when it has none."""
        ...


def crc16(data: bytes) -> bytes:
    """CRC-16 of Modbus RTU, low byte first (Modbus over Serial Line V1.02, 6.2.2)."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ 0xA001 if register & 1 else register >> 1
    return register.to_bytes(2, "little")


def _turned(frame: bytes, at: int, bit: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ 1 << bit]) + frame[at + 1 :]


class Rtu:
    """Modbus RTU. Request lengths follow from the function, so no timing is needed to find their ends."""

    echoes = False

    _LENGTHS = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 0x2B: 7}

    def requests(self, buffer: bytearray) -> Iterator[Asked]:
        """Complete frames with a right CRC; anything else is slid over byte by byte."""
        while len(buffer) >= 4:
            length = self._LENGTHS.get(buffer[1])
            if buffer[1] in (15, 16):
                length = 9 + buffer[6] if len(buffer) > 6 else 0
            if length == 0 or (length is not None and len(buffer) < length):
                return
            if length is None or crc16(bytes(buffer[: length - 2])) != bytes(buffer[length - 2 : length]):
                del buffer[0]
                continue
            frame = bytes(buffer[:length])
            del buffer[:length]
            yield Asked(frame[0], frame[1:-2])

    def reply(self, asked: Asked, body: bytes, unit: int | None) -> bytes:
        """Unit, PDU, CRC."""
        frame = bytes([(asked.unit or 0) if unit is None else unit]) + body
        return frame + crc16(frame)

    def spoiled(self, frame: bytes, chance: random.Random) -> bytes:
        """One bit turned over anywhere."""
        return _turned(frame, chance.randrange(len(frame)), chance.randrange(8))

    def unsummed(self, frame: bytes) -> bytes:
        """The last byte inverted."""
        return frame[:-1] + bytes([frame[-1] ^ 0xFF])


class Ascii:
    """Modbus ASCII: `:` hex LRC CR LF."""

    echoes = False

    def requests(self, buffer: bytearray) -> Iterator[Asked]:
        """Complete frames with a right LRC."""
        while (end := buffer.find(b"\r\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            start = line.rfind(b":")
            try:
                data = bytes.fromhex(line[start + 1 :].decode("ascii"))
            except ValueError:
                continue
            if start >= 0 and len(data) >= 3 and sum(data) & 0xFF == 0:
                yield Asked(data[0], data[1:-1])

    def reply(self, asked: Asked, body: bytes, unit: int | None) -> bytes:
        """Unit and PDU in upper case hex, LRC."""
        data = bytes([(asked.unit or 0) if unit is None else unit]) + body
        return b":" + (data + bytes([-sum(data) & 0xFF])).hex().upper().encode() + b"\r\n"

    def spoiled(self, frame: bytes, chance: random.Random) -> bytes:
        """One bit turned over between colon and end."""
        return _turned(frame, chance.randrange(1, len(frame) - 2), chance.randrange(8))

    def unsummed(self, frame: bytes) -> bytes:
        """Another last digit of the LRC."""
        return frame[:-3] + (b"0" if frame[-3:-2] != b"0" else b"1") + frame[-2:]


class Tcp:
    """Modbus TCP: transaction, protocol 0, length, unit, PDU."""

    echoes = False

    def requests(self, buffer: bytearray) -> Iterator[Asked]:
        """Complete frames; a header that cannot be one empties the buffer, as a closing server would."""
        while len(buffer) >= 8:
            length = int.from_bytes(buffer[4:6], "big")
            if buffer[2:4] != b"\0\0" or not 2 <= length <= 254:
                buffer.clear()
                return
            if len(buffer) < 6 + length:
                return
            frame = bytes(buffer[: 6 + length])
            del buffer[: 6 + length]
            yield Asked(frame[6], frame[7:], frame[:2])

    def reply(self, asked: Asked, body: bytes, unit: int | None) -> bytes:
        """The header with the request's transaction, unit, PDU."""
        own = (asked.unit or 0) if unit is None else unit
        return asked.tag + b"\0\0" + (len(body) + 1).to_bytes(2, "big") + bytes([own]) + body

    def spoiled(self, frame: bytes, chance: random.Random) -> bytes:
        """Another protocol id: TCP itself lets no bit turn over, but what stands behind a gateway may be mad."""
        return _turned(frame, 2 + chance.randrange(2), chance.randrange(8))

    def unsummed(self, frame: bytes) -> bytes:
        """There is none. Raises ValueError."""
        raise ValueError("Modbus TCP has no checksum")


class Text:
    """Text and binary: the requests that the instruments know, as they stand on the wire, terminator and all.

    `known` gives them. What begins none of them is no request, and passed over byte by byte. With `echoes` each
    character is to be repeated as it comes.
    """

    def __init__(self, known: Callable[[], Collection[bytes]], *, echoes: bool = False) -> None:
        self.known = known
        self.echoes = echoes

    def requests(self, buffer: bytearray) -> Iterator[Asked]:
        """Whole requests, the longest that fits first."""
        while buffer:
            known = self.known()
            found = max((k for k in known if buffer.startswith(k)), key=len, default=b"")
            if not found:
                if any(k.startswith(buffer) for k in known):
                    return
                del buffer[0]
                continue
            del buffer[: len(found)]
            yield Asked(None, found)

    def reply(self, asked: Asked, body: bytes, unit: int | None) -> bytes:
        """The frame as the instrument gave it, terminator and all."""
        return body

    def spoiled(self, frame: bytes, chance: random.Random) -> bytes:
        """A bit that cannot be in a character, as noise leaves it; not in the terminator."""
        at = chance.randrange(max(1, len(frame.rstrip(b"\r\n"))))
        return frame[:at] + bytes([frame[at] ^ 0x80]) + frame[at + 1 :]

    def unsummed(self, frame: bytes) -> bytes:
        """Only the instrument knows where its checksum stands. Raises ValueError."""
        raise ValueError("this line has no checksum of its own")
