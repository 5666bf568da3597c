"""How many messages may be under way to the broker at once."""

from __future__ import annotations

import asyncio
from collections import deque


class Window:
    """A bound on unacknowledged messages; those that wait are served in order, or fail together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._failed: Exception | None = None

    def limit(self, size: int) -> None:
        """Make it no larger than `size`."""
        self._size = max(1, min(self._size, size))

    async def acquire(self) -> None:
        """Take a place, waiting for one. Raises the exception given to `fail`."""
        if self._failed is not None:
            raise self._failed
        if self._taken < self._size and not self._waiting:
            self._taken += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release()
            raise

    def release(self) -> None:
        """Give a place back; the first that waits gets it."""
        self._taken -= 1
        while self._waiting and self._taken < self._size:
            place = self._waiting.popleft()
            if not place.done():
                self._taken += 1
                place.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nobody gets a place any more: those that wait, and those that come, get `error`."""
        self._failed = error
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(error)
