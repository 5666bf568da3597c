"""The transaction layer: one request at a time, and only its own reply comes back (design rule 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from labmon.links.stream import Listener


@dataclass(frozen=True, slots=True)
class Manner:
    """What an exchange needs beyond one write and the reply that follows.

    `answered`: whether anything is awaited; if not, the payload is empty and what comes all the same is dropped.
    `pause`: silence in seconds within what came after which nothing more belongs to it: then `over` says what the
    reply is (None, or no `over`: it is incomplete); 0: only the timeout ends the waiting. `paced`: each character is
    sent when the one before has come back; another one is Garbled. `every`, `most`: the bytes are sent again after
    each `every` seconds, until the reply is there, `most` times in all.
    """

    answered: bool = True
    pause: float = 0.0
    over: Callable[[bytes], bytes | None] | None = None
    paced: bool = False
    every: float = 0.0
    most: int = 1


@dataclass(slots=True)
class Memory:
    """What is known of one connection and is forgotten with it. Each part belongs to who put it there."""

    opened: float = 0.0
    """Monotonic time at which the connection was opened."""
    selected: bytes | None = None
    """What was last sent to select a unit on this line."""
    devices: dict[object, dict[object, Any]] = field(default_factory=dict)
    """Per device: its open session, what it said once. Emptied by a failed exchange of the device."""


class Request(Protocol):
    """One request and how to know its own reply among whatever arrives. Holds no state of an exchange."""

    @property
    def size(self) -> int:
        """Bytes on the wire of request and expected reply together, for floors of the timeout."""
        ...

    @property
    def manner(self) -> Manner | None:
        """What the exchange needs beyond one write and one reply; None, nothing: so it is with Modbus."""
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

    retries: int
    """How often something was asked again within an asking; who counts takes it down to 0."""

    @property
    def is_open(self) -> bool:
        """Whether the port or connection is open."""
        ...

    @property
    def memory(self) -> Memory:
        """What is remembered of this connection. A new one, empty, after each open."""
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

    async def flush(self) -> None:
        """Settle also a line on which nothing failed: when it returns, it was quiet and what came is dropped."""
        ...

    async def send_break(self, seconds: float) -> None:
        """Hold the line in BREAK. Raises LinkLost, and LinkError where there is no such thing (TCP)."""
        ...

    def listen(self, listener: Listener | None) -> None:
        """Give what comes unasked to a listener, from the next byte on and over every reconnect."""
        ...

    def rest(self, seconds: float) -> None:
        """Send nothing until so many seconds after the last byte; the next exchange waits for it."""
        ...
