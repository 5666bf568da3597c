"""What carries a conversation's bytes, whatever it is."""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """Whoever a transport hands its bytes to. Both are called from the event loop."""

    def received(self, data: bytes) -> None:
        """Bytes arrived. Empty: bytes arrived that are not for the receiver (its own echo)."""
        ...

    def lost(self, why: str) -> None:
        """The transport is closed and not by `close`; nothing more will come."""
        ...


class Transport(Protocol):
    """A byte stream both ways. Opened again after it was lost or closed."""

    @property
    def is_open(self) -> bool:
        """Whether bytes can be written."""
        ...

    @property
    def echo_missing(self) -> bool:
        """Whether bytes are held back because the echo that must come before the reply has not."""
        ...

    async def open(self, receiver: Receiver) -> None:
        """Open. Raises LinkLost."""
        ...

    async def close(self) -> None:
        """Close at once, without waiting for output; idempotent. The receiver hears nothing more."""
        ...

    def write(self, data: bytes) -> None:
        """Send, without waiting. Raises LinkLost when it cannot be sent."""
        ...

    def pending(self) -> bool:
        """Whether bytes have arrived that were not handed to the receiver yet."""
        ...

    def abandon(self) -> None:
        """Give up what was written and has not reached the far end, so that it never does. May lose the transport."""
        ...

    async def send_break(self, seconds: float) -> None:
        """Hold the line in BREAK for so long. Raises LinkLost; LinkError where there is no such thing."""
        ...
