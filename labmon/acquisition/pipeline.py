"""Where readings, alarms and journal meet: one exchange in, one commit out (design rule 4)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from labmon.acquisition.recorder import Unstored
from labmon.alarms.engine import AlarmEngine
from labmon.journal.entries import Gap, RecordKey
from labmon.model.event import Event, EventKind
from labmon.model.exchange import Exchange, Layout
from labmon.model.reading import Flag

log = logging.getLogger("labmon.alarms")
records = logging.getLogger("labmon.line")


class Journal(Protocol):
    """What the pipeline needs of the journal; nothing here blocks."""

    def append(self, exchange: Exchange) -> None:
        """Take one exchange into the open group."""
        ...

    def record(
        self,
        events: Sequence[Event] = (),
        alarm_states: Mapping[str, bytes] | None = None,
        record_keys: Mapping[str, RecordKey] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Take events, alarm states, keys of records and settings of instruments into the open group."""
        ...

    def flush(self) -> None:
        """Commit the open group at once."""
        ...

    def gap(self, gap: Gap) -> None:
        """Take a gap into the open group."""
        ...

    @property
    def taken(self) -> int:
        """Number of the exchange that was taken last."""
        ...

    def stored(self, first: int, last: int) -> bool | None:
        """Whether these exchanges are on the disk; None: not yet, False: some of them are lost."""
        ...


