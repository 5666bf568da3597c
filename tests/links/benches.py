"""One bench per framing: a hostile peer, a link to it, requests of one shape with known answers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack

import peers
from peers import HANG_UP, Say, Script

from labmon.links import modbus
from labmon.links.checksum import Checksum
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.link import Request
from labmon.links.opening import make_link
from labmon.links.text import Check, Terminated, TextRequest

UNIT = 17
OTHER = 33
EXCEPTION = 2


class Bench:
    """`hostile` holds, by request number, how the peer misbehaves; every other request is answered rightly."""

    framing = ""
    on = "pty"
    split: Callable[[bytes], int]

    def __init__(self, timeout: float, least_quiet: float = 0.02) -> None:
        self.timeout = timeout
        self.least_quiet = least_quiet
        self.hostile: dict[int, str] = {}
        self.late = 1.2
        self._previous = b""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Bench:
        split = type(self).split
        if self.on == "pty":
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            peer: peers.PtyPeer | peers.TcpPeer = peers.PtyPeer(split, self.answer, f"{folder}/port")
        else:
            peer = peers.TcpPeer(split, self.answer)
        self.peer = await self._stack.enter_async_context(peer)
        endpoint = SerialEndpoint(peer.port, 9600) if self.on == "pty" else TcpEndpoint("127.0.0.1", peer.port)
        self.link = make_link(endpoint, self.framing, least_quiet=self.least_quiet, trace=50)
        self._stack.push_async_callback(self.link.close)
        await self.link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # what each framing says in its own way

    def request(self, number: int) -> Request:
        raise NotImplementedError

    def expected(self, number: int) -> bytes:
        raise NotImplementedError

    def right(self, request: bytes) -> bytes:
        raise NotImplementedError

    def foreign(self, request: bytes, kind: str) -> bytes:
        """A well-formed reply to something else: unit, function or length; `shape`: only the address differs."""
        raise NotImplementedError

    def refusal(self, request: bytes) -> bytes:
        raise NotImplementedError

    def answer(self, request: bytes, number: int) -> Script:
        right, previous = self.right(request), self._previous
        self._previous = right
        kind = self.hostile.get(number, "right")
        middle = len(right) // 2
        scripts: dict[str, Callable[[], list[object]]] = {
            "right": lambda: [Say(right)],
            "late": lambda: [Say(right, self.late * self.timeout)],
            "late twice": lambda: [Say(right, 1.1 * self.timeout), Say(right, self.late * self.timeout)],
            "late in pieces": lambda: [
                Say(right[:middle], 0.9 * self.timeout),
                Say(right[middle:], 1.2 * self.timeout),
            ],
            "duplicated": lambda: [Say(right + right)],
            "duplicated late": lambda: [Say(right), Say(right, 0.001)],
            "junk before": lambda: [Say(b"\x00" + right)],
            "junk after": lambda: [Say(right + b"\xff")],
            "junk inside": lambda: [Say(right[:middle] + b"\x55" + right[middle:])],
            "much junk": lambda: [Say(b"\x55\xaa" * 20 + right)],
            "cut": lambda: [Say(right[:-3])],
            "cut, then whole": lambda: [Say(right[:-3] + right)],
            "wrong check": lambda: [Say(self.corrupt(right))],
            "echo": lambda: [Say(request + right)],
            "silent": list,
            "closing": lambda: [HANG_UP],
            "closing inside": lambda: [Say(right[:middle]), HANG_UP],
            "exception": lambda: [Say(self.refusal(request))],
            "byte by byte": lambda: [Say(right[i : i + 1], 0.001 * (i + 1)) for i in range(len(right))],
            "only the previous": lambda: [Say(previous)],
            "babble": lambda: [Say(b"\x55" * 4000), Say(b"\x55" * 4000, 0.01), Say(b"\x55" * 4000, 0.02)],
        }
        for name in ("unit", "function", "length", "shape"):
            scripts[f"foreign {name}"] = lambda name=name: [Say(self.foreign(request, name))]
            scripts[f"foreign {name} glued"] = lambda name=name: [Say(self.foreign(request, name) + right)]
            scripts[f"foreign {name} behind"] = lambda name=name: [Say(right + self.foreign(request, name))]
        return scripts[kind]()

    def corrupt(self, right: bytes) -> bytes:
        return right[:-1] + bytes([right[-1] ^ 0x10])


class _Modbus(Bench):
    def request(self, number: int) -> Request:
        return modbus.read(self.framing, UNIT, 3, self._address(number), 4)

    def expected(self, number: int) -> bytes:
        return peers.registers(UNIT, 3, self._address(number), 4)

    @staticmethod
    def _address(number: int) -> int:
        return 0x300 + 5 * number

    def foreign(self, request: bytes, kind: str) -> bytes:
        pdu = self.pdu(request)
        if kind == "unit":
            return self.frame(request, OTHER, peers.reply_pdu(OTHER, pdu))
        if kind == "function":
            return self.frame(request, UNIT, peers.reply_pdu(UNIT, pdu, function=4))
        if kind == "length":
            return self.frame(request, UNIT, peers.reply_pdu(UNIT, pdu, extra=-1))
        moved = pdu[:1] + (int.from_bytes(pdu[1:3], "big") ^ 0x4000).to_bytes(2, "big") + pdu[3:]
        return self.frame(request, UNIT, peers.reply_pdu(UNIT, moved), own=False)

    def right(self, request: bytes) -> bytes:
        return self.frame(request, UNIT, peers.reply_pdu(UNIT, self.pdu(request)))

    def refusal(self, request: bytes) -> bytes:
        return self.frame(request, UNIT, bytes([self.pdu(request)[0] | 0x80, EXCEPTION]))

    def pdu(self, request: bytes) -> bytes:
        raise NotImplementedError

    def frame(self, request: bytes, unit: int, pdu: bytes, own: bool = True) -> bytes:
        raise NotImplementedError


class RtuBench(_Modbus):
    framing = "modbus-rtu"
    split = staticmethod(peers.split_rtu)

    def pdu(self, request: bytes) -> bytes:
        return request[1:-2]

    def frame(self, request: bytes, unit: int, pdu: bytes, own: bool = True) -> bytes:
        return peers.rtu(unit, pdu)


class RtuOverTcpBench(RtuBench):
    on = "tcp"


class AsciiBench(_Modbus):
    framing = "modbus-ascii"
    split = staticmethod(peers.split_line)

    def pdu(self, request: bytes) -> bytes:
        return bytes.fromhex(request[3:-4].decode())

    def frame(self, request: bytes, unit: int, pdu: bytes, own: bool = True) -> bytes:
        return peers.ascii_frame(unit, pdu)

    def corrupt(self, right: bytes) -> bytes:
        return right[:-3] + (b"0" if right[-3:-2] != b"0" else b"1") + right[-2:]


class TcpBench(_Modbus):
    framing = "modbus-tcp"
    on = "tcp"
    split = staticmethod(peers.split_tcp)

    def pdu(self, request: bytes) -> bytes:
        return request[7:]

    def frame(self, request: bytes, unit: int, pdu: bytes, own: bool = True) -> bytes:
        transaction = int.from_bytes(request[:2], "big")
        return peers.tcp(transaction if own else (transaction - 1) & 0xFFFF, unit, pdu)

    def corrupt(self, right: bytes) -> bytes:
        return right[:3] + b"\x01" + right[4:]  # protocol id


class TextBench(Bench):
    """The worst kind of text: the reply says nothing of its question, only a checksum and a pattern protect."""

    framing = "text"
    split = staticmethod(peers.split_line)

    def request(self, number: int) -> Request:
        return TextRequest(
            b"R%04d" % number,
            Terminated((b"\r\n",)),
            terminator=b"\r",
            reply_check=Check(Checksum("sum8", "hex-upper"), uncovered=b"*"),
            expect=re.compile(rb"[+-]\d{6}"),
            error=re.compile(rb"E(?P<code>\d\d)"),
        )

    def expected(self, number: int) -> bytes:
        return b"%+07d" % (number * 37 + 5)

    @staticmethod
    def line(text: bytes) -> bytes:
        return b"%s*%02X\r\n" % (text, sum(text) & 0xFF)

    def right(self, request: bytes) -> bytes:
        return self.line(self.expected(int(request[1:5])))

    def foreign(self, request: bytes, kind: str) -> bytes:
        return self.line({"unit": b"HELLO", "function": b"12.5 hPa", "length": b"+12345", "shape": b"+999999"}[kind])

    def refusal(self, request: bytes) -> bytes:
        return self.line(b"E%02d" % EXCEPTION)

    def corrupt(self, right: bytes) -> bytes:
        return right[:1] + (b"9" if right[1:2] != b"9" else b"8") + right[2:]


class TextOverTcpBench(TextBench):
    on = "tcp"


BENCHES = [RtuBench, RtuOverTcpBench, AsciiBench, TcpBench, TextBench, TextOverTcpBench]
