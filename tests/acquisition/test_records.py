"""Records on their way into the journal: each once, with gaps told, late ones marked, behind the disk where needed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from stored_samples import Samples, counts
from test_line import Ask, Wire, plan_of
from virtual_clock import run

from labmon.acquisition.line import Line
from labmon.acquisition.plan import QueryPlan, Slot
from labmon.acquisition.recorder import Unstored
from labmon.acquisition.records import Records
from labmon.drivers.driver import Answer, Outcome, Turn
from labmon.drivers.load import load_driver
from labmon.health.line import LineHealth
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import Flag

NS = 10**9
START = 1_700_000_000
EVERY = 10.0


def record(k: int, **more: Any) -> Answer:
    return Answer([Outcome(float(k), None)], (START + 60 * k) * NS, f"{k}/{START + 60 * k}", **more)


@dataclass
class Reader:
    confirms: bool = False
    numbered: tuple[int, int | None] | None = None
    turns: list[Turn] = field(default_factory=list)
    lasts: list[Any] = field(default_factory=list)
    forgotten: int = 0

    async def turn(self, link: Any, last: Any) -> Turn:
        await link.exchange("d0", 1.0)
        self.lasts.append(last)
        return self.turns.pop(0) if self.turns else Turn([])

    def forget(self) -> None:
        self.forgotten += 1


class Recorder:
    def __init__(self, last: tuple[int, str] | None = None) -> None:
        self.last = last
        self.exchanges: list[Exchange] = []
        self.at: list[float] = []
        self.keys: list[str | None] = []
        self.gaps: list[tuple[str, int, int, int]] = []
        self.events: list[str] = []
        self.flushes = 0
        self.disk: bool | None = True
        self.held: Unstored | None = None
        self.remembers = True
        self.forgotten: list[Any] = []

    @property
    def taken(self) -> int:
        return len(self.exchanges)

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        self.exchanges.append(exchange)
        self.keys.append(key)
        self.at.append(asyncio.get_running_loop().time() if asyncio._get_running_loop() else 0.0)

    def show(self, exchange: Exchange) -> None:
        pass

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        pass

    def flags(self, device: str) -> int:
        return 0

    def last_record(self, query: str) -> tuple[int, str] | None:
        return self.last

    def unstored(self, query: str) -> Unstored | None:
        return self.held

    def forget_record(self, query: str, last: tuple[int, str] | None) -> None:
        self.forgotten.append(last)

    def stored(self, first: int, last: int) -> bool | None:
        return self.disk

    def flush(self) -> None:
        self.flushes += 1

    def lost(self, layout: Layout, why: str, missing: int, first: int, last: int) -> None:
        self.gaps.append((why, missing, first // NS, last // NS))

    def told(self, device: str, detail: str, *more: Any) -> None:
        self.events.append(detail)

    @property
    def ks(self) -> list[int]:
        return [int(e.readings[0].value) for e in self.exchanges if e.readings[0].value is not None]

    @property
    def late(self) -> list[int]:
        return [int(e.readings[0].value or 0) for e in self.exchanges if e.readings[0].flags & Flag.DETECTED_LATE]


class Exchanging:
    """A link to one instrument that stores samples."""

    def __init__(self, instrument: Samples) -> None:
        self.instrument = instrument

    async def exchange(self, request: Any, timeout: float, *, gap: float = 0.0) -> bytes:
        answer = self.instrument.answer(request.encode(1)[7:])
        assert answer is not None
        payload = request.match(b"\0\1\0\0" + (len(answer) + 1).to_bytes(2, "big") + b"\1" + answer, 1)
        assert isinstance(payload, bytes)
        return payload


class Recorded(Ask):
    """A query whose records a reader reads."""

    made: Reader

    def reader(self) -> Reader:
        return self.made


def plan(reader: Reader) -> QueryPlan:
    ask = Recorded("d0", kind="record", every=EVERY)
    ask.made = reader
    return plan_of(ask).devices[0].queries[0]


def took(records: Records, recorder: Recorder, mono: float, *ks: int, more: bool = False, age: float = 30.0, **kw: Any):  # type: ignore[no-untyped-def]
    """A turn at a monotonic time that brings these records; the newest is `age` seconds old then."""
    newest = max(ks, default=0)
    received = int((START + 60 * newest + age) * NS)
    turn = Turn([record(k, **kw) for k in ks], more=more)
    return records.take(turn, recorder, mono, received, 0, 0)  # type: ignore[arg-type]


def test_a_record_that_was_taken_is_not_taken_again() -> None:
    recorder = Recorder((record(3).time, record(3).key))  # type: ignore[arg-type]
    records = Records(plan(Reader()))
    took(records, recorder, 0.0, 3, 4, more=True)
    took(records, recorder, 1.0, 4, 5, more=True)
    assert recorder.ks == [4, 5]
    assert not took(records, recorder, 2.0, 4, 5, more=True), "nothing new: the catch-up is over"
    took(records, recorder, 3.0, 6)
    assert recorder.ks == [4, 5, 6]


def test_records_that_were_not_there_a_moment_ago_are_not_late() -> None:
    recorder, records = Recorder(), Records(plan(Reader()))
    took(records, recorder, 0.0)
    for n in range(1, 6):
        took(records, recorder, n * EVERY, n)
    assert recorder.late == []


def test_what_was_missed_is_late_and_what_comes_after_is_not() -> None:
    recorder, records = Recorder(), Records(plan(Reader()))
    took(records, recorder, 0.0, 0)
    took(records, recorder, EVERY, 1)
    recorder.exchanges.clear()
    took(records, recorder, 1000.0, 2, 3, 4, more=True)
    took(records, recorder, 1001.0, 5, 6)
    took(records, recorder, 1000.0 + EVERY, 7)
    assert recorder.ks == [2, 3, 4, 5, 6, 7]
    assert set(recorder.late) == {2, 3, 5}, "the newest of each turn is as old as ever"


def test_a_clock_of_another_zone_makes_no_record_late() -> None:
    recorder, records = Recorder(), Records(plan(Reader()))
    took(records, recorder, 0.0)
    for n in range(1, 6):
        took(records, recorder, n * EVERY, n, age=7230.0)
    took(records, recorder, 1000.0, 6, age=7235.0)
    assert recorder.late == []
    took(records, recorder, 2000.0, 7, age=7900.0)
    assert recorder.late == [7]


def test_after_a_start_all_but_the_newest_are_late_and_that_by_its_age() -> None:
    for age, late in ((30.0, [0, 1]), (3600.0, [0, 1, 2])):
        recorder, records = Recorder(), Records(plan(Reader()))
        took(records, recorder, 0.0, 0, 1, 2, age=age)
        assert recorder.late == late


def test_a_missing_number_is_a_gap_between_its_neighbours() -> None:
    recorder, records = Recorder(), Records(plan(Reader(numbered=(0, None))))
    for k in (1, 2, 5):
        took(records, recorder, 0.0, k, number=k)
    assert recorder.gaps == [("record 5 came after record 2", 2, START + 120, START + 300)]


def test_numbers_begin_again_after_the_last_one() -> None:
    recorder, records = Recorder(), Records(plan(Reader(numbered=(0, 8))))
    for k in (6, 7):
        took(records, recorder, 0.0, k, number=k)
    took(records, recorder, 0.0, 8, number=0)
    assert recorder.gaps == []
    recorder, records = Recorder((START * NS, f"6/{START}")), Records(plan(Reader(numbered=(0, 8))))
    took(records, recorder, 0.0, 9, number=1)
    assert recorder.gaps[0][:2] == ("record 1 came after record 6", 2), "known from the key, after a restart too"


def test_numbers_that_go_back_are_numbered_anew() -> None:
    recorder, records = Recorder(), Records(plan(Reader(numbered=(0, None))))
    took(records, recorder, 0.0, 50, number=50)
    took(records, recorder, 0.0, 60, number=1)
    assert recorder.gaps[0][:2] == ("its records are numbered anew: 1 after 50", 0)


def test_too_long_a_step_is_a_gap_and_one_of_the_usual_length_is_not() -> None:
    recorder, records = Recorder(), Records(plan(Reader()))
    for k in (1, 2, 3, 7, 8):
        took(records, recorder, 0.0, k, interval=60.0)
    assert recorder.gaps == [("240 s from one record to the next, where 60 s are usual", 3, START + 180, START + 420)]


def test_what_the_reader_says_is_lost_is_a_gap_of_unknown_size() -> None:
    recorder, records = Recorder(), Records(plan(Reader()))
    took(records, recorder, 0.0, 1)
    records.take(Turn([record(9)], lost="cleared"), recorder, 1.0, (START + 600) * NS, 0, 0)  # type: ignore[arg-type]
    assert recorder.gaps == [("cleared", 0, START + 60, START + 540)]


def test_a_clock_that_goes_back_is_told() -> None:
    recorder, records = Recorder(), Records(plan(Reader()))
    took(records, recorder, 0.0, 10)
    took(records, recorder, 1.0, 4)
    assert recorder.events == ["the time of its records went back by 360 s: its clock was set"]


def test_what_overflowed_before_it_was_on_the_disk_is_read_again() -> None:
    reader = Reader()
    recorder, records = Recorder(), Records(plan(reader))
    took(records, recorder, 0.0, 1)
    assert records.wait(recorder, 0.0) == 0.0  # type: ignore[arg-type]
    took(records, recorder, 1.0, 2, 3)
    recorder.disk = False
    assert records.wait(recorder, 1.0) == 0.0  # type: ignore[arg-type]
    assert records.last == (record(1).time, record(1).key)
    assert (recorder.forgotten, reader.forgotten) == ([records.last], 1)
    took(records, recorder, 2.0, 2, 3)
    assert recorder.ks == [1, 2, 3, 2, 3]


def test_what_a_line_before_accepted_must_be_on_the_disk_too() -> None:
    """A line that is made anew, by a reload or the watchdog, does not take away what is not on the disk yet."""
    recorder = Recorder((record(1).time, record(1).key))  # type: ignore[arg-type]
    recorder.held, recorder.disk = Unstored(7, 7, (record(0).time, record(0).key or "")), None
    records = Records(plan(Reader(confirms=True)))
    assert records.wait(recorder, 0.0) > 0.0  # type: ignore[arg-type]
    recorder.disk = True
    assert records.wait(recorder, 1.0) == 0.0  # type: ignore[arg-type]
    recorder.disk = False
    records = Records(plan(Reader(confirms=True)))
    assert records.wait(recorder, 1.0) == 0.0  # type: ignore[arg-type]
    assert records.last == recorder.held.before, "it was lost, and is read again"


def test_a_gap_up_to_an_impossible_time_or_number_can_be_journaled() -> None:
    recorder, records = Recorder(), Records(plan(Reader(numbered=(0, None))))
    took(records, recorder, 0.0, 1, number=1)
    beyond = Answer([Outcome(2.0, None)], 250_000_000_000 * NS, "2/x", number=10**30)
    records.take(Turn([beyond]), recorder, 1.0, (START + 90) * NS, 0, 0)  # type: ignore[arg-type]
    records = Records(plan(Reader()))
    took(records, recorder, 0.0, 1)
    beyond = Answer([Outcome(2.0, None)], 250_000_000_000 * NS, "2/x", interval=1e-310)
    records.take(Turn([beyond]), recorder, 1.0, (START + 90) * NS, 0, 0)  # type: ignore[arg-type]
    assert [(missing, last) for _, missing, _, last in recorder.gaps] == [(0, START + 60), (0, START + 60)]


def test_a_catch_up_that_never_ends_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labmon.acquisition.records.TAKEN", 50)
    recorder, records = Recorder(), Records(plan(Reader()))
    for k in range(500):
        assert took(records, recorder, float(k), k, more=True)
    assert len(records._taken) == 50
    assert not took(records, recorder, 600.0, 480, more=True), "and knows again what it took lately"


async def test_of_a_buffer_only_the_newest_is_taken_until_it_is_known_what_was_taken_before() -> None:
    """All that it holds would raise its old alarms anew; nothing at all would hold back those of now."""
    loaded = load_driver(Path(__file__).parents[1] / "e2e" / "drivers" / "test" / "indexed.yaml")
    assert loaded.driver is not None
    (query,) = loaded.driver.queries("modbus-tcp", 1, {})
    instrument = Samples()
    instrument.store(40)
    link, recorder = Exchanging(instrument), Recorder()
    columns = [Column(f"d0.{c.id}", "a", "d0", c.id, c.kind, c.unit) for c in query.channels]
    slots = tuple(Slot(n, c.key, 1.0, 0.0, 0) for n, c in enumerate(columns))
    records = Records(QueryPlan(query, 10.0, Layout("d0.record", tuple(columns)), slots))
    recorder.remembers, now = False, 100.0

    async def turn() -> bool:
        nonlocal now
        now += 3.0
        if records.wait(recorder, now):  # type: ignore[arg-type]
            return True
        found = await records.reader.turn(link, records.last)  # type: ignore[arg-type]
        return records.take(found, recorder, now, (START + 60 * 50) * NS, 0, 0)  # type: ignore[arg-type]

    for _ in range(6):
        await turn()
    instrument.store()
    for _ in range(3):
        await turn()
    assert recorder.ks == [counts(39), counts(40)]
    assert recorder.keys == [None, None], "the last one that is known to the journal stays"
    k = 30
    recorder.remembers, recorder.last = True, ((START + 60 * k) * NS, f"{START + 60 * k}/{k + 1}")
    while await turn():
        pass
    assert recorder.ks[2:] == [counts(n) for n in range(31, 41)]
    assert None not in recorder.keys[2:]


# ---------------------------------------------------------------- on the line


def play(reader: Reader, seconds: float, then: Any = None, recorder: Recorder | None = None) -> Recorder:
    """A line with a device of records and one of live values, on virtual time."""
    ask = Recorded("d0", kind="record", every=1.0)
    ask.made = reader
    recorder = recorder or Recorder()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        line = Line(plan_of(ask, Ask("d1")), Wire(), recorder, LineHealth("bus"), loop.time)  # type: ignore[arg-type]
        task = asyncio.create_task(line.run())
        begun = loop.time()
        for at, deed in sorted((then or {}).items()):
            await asyncio.sleep(begun + at - loop.time())
            deed()
        await asyncio.sleep(begun + seconds - loop.time())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    return recorder


def of(recorder: Recorder, device: str) -> list[tuple[float, Exchange]]:
    return [
        (at, e)
        for at, e in zip(recorder.at, recorder.exchanges, strict=True)
        if e.layout.query.startswith(f"{device}.")
    ]


def test_other_devices_are_polled_between_the_turns_of_a_catch_up() -> None:
    reader = Reader(turns=[Turn([record(k)], more=True) for k in range(200)])
    recorder = play(reader, 20.0)
    assert [e.readings[0].value for _, e in of(recorder, "d0")] == list(range(200))
    live = [at for at, _ in of(recorder, "d1")]
    assert len(live) >= 19
    assert max(b - a for a, b in pairwise(live)) < 1.2


@pytest.mark.parametrize("confirms", [True, False])
def test_only_a_reader_that_takes_away_waits_for_the_disk_and_nobody_else_does(confirms: bool) -> None:
    reader = Reader(confirms=confirms, turns=[Turn([record(k)], more=True) for k in range(3)])
    recorder = Recorder()
    recorder.disk = None
    play(reader, 10.0, {1.5: lambda: setattr(recorder, "disk", True)}, recorder)
    times = [at - recorder.at[0] for at, e in of(recorder, "d0") if e.readings[0].value is not None]
    assert len(times) == 3
    if confirms:
        assert times[0] < 1.5
        assert min(times[1:]) > 1.3
        assert recorder.flushes == 3
    else:
        assert max(times) < 1.3
    live = [at for at, _ in of(recorder, "d1")]
    assert len(live) >= 9
    assert max(b - a for a, b in pairwise(live)) < 1.1


def test_a_disk_that_fails_for_long_holds_no_record_back_from_the_alarms() -> None:
    reader = Reader(confirms=True, turns=[Turn([record(k)], more=True) for k in range(3)])
    recorder = Recorder()
    recorder.disk = None
    play(reader, 10.0, None, recorder)
    times = [at - recorder.at[0] for at, e in of(recorder, "d0") if e.readings[0].value is not None]
    assert len(times) == 3
    assert 2.0 <= times[1] < 4.0
    assert times[2] < 6.0


def test_nothing_is_read_before_the_journal_says_what_was_the_last_record() -> None:
    reader = Reader(turns=[Turn([record(5)])])
    recorder = Recorder()
    recorder.remembers = False

    def remember() -> None:
        recorder.remembers, recorder.last = True, (record(4).time, record(4).key)  # type: ignore[assignment]

    play(reader, 20.0, {1.2: remember}, recorder)
    assert reader.lasts[0] == recorder.last
    assert min(at for at, _ in of(recorder, "d0")) - recorder.at[0] > 0.8


def test_a_journal_that_cannot_be_read_holds_no_record_back_for_long() -> None:
    reader = Reader(turns=[Turn([record(5)])])
    recorder = Recorder()
    recorder.remembers = False
    play(reader, 10.0, None, recorder)
    assert min(at for at, _ in of(recorder, "d0")) - recorder.at[0] < 4.0


def test_an_instrument_without_records_says_so_once() -> None:
    reader = Reader(turns=[Turn([], absent=True) for _ in range(50)])
    recorder = play(reader, 20.0)
    assert [e.readings[0].reason for _, e in of(recorder, "d0")] == ["no-data (no record)"]


def test_a_device_of_which_only_records_are_read_is_probed_by_a_turn() -> None:
    """Its plain question would move a logger on, past a record that nobody took."""
    reader = Reader(turns=[Turn([record(1)])])
    ask = Recorded("d0", kind="record", every=1.0)
    ask.made = reader
    recorder, wire = Recorder(), Wire()
    wire.manner["d0"] = "silent"

    async def main() -> None:
        line = Line(plan_of(ask), wire, recorder, LineHealth("bus"), asyncio.get_running_loop().time)  # type: ignore[arg-type]
        task = asyncio.create_task(line.run())
        await asyncio.sleep(20.0)
        assert line.devices[0].resting
        wire.manner["d0"] = "good"
        await asyncio.sleep(60.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asked = 0

    async def plain(link: Any) -> Answer:
        nonlocal asked
        asked += 1
        await link.exchange("d0", 1.0)
        return record(1)

    ask.ask = plain  # type: ignore[method-assign]
    run(main())
    assert (recorder.ks, asked) == ([1], 0)
