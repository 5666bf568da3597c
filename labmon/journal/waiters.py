"""Coroutines that wait for one thing."""

from __future__ import annotations

import asyncio


class Waiters:
    """Waits are resolved together, by what happens or by why it does not."""

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait until resolved. Raises what the waiters failed with."""
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        await future

    def move_to(self, other: Waiters) -> None:
        """Let all of these wait for the other thing."""
        other._futures += self._futures
        self._futures = []

    def resolve(self) -> None:
        """It happened."""
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_result(None)

    def fail(self, error: Exception) -> None:
        """It did not happen."""
        futures, self._futures = self._futures, []
        for future in futures:
            if not future.done():
                future.set_exception(error)
