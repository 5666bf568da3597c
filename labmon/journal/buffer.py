"""What is accepted and not yet on the disk: bounded, and counted where it overflows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from labmon.journal.encoding import encode_event
from labmon.journal.entries import Configuration, Gap, Group, RecordKey
from labmon.journal.packers import Packed
from labmon.model.event import Event

# An exchange in memory beside its packed bytes: the object 64, its time 32, the head of the bytes 33, the slot 8.
_OVERHEAD = 137


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait for the disk, and how much of it one commit takes."""

    exchanges: int = 400_000
    memory: int = 64 * 2**20
    """Bytes."""
    commit_exchanges: int = 5_000
    commit_memory: int = 2 * 2**20


@dataclass(slots=True)
class _Lost:
    """What overflowed since the last gap was written."""

    exchanges: int = 0
    readings: int = 0
    first: int = 0
    last: int = 0

    def count(self, packed: Packed) -> None:
        self.first = min(self.first, packed.time) if self.exchanges else packed.time
        self.last = max(self.last, packed.time) if self.exchanges else packed.time
        self.exchanges += 1
        self.readings += packed.packer.size


@dataclass(frozen=True, slots=True)
class _Configured:
    """A configuration at its place among the readings: those after it were made with it."""

    time: int
    configuration: Configuration


@dataclass(slots=True)
class Buffer:
    """Takes what happens, gives groups to commit. Readings overflow, the oldest first; nothing else does.

    A record key stays behind the readings that stood before it and is never written ahead of them: a record whose key
    is known is not fetched again.
    """

    bounds: Bounds = field(default_factory=Bounds)
    memory: int = 0
    """Bytes that wait."""
    exchanges: int = 0
    """Exchanges that wait."""
    lost_exchanges: int = 0
    """Exchanges that overflowed, since the start."""
    added: int = 0
    """Exchanges that were taken, since the start: the number of the last one."""
    overflowed: int = 0
    """Number of the last one that overflowed."""
    _items: deque[Packed | tuple[str, RecordKey] | _Configured] = field(default_factory=deque)
    _rest: Group = field(default_factory=Group)
    _lost: _Lost = field(default_factory=_Lost)

    def add(self, packed: Packed) -> None:
        """Take an exchange; the oldest ones go, counted, when it is one too many."""
        self._items.append(packed)
        self.exchanges += 1
        self.added += 1
        self.memory += len(packed.body) + _OVERHEAD
        while self.exchanges > self.bounds.exchanges or self.memory > self.bounds.memory:
            self._overflow()

    def _overflow(self) -> None:
        item = self._items.popleft()
        if isinstance(item, _Configured):
            self._rest.configurations.append((item.time, item.configuration))
            return
        if not isinstance(item, Packed):
            self._rest.record_keys[item[0]] = item[1]
            return
        self.overflowed = self.added - self.exchanges + 1
        self._forget(item)
        self._lost.count(item)
        self.lost_exchanges += 1
        # Without its key a lost record is fetched again after the next start.
        query = item.packer.layout.query
        while self._items and isinstance(key := self._items[0], tuple) and key[0] == query:
            self._items.popleft()

    def _forget(self, packed: Packed) -> None:
        self.exchanges -= 1
        self.memory -= len(packed.body) + _OVERHEAD

    def add_record_key(self, query: str, key: RecordKey) -> None:
        """The key of a record whose readings were added before."""
        self._items.append((query, key))

    def add_events(self, events: Iterable[Event]) -> bool:
        """Take all of these events or, raising Unpackable, none; say whether there were any."""
        encoded = [(event, encode_event(event)) for event in events]
        self._rest.events += encoded
        return bool(encoded)

    def add_gap(self, now: int, gap: Gap) -> None:
        """Something that should be in the journal and is not, found now (UTC ns)."""
        self._rest.gaps.append((now, gap))

    def add_configuration(self, time: int, configuration: Configuration) -> None:
        """Take a configuration; readings added later are made with it, those added before are written before it."""
        self._items.append(_Configured(time, configuration))

    def begin_with(self, time: int, configuration: Configuration) -> None:
        """The configuration that everything here was made with."""
        self._items.appendleft(_Configured(time, configuration))

    @property
    def alarm_states(self) -> dict[str, bytes]:
        """States that wait; a later one of the same alarm takes the place of the earlier."""
        return self._rest.alarm_states

    @property
    def settings(self) -> dict[str, str]:
        """Settings that wait, to be written with the events that tell of them."""
        return self._rest.settings

    @property
    def cursors(self) -> dict[str, int]:
        """Cursors that wait."""
        return self._rest.cursors

    @property
    def dropped(self) -> list[str]:
        """Cursors to be forgotten."""
        return self._rest.dropped

    @property
    def quarantined(self) -> list[tuple[str, int, str, int]]:
        """Refusals that wait."""
        return self._rest.quarantined

    @property
    def events(self) -> list[Event]:
        """Events that wait, in order."""
        return [event for event, _ in self._rest.events]

    @property
    def exceeds_commit(self) -> bool:
        """Whether more waits than one commit takes."""
        return self.exchanges >= self.bounds.commit_exchanges or self.memory >= self.bounds.commit_memory

    def __bool__(self) -> bool:
        return bool(self._items or self._rest or self._lost.exchanges)

    def take(self, now: int) -> Group:
        """The next group: everything but readings whole, of the readings the oldest, up to what one commit takes.

        A group's configuration comes before its readings: one that came after some of them waits for the next group.
        """
        group, self._rest = self._rest, Group()
        if self._lost.exchanges:
            lost, self._lost = self._lost, _Lost()
            why = "the disk did not keep up and the buffer was full"
            group.gaps.append((now, Gap(why, lost.exchanges, lost.readings, lost.first, lost.last)))
        room = self.bounds.commit_memory
        while self._items:
            item = self._items[0]
            if isinstance(item, Packed):
                if room <= 0 or len(group.readings) >= self.bounds.commit_exchanges:
                    break
                self._forget(item)
                room -= len(item.body) + _OVERHEAD
                group.readings.append(item)
            elif isinstance(item, _Configured):
                if group.readings:
                    break
                group.configurations.append((item.time, item.configuration))
            else:
                group.record_keys[item[0]] = item[1]
            self._items.popleft()
        return group
