"""The three Modbus framings: how a PDU goes out, and how its own reply is found among whatever arrives.

The matchers are our own: pymodbus checks neither function nor length of an RTU reply, and loses whole replies to one
junk byte (measured on 3.16.1). CRC, LRC and the frames that go out are pymodbus'.
"""

from __future__ import annotations

from binascii import unhexlify

from pymodbus.framer import FramerAscii, FramerRTU
from pymodbus.pdu import DecodePDU

from labmon.links.errors import Garbled, Refused
from labmon.links.pdu import EXCEPTIONS, Pdu

_RTU = FramerRTU(DecodePDU(False))
_ASCII = FramerAscii(DecodePDU(False))


def _refusal(code: int) -> Refused:
    return Refused(code, EXCEPTIONS.get(code, "unknown exception"))


def _one(found: list[bytes]) -> bytes | None:
    """The payload when all candidates say the same. Two different replies: nobody can tell which one is ours."""
    if not found:
        return None
    if any(payload != found[0] for payload in found):
        raise Garbled("two different replies")
    return found[0]


class RtuRequest:
    """Modbus RTU. The matcher slides byte by byte: junk ahead of the reply, or a foreign frame, costs nothing."""

    __slots__ = ("_asked", "_echo", "_exception", "_frame", "_head", "size")
    manner = None

    def __init__(self, unit: int, asked: Pdu) -> None:
        self._asked = asked
        self._frame = _RTU.encode(asked.request, unit, 0)
        self._head = bytes([unit]) + asked.head
        self._exception = bytes([unit, asked.request[0] | 0x80])
        # A read's own echo can be a well-formed reply (FC 1 at 0x03xx, 24 bits); that of a write is the reply.
        self._echo = None if asked.head == asked.request else self._frame
        self.size = len(self._frame) + asked.largest + 3

    def encode(self, transaction: int) -> bytes:
        """The frame; RTU has no transaction id."""
        return self._frame

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The reply's data, wherever in `buffer` the frame of this unit, function and length stands."""
        found: list[bytes] = []
        at = buffer.find(self._head)
        while at >= 0:
            size = self._asked.reply_size(buffer, at + 1)
            if size is None or len(buffer) < at + size + 3:
                break
            frame = buffer[at : at + size + 3]
            if _crc_agrees(frame) and frame != self._echo and not (at and _in_foreign_frame(buffer, at)):
                found.append(frame[1 + self._asked.strip : -2])
                at = buffer.find(self._head, at + len(frame))
            else:
                at = buffer.find(self._head, at + 1)
        if found:
            return _one(found)
        at = buffer.find(self._exception)
        while at >= 0 and len(buffer) >= at + 5:
            if _crc_agrees(buffer[at : at + 5]):
                raise _refusal(buffer[at + 2])
            at = buffer.find(self._exception, at + 1)
        return None

    def doubtful(self, buffer: bytes) -> bool:
        """Whether the reply in `buffer` stands within what may be a longer foreign frame, of which more will come."""
        if buffer.startswith(self._head):
            return False
        start = len(self._frame) if buffer.startswith(self._frame) else 0
        at = buffer.find(self._head, start)
        return any(n + _rtu_size(buffer, n) > len(buffer) for n in range(start, at))

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether some end of `buffer` can still grow into the reply."""
        for at in range(len(buffer)):
            tail = buffer[at : at + len(self._head)]
            if self._head.startswith(tail) or self._exception.startswith(buffer[at:]):
                size = self._asked.reply_size(buffer, at + 1)
                if size is None or len(buffer) < at + size + 3:
                    return True
        return False


def _crc_agrees(frame: bytes) -> bool:
    return FramerRTU.compute_CRC(frame[:-2]) == int.from_bytes(frame[-2:], "big")


def _in_foreign_frame(buffer: bytes, at: int) -> bool:
    """Whether the byte at `at` lies inside a whole valid frame that begins before it: then it is that frame's data."""
    start = 0
    while start < at:
        size = _rtu_size(buffer, start)
        if size and start + size > at and len(buffer) >= start + size and _crc_agrees(buffer[start : start + size]):
            return True
        start += 1
    return False


def _rtu_size(buffer: bytes, at: int) -> int:
    """Length of the reply frame that would begin at `at`; 0 when its function code is none that we know."""
    function = buffer[at + 1] if len(buffer) > at + 2 else 0
    if function in (1, 2, 3, 4):
        return 5 + buffer[at + 2]
    if function in (5, 6, 15, 16):
        return 8
    return 5 if function & 0x80 else 0


