"""Stored records of one device on their way into the journal: each once, in order, with their gaps, and told when late.

The reader (labmon.drivers.records) knows the instrument's buffer; this knows what was taken, what of it is on the disk,
and what a healthy stream of records looks like.
"""

from __future__ import annotations

import math

from labmon.acquisition.normalise import failed, readings_of
from labmon.acquisition.plan import QueryPlan
from labmon.acquisition.recorder import Recorder, Unstored
from labmon.drivers.driver import Answer, Last, RecordReader, Turn
from labmon.drivers.record_index import IndexReader
from labmon.drivers.record_readers import NewestReader
from labmon.drivers.records import possible, same
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag, Reason, reason_text

PROMPT = 2.0
"""Intervals of polling after which a record that is found was not looked for in time."""
ALLOWED = 60.0
"""Seconds that a record may be old when labmon starts and knows nothing of its instrument: its sample took time."""
LONGER = 1.5
"""A step of so many sample intervals is too long."""
WAITS = (0.02, 0.05, 0.1, 0.25, 0.5)
"""Seconds between two looks at whether a commit is done; the last repeats."""
PATIENCE = 2.0
"""Seconds that records wait for the disk. Then they go on from memory like every reading: alarms above all."""
TAKEN = 10_000
"""Records of one catch-up that are known again: more than any buffer holds."""
MOST = 10**9
"""More missing records than these are a number that was misread, or an instrument that counts otherwise."""
_NS = 1_000_000_000


def _reader(plan: QueryPlan) -> RecordReader:
    make = getattr(plan.query, "reader", None)
    reader: RecordReader = NewestReader(plan.query.ask) if make is None else make()
    return reader


