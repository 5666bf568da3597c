"""The system clock: whether its times can be trusted, and its steps. Neither ever moves a delay."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from labmon.acquisition.pipeline import Pipeline
from labmon.health.clock import OFF, ClockSource, ClockState
from labmon.model.event import Event, EventKind
from labmon.model.reading import Flag

STEP = 0.1
"""Seconds between two looks, by which the clock must differ from the monotonic one to count as stepped. A time service
that slews the clock slews both, so that only a step tells them apart; the rest is for the two being read in turn."""
EVERY = 1.0
ALARM = "gateway.clock"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
log = logging.getLogger("labmon.clock")


class ClockWatch:
    """Asks once a second whether the clock is synchronised, and compares it with the monotonic one.

    Until it is synchronised readings carry the flag `clock`, nothing leaves the journal for its age, and the condition
    `gateway.clock` holds. A change of that, and each step, is an event. `trusted` is the site's reason for not asking
    the kernel (another source that does not tell it); steps are told all the same. `on_day` is called with each new day
    (UTC), also when it is known at last which one it is.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: ClockSource,
        trusted: str = "",
        on_day: Callable[[date], None] = lambda day: None,
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.reason = trusted
        self.on_day = on_day
        self.state: ClockState | None = None
        """As the kernel last said; None before the first look."""
        self.doubt = ""
        self.steps = 0
        self.stepped: tuple[int, float] | None = None
        """The last step: when (UTC ns, after it) and by how many seconds."""
        self._day: date | None = None
        wall, self._since = moment()
        self.offset = wall - self._since

    @property
    def day(self) -> date | None:
        """The day (UTC) by a clock that was right; None before there was one."""
        return self._day

    @property
    def trusted(self) -> bool:
        """Whether times are taken to be right; not before the first look."""
        return self.state is not None and not self.doubt

    def look(self, wall: float, mono: float) -> float:
        """Look once; returns the step since the last look in seconds, 0 when there was none."""
        before = self.trusted
        step = self._compare(wall, mono)
        self._ask(wall, mono)
        self.pipeline.clock_flag = 0 if self.trusted else Flag.CLOCK
        if step or (self.trusted and not before):
            self.pipeline.clock_set(trusted=self.trusted)
        if self.trusted and (day := (_EPOCH + timedelta(seconds=wall)).date()) != self._day:
            self._day = day
            self.on_day(day)
        self.pipeline.condition(ALARM, not self.trusted, self.doubt)
        return step

    def _compare(self, wall: float, mono: float) -> float:
        step = wall - mono - self.offset
        self.offset = wall - mono
        if abs(step) < STEP:
            return 0.0
        self.steps += 1
        now = int(wall * 1e9)
        self.stepped = now, step
        way = "forward" if step > 0 else "back"
        detail = f"stepped {way} by {step:+.3f} s: {_text(wall - step)} became {_text(wall)}"
        log.warning("clock: %s", detail)
        self.pipeline.record(Event(EventKind.CLOCK_STEP, now, now, detail=detail, value=round(step, 3), unit="s"))
        return step

    def _ask(self, wall: float, mono: float) -> None:
        first, self.state = self.state is None, self.source()
        # Once in doubt, it is trusted again at half the bound: one that hovers there is one change and not hundreds.
        doubt = "" if self.reason else self.state.doubt(OFF / 2 if self.doubt else OFF)
        if doubt == self.doubt and not first:
            return
        self.doubt, self._since = doubt, mono
        now = int(wall * 1e9)
        detail = self._words()
        log.log(logging.WARNING if doubt else logging.INFO, "clock: %s", detail)
        self.pipeline.record(Event(EventKind.CLOCK_STATE, now, now, detail=detail))

    def _words(self) -> str:
        if self.doubt:
            return f"{self.doubt}; readings are marked until it is right"
        if self.reason:
            return f"trusted by the site file: {self.reason}"
        assert self.state is not None
        return f"synchronised, off by at most {self.state.max_error:.3f} s"

    def report(self, mono: float, now: int) -> dict[str, Any]:
        """For `labmon status`; `mono` (monotonic seconds) and `now` (UTC ns) are the same moment. Seconds else."""
        state = self.state
        known = state is not None and not state.problem
        return {
            "state": "unknown" if not known else "synchronised" if state and state.synchronised else "unsynchronised",
            "trusted": self.trusted,
            "why": self.doubt or self.reason,
            "since": now - round((mono - self._since) * 1e9),
            "offset": state.offset if state and known else None,
            "estimated_error": state.estimated_error if state and known else None,
            "max_error": state.max_error if state and known else None,
            "steps": self.steps,
            "last_step": None if self.stepped is None else {"time": self.stepped[0], "seconds": self.stepped[1]},
        }

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            self.look(*moment())


def moment() -> tuple[float, float]:
    """Wall and monotonic time of one moment; read again when something came between the two."""
    for _ in range(10):
        before, wall, mono = time.monotonic(), time.time(), time.monotonic()
        if mono - before < STEP / 10:
            break
    return wall, mono


def _text(wall: float) -> str:
    try:
        return f"{_EPOCH + timedelta(seconds=wall):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return f"{wall:.0f} s"
