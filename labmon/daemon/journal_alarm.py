"""Whether the journal does what it must, as one technical alarm."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from labmon.journal.watch import JournalHealth
from labmon.model.event import Event, EventKind

HOLDS = 3600.0
"""Seconds for which a loss holds as a condition: one alarm for all that is lost one after another."""


class JournalAlarm:
    """Active while the disk is in trouble, and for an hour after anything was lost (design rules 4 and 8)."""

    def __init__(self, health: Callable[[], JournalHealth], clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._clock = clock
        self._loss = ""
        self._until = -math.inf

    def lost(self, what: str) -> None:
        """Something that was in the journal, or should be there, is not."""
        self._loss, self._until = what, self._clock() + HOLDS

    def committed(self, events: Iterable[Event]) -> None:
        """These events are on the disk; a gap is one of them where readings are lost.

        A gap in what an instrument stored is the instrument's.
        """
        for event in events:
            if event.kind is EventKind.GAP and not event.device:
                self.lost(event.detail)

    def now(self) -> tuple[bool, str]:
        """Whether the alarm's condition holds, and what to say of it."""
        health = self._health()
        if health.state != "ok":
            return True, health.reason
        losing = self._clock() < self._until
        return losing, self._loss if losing else "written again"
