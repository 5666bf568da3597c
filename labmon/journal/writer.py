"""The journal in the event loop: what happens is accepted at once, and read back by cursors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from labmon.journal.buffer import Bounds, Buffer
from labmon.journal.committer import Committer, Pace
from labmon.journal.entries import Backlog, Configuration, Entry, Gap, Quarantined, RecordKey
from labmon.journal.errors import JournalUnavailable, Unpackable
from labmon.journal.packers import Packers, without_nan
from labmon.journal.reader import Reader
from labmon.journal.reads import Reads
from labmon.journal.retention import Retention
from labmon.journal.store import Store
from labmon.journal.watch import Callbacks, JournalHealth
from labmon.model.event import Event
from labmon.model.exchange import Exchange

T = TypeVar("T")
log = logging.getLogger("labmon.journal")


class JournalWriter:
    """Accepts without blocking or waiting; commits every `pace.commit_every` seconds, or at once after flush().

    One thread writes, one reads. A journal that cannot be opened or written now is tried again until stop(); what was
    accepted waits in the buffer. `clock_trusted` says whether the system time is synchronised: nothing goes by its age
    before.
    """

    def __init__(
        self,
        path: str | Path,
        callbacks: Callbacks | None = None,
        *,
        pace: Pace | None = None,
        bounds: Bounds | None = None,
        retention: Retention | None = None,
        clock_trusted: Callable[[], bool] = lambda: True,
        open_store: Callable[..., Store] = Store.open,
    ) -> None:
        self.path = Path(path)
        self.callbacks = callbacks or Callbacks()
        self._packers = Packers()
        self._buffer = Buffer(bounds or Bounds())
        self._committer = Committer(
            Path(path), self._buffer, pace or Pace(), self.callbacks, retention, clock_trusted, open_store
        )
        self._reads = Reads(Path(path), self._committer.condemn)

    @property
    def journal(self) -> str | None:
        """Id of the open journal; None while none is open."""
        return self._committer.journal

    @property
    def last_seq(self) -> int:
        """Seq of the last entry on the disk."""
        return self._committer.last_seq

    @property
    def committed_at(self) -> int | None:
        """When the last commit was on the disk (UTC ns); None before the first."""
        return self._committer.committed_at

    @property
    def session(self) -> int | None:
        """Number of this run, higher than that of every run before on this journal; None before it was open once."""
        return self._committer.session

    @property
    def health(self) -> JournalHealth:
        """How the disk does."""
        return self._committer.watch.health

    @property
    def backlog(self) -> int:
        """Exchanges accepted and not yet on the disk."""
        return self._committer.backlog

    @property
    def turns(self) -> int:
        """Turns of the task that writes: a number that moves within half a minute, or a call of the disk lasts."""
        return self._committer.turns

    @property
    def disk_busy(self) -> float:
        """Seconds for which the disk has been at its present call; 0 when it is not asked anything."""
        return self._committer.disk_busy

    @property
    def lost_exchanges(self) -> int:
        """Exchanges that overflowed the buffer since the start; gap entries count them."""
        return self._buffer.lost_exchanges

    async def start(self) -> None:
        """Begin. Returns when the journal is open, or its first attempt failed or takes too long: it goes on behind."""
        self._reads.start()
        await self._committer.start()

    async def stop(self, timeout: float = 3.0) -> int:
        """Write what waits and close; give up after `timeout` seconds. Returns exchanges and events not written."""
        unwritten, read = await asyncio.gather(self._committer.stop(timeout), self._reads.stop(0.5))
        if not read:
            log.error("the disk hangs: a read of the journal is left behind")
        return unwritten

    def append(self, exchange: Exchange) -> None:
        """Accept one exchange; the oldest ones overflow, counted in a gap.

        A value that is no finite number becomes a reading with the reason `internal`. Raises Unpackable for readings
        that are not those of the layout.
        """
        try:
            packed = self._packers.pack(exchange)
        except Unpackable:
            packed = self._packers.pack(without_nan(exchange))
        self._buffer.add(packed)

    def record(
        self,
        events: Iterable[Event] = (),
        alarm_states: Mapping[str, bytes] | None = None,
        record_keys: Mapping[str, RecordKey] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Accept events, alarm states (the last of each counts; empty: forget it), keys of the records before, and
        settings of instruments, which are written in one commit with the events.

        Nothing of these overflows. Raises Unpackable for an event that cannot be written, TypeError for a state that
        is not bytes; nothing is accepted then.
        """
        if alarm_states and (wrong := [a for a, s in alarm_states.items() if not isinstance(s, bytes)]):
            raise TypeError(f"states must be bytes: {wrong}")
        if self._buffer.add_events(events):
            self._committer.watch.tell_soon()
        if alarm_states:
            self._buffer.alarm_states.update(alarm_states)
        if settings:
            self._buffer.settings.update(settings)
        for query, key in (record_keys or {}).items():
            self._buffer.add_record_key(query, key)

    def configure(self, configuration: Configuration, now: int | None = None) -> None:
        """Record what labmon runs with from here on (`now` in UTC ns)."""
        self._buffer.add_configuration(time.time_ns() if now is None else now, configuration)

    def gap(self, gap: Gap) -> None:
        """Record what should be in the journal and never came to labmon."""
        self._buffer.add_gap(time.time_ns(), gap)

    @property
    def taken(self) -> int:
        """Exchanges accepted since the start: the number of the last one."""
        return self._buffer.added

    def stored(self, first: int, last: int) -> bool | None:
        """Whether these exchanges, by number, are on the disk; None while some wait, False when some overflowed."""
        if last > self._buffer.added - self.backlog:
            return None
        return self._buffer.overflowed < first

    def flush(self) -> None:
        """Commit at once, or right after the commit under way; after a failure not before its quiet time is over."""
        self._committer.flush()

    async def flushed(self) -> None:
        """Returns when everything accepted before is on the disk, or counted as a gap there, however long that takes.

        Raises JournalUnavailable when the writer stops before.
        """
        await self._committer.drained()

    async def advance(self, cursor: str, seq: int) -> None:
        """Move a cursor; it never goes back. Returns when that is on the disk, with the next commit.

        Raises ValueError for a seq not yet given, JournalUnavailable when the disk fails now (it is still tried).
        """
        self._must_be_open()
        if seq > self.last_seq:
            raise ValueError(f"cursor {cursor} cannot move to {seq}: the last entry is {self.last_seq}")
        self._buffer.cursors[cursor] = max(seq, self._buffer.cursors.get(cursor, 0))
        await self._committer.committed()

    async def drop_cursor(self, cursor: str) -> None:
        """Forget a consumer that is no more: it does not hold back retention, and would begin anew.

        Returns when that is on the disk. Raises JournalUnavailable when the disk fails now (it is still tried).
        """
        self._must_be_open()
        self._buffer.cursors.pop(cursor, None)
        self._buffer.dropped.append(cursor)
        await self._committer.committed()

    def adjust(self, retention: Retention, commit_every: float) -> None:
        """Keep readings by another rule, and commit at another pace (seconds), from now on."""
        self._committer.adjust(retention, commit_every)

    async def quarantine(self, store: str, refused: Mapping[int, str]) -> None:
        """Remember what a store refused, and why. Returns when that is on the disk. Raises JournalUnavailable."""
        self._must_be_open()
        now = time.time_ns()
        self._buffer.quarantined.extend((store, seq, why, now) for seq, why in refused.items())
        await self._committer.committed()

    def _must_be_open(self) -> None:
        if self.journal is None:
            raise JournalUnavailable(self.health.reason or "the journal is not open")

    async def read_entries(self, after: int, limit: int, max_bytes: int) -> list[Entry]:
        """Entries after a seq (see Reader.entries_after). This and all other reads raise JournalUnavailable."""
        return await self._read(lambda reader: reader.entries_after(after, limit, max_bytes))

    async def events_after(self, seq: int, limit: int) -> list[tuple[int, Event]]:
        """Events after a seq, each with its own."""
        return await self._read(lambda reader: reader.events_after(seq, limit))

    async def cursor(self, name: str) -> int:
        """Where a consumer stands."""
        return await self._read(lambda reader: reader.cursor(name))

    async def cursors(self) -> dict[str, int]:
        """All cursors by name."""
        return await self._read(lambda reader: reader.cursors())

    async def alarm_states(self) -> dict[str, bytes]:
        """The saved state of each alarm."""
        return await self._read(lambda reader: reader.alarm_states())

    async def settings(self) -> dict[str, str]:
        """What instruments were last known to be set to, by name."""
        return await self._read(lambda reader: reader.settings())

    async def latest_records(self) -> dict[str, RecordKey]:
        """The last record taken, by query."""
        return await self._read(lambda reader: reader.latest_records())

    async def quarantined(self, store: str | None = None) -> list[Quarantined]:
        """What stores refused."""
        return await self._read(lambda reader: reader.quarantined(store))

    async def behind(self, record: Mapping[str, int], events: int) -> Backlog:
        """What waits after these cursors: the records' by store, and the events'."""
        return await self._read(
            lambda reader: Backlog(
                {store: reader.oldest_after(seq) for store, seq in record.items()},
                *reader.events_waiting(events),
                reader.quarantine_counts(),
            )
        )

    async def look(self, what: Callable[[], T]) -> T:
        """What `what` finds on a disk: it is called in the thread that reads. Raises what it raises."""
        return await self._reads.look(what)

    async def configurations(self) -> list[Entry]:
        """All configuration entries with their texts."""
        return await self._read(lambda reader: reader.configurations())

    async def _read(self, what: Callable[[Reader], T]) -> T:
        self._must_be_open()
        return await self._reads.read(self.journal or "", what)