class Records:
    """The records of one query of one device. Nothing here waits."""

    def __init__(self, plan: QueryPlan) -> None:
        self.reader = _reader(plan)
        self.plan = plan
        self.last: Last | None = None
        """The last record that was taken."""
        self.told = False
        """Whether the channels were told anything since the start."""
        self._began = False
        self._blind = False
        """Whether it is not known which record was the last, and only the newest is taken."""
        self._taken: dict[tuple[int | None, str | None], None] = {}
        """The latest records of the present catch-up, which may never end."""
        self._unstored: Unstored | None = None
        self._waits = 0
        self._waits_since = 0.0
        self._looked = -math.inf
        """When all that there was had been read (monotonic)."""
        self._usual: float | None = None
        """Seconds by which a record is old that was found in time: its sample, and what the two clocks differ."""

    def read_as(self, plan: QueryPlan) -> None:
        """Read them from now on as another variant of the instrument has them; what was taken stays known."""
        self.plan, self.reader = plan, _reader(plan)
        if isinstance(self.reader, IndexReader):
            self.reader.only_newest = self._blind

    def forget(self) -> None:
        """The connection is a new one."""
        self.reader.forget()

    # ------------------------------------------------------------------ the disk

    def wait(self, recorder: Recorder, now: float) -> float:
        """Seconds until the next turn may come: 0 where nothing must be on the disk first that is not.

        Nor is anything read while nobody knows yet which record was the last, for a while at least.
        """
        if not self._began and not recorder.remembers:
            self._waits_since = self._waits_since or now
            if now - self._waits_since <= PATIENCE:
                return WAITS[-1]
            self._go_blind(blind=isinstance(self.reader, IndexReader))
        elif self._blind and recorder.remembers:
            self._go_blind(blind=False)
        self._begin(recorder)
        if self._unstored is None:
            return 0.0
        stored = recorder.stored(self._unstored.first, self._unstored.last)
        if stored is None:
            if not self.reader.confirms:
                return 0.0
            self._waits_since = self._waits_since or now
            self._waits += 1
            if now - self._waits_since > PATIENCE:
                return 0.0
            return WAITS[min(self._waits, len(WAITS)) - 1]
        if not stored:
            # The buffer overflowed: what is lost to the journal still is in the instrument.
            self.last = self._unstored.before
            recorder.forget_record(self.plan.layout.query, self.last)
            self.reader.forget()
            self._taken.clear()
        self._unstored = None
        self._waits, self._waits_since = 0, 0.0
        return 0.0

    def _go_blind(self, *, blind: bool) -> None:
        """Nobody knows yet what was taken of a buffer: its newest record is for the alarms, and read again with the
        others when it is known; all that it holds would be taken for new, and raise its old alarms anew.
        """
        self._blind, self._began = blind, False
        if isinstance(self.reader, IndexReader):
            self.reader.only_newest = blind
            self.reader.forget()

    def _begin(self, recorder: Recorder) -> None:
        if not self._began:
            self._began = True
            self._waits_since = 0.0
            self.last = recorder.last_record(self.plan.layout.query)
            self._unstored = recorder.unstored(self.plan.layout.query)

    # ------------------------------------------------------------------ what a turn brought

    def take(self, turn: Turn, recorder: Recorder, started: float, received: int, flags: int, skipped: int) -> bool:
        """Hand on what a turn brought that `started` at a monotonic time; whether the next one is due at once.

        A record that was taken before, in this catch-up or last of all, is not taken again.
        """
        self._begin(recorder)
        if not turn.records and turn.lost:
            self._lost(recorder, turn.lost, 0, None)
        fresh = [r for r in turn.records if not same(self.last, r) and (r.time, r.key) not in self._taken]
        lost = turn.lost
        for place, answer in enumerate(fresh):
            newest = self.reader.confirms or (not turn.more and place == len(fresh) - 1)
            late = self._is_late(answer, newest, started, received)
            self._check(recorder, answer, lost)
            lost = ""
            exchange = readings_of(self.plan, answer, received, flags | (Flag.DETECTED_LATE if late else 0))
            exchange.skipped, skipped = skipped, 0
            self._hand_on(recorder, exchange, answer)
        more = turn.more and (bool(fresh) or not turn.records)
        if not more:
            self._looked = started
            self._taken.clear()
        if fresh and self.reader.confirms:
            recorder.flush()
        return more

    def _hand_on(self, recorder: Recorder, exchange: Exchange, answer: Answer) -> None:
        key = answer.key or ""
        recorder.accept(exchange, None if self._blind else key)
        number = recorder.taken
        held = self._unstored or Unstored(number, number, self.last)
        self._unstored = held._replace(last=number)
        self.last = exchange.time, key
        self._taken[answer.time, answer.key] = None
        if len(self._taken) > TAKEN:
            del self._taken[next(iter(self._taken))]

    def nothing(self, received: int, flags: int, skipped: int) -> Exchange:
        """Readings that say that the instrument has no record."""
        return failed(self.plan, reason_text(Reason.NO_DATA, "no record"), received, flags, skipped)

    def _is_late(self, answer: Answer, newest: bool, started: float, received: int) -> bool:
        """Whether a record was there before labmon looked for it: after an outage of gateway, line or instrument.

        The instrument's clock may be hours off, so that its records' age alone says nothing. A record that was not
        there a moment ago is not late, and tells by how much an ordinary one is old.
        """
        age = 0.0 if answer.time is None or not possible(answer.time) else (received - answer.time) / _NS
        wide = PROMPT * self.plan.every + 1.0
        if started - self._looked <= wide:
            self._usual = age
            return False
        if self._usual is not None:
            return age - self._usual > wide
        return not newest or age > wide + (answer.interval or ALLOWED)

    # ------------------------------------------------------------------ what is missing

    def _check(self, recorder: Recorder, answer: Answer, lost: str) -> None:
        """Tell of records that are missing before this one, and of a clock that went back."""
        if self.last is None or self._blind:
            return
        before = self._number(self.last[1])
        if lost:
            self._lost(recorder, lost, 0, answer.time)
        elif before is not None and answer.number is not None:
            self._count(recorder, before, answer.number, answer.time)
        elif answer.interval is not None and answer.time is not None:
            step = (answer.time - self.last[0]) / _NS
            if step > LONGER * answer.interval:
                why = f"{step:.0f} s from one record to the next, where {answer.interval:g} s are usual"
                self._lost(recorder, why, round(min(step / answer.interval, MOST + 2.0)) - 1, answer.time)
        if answer.time is not None and possible(answer.time) and answer.time < self.last[0]:
            back = (self.last[0] - answer.time) / _NS
            device = self.plan.layout.columns[0].device
            recorder.told(device, f"the time of its records went back by {back:.0f} s: its clock was set")

    def _number(self, key: str) -> int | None:
        """The number of the last record, which its key holds."""
        if self.reader.numbered is None:
            return None
        parts = key.split("/")
        text = parts[self.reader.numbered[0]] if self.reader.numbered[0] < len(parts) else ""
        return int(text) if text.lstrip("-").isdecimal() else None

    def _count(self, recorder: Recorder, before: int, number: int, time: int | None) -> None:
        modulo = self.reader.numbered[1] if self.reader.numbered is not None else None
        missing = number - before - 1
        if modulo is not None:
            missing %= modulo
        if missing < 0 or (modulo is not None and missing > modulo // 2):
            self._lost(recorder, f"its records are numbered anew: {number} after {before}", 0, time)
        elif missing:
            self._lost(recorder, f"record {number} came after record {before}", missing, time)

    def _lost(self, recorder: Recorder, why: str, missing: int, until: int | None) -> None:
        if self.last is None:
            return
        first = self.last[0]
        last = first if until is None or not possible(until) else max(first, until)
        recorder.lost(self.plan.layout, why, missing if missing <= MOST else 0, first, last)
