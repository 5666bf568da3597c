"""A simulated line: a TCP port or a pty with instruments on it that answer, or misbehave, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tty
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from labmon.simulate.fault import Fault
from labmon.simulate.framing import Asked, Framing

READ = 65536


class Answering(Protocol):
    """An instrument on a simulated line."""

    @property
    def fault(self) -> Fault:
        """What is wrong with its replies now."""
        ...

    def hears(self, unit: int | None, body: bytes) -> bool:
        """Whether a request to this unit (or this text) is for it."""
        ...

    def answer(self, body: bytes) -> bytes | None:
        """The reply's PDU or text; None: no reply."""
        ...

    def refusal(self, body: bytes) -> bytes:
        """The reply by which it refuses the request."""
        ...

    def unsummed(self, body: bytes, frame: bytes) -> bytes | None:
        """The reply with another checksum; None where the line's framing has it."""
        ...


@runtime_checkable
class Speaking(Answering, Protocol):
    """One that says something unasked as well."""

    def speak_through(self, say: Callable[[bytes], None] | None) -> None:
        """Say what it says unasked through this; None: the line is gone, and nobody hears it."""
        ...


class Instruments:
    """All instruments of one line, with the line's framing. `served` counts replies sent."""

    def __init__(self, framing: Framing, instruments: Iterable[Answering], chance: random.Random | None = None) -> None:
        self.framing = framing
        self.instruments = list(instruments)
        self.chance = chance or random.Random()
        self.served = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._echoed = 0
        """Bytes at the start of the buffer that were repeated already."""

    def feed(self, buffer: bytearray, send: Callable[[bytes], None]) -> None:
        """Answer every complete request in `buffer`; late replies go out by the loop's clock."""
        if self.framing.echoes and buffer:
            send(bytes(buffer[self._echoed :]))
        for asked in self.framing.requests(buffer):
            # All of them listen: who hears that another one is selected is so no more.
            hearing = [one for one in self.instruments if one.hears(asked.unit, asked.body)]
            if hearing:
                self._answer(hearing[0], asked, send)
        self._echoed = len(buffer)

    def _answer(self, instrument: Answering, asked: Asked, send: Callable[[bytes], None]) -> None:
        fault = instrument.fault
        if fault.name == "silent":
            return
        body = instrument.refusal(asked.body) if fault.name == "refuse" else instrument.answer(asked.body)
        if body is None:
            return
        unit = (asked.unit or 0) % 247 + 1 if fault.name == "wrong-unit" and asked.unit is not None else None
        self.served += 1
        self._out(instrument, asked.body, self.framing.reply(asked, body, unit), send)

    def _unasked(self, instrument: Answering, send: Callable[[bytes], None], frame: bytes) -> None:
        if instrument.fault.name != "silent":
            self._out(instrument, b"", frame, send)

    def _out(self, instrument: Answering, asked: bytes, frame: bytes, send: Callable[[bytes], None]) -> None:
        """Send a frame as the instrument's fault lets it out. `asked`: the request that it answers, empty for none."""
        fault = instrument.fault
        if fault.name == "garbled":
            frame = self.framing.spoiled(frame, self.chance)
        elif fault.name == "wrong-checksum":
            frame = instrument.unsummed(asked, frame) or self.framing.unsummed(frame)
        frame = fault.on_wire(frame, self.chance)
        if fault.name != "late":
            send(frame)
            return
        loop = asyncio.get_running_loop()

        def out() -> None:
            self._timers.discard(handle)
            send(frame)

        handle = loop.call_later(fault.seconds, out)
        self._timers.add(handle)

    def begin(self, send: Callable[[bytes], None]) -> None:
        """Say what is said unasked through `send`, until `cancel`."""
        for one in self.instruments:
            if isinstance(one, Speaking):
                one.speak_through(partial(self._unasked, one, send))

    def cancel(self) -> None:
        """Forget late replies that are still to come, and say nothing unasked."""
        for one in self.instruments:
            if isinstance(one, Speaking):
                one.speak_through(None)
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class Peer(Protocol):
    """What is at the far end of a line."""

    def feed(self, buffer: bytearray, send: Callable[[bytes], None]) -> None:
        """Take what it can out of the bytes that came, and answer."""
        ...

    def begin(self, send: Callable[[bytes], None]) -> None:
        """The line is there: what is said unasked goes out by `send`, to all that are connected."""
        ...

    def cancel(self) -> None:
        """The line ends: nothing more is to be sent."""
        ...


class TcpLine:
    """Serves a line on a TCP port of loopback (or another address given). Port 0 takes a free one."""

    def __init__(self, instruments: Peer, port: int = 0, host: str = "127.0.0.1") -> None:
        self.instruments = instruments
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()

    async def start(self) -> None:
        """Listen; `port` is then the real one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Peer(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.instruments.begin(self.send)

    def send(self, frame: bytes) -> None:
        """Say something unasked to everybody who is connected."""
        for transport in self._open:
            if not transport.is_closing():
                transport.write(frame)

    async def stop(self) -> None:
        """Stop listening and close every connection: for the other side a line that died."""
        self.instruments.cancel()
        if self._server is not None:
            self._server.close()
            for transport in list(self._open):
                transport.abort()
            await self._server.wait_closed()
            self._server = None


class _Peer(asyncio.Protocol):
    def __init__(self, line: TcpLine) -> None:
        self.line = line
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses of asyncio's
        self.line._open.add(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.line._open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.line.instruments.feed(self.buffer, self._send)

    def _send(self, frame: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frame)


class PtyLine:
    """Serves a line on a pty. With `link`, a symlink of that name points to it, as a by-id name would."""

    def __init__(self, instruments: Peer, link: Path | None = None) -> None:
        self.instruments = instruments
        self.link = link
        self.path = ""
        self._fds: tuple[int, int] | None = None
        self._buffer = bytearray()

    async def start(self) -> None:
        """Make the pty and answer on it; `path` is its name."""
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._fds = master, slave
        self.path = os.ttyname(slave)
        if self.link is not None:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.path)
        asyncio.get_running_loop().add_reader(master, self._readable)
        self.instruments.begin(self.send)

    async def stop(self) -> None:
        """Unplug: the other side sees the port vanish."""
        self.instruments.cancel()
        if self._fds is None:
            return
        master, slave = self._fds
        self._fds = None
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
        os.close(slave)
        if self.link is not None:
            self.link.unlink(missing_ok=True)

    def _readable(self) -> None:
        if self._fds is None:
            return
        try:
            self._buffer += os.read(self._fds[0], READ)
        except (BlockingIOError, OSError):
            return
        self.instruments.feed(self._buffer, self.send)

    def send(self, frame: bytes) -> None:
        """Say something, asked or not."""
        if self._fds is not None:
            with contextlib.suppress(BlockingIOError):  # nobody reads: the bytes are lost, as on a real line
                os.write(self._fds[0], frame)


SimulatedLine = TcpLine | PtyLine
