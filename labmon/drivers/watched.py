"""A link that remembers each exchange byte by byte: for whoever has to see what an instrument really says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labmon.links.conversation import Conversation
from labmon.links.errors import LinkError
from labmon.links.link import Request

TRACE = 4000
"""Pieces that the link under it has to keep (`trace` of make_link): the longest reply, one byte at a time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One exchange as it went over the wire."""

    sent: bytes
    got: bytes
    seconds: float | None
    """From the request to the last byte of the reply; None when nothing came."""
    error: str = ""
    """Why there is no reply: the reason text of a reading."""


class Watched:
    """Implements labmon.links.link.Link over a conversation that keeps a trace."""

    def __init__(self, link: Conversation) -> None:
        if link.trace is None:
            raise ValueError("the link keeps no trace")
        self._link = link
        self.seen: list[Seen] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    @property
    def is_open(self) -> bool:
        """Whether the port or connection is open."""
        return self._link.is_open

    async def open(self) -> None:
        """Open the link. Raises LinkLost."""
        await self._link.open()

    async def close(self) -> None:
        """Close the link."""
        await self._link.close()

    def begin(self) -> None:
        """Forget what came so far."""
        assert self._link.trace is not None
        self._link.trace.clear()

    def heard(self) -> bytes:
        """All that came since."""
        return b"".join(piece.data for piece in self._link.trace or () if piece.direction == "<")

    async def settle(self) -> int:
        """Let late replies pass."""
        return await self._link.settle()

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        """Exchange once and remember it. Raises what the link raises."""
        trace = self._link.trace
        assert trace is not None
        trace.clear()
        error = ""
        try:
            return await self._link.exchange(request, timeout, gap=gap)
        except LinkError as failure:
            error = failure.reason
            raise
        finally:
            last = max((n for n, piece in enumerate(trace) if piece.direction == ">"), default=None)
            if last is not None:
                out, came = trace[last], list(trace)[last + 1 :]
                got = b"".join(piece.data for piece in came)
                self.seen.append(Seen(out.data, got, came[-1].time - out.time if came else None, error))
