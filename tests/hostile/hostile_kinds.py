"""What the hostile test says in each framing, written from the specifications and not with labmon's encoders.

A form is what a reply of an exchange can be known by where there is no transaction id: unit, function and length, or
the pattern of a text. Every request asks for something else (`number`), and its reply says so: 16 bits of every reply
are the request's own, so that each value tells which request it belongs to.
"""

from __future__ import annotations

import random
import re
from typing import Any

from links import peers

from labmon.links import modbus
from labmon.links.checksum import Checksum
from labmon.links.frame import FrameForm
from labmon.links.link import Request
from labmon.links.stream import StreamForm
from labmon.links.text import Check, LengthField, Terminated, TextRequest

Form = tuple[Any, ...]
WRAP = 60_000
"""Requests are told apart within so many."""


class Kind:
    """One framing: how to ask, and all that a peer may say."""

    name = ""
    identified = False
    """Replies carry the transaction id."""

    def forms(self, rng: random.Random) -> list[Form]:
        """The forms of one run."""
        raise NotImplementedError

    def request(self, form: Form, number: int) -> Request:
        raise NotImplementedError

    def sent(self, form: Form, number: int, wire: bytes) -> bytes:
        """What must stand on the wire; `wire` is what does (Modbus TCP chooses its transaction id)."""
        raise NotImplementedError

    def expected(self, form: Form, number: int) -> bytes:
        """The payload."""
        raise NotImplementedError

    def right(self, form: Form, number: int, wire: bytes) -> bytes:
        raise NotImplementedError

    def foreign(self, form: Form, number: int, wire: bytes, what: str, known: list[Form]) -> bytes:
        """A whole reply to what nobody asked: of another unit, function or length. Never of a form that is asked."""
        raise NotImplementedError

    def refusal(self, form: Form, number: int, wire: bytes) -> bytes:
        raise NotImplementedError

    def fits(self, form: Form, reply: bytes, wire: bytes) -> bool:
        """Whether some part of `reply` is a whole reply of this form, as far as anybody can tell."""
        raise NotImplementedError

    def alike(self, a: Form, b: Form) -> bool:
        """Whether the reply to another request of the form `a` passes for the reply to one of the form `b`."""
        raise NotImplementedError

    def first_data(self, reply: bytes) -> int:
        """Where in a reply damage begins that its framing cannot show, because it has no checksum."""
        return len(reply)


def token(form: Form, number: int, size: int) -> bytes:
    """Data that only this request has: its address first, then who is asked, then what follows from both."""
    unit, function = form[0], form[1]
    head = (number % WRAP).to_bytes(2, "big") + bytes([unit, function])
    rest = bytes((number * 7 + k * 37 + unit) & 0xFF for k in range(max(0, size - 4)))
    return (head + rest)[:size]


