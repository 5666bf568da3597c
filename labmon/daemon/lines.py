"""The lines of a daemon as its parts: started, ended and started again one by one."""

from __future__ import annotations

import logging

from labmon.acquisition.plan import LinePlan
from labmon.acquisition.recorder import Recorder
from labmon.daemon.parts import Parts
from labmon.daemon.polling import Polling
from labmon.health.line import LineHealth

log = logging.getLogger("labmon.daemon")

END = 1.0
"""Seconds that a line may take to end; what takes longer is left behind, without its port."""


class Lines:
    """Every line that is polled. `health` is theirs, by line, and kept in the order of `arrange`."""

    def __init__(self, parts: Parts, recorder: Recorder, health: dict[str, LineHealth]) -> None:
        self.health = health
        self._parts = parts
        self._recorder = recorder
        self._polled: dict[str, Polling] = {}

    def start(self, plan: LinePlan) -> None:
        """Poll a line from now on. Raises ValueError for one that is polled already."""
        health = self.health.setdefault(plan.id, LineHealth(plan.id))
        polling = Polling(plan, self._recorder, health)
        self._parts.keep(
            f"line {plan.id}", polling.run,
            progress=polling.progress, patience=polling.patience, on_fault=polling.fault,
        )  # fmt: skip
        self._polled[plan.id] = polling

    async def end(self, line: str) -> None:
        """Poll a line no more; its port is free when this returns, and its health is forgotten."""
        polling = self._polled.pop(line, None)
        self.health.pop(line, None)
        if polling is not None and not await self._parts.end(f"line {line}", END):
            await polling.leave()

    def arrange(self, order: list[str]) -> None:
        """Have the health of these lines, and of no others, in this order."""
        found = {line: self.health.get(line) or LineHealth(line) for line in order}
        self.health.clear()
        self.health.update(found)