class Pipeline:
    """Evaluates each reading before it is journaled, and journals both in one group. Never blocks, never waits."""

    def __init__(
        self,
        engine: AlarmEngine,
        journal: Journal,
        live: Callable[[Exchange], None],
        records: Mapping[str, RecordKey] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings`: what instruments were last known to be set to; None while that is not known yet."""
        self.engine = engine
        self.journal = journal
        self.live = live
        self.clock_flag = 0
        """Flag of all readings while the system time is not known to be right."""
        self.polled = 0
        self.bad = 0
        self._records = dict(records or {})
        self._unstored: dict[str, Unstored] = {}
        """By query: a line that is made anew must know what the one before it had accepted."""
        self._settings = dict(settings or {})
        self.remembers = settings is not None
        """Whether it is known what the instruments were set to before."""
        self._watchers: list[Callable[[list[Event]], None]] = []

    def watch(self, callback: Callable[[list[Event]], None]) -> None:
        """Call back with alarm events as they happen, before they are on disk (the log, the condition of a test)."""
        self._watchers.append(callback)

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        """Evaluate and journal one exchange; `key` is that of an instrument's own record."""
        now = time.monotonic()
        events: list[Event] = []
        shown = True  # what is later than what is known is the latest
        evaluate = self.engine.reading
        for reading in exchange.readings:
            found = evaluate(reading, now)
            if found:
                events += found
            if reading.value is None:
                self.bad += 1
        self.polled += len(exchange.readings)
        try:
            self.journal.append(exchange)
            if key is not None:
                before = self._records.get(exchange.layout.query)
                late = bool(exchange.readings and exchange.readings[0].flags & Flag.DETECTED_LATE)
                shown = not (late and before is not None and exchange.time < before.time)
                record = self._records[exchange.layout.query] = RecordKey(exchange.time, key)
                self._hold(exchange.layout.query, before)
                self.journal.record(record_keys={exchange.layout.query: record})
        finally:
            self._commit(events)  # also when the journal cannot hold the readings: an alarm was found in them
        if shown:
            self.live(exchange)

    def _hold(self, query: str, before: RecordKey | None) -> None:
        number, held = self.journal.taken, self._unstored.get(query)
        if held is None or self.journal.stored(held.first, held.last):
            held = Unstored(number, number, None if before is None else (before.time, before.key))
        self._unstored[query] = held._replace(last=number)

    def show(self, exchange: Exchange) -> None:
        """Show again what was accepted before."""
        self.live(exchange)

    def tick(self) -> None:
        """Let the clock have its say: on-delays, silence, bad quality, ends of out of service."""
        self._commit(self.engine.tick(time.monotonic(), time.time_ns()))

    def condition(self, alarm: str, active: bool, detail: str, since: int | None = None) -> None:
        """A technical condition began or ended; `since` (UTC ns) where it began before it was noticed."""
        self._commit(self.engine.condition(alarm, active, time.monotonic(), time.time_ns(), detail, since))

    def clock_set(self, *, trusted: bool) -> None:
        """The system clock was stepped, or its time is known to be right from now on."""
        self.engine.clock_set(time.monotonic(), time.time_ns(), trusted=trusted)
        self._commit([])

    def record(self, event: Event) -> None:
        """Journal an event that concerns no alarm."""
        self._commit([event])

    def command(self, events: list[Event]) -> None:
        """Journal what an operator's command brought about; it enters beside the readings."""
        self._commit(events)

    def _commit(self, events: list[Event]) -> None:
        states = self.engine.take_changes()
        if events or states:
            self._record(events, states)
        if events:
            self.journal.flush()
            for watcher in self._watchers:
                watcher(events)

    def _record(self, events: list[Event], states: Mapping[str, bytes]) -> None:
        try:
            self.journal.record(events, states)
        except ValueError:
            log.critical("an event cannot be written as it is", exc_info=True)
            self.journal.record((), states)
            for event in events:
                self.journal.record([_writable(event)])

    def flags(self, device: str) -> int:
        """Flags for all readings of a device now."""
        return self.clock_flag | (Flag.OUT_OF_SERVICE if self.engine.is_out_of_service(device) else 0)

    def last_record(self, query: str) -> tuple[int, str] | None:
        """The last record of a query that was accepted, in this run or one before."""
        found = self._records.get(query)
        return None if found is None else (found.time, found.key)

    def unstored(self, query: str) -> Unstored | None:
        """Records of a query that were accepted and may not be on the disk, also by a line that is no more."""
        return self._unstored.get(query)

    def setting(self, name: str) -> str | None:
        """What an instrument was last known to be set to, in this run or one before."""
        return self._settings.get(name)

    def forget_record(self, query: str, last: tuple[int, str] | None) -> None:
        """Records of a query were lost on their way to the disk: this was the last one before."""
        self._unstored.pop(query, None)
        if last is None:
            self._records.pop(query, None)
        else:
            self._records[query] = RecordKey(*last)

    @property
    def taken(self) -> int:
        """Number of the exchange that was accepted last."""
        return self.journal.taken

    def stored(self, first: int, last: int) -> bool | None:
        """Whether these accepted exchanges are on the disk; None while some of them wait, False for a loss."""
        return self.journal.stored(first, last)

    def flush(self) -> None:
        """Bring what was accepted to the disk at once."""
        self.journal.flush()

    def lost(self, layout: Layout, why: str, missing: int, first: int, last: int) -> None:
        """Records of an instrument are missing between two times (UTC ns); 0 where nobody knows how many."""
        device = layout.columns[0].device if layout.columns else ""
        gap = Gap(why, missing, missing * len(layout.columns), first, last, device)
        records.warning("device %s: %s", device, gap.detail)
        self.journal.gap(gap)

    def told(
        self, device: str, detail: str, kind: EventKind = EventKind.DEVICE, settings: Mapping[str, str] | None = None
    ) -> None:
        """Journal what became of an instrument, in one commit with what is to be remembered of it.

        Without a detail there is no event: it is only remembered.
        """
        if settings:
            self._settings.update(settings)
            self.journal.record(settings=settings)
        if detail:
            now = time.time_ns()
            records.info("device %s: %s", device, detail)
            where = self.engine.plant.devices.get(device)
            area, line = (where.area, where.line) if where is not None else ("", "")
            self._commit([Event(kind, now, now, detail[:1000], device=device, area=area, line=line)])

    def remember(
        self,
        states: Mapping[str, bytes],
        settings: Mapping[str, str] | None = None,
        records: Mapping[str, RecordKey] | None = None,
    ) -> None:
        """Take up alarm states, settings and last records that could not be read at the start."""
        self._records = {**(records or {}), **self._records}
        if settings is not None:
            self._settings = {**settings, **self._settings}
            self.remembers = True
        self._commit(self.engine.remember(states, time.monotonic(), time.time_ns()))

    def save_all(self) -> None:
        """Record the state of every alarm and all settings again: a new journal knows none of them."""
        self.journal.record(alarm_states=self.engine.states(), settings=self._settings)


def _writable(event: Event) -> Event:
    """The same event with nothing in it that a journal could refuse."""
    return replace(event, time=event.detected, since=None, detail=ascii(event.detail), reason=ascii(event.reason))
