"""The system clock as seen beside the monotonic one: a step is an event, and never moves a delay."""

from __future__ import annotations

import asyncio
import logging
import time

from labmon.acquisition.pipeline import Pipeline
from labmon.model.event import Event, EventKind

STEP = 1.0
"""Seconds between two looks, by which the clock must differ from the monotonic one to count as stepped."""
EVERY = 1.0

log = logging.getLogger("labmon.clock")


class ClockWatch:
    """Tells each step of the system clock as an event."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.offset = time.time() - time.monotonic()
        self.steps = 0

    def look(self, wall: float, mono: float) -> float:
        """Compare once; returns the step in seconds, 0 when there was none."""
        step = wall - mono - self.offset
        self.offset = wall - mono
        if abs(step) < STEP:
            return 0.0
        self.steps += 1
        now = int(wall * 1e9)
        log.warning("clock: stepped by %+.1f s", step)
        self.pipeline.record(Event(EventKind.CLOCK_STEP, now, now, detail=f"stepped by {step:+.3f} s"))
        return step

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            self.look(time.time(), time.monotonic())
