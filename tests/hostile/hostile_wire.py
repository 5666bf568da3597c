"""A wire without a machine: bytes arrive at moments of virtual time, and a hundred thousand exchanges take a minute.

Below the conversation everything is as on a real port: what has arrived stays in the kernel until the loop comes to
read it, a loop may stand still meanwhile, and what arrived by then is read in one piece.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

from labmon.links import conversation
from labmon.links.errors import LinkLost
from labmon.links.transport import Receiver

T = TypeVar("T")


class _Arrivals(selectors.SelectSelector):
    """Instead of waiting, moves the clock: to the next timer, or to the next bytes. Reads come before timers."""

    loop: WireLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        arrival = min((wire.next_arrival() for wire in loop.wires), default=math.inf)
        due = min(arrival, math.inf if timeout is None else loop.now + max(timeout, 0.0))
        if due == math.inf:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        loop.now = max(loop.now, due)
        for wire in loop.wires:
            if wire.next_arrival() <= loop.now:
                loop.call_soon(wire.readable)
        return []


class WireLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. No real descriptor is ever looked at."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wires: list[MemoryWire] = []
        selector = _Arrivals()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class MemoryWire:
    """A transport (labmon.links.transport.Transport) in memory, and its far end (see hostile_world.Wire)."""

    echo_missing = False

    far_end: Callable[[bytes], None]
    hand_over: Callable[[Any, float], bytes]

    def __init__(self, loop: WireLoop) -> None:
        self._loop = loop
        self._receiver: Receiver | None = None
        self._arrivals: list[tuple[float, int, Any]] = []
        self._count = 0
        loop.wires.append(self)

    @property
    def is_open(self) -> bool:
        return self._receiver is not None

    async def open(self, receiver: Receiver) -> None:
        self._drop_what_nobody_read()
        self._receiver = receiver

    async def close(self) -> None:
        self._receiver = None

    def write(self, data: bytes) -> None:
        if self._receiver is None:
            raise LinkLost("not open")
        self.far_end(data)

    def pending(self) -> bool:
        return self.next_arrival() <= self._loop.now

    def abandon(self) -> None:
        pass  # what is written here has reached the far end

    # ------------------------------------------------------------------ the far end

    def arrive(self, piece: Any, at: float) -> None:
        self._count += 1
        heapq.heappush(self._arrivals, (at, self._count, piece))

    def hang_up(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost("hung up")

    def silence(self) -> None:
        self._arrivals.clear()

    def stand_still(self, seconds: float) -> None:
        self._loop.now += seconds

    def next_arrival(self) -> float:
        return self._arrivals[0][0] if self._arrivals and self._receiver is not None else math.inf

    def readable(self) -> None:
        data = b""
        while self._arrivals and self._arrivals[0][0] <= self._loop.now and self._receiver is not None:
            at, _, piece = heapq.heappop(self._arrivals)
            if piece is HANG_UP:
                if data:
                    self._receiver.received(data)
                self.hang_up()
                return
            data += self.hand_over(piece, at)
        if data and self._receiver is not None:
            self._receiver.received(data)

    def _drop_what_nobody_read(self) -> None:
        self._arrivals = [a for a in self._arrivals if a[0] > self._loop.now]
        heapq.heapify(self._arrivals)


HANG_UP = object()
"""In the place of a piece: the far end closes."""


@contextmanager
def virtual_time(loop: WireLoop) -> Iterator[None]:
    with mock.patch.object(conversation, "time", SimpleNamespace(monotonic=loop.time)):
        yield


def run(body: Callable[[WireLoop], Coroutine[Any, Any, T]]) -> T:
    """Run on virtual time; a task left over is an error."""

    async def whole() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WireLoop)
        with virtual_time(loop):
            result = await body(loop)
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=WireLoop) as runner:
        return runner.run(whole())
