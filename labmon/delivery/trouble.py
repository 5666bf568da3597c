"""What people are told of deliveries that do not work: conditions, and events of refused entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labmon.model.event import Event, EventKind

_REFUSALS_EVERY = 60.0
"""Seconds between two events about refusals of one store; events are never deleted."""


def delivery_alarm(store: str) -> str:
    """Alarm of a store that does not take the data."""
    return f"gateway.delivery.{store}"


def quarantine_alarm(store: str) -> str:
    """Alarm of a store for which the quarantine holds entries."""
    return f"gateway.quarantine.{store}"


@dataclass(slots=True)
class Refusals:
    """Refused entries that no event has told of yet."""

    seq: int
    why: str
    count: int = 0
    told: float = float("-inf")


class Trouble:
    """Tells of each condition when it begins, changes its reason, or ends; never twice the same."""

    def __init__(self, on_condition: Callable[[str, bool, str], None], on_event: Callable[[Event], None]) -> None:
        self._on_condition = on_condition
        self._on_event = on_event
        self._active: dict[str, str] = {}
        self._ended: set[str] = set()
        self._untold: dict[str, Refusals] = {}

    def begin(self, alarm: str, detail: str) -> None:
        """The condition holds, for this reason."""
        if self._active.get(alarm) != detail:
            self._active[alarm] = detail
            self._on_condition(alarm, True, detail)

    def end(self, alarm: str) -> None:
        """It holds no more. Told the first time in any case: the alarm may stand from before the start."""
        if self._active.pop(alarm, None) is not None or alarm not in self._ended:
            self._ended.add(alarm)
            self._on_condition(alarm, False, "")

    def held(self, store: str, entries: int) -> None:
        """The quarantine holds so many entries for this store."""
        alarm = quarantine_alarm(store)
        if not entries:
            self.end(alarm)
        elif alarm not in self._active:
            self.begin(alarm, f"{entries} entries are in the quarantine")

    def refused(self, store: str, refused: Mapping[int, str]) -> None:
        """A store refused these entries for good; they are in the quarantine."""
        seq, why = next(iter(refused.items()))
        untold = self._untold.setdefault(store, Refusals(seq, why))
        if not untold.count:
            untold.seq, untold.why = seq, why
        untold.count += len(refused)
        self.begin(quarantine_alarm(store), f"refused for good: {why}")
        self.tell_refusals()

    def tell_refusals(self) -> None:
        """An event for each refusal, or one a minute where there are many."""
        now = time.monotonic()
        for store, untold in list(self._untold.items()):
            if now - untold.told <= _REFUSALS_EVERY:
                continue
            if not untold.count:
                del self._untold[store]
                continue
            moment = time.time_ns()
            detail = f"store {store} refused {untold.count} entries for good, {untold.seq} the first: {untold.why}"
            self._on_event(Event(EventKind.QUARANTINE, moment, moment, detail))
            untold.count, untold.told = 0, now
