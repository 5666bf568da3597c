"""The serial port: opened by pyserial in a thread, read and written through the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import termios
import threading

import serial

from labmon.links.endpoint import SerialEndpoint
from labmon.links.errors import LinkLost
from labmon.links.holder import in_use, why_not_open
from labmon.links.transport import Receiver

_CHUNK = 4096
_PTYS = "/dev/pts/"


class SerialTransport:
    """A serial port or pty, opened exclusively (flock: advisory, so others who do not ask are not kept out).

    With `local_echo` nothing is handed on after a write until the written bytes themselves have come back whole: a
    write's reply equals its request, so an echo must never pass for it.
    """

    def __init__(self, endpoint: SerialEndpoint, open_timeout: float = 5.0) -> None:
        self.endpoint = endpoint
        self._open_timeout = open_timeout
        self._port: serial.Serial | None = None
        self._fd = -1
        self._ready: select.epoll | None = None
        self._poll = select.poll()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receiver: Receiver | None = None
        self._echo = b""
        self._held = b""

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._port is not None

    @property
    def echo_missing(self) -> bool:
        """Whether bytes came, but not the echo that must come first."""
        return bool(self._held)

    async def open(self, receiver: Receiver) -> None:
        """Open and configure the port in a thread (it can block). Raises LinkLost, naming who holds a busy port."""
        loop = asyncio.get_running_loop()
        opening = _Opening(self.endpoint, loop)
        try:
            async with asyncio.timeout(self._open_timeout):
                port = await opening.result
        except TimeoutError:
            opening.abandon()
            raise LinkLost(f"{self.endpoint.port}: did not open within {self._open_timeout:g} s") from None
        except asyncio.CancelledError:
            opening.abandon()
            raise
        self._port, self._fd = port, port.fileno()
        self._loop, self._receiver = loop, receiver
        self._echo = self._held = b""
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        # An unplugged tty polls as POLLERR, on which uvloop stops watching without telling. An epoll in between only
        # ever becomes readable, and so it works on every loop.
        self._ready = select.epoll()
        self._ready.register(self._fd, select.EPOLLIN)
        loop.add_reader(self._ready.fileno(), self._readable)

    async def close(self) -> None:
        """Close at once; what was not sent yet is dropped."""
        self._close()

    def _close(self) -> None:
        port, self._port, self._receiver = self._port, None, None
        if port is None or self._ready is None or self._loop is None:
            return
        self._loop.remove_reader(self._ready.fileno())
        self._ready.close()
        # Else the kernel's close waits for output that flow control may hold back (30 s by default).
        with contextlib.suppress(termios.error, OSError):
            termios.tcflush(self._fd, termios.TCIOFLUSH)
        self._fd = -1
        port.close()

    def _lost(self, why: str) -> None:
        receiver = self._receiver
        self._close()
        if receiver is not None:
            receiver.lost(f"{self.endpoint.port}: {why}")

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if not data:
            # VMIN and VTIME are 0: empty also means "nothing there". Only a port that is gone stays readable.
            if self._poll.poll(0):
                self._lost("unplugged or hung up")
            return
        if self._receiver is not None:
            self._receiver.received(self._without_echo(data) if self._echo else data)

    def _without_echo(self, data: bytes) -> bytes:
        self._held += data
        at = self._held.find(self._echo)
        if at < 0:
            self._held = self._held[-_CHUNK:]
            return b""
        rest = self._held[at + len(self._echo) :]
        self._echo = self._held = b""
        return rest

    def write(self, data: bytes) -> None:
        """Hand `data` to the driver. Raises LinkLost when the port is gone or takes it only in part."""
        if self._port is None:
            raise LinkLost(f"{self.endpoint.port}: not open")
        if self.endpoint.local_echo:
            self._echo, self._held = data, b""
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError as error:
            why = error.strerror or str(error)
            self._lost(why)
            raise LinkLost(f"{self.endpoint.port}: {why}") from None
        if written < len(data):
            self._lost("takes no more output (flow control?)")
            raise LinkLost(f"{self.endpoint.port}: takes no more output (flow control?)")

    def pending(self) -> bool:
        """Whether the driver holds bytes that were not read yet."""
        return self._port is not None and bool(self._poll.poll(0))

    def abandon(self) -> None:
        """Drop what flow control has held back: sent later, it would be a second request."""
        self._echo = self._held = b""
        if self._port is None:
            return
        try:
            termios.tcflush(self._fd, termios.TCOFLUSH)
        except (termios.error, OSError) as error:
            self._lost(str(error))

    async def send_break(self, seconds: float) -> None:
        """Hold the transmit line low for so long, without blocking the loop. A pty takes it and passes nothing on."""
        port = self._port
        if port is None:
            raise LinkLost(f"{self.endpoint.port}: not open")
        try:
            port.break_condition = True
            try:
                await asyncio.sleep(seconds)
            finally:
                if self._port is port:
                    port.break_condition = False
        except (OSError, ValueError, termios.error) as error:
            self._lost(str(error))
            raise LinkLost(f"{self.endpoint.port}: {error}") from None


class _Opening:
    """One attempt to open a port in a thread of its own; the port is closed again when nobody waits any more."""

    def __init__(self, endpoint: SerialEndpoint, loop: asyncio.AbstractEventLoop) -> None:
        self.result: asyncio.Future[serial.Serial] = loop.create_future()
        self._endpoint = endpoint
        self._loop = loop
        # Not the loop's pool: a port that blocks for ever must not keep the process from ending.
        threading.Thread(target=self._run, name=f"open {endpoint.port}", daemon=True).start()

    def abandon(self) -> None:
        """Nobody waits any more."""
        if not self.result.cancel() and not self.result.cancelled() and self.result.exception() is None:
            self.result.result().close()

    def _run(self) -> None:
        port: serial.Serial | None = None
        error: LinkLost | None = None
        try:
            port = open_port(self._endpoint)
        except LinkLost as lost:
            error = lost
        try:
            self._loop.call_soon_threadsafe(self._done, port, error)
        except RuntimeError:  # the loop is closed
            if port is not None:
                port.close()

    def _done(self, port: serial.Serial | None, error: LinkLost | None) -> None:
        if self.result.done():
            if port is not None:
                port.close()
        elif error is not None:
            self.result.set_exception(error)
        elif port is not None:
            self.result.set_result(port)


def open_port(endpoint: SerialEndpoint) -> serial.Serial:
    """Open a serial port exclusively and without blocking reads. Raises LinkLost, naming the holder of a busy port.

    A pty takes baud and bits, ignores parity and knows no modem lines; none of that is an error.
    """
    try:
        return _opened(endpoint, endpoint.bits, endpoint.parity)
    except (OSError, ValueError, termios.error) as error:
        why = error
    if why.args and why.args[0] == errno.EINVAL and os.path.realpath(endpoint.port).startswith(_PTYS):
        # It ignores parity and 7 bits, but says so when nothing else was to be changed: at the second opening.
        try:
            return _opened(endpoint, 8, "N")
        except (OSError, ValueError, termios.error) as error:
            why = error
    raise LinkLost(f"{endpoint.port}: {_why(endpoint.port, why)}") from None


def _opened(endpoint: SerialEndpoint, bits: int, parity: str) -> serial.Serial:
    return serial.Serial(
        port=endpoint.port,
        baudrate=endpoint.baud,
        bytesize=bits,
        parity=parity,
        stopbits=endpoint.stop,
        rtscts=endpoint.rtscts,
        timeout=0,
        write_timeout=0,
        exclusive=True,
    )


def _why(port: str, error: Exception) -> str:
    """The reason and what to do: pyserial repeats the port's name and wraps one message into another."""
    if "exclusively lock" in str(error) or (isinstance(error, OSError) and error.errno == errno.EBUSY):
        return in_use(port)
    if isinstance(error, OSError) and error.errno:
        return why_not_open(port, error)
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    return os.strerror(number).lower() if number else str(error)
