"""Faults of labmon's own parts, as one technical alarm."""

from __future__ import annotations

import time
from collections.abc import Callable

ALARM = "gateway.fault"
HOLDS = 600.0
"""Seconds for which the fault of a part holds as a condition: one that fails or hangs again and again is one alarm."""


class FaultAlarm:
    """Active from the first fault of any part until all of them have run for a while without one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults: dict[str, tuple[str, float]] = {}

    def fault(self, part: str, what: str) -> None:
        """A part failed, or was replaced."""
        self._faults[part] = what, self._clock() + HOLDS

    def now(self) -> tuple[bool, str]:
        """Whether the alarm's condition holds, and what to say of it."""
        if not self._faults:
            return False, "every part runs"
        now = self._clock()
        self._faults = {part: fault for part, fault in self._faults.items() if fault[1] > now}
        if not self._faults:
            return False, "every part runs"
        return True, "; ".join(f"{part}: {what}" for part, (what, _) in self._faults.items())[:500]