class AsciiRequest:
    """Modbus ASCII: hex digits in either case, LRC, a ':' anywhere starts anew."""

    __slots__ = ("_asked", "_exception", "_frame", "_head", "size")
    manner = None

    def __init__(self, unit: int, asked: Pdu) -> None:
        self._asked = asked
        self._frame = _ASCII.encode(asked.request, unit, 0)
        self._head = bytes([unit]) + asked.head
        self._exception = bytes([unit, asked.request[0] | 0x80])
        self.size = len(self._frame) + 2 * (asked.largest + 2) + 3

    def encode(self, transaction: int) -> bytes:
        """The frame; ASCII has no transaction id."""
        return self._frame

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The reply's data from the first frame that is this request's; frames that are not are skipped."""
        found: list[bytes] = []
        refusal: Refused | None = None
        for line in buffer.split(b"\r\n")[:-1]:
            frame = _unhex(line)
            if frame is None or FramerAscii.compute_LRC(frame[:-1]) != frame[-1]:
                continue
            body = frame[:-1]
            if body.startswith(self._head) and self._asked.reply_size(body, 1) == len(body) - 1:
                if self._asked.head == self._asked.request or line.upper() != self._frame[:-2]:
                    found.append(body[1 + self._asked.strip :])
            elif body.startswith(self._exception) and len(body) == 3:
                refusal = _refusal(body[2])
        if not found and refusal is not None:
            raise refusal
        return _one(found)

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether `buffer` ends in a frame not yet ended that can be the reply."""
        at = buffer.rfind(b":")
        if at < 0 or b"\r\n" in buffer[at:]:
            return False
        start = buffer[at + 1 :].rstrip(b"\r").upper()
        return any(
            start.startswith(head) or head.startswith(start)
            for head in (self._head.hex().upper().encode(), self._exception.hex().upper().encode())
        )


def _unhex(line: bytes) -> bytes | None:
    """The bytes of one frame: what follows the last ':' of a line; None when that is no frame."""
    _, colon, digits = line.rpartition(b":")
    if not colon or len(digits) < 6:
        return None
    try:
        return unhexlify(digits)
    except ValueError:
        return None


class TcpRequest:
    """Modbus TCP. The transaction id decides: replies to other transactions are skipped wherever they stand."""

    __slots__ = ("_asked", "_body", "_exception", "_head", "_length", "_signature", "size")
    manner = None

    def __init__(self, unit: int, asked: Pdu) -> None:
        self._asked = asked
        self._body = b"\0\0" + (len(asked.request) + 1).to_bytes(2, "big") + bytes([unit]) + asked.request
        self._head = bytes([unit]) + asked.head
        self._exception = bytes([unit, asked.request[0] | 0x80])
        self._length = None if asked.size is None else asked.size + 7
        self._signature = b"\0\0" + (asked.largest + 1).to_bytes(2, "big") + self._head
        self.size = len(self._body) + 2 + asked.largest + 7

    def encode(self, transaction: int) -> bytes:
        """MBAP header with the transaction id, and the PDU."""
        return transaction.to_bytes(2, "big") + self._body

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The data of the reply with this transaction id, unit, function and length."""
        if self._length is None:
            return self._search(buffer, transaction)
        signature = transaction.to_bytes(2, "big") + self._signature
        at = buffer.find(signature)
        if at < 0:
            return self._search(buffer, transaction)
        end = at + self._length
        if len(buffer) < end:
            return None
        again = buffer.find(signature, at + 1)
        # TCP frames have no checksum of their own: a cut one followed by a whole one shows only by this.
        if again >= 0 and (again < end or not buffer[at:end].startswith(buffer[again : again + self._length])):
            raise Garbled("two replies to one transaction")
        return buffer[at + 7 + self._asked.strip : end]

    def _search(self, buffer: bytes, transaction: int) -> bytes | None:
        """The slow way: an exception, a reply that says its own length, or one that is wrong."""
        start = transaction.to_bytes(2, "big") + b"\0\0"
        at = buffer.find(start)
        while at >= 0:
            if len(buffer) < at + 9:
                return None
            length = int.from_bytes(buffer[at + 4 : at + 6], "big")
            body = buffer[at + 6 : at + 6 + length]
            if 3 <= length <= 254:
                if len(body) < length:
                    # The stream is in step when the frame stands first; else this may be the data of a foreign one.
                    if at == 0 or buffer.find(start, at + 1) < 0:
                        return None
                elif body.startswith(self._exception) and length == 3:
                    raise _refusal(body[2])
                elif self._length is None and body.startswith(self._head):
                    if self._asked.reply_size(body, 1) == length - 1:
                        return body[1 + self._asked.strip :]
                elif at == 0:
                    raise Garbled(f"reply to another unit or function, or of another length: {body[:16].hex(' ')}")
            at = buffer.find(start, at + 1)
        return None

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether all that came are replies to other transactions, and perhaps the beginning of one more frame."""
        start = transaction.to_bytes(2, "big") + b"\0\0"
        at = 0
        while len(buffer) >= at + 6:
            if buffer[at + 2 : at + 4] != b"\0\0":
                return False
            end = at + 6 + int.from_bytes(buffer[at + 4 : at + 6], "big")
            if len(buffer) >= end and buffer.startswith(start, at):
                return False
            at = end
        return True
