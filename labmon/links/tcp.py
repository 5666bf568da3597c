"""The TCP connection."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import struct
import termios
import time
from typing import cast

from labmon.links.endpoint import TcpEndpoint
from labmon.links.errors import LinkError, LinkLost
from labmon.links.transport import Receiver
from labmon.tasks.names import addresses

# A peer that vanished without a word: probes after 10 s of silence, given up 15 s later; so is one that acknowledges
# nothing (the kernel's own limits are hours).
_KEEPALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 20_000}


FLOOD = 2**20
"""Bytes that a peer may send between two requests, or in FLOOD_TIME where it is only listened to; the longest reply has
some thousand."""
FLOOD_TIME = 10.0


class TcpTransport:
    """A TCP connection with keepalive and without Nagle's delay."""

    echo_missing = False

    def __init__(self, endpoint: TcpEndpoint, open_timeout: float = 5.0) -> None:
        self.endpoint = endpoint
        self._open_timeout = open_timeout
        self._connection: _Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as this side knows."""
        return self._connection is not None and self._connection.receiver is not None

    async def open(self, receiver: Receiver) -> None:
        """Connect within the open timeout. Raises LinkLost."""
        await self.close()
        try:
            async with asyncio.timeout(self._open_timeout):
                self._connection = await self._connect(receiver)
        except TimeoutError:
            raise LinkLost(f"{self.endpoint}: no connection within {self._open_timeout:g} s") from None
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise LinkLost(f"{self.endpoint}: {why}") from None

    async def _connect(self, receiver: Receiver) -> _Connection:
        """Connect to the first address that answers. Raises the OSError of the first one."""
        problems: list[OSError] = []
        for _, address in await addresses(self.endpoint.host, self.endpoint.port):
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(receiver, str(self.endpoint)), address[0], address[1]
                )
            except OSError as error:
                problems.append(error)
            else:
                return connection
        raise problems[0]

    async def close(self) -> None:
        """Reset the connection and wait until its socket is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.receiver = None
            connection.transport.abort()
            await connection.closed

    def write(self, data: bytes) -> None:
        """Send. Raises LinkLost when the connection is gone."""
        if self._connection is None or self._connection.receiver is None:
            raise LinkLost(f"{self.endpoint}: not connected")
        self._connection.heard = 0
        self._connection.transport.write(data)

    def pending(self) -> bool:
        """Whether the socket holds bytes that were not read yet."""
        return self._connection is not None and self._connection.pending()

    def abandon(self) -> None:
        """Reset the connection when the peer has not acknowledged all.

        The kernel would go on repeating it, and the peer would answer it at any later time.
        """
        if self._connection is not None and self._connection.unacknowledged():
            self._connection.lose("the peer acknowledges nothing")

    async def send_break(self, seconds: float) -> None:
        """TCP carries no BREAK: LinkError."""
        raise LinkError(f"{self.endpoint}: a BREAK cannot be sent over TCP")


class _Connection(asyncio.Protocol):
    """One connection from open to lost."""

    transport: asyncio.Transport

    def __init__(self, receiver: Receiver, name: str) -> None:
        self.receiver: Receiver | None = receiver
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = 0
        """Bytes since the last request, or in the last seconds."""
        self._counted_from = time.monotonic()
        self._name = name
        self._poll = select.poll()
        self._fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options."""
        # Not an isinstance check: uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        sock: socket.socket = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        self._poll.register(self._fd, select.POLLIN)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        now = time.monotonic()
        if now - self._counted_from > FLOOD_TIME:
            self.heard, self._counted_from = 0, now
        self.heard += len(data)
        if self.heard > FLOOD:
            # Reading on would cost the other lines their time.
            self.lose(f"more than {FLOOD} bytes without being asked again")
        elif self.receiver is not None:
            self.receiver.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by whomever."""
        self._poll.unregister(self._fd)
        self._fd = -1
        if not self.closed.done():
            self.closed.set_result(None)
        self._tell(str(exc) if exc else "closed by the peer")

    def lose(self, why: str) -> None:
        """Reset, and tell the receiver now."""
        self.transport.abort()
        self._tell(why)

    def pending(self) -> bool:
        """Whether the socket is readable."""
        return self._fd >= 0 and bool(self._poll.poll(0))

    def unacknowledged(self) -> bool:
        """Whether bytes were written that the peer's TCP has not acknowledged."""
        if self._fd < 0:
            return False
        if self.transport.get_write_buffer_size():
            return True
        # SIOCOUTQ has the number of TIOCOUTQ on Linux.
        return bool(struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])

    def _tell(self, why: str) -> None:
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.lost(f"{self._name}: {why}")
