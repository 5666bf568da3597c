"""A loop whose clock jumps to the next timer: an hour of a line in seconds, with the real scheduling code."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting, moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; it begins at 1000 s."""

    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return 1000.0 + self.jumping.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time; a task left over is an error."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def body() -> T:
            result = await main
            left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            assert not left, left
            return result

        return runner.run(body())
