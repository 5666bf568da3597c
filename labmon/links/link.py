"""The transaction layer: one request at a time, and only its own reply comes back (design rule 1)."""

from __future__ import annotations

from typing import Protocol


class Request(Protocol):
    """One request and how to know its own reply among whatever arrives. Holds no state of an exchange."""

    @property
    def size(self) -> int:
        """Bytes on the wire of request and expected reply together, for floors of the timeout."""
        ...

    def encode(self, transaction: int) -> bytes:
        """The bytes to send. `transaction` is fresh for each exchange; only Modbus TCP carries it."""
        ...

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """Look for this request's reply in all bytes that arrived since it was sent.

        Returns the payload (Modbus: the PDU's data after the function code and byte count; text: the reply without
        echo, terminator and checksum) once it is complete, None while more bytes may complete it. Raises Garbled when
        no continuation can be the reply, Refused when it is the instrument's own error.
        """
        ...

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether `buffer` ends in the beginning of this request's reply.

        Asked only when the time is over: an incomplete reply is Silent, anything else that arrived is Garbled.
        """
        ...


class Link(Protocol):
    """One line's conversation. One owner; never two exchanges at once."""

    @property
    def is_open(self) -> bool:
        """Whether the port or connection is open."""
        ...

    async def open(self) -> None:
        """Open the port or connection. Raises LinkLost, with the holder's name where another process has it."""
        ...

    async def close(self) -> None:
        """Close at once; an exchange under way raises LinkLost."""
        ...

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        """Send once, return the reply's payload.

        Keeps the silence that the framing demands (t3.5 before each RTU request), and at least `gap` seconds since the
        last byte, before sending. Bytes that arrived before the request was sent are never taken for its reply. After
        any failure, and after a cancelled exchange, the line is dirty: the next exchange settles first. Raises
        Silent, Garbled, Refused, LinkLost.
        """
        ...

    async def settle(self) -> int:
        """Wait until the line has been quiet long enough for a late reply to have passed, and drain it.

        Returns the number of bytes that came late: more than none tells a late device from a dead one. On Modbus TCP,
        where the transaction id protects, it does not wait and returns what came late since the settle before. A line
        that does not become quiet stays dirty, and the next exchange is Garbled without sending.
        """
        ...
