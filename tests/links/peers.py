"""Scriptable byte-level peers on a pty and on a TCP socket, and instruments that answer rightly, for hostile tests.

A peer lives in the test's own event loop. It cuts what it receives into requests and asks `answer(request, number)`
what to say: any number of `Say`, or `HANG_UP`. Frames are encoded here without labmon's code.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import tty
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast


class Say(NamedTuple):
    data: bytes
    after: float = 0.0


class HangUp(NamedTuple):
    after: float = 0.0


HANG_UP = HangUp()
Script = Iterable[Say | HangUp]
Answer = Callable[[bytes, int], Script]
Split = Callable[[bytes], int]
"""Length of the first whole request in a buffer, 0 when there is none yet."""


def split_rtu(buffer: bytes) -> int:
    if len(buffer) < 2:
        return 0
    size = 7 if buffer[1] == 0x2B else 8
    return size if len(buffer) >= size else 0


def split_tcp(buffer: bytes) -> int:
    if len(buffer) < 6:
        return 0
    size = 6 + int.from_bytes(buffer[4:6], "big")
    return size if len(buffer) >= size else 0


def split_line(buffer: bytes) -> int:
    """CR, or CR LF."""
    at = buffer.find(b"\r")
    return 0 if at < 0 else at + 1 + (buffer[at + 1 : at + 2] == b"\n")


class _Peer:
    def __init__(self, split: Split, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[float, bytes]] = []
        self._split = split
        self._buffer = b""
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()

    def _take(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        while size := self._split(self._buffer):
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self.requests.append((now, request))
            self.play(self.answer(request, len(self.requests) - 1))

    def play(self, script: Script) -> None:
        for step in script:
            if step.after <= 0:
                self._do(step)
            else:
                self._timers.append(self._loop.call_later(step.after, self._do, step))

    def _do(self, step: Say | HangUp) -> None:
        if isinstance(step, HangUp):
            self.hang_up()
        else:
            self.send(step.data)

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def hang_up(self) -> None:
        raise NotImplementedError

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class PtyPeer(_Peer):
    """An instrument on a pty; `port` is what a link opens: the pty, or a symbolic link to it at `path`, as udev makes
    them. Keeps the slave open, so that links may come and go."""

    def __init__(self, split: Split, answer: Answer, path: str = "") -> None:
        super().__init__(split, answer)
        self.port = path
        self._path = path
        self.last_byte = 0.0
        """When the last byte was about to be sent: never later than the link can have seen it."""
        self.plug_in()

    def plug_in(self) -> None:
        self._master, self._slave = os.openpty()
        for fd in (self._master, self._slave):
            tty.setraw(fd)
            os.set_blocking(fd, False)
        if self._path:
            os.symlink(os.ttyname(self._slave), self._path)
        else:
            self.port = os.ttyname(self._slave)
        self._buffer = b""
        self._loop.add_reader(self._master, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        self._take(data)

    def send(self, data: bytes) -> None:
        if self._master >= 0:
            self.last_byte = time.monotonic()
            assert os.write(self._master, data) == len(data)

    def hang_up(self) -> None:
        """Unplug."""
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            if self._path:
                os.unlink(self._path)
            self._master = self._slave = -1

    async def close(self) -> None:
        self._stop_timers()
        self.hang_up()

    async def __aenter__(self) -> PtyPeer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class TcpPeer(_Peer):
    """An instrument or gateway on 127.0.0.1:`port`. Answers to requests of a connection that is gone go to the new one,
    as a transparent serial gateway does it."""

    def __init__(self, split: Split, answer: Answer) -> None:
        super().__init__(split, answer)
        self.port = 0
        self.connections = 0
        self._current: _PeerConnection | None = None
        self._all: set[_PeerConnection] = set()

    async def __aenter__(self) -> TcpPeer:
        self._server = await self._loop.create_server(lambda: _PeerConnection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_timers()
        self._server.close()
        self.hang_up()
        while self._all:
            await asyncio.sleep(0)
        await self._server.wait_closed()

    def send(self, data: bytes) -> None:
        if self._current is not None:
            self._current.transport.write(data)

    def hang_up(self) -> None:
        for connection in list(self._all):
            connection.transport.abort()


class _PeerConnection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, peer: TcpPeer) -> None:
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer.connections += 1
        self._peer._current = self
        self._peer._buffer = b""
        self._peer._all.add(self)

    def data_received(self, data: bytes) -> None:
        self._peer._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer._all.discard(self)
        if self._peer._current is self:
            self._peer._current = None


# ---------------------------------------------------------------- encodings, written from the specifications


def crc16(data: bytes) -> bytes:
    """Bit by bit from Modbus serial line V1.02, 6.2.2; low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


def rtu(unit: int, pdu: bytes) -> bytes:
    frame = bytes([unit]) + pdu
    return frame + crc16(frame)


def ascii_frame(unit: int, pdu: bytes) -> bytes:
    body = bytes([unit]) + pdu
    return b":" + (body + bytes([-sum(body) & 0xFF])).hex().upper().encode() + b"\r\n"


def tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


def registers(unit: int, function: int, address: int, count: int) -> bytes:
    """What the instrument holds: another value for every unit, function and address."""
    values = [(a * 257 + unit * 31 + function * 7 + 1) & 0xFFFF for a in range(address, address + count)]
    return b"".join(v.to_bytes(2, "big") for v in values)


def reply_pdu(unit: int, pdu: bytes, *, function: int = 0, extra: int = 0) -> bytes:
    """The right answer to a read's PDU; `function` another one, `extra` more registers than asked."""
    address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big") + extra
    used = function or pdu[0]
    return bytes([used, 2 * count]) + registers(unit, used, address, count)
