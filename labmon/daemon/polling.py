"""One line as a part of the daemon: its turns, how long one may take, and what becomes of a line that is stuck."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from labmon.acquisition.line import Line
from labmon.acquisition.plan import DevicePlan, LinePlan
from labmon.acquisition.polled import STRETCH
from labmon.acquisition.recorder import Recorder
from labmon.drivers.longest import Longest
from labmon.health.line import LineHealth
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint
from labmon.links.opening import make_link

log = logging.getLogger("labmon.daemon")

FLOOR = 15.0
"""Seconds that any turn may take, however short its timeouts: a busy machine is no stuck line."""
OPEN = 5.0
SETTLE = 10.0
"""Seconds for which a noisy line may be waited for before an exchange, and again after a failed one: the limit of the
settling, and the silence that it ends with."""
STEPS = 10
TIMEOUT = 5.0
"""Requests of a query, and timeout of each, where the driver does not say."""
FRAME = 600
"""Characters of the longest request and reply together."""
CLOSE = 1.0
"""Seconds for the port of a stuck line to be closed; it is not waited for any longer."""


class Polling:
    """Runs one line, from its beginning at each start, with a link of its own.

    What `daemon.parts.Parts.keep` wants of it is `run`, `progress`, `patience` and `fault`.
    """

    def __init__(
        self,
        plan: LinePlan,
        recorder: Recorder,
        health: LineHealth,
        make: Callable[[LinePlan], Conversation] | None = None,
    ) -> None:
        self.plan = plan
        self.line: Line | None = None
        """The one that polls now."""
        self._recorder = recorder
        self._health = health
        self._make = make or (lambda plan: make_link(plan.endpoint, plan.framing, quiet=plan.quiet))
        self._link: Conversation | None = None
        self._before = 0
        """Turns of all lines before this one."""

    def progress(self) -> int:
        """Turns completed since the beginning, good, failed or resting."""
        return self._before + (self.line.turns if self.line is not None else 0)

    def patience(self) -> float:
        """Seconds that the longest turn may take now, everything going wrong that can go wrong on the wire."""
        return longest_turn(self.plan, self._link.slowest if self._link is not None else 0.0)

    async def run(self) -> None:
        """Poll the line until cancelled. Raises only what is a fault of labmon itself."""
        await self._clear_away()
        self._link = self._make(self.plan)
        self.line = Line(self.plan, self._link, self._recorder, self._health)
        await self.line.run()

    async def leave(self) -> None:
        """It was ended and does not end: its port is made free, and nothing more is taken from it."""
        if self.line is not None:
            self.line.abandon()
        await self._clear_away()

    def fault(self, what: str) -> None:
        """The line failed or is stuck: nothing more is taken from it, and everybody below it hears so."""
        if self.line is not None:
            self.line.abandon()
        self._recorder.condition(f"line.{self.plan.id}.lost", True, f"fault in labmon: {what}"[:300])

    async def _clear_away(self) -> None:
        """Give the port free that the line before holds, whether that has ended or not."""
        line, link = self.line, self._link
        self.line = self._link = None
        if line is None or link is None:
            return
        self._before += line.turns
        try:
            async with asyncio.timeout(CLOSE):
                await link.close()
        except Exception as error:
            log.error("line %s: the link before cannot be closed", self.plan.id, exc_info=error)


def longest_turn(plan: LinePlan, slowest: float = 0.0) -> float:
    """Seconds within which every turn of a line comes to its end, unless the line is stuck; FLOOR at least.

    Counted as the sum of all that one turn can wait for: a pause, opening the link, the identity, the settings and one
    query with all their requests, each at its longest (stretched) timeout, and, on lines without transaction ids, the
    settling before and after it, which lasts at least twice as long as the `slowest` reply took.
    """
    devices = [_device(plan, one, slowest) for device in plan.devices for one in (device, *device.variants.values())]
    return max(FLOOR, 1.0 + OPEN + max(devices, default=0.0))


def _device(plan: LinePlan, device: DevicePlan, slowest: float) -> float:
    first = sum(_exchanges(plan, device, one, slowest) for one in (device.identity, device.guard) if one is not None)
    clock = 0.0 if device.clock is None else 3 * _exchanges(plan, device, device.clock, slowest)  # asked, set and asked
    return first + max(clock, max((_exchanges(plan, device, q.query, slowest) for q in device.queries), default=0.0))


def _exchanges(plan: LinePlan, device: DevicePlan, asked: object, slowest: float) -> float:
    steps = getattr(asked, "steps", None)
    driver: float = getattr(asked, "timeout", TIMEOUT)
    most: Longest = getattr(asked, "longest", Longest())
    timeout = max(device.timeout or driver, most.timeout) * STRETCH
    if isinstance(plan.endpoint, SerialEndpoint):
        timeout = max(timeout, FRAME * plan.endpoint.character)
    one = timeout + plan.quiet
    if plan.framing != "modbus-tcp":
        one += max(timeout, 2 * slowest) + 2 * SETTLE
    # A turn of reading records ends with its first failure: all the others have answered.
    more: int = getattr(asked, "more_exchanges", 0)
    steps_of_one = STEPS if steps is None else len(steps)
    turns = 1 + (more / steps_of_one if steps_of_one else 0.0)
    answered = more + most.answered * turns
    return one * (steps_of_one + most.failed * turns) + answered * (timeout + plan.quiet) + most.pauses * turns
