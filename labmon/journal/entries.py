"""What stands in the journal: the kinds of entries, and the group that one commit writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from labmon.journal.packers import Packed
from labmon.model.event import Event, EventKind
from labmon.model.exchange import Exchange, Layout


class EntryKind(IntEnum):
    """Kinds of entries; one sequence runs over all of them. READINGS is 1 because SQLite stores that in no byte."""

    READINGS = 1
    LAYOUT = 2
    EVENT = 3
    CONFIGURATION = 4
    GAP = 5


@dataclass(frozen=True, slots=True)
class Configuration:
    """What labmon ran with from here on: each reading after it can be traced to these texts.

    `site` is the full text of the site file `site_name`, `drivers` the full text of every driver in use by its id,
    `profiles` that of every file of limit profiles that the site may refer to, by its path. Entries written before
    profiles were kept have none.
    """

    labmon: str
    applied_by: str
    site_name: str
    site: str
    drivers: Mapping[str, str]
    profiles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """Readings that were made and are not in the journal: how many, and of when (`first`, `last`: UTC ns).

    With a `device` they are records that this one stored, between two that are there; 0 where nobody knows how many.
    """

    why: str
    exchanges: int
    readings: int
    first: int
    last: int
    device: str = ""

    @property
    def detail(self) -> str:
        """The gap in words."""
        first, last = _iso(self.first), _iso(self.last)
        if not self.device:
            return f"{self.readings} readings of {first} to {last} are lost: {self.why}"
        count = str(self.exchanges) if self.exchanges else "an unknown number of"
        return f"{count} records between {first} and {last} are missing: {self.why}"

    def event(self, now: int) -> Event:
        """The gap as an event, for people."""
        return Event(EventKind.GAP, self.first, now, self.detail, device=self.device)


@dataclass(frozen=True, slots=True)
class Damaged:
    """An entry whose stored bytes are not what was written (its checksum says so)."""

    why: str


Content = Exchange | Layout | Event | Configuration | Gap | Damaged


@dataclass(slots=True)
class Entry:
    """One entry as read: `time` is that of the readings or the event (UTC ns), `size` its stored bytes."""

    seq: int
    kind: int
    time: int
    content: Content
    size: int


@dataclass(frozen=True, slots=True)
class RecordKey:
    """The last record taken from a query: its own time (UTC ns) and key, so that one polled twice is one reading."""

    time: int
    key: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An entry that a store refused, and why. `entry` is None once the disk had no room for it any more."""

    seq: int
    store: str
    why: str
    time: int
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the journal for its readers. Times in UTC ns, None where nothing waits."""

    oldest: Mapping[str, int | None]
    """Time of the first entry that a store has not confirmed, by store."""
    events: int
    """Events that the broker does not have."""
    oldest_event: int | None
    quarantined: Mapping[str, int]
    """Entries that a store refused, by store; stores that refused none are left out."""


@dataclass(slots=True)
class Group:
    """Everything of one moment: one commit. The configurations come first, then gaps, readings, events."""

    readings: list[Packed] = field(default_factory=list)
    events: list[tuple[Event, bytes]] = field(default_factory=list)
    """Each with its body (encoding.encode_event), so that one that cannot be written is refused before it is here."""
    alarm_states: dict[str, bytes] = field(default_factory=dict)
    record_keys: dict[str, RecordKey] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    """What instruments were last known to be set to, by name."""
    configurations: list[tuple[int, Configuration]] = field(default_factory=list)
    """Each with the time of its application (UTC ns)."""
    gaps: list[tuple[int, Gap]] = field(default_factory=list)
    """Each with the time at which it was found (UTC ns)."""
    cursors: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    """Cursors of consumers that are no more."""
    quarantined: list[tuple[str, int, str, int]] = field(default_factory=list)
    """Store, seq, why, time (UTC ns)."""

    def __bool__(self) -> bool:
        return bool(
            self.readings
            or self.events
            or self.alarm_states
            or self.record_keys
            or self.settings
            or self.configurations
            or self.gaps
            or self.cursors
            or self.dropped
            or self.quarantined
        )


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit wrote: the range of its entries (None when it held none) and its events with their seq."""

    first: int | None
    last: int | None
    events: list[tuple[int, Event]]


def _iso(time: int) -> str:
    try:
        return datetime.fromtimestamp(time // 10**9, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{time} ns"
