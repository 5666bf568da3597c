"""Who was told of which open occurrence, rebuilt from the journal's own notice events after a restart. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from labmon.model.event import AlarmState, Event, EventKind
from labmon.notices.notice import Outcome

Target = tuple[str, str]
"""Notice channel id and person id."""


@dataclass(slots=True)
class Open:
    """An occurrence that is not over: not both cleared and acknowledged."""

    occurrence: str
    seq: int | None
    told: set[Target] = field(default_factory=set)


class Ledger:
    """The open occurrences with everybody who was told of them; at most one per alarm."""

    def __init__(self) -> None:
        self._open: dict[str, Open] = {}

    def apply(self, seq: int | None, event: Event) -> None:
        """Take in an event; `seq` is None for one that the journal does not have yet."""
        if not event.alarm:
            return
        entry = self._open.get(event.alarm)
        if event.kind is EventKind.NOTICE:
            if event.outcome == Outcome.ACCEPTED:
                self.told(event.alarm, event.occurrence, (event.by, event.to))
        elif event.kind is EventKind.RAISED:
            if entry is None or entry.occurrence != event.occurrence:
                self._open[event.alarm] = Open(event.occurrence, seq)
            elif entry.seq is None:
                entry.seq = seq
        elif event.state is AlarmState.NORM and entry is not None and entry.occurrence == event.occurrence:
            del self._open[event.alarm]

    def told(self, alarm: str, occurrence: str, target: Target) -> None:
        """Note that `target` accepted a notice about this occurrence."""
        entry = self._open.get(alarm)
        if entry is not None and entry.occurrence == occurrence:
            entry.told.add(target)

    def who(self, alarm: str, occurrence: str) -> frozenset[Target]:
        """Everybody who was told of this occurrence, as long as it is open."""
        entry = self._open.get(alarm)
        return frozenset(entry.told) if entry is not None and entry.occurrence == occurrence else frozenset()

    def oldest(self, alarms: Collection[str]) -> int | None:
        """Sequence number of the oldest raise still open, among `alarms`: those that are not normal now.

        An occurrence that ended out of service ended in silence, so its alarm's own state has the last word.
        """
        return min((e.seq for a, e in self._open.items() if e.seq is not None and a in alarms), default=None)