class _Modbus(Kind):
    lowest = 1

    def forms(self, rng: random.Random) -> list[Form]:
        units = rng.sample(range(1, 248), 2)
        counts = {1: rng.sample(range(16, 200), 2), 3: rng.sample(range(1, 30), 2), 4: [rng.randrange(1, 126)]}
        found: list[Form] = [(units[0], 3, n) for n in counts[3]]
        found += [
            (units[0], 4, counts[4][0]),
            (units[1], 3, counts[3][0]),
            (units[1], rng.choice([1, 2]), counts[1][0]),
        ]
        return [*found, (units[0], 6, 1), (units[1], 0x2B, 4)]

    def request(self, form: Form, number: int) -> Request:
        unit, function, count = form
        if function == 6:
            return modbus.write_register(self.framing, unit, number % WRAP, self._value(number))
        if function == 0x2B:
            return modbus.device_identification(self.framing, unit, 4, number % 256)
        return modbus.read(self.framing, unit, function, number % WRAP, count)

    @property
    def framing(self) -> Any:
        return "modbus-rtu" if self.name == "rtu over tcp" else f"modbus-{self.name}"

    @staticmethod
    def _value(number: int) -> int:
        return (number * 31 + 7) & 0xFFFF

    def asked(self, form: Form, number: int) -> bytes:
        _, function, count = form
        if function == 0x2B:
            return bytes([0x2B, 0x0E, 4, number % 256])
        what = self._value(number) if function == 6 else count
        return bytes([function]) + (number % WRAP).to_bytes(2, "big") + what.to_bytes(2, "big")

    def expected(self, form: Form, number: int) -> bytes:
        _, function, count = form
        if function == 6:
            return self.asked(form, number)[1:]
        if function == 0x2B:
            text = f"object of request {number}".encode()
            return bytes([0x83, 0, 0, 1, number % 256, len(text)]) + text
        return token(form, number, (count + 7) // 8 if function < 3 else 2 * count)

    def answer(self, form: Form, number: int) -> bytes:
        function, data = form[1], self.expected(form, number)
        if function == 6:
            return bytes([6]) + data
        return bytes([0x2B, 0x0E, 4]) + data if function == 0x2B else bytes([function, len(data)]) + data

    def sent(self, form: Form, number: int, wire: bytes) -> bytes:
        return self.frame(form[0], self.asked(form, number), wire)

    def right(self, form: Form, number: int, wire: bytes) -> bytes:
        return self.frame(form[0], self.answer(form, number), wire)

    def foreign(self, form: Form, number: int, wire: bytes, what: str, known: list[Form]) -> bytes:
        unit, function, count = form
        units = {f[0] for f in known}
        if what == "unit" or function in (6, 0x2B):
            other = next(u for u in range(unit + 1, unit + 300) if u % 247 + 1 not in units) % 247 + 1
            return self.frame(other, self.answer((other, function, count), number), wire)
        if what == "function":
            taken = {(f[0], f[1]) for f in known}
            function = next(f for f in (4, 3, 2, 1) if (unit, f) not in taken)
            return self.frame(unit, self.answer((unit, function, min(max(count, 16), 125)), number), wire)
        taken_sizes = {len(self.expected(f, 0)) for f in known if f[:2] == (unit, function)}
        step = 8 if function < 3 else 1
        most = 240 if function < 3 else 125
        while len(self.expected((unit, function, count), 0)) in taken_sizes:
            count = count + step if count + step <= most else 1
        return self.frame(unit, self.answer((unit, function, count), number), wire)

    def refusal(self, form: Form, number: int, wire: bytes) -> bytes:
        return self.frame(form[0], bytes([form[1] | 0x80, 1 + number % 11]), wire)

    def alike(self, a: Form, b: Form) -> bool:
        if a[:2] != b[:2] or a[1] == 6:  # the reply to a write repeats all that was asked
            return False
        return a[1] == 0x2B or len(self.expected(a, 0)) == len(self.expected(b, 0))

    def frame(self, unit: int, pdu: bytes, wire: bytes) -> bytes:
        raise NotImplementedError


class Rtu(_Modbus):
    name = "rtu"

    def frame(self, unit: int, pdu: bytes, wire: bytes) -> bytes:
        return peers.rtu(unit, pdu)

    def fits(self, form: Form, reply: bytes, wire: bytes) -> bool:
        unit, function, _ = form
        for at in range(len(reply) - 4):
            if reply[at] == unit and reply[at + 1] == function:
                for end in range(at + 5, len(reply) + 1):
                    if peers.crc16(reply[at : end - 2]) == reply[end - 2 : end]:
                        return True
        return False


class RtuOverTcp(Rtu):
    name = "rtu over tcp"


class Ascii(_Modbus):
    name = "ascii"

    def frame(self, unit: int, pdu: bytes, wire: bytes) -> bytes:
        return peers.ascii_frame(unit, pdu)

    def fits(self, form: Form, reply: bytes, wire: bytes) -> bool:
        for line in re.split(rb"[:\r\n]+", reply):
            try:
                frame = bytes.fromhex(line.decode("ascii"))
            except ValueError:
                continue
            if len(frame) > 3 and sum(frame) & 0xFF == 0 and frame[:2] == bytes(form[:2]):
                return True
        return False


class Tcp(_Modbus):
    name = "tcp"
    identified = True

    def frame(self, unit: int, pdu: bytes, wire: bytes) -> bytes:
        return peers.tcp(int.from_bytes(wire[:2], "big"), unit, pdu)

    def fits(self, form: Form, reply: bytes, wire: bytes) -> bool:
        return bytes([0, 0]) in reply and bytes(form[:2]) in reply  # more than enough: damage is drawn again

    def first_data(self, reply: bytes) -> int:
        return 8


class Text(Kind):
    """Three habits: a reply that says nothing of its question, one with the command's word, one with its number."""

    name = "text"
    wrong = {"unit": b"HELLO", "function": b"12.5 hPa", "length": b"+12345"}

    def forms(self, rng: random.Random) -> list[Form]:
        return [("plain", b"R"), ("plain", b"Q"), ("word", b"T"), ("word", b"P"), ("number", b"N")]

    def request(self, form: Form, number: int) -> Request:
        expect = {
            "plain": rb"[+-]\d{6}",
            "word": re.escape(form[1]) + rb"=\d{6}",
            "number": re.escape(form[1] + b"%05d " % (number % WRAP)) + rb"\d{6}",
        }[form[0]]
        return TextRequest(
            self.asked(form, number),
            Terminated((b"\r\n",)),
            terminator=b"\r",
            reply_check=Check(Checksum("sum8", "hex-upper"), uncovered=b"*"),
            expect=re.compile(expect),
            error=re.compile(rb"E(?P<code>\d\d)"),
        )

    def asked(self, form: Form, number: int) -> bytes:
        return form[1] + b"%05d" % (number % WRAP)

    def sent(self, form: Form, number: int, wire: bytes) -> bytes:
        return self.asked(form, number) + b"\r"

    def text(self, form: Form, number: int) -> bytes:
        value = b"%06d" % (number % WRAP * 13 + form[1][0])
        lead = {"plain": b"+", "word": form[1] + b"=", "number": self.asked(form, number) + b" "}[form[0]]
        return lead + value

    def expected(self, form: Form, number: int) -> bytes:
        return self.text(form, number)

    @staticmethod
    def line(text: bytes) -> bytes:
        return b"%s*%02X\r\n" % (text, sum(text) & 0xFF)

    def right(self, form: Form, number: int, wire: bytes) -> bytes:
        return self.line(self.text(form, number))

    def foreign(self, form: Form, number: int, wire: bytes, what: str, known: list[Form]) -> bytes:
        return self.line(self.wrong[what])

    def alike(self, a: Form, b: Form) -> bool:
        if a[0] != b[0] or a[0] == "number":
            return False
        return a[0] == "plain" or a[1] == b[1]

    def refusal(self, form: Form, number: int, wire: bytes) -> bytes:
        return self.line(b"E%02d" % (number % 100))

    def fits(self, form: Form, reply: bytes, wire: bytes) -> bool:
        for line in reply.split(b"\r\n"):
            text, star, check = line.rpartition(b"*")
            if star and b"%02X" % (sum(text) & 0xFF) == check and len(text) == len(self.text(form, 0)):
                return True
        return False


class Binary(Kind):
    """Header, length, unit, command, data, CRC; the reply says nothing more of its question."""

    name = "binary"

    def forms(self, rng: random.Random) -> list[Form]:
        units = rng.sample(range(1, 248), 2)
        return [(units[0], 3, 4), (units[0], 3, 9), (units[0], 5, 4), (units[1], 3, 4), (units[1], 7, 2)]

    def request(self, form: Form, number: int) -> Request:
        unit, function, size = form
        return TextRequest(
            self._asked(form, number),
            LengthField(2, 1, "big", 5),
            request_check=_CRC,
            reply_check=_CRC,
            begins_with=b"\xaa\x55",
            expect=re.compile(re.escape(self._head(size, unit, function)) + rb".{%d}" % size, re.DOTALL),
            error=re.compile(re.escape(b"\xaa\x55\x03" + bytes([unit, function | 0x80])) + rb"(?P<code>.)", re.DOTALL),
        )

    @staticmethod
    def _asked(form: Form, number: int) -> bytes:
        """With another header than replies: a repeated request must be none."""
        return b"\xaa\x5a" + bytes([4, form[0], form[1]]) + (number % WRAP).to_bytes(2, "big")

    @staticmethod
    def _head(size: int, unit: int, function: int) -> bytes:
        return b"\xaa\x55" + bytes([size + 2, unit, function])

    def sent(self, form: Form, number: int, wire: bytes) -> bytes:
        body = self._asked(form, number)
        return body + peers.crc16(body)

    def expected(self, form: Form, number: int) -> bytes:
        unit, function, size = form
        return self._head(size, unit, function) + token(form, number, size)

    def right(self, form: Form, number: int, wire: bytes) -> bytes:
        body = self.expected(form, number)
        return body + peers.crc16(body)

    def foreign(self, form: Form, number: int, wire: bytes, what: str, known: list[Form]) -> bytes:
        unit, function, size = form
        other = {
            "unit": (next(u for u in range(1, 248) if u not in {f[0] for f in known}), function, size),
            "function": (unit, 9, size),
            "length": (unit, function, size + 20),
        }[what]
        return self.right(other, number, wire)

    def refusal(self, form: Form, number: int, wire: bytes) -> bytes:
        body = b"\xaa\x55\x03" + bytes([form[0], form[1] | 0x80, 1 + number % 9])
        return body + peers.crc16(body)

    def fits(self, form: Form, reply: bytes, wire: bytes) -> bool:
        at = reply.find(b"\xaa\x55")
        while at >= 0:
            for end in range(at + 6, len(reply) + 1):
                if peers.crc16(reply[at : end - 2]) == reply[end - 2 : end]:
                    return True
            at = reply.find(b"\xaa\x55", at + 1)
        return False

    def alike(self, a: Form, b: Form) -> bool:
        return a == b


_CRC = Check(Checksum("crc16-modbus", "raw-little"))


class Stream(Text):
    """Text beside lines that come unasked. The peer says one of those where others repeat what they were sent."""

    name = "stream"
    line_form = StreamForm(
        FrameForm(Terminated((b"\r\n",)), (Check(Checksum("sum8", "hex-upper"), uncovered=b"*"),)),
        re.compile(rb"C1=\d{6}").fullmatch,
        b"C1=",
    )

    def unasked(self, number: int) -> bytes:
        return self.line(b"C1=%06d" % number)


KINDS: dict[str, Kind] = {k.name: k for k in (Rtu(), Ascii(), RtuOverTcp(), Tcp(), Text(), Binary(), Stream())}
