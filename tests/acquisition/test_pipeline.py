"""One exchange in, one group out: readings, what the alarms made of them, and their states, in one commit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_plan import PRESSURE, line, read, site

from labmon.acquisition.load import Loaded
from labmon.acquisition.normalise import readings_of
from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import QueryPlan
from labmon.alarms.engine import AlarmEngine
from labmon.alarms.errors import CommandRefused
from labmon.drivers.driver import Answer, Outcome
from labmon.journal.committer import Pace
from labmon.journal.entries import EntryKind, RecordKey
from labmon.journal.reader import Reader
from labmon.journal.writer import JournalWriter
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag

NOW = 1_800_000_000_000_000_000
ALARM = "p-1.pressure.action-low"


class Group:
    """A journal that notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.taken = 0
        self.on_disk = 0
        """Number of the last exchange that is on the disk."""

    def append(self, exchange: Exchange) -> None:
        self.told.append(exchange)
        self.taken += 1

    def stored(self, first: int, last: int) -> bool | None:
        return True if last <= self.on_disk else None

    def record(
        self,
        events: Sequence[Event] = (),
        alarm_states: Mapping[str, bytes] | None = None,
        record_keys: Mapping[str, RecordKey] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.told.append(([e.kind for e in events], sorted(alarm_states or {}), dict(record_keys or {})))

    def flush(self) -> None:
        self.told.append("flush")


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    profile = {"version": 1, "reason": "r", "unit": "Pa", "limits": [{"level": "action", "low": 10}]}
    found = read(
        tmp_path,
        site(line(PRESSURE | {"channels": [{"id": "pressure", "limits": "own"}]}), profiles={"own": profile}),
    )
    assert not found.errors
    return found


def engine_of(loaded: Loaded, saved: Mapping[str, bytes] | None = None) -> AlarmEngine:
    assert loaded.plan is not None
    return AlarmEngine(loaded.rules, loaded.plan.plant, saved or {}, mono=time.monotonic(), now=NOW)


def exchange(loaded: Loaded, value: float | None, second: int = 0) -> Exchange:
    assert loaded.plan is not None
    query: QueryPlan = loaded.plan.lines[0].devices[0].queries[0]
    outcome = Outcome(value, None if value is not None else "no-sensor")
    return readings_of(query, Answer([outcome]), NOW + second * 10**9, 0)


def test_a_quiet_reading_is_one_append(loaded: Loaded) -> None:
    journal, seen = Group(), []
    pipeline = Pipeline(engine_of(loaded), journal, seen.append)
    quiet = exchange(loaded, 15.0)
    pipeline.accept(quiet)
    assert journal.told == [quiet]
    assert seen == [quiet]
    assert (pipeline.polled, pipeline.bad) == (1, 0)


def test_reading_event_and_state_stand_in_one_group_that_is_flushed(loaded: Loaded) -> None:
    journal, watched = Group(), []
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None)
    pipeline.watch(watched.append)
    breach = exchange(loaded, 5.0)
    pipeline.accept(breach)
    assert journal.told == [breach, ([EventKind.RAISED], [ALARM], {}), "flush"]
    assert [[event.alarm for event in events] for events in watched] == [[ALARM]]


def test_a_reading_without_value_is_counted_and_raises_nothing(loaded: Loaded) -> None:
    journal = Group()
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None)
    pipeline.accept(exchange(loaded, None))
    assert (pipeline.polled, pipeline.bad) == (1, 1)
    assert "flush" not in journal.told


def test_the_key_of_a_record_goes_with_its_readings(loaded: Loaded) -> None:
    journal = Group()
    query = "p-1.pressure"
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None, {query: RecordKey(7, "a")})
    assert pipeline.last_record(query) == (7, "a")
    assert pipeline.last_record("p-1.other") is None
    record = exchange(loaded, 15.0)
    pipeline.accept(record, "b/1")
    assert journal.told == [record, ([], [], {query: RecordKey(NOW, "b/1")})]


def test_what_was_accepted_of_records_and_is_not_on_the_disk_is_known_to_the_next_line(loaded: Loaded) -> None:
    journal, query = Group(), "p-1.pressure"
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None, {query: RecordKey(7, "a")})
    assert pipeline.unstored(query) is None
    for key in ("b", "c"):
        pipeline.accept(exchange(loaded, 15.0), key)
    assert pipeline.unstored(query) == (1, 2, (7, "a"))
    journal.on_disk = 2
    pipeline.accept(exchange(loaded, 15.0), "d")
    assert pipeline.unstored(query) == (3, 3, (NOW, "c"))
    pipeline.forget_record(query, (NOW, "c"))
    assert (pipeline.unstored(query), pipeline.last_record(query)) == (None, (NOW, "c"))


def test_a_condition_and_a_command_are_groups_of_their_own(loaded: Loaded) -> None:
    journal = Group()
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None)
    pipeline.condition("p-1.dead", True, "silent")
    assert journal.told == [([EventKind.RAISED], ["p-1.dead"], {}), "flush"]
    journal.told.clear()
    pipeline.condition("p-1.dead", True, "silent")
    assert journal.told == [], "told again, it costs nothing"
    (view,) = pipeline.engine.views()
    pipeline.command(pipeline.engine.acknowledge("p-1.dead", view.occurrence, "duty", "seen", time.monotonic(), NOW))
    assert journal.told == [([EventKind.ACKNOWLEDGED], ["p-1.dead"], {}), "flush"]
    with pytest.raises(CommandRefused):
        pipeline.engine.acknowledge("p-1.dead", "past", "duty", "seen", time.monotonic(), NOW)


def test_an_event_without_alarm_is_flushed_too(loaded: Loaded) -> None:
    journal = Group()
    Pipeline(engine_of(loaded), journal, lambda _: None).record(Event(EventKind.CLOCK_STEP, NOW, NOW))
    assert journal.told == [([EventKind.CLOCK_STEP], [], {}), "flush"]


def test_flags_of_clock_and_service(loaded: Loaded) -> None:
    pipeline = Pipeline(engine_of(loaded), Group(), lambda _: None)
    assert pipeline.flags("p-1") == 0
    pipeline.clock_flag = int(Flag.CLOCK)
    pipeline.command(pipeline.engine.out_of_service("p-1", None, "duty", "calibration", time.monotonic(), NOW))
    assert pipeline.flags("p-1") == Flag.CLOCK | Flag.OUT_OF_SERVICE


def test_all_states_are_recorded_again_for_a_new_journal(loaded: Loaded) -> None:
    journal = Group()
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None)
    pipeline.accept(exchange(loaded, 5.0))
    pipeline.command(pipeline.engine.out_of_service("p-1", None, "duty", "calibration", time.monotonic(), NOW))
    journal.told.clear()
    pipeline.save_all()
    ((kinds, states, keys),) = journal.told
    assert (kinds, keys) == ([], {})
    assert ALARM in states and any("p-1" in name and name != ALARM for name in states)


async def test_on_the_real_journal_an_alarm_is_on_the_disk_at_once_and_remembered(
    tmp_path: Path, loaded: Loaded, eventually: Any
) -> None:
    path = tmp_path / "journal.db"
    journal = JournalWriter(path, pace=Pace(commit_every=3600.0))
    await journal.start()
    pipeline = Pipeline(engine_of(loaded), journal, lambda _: None)
    pipeline.accept(exchange(loaded, 15.0))
    pipeline.accept(exchange(loaded, 5.0, 1))
    await eventually(lambda: journal.last_seq)

    reader = Reader.at(path)
    try:
        entries = reader.entries_after(0, 100, 2**30)
        kinds = [entry.kind for entry in entries]
        assert kinds.count(EntryKind.READINGS) == 2, "the alarm takes along what waited before it"
        assert [e.content.kind for e in entries if isinstance(e.content, Event)] == [EventKind.RAISED]
        saved = reader.alarm_states()
    finally:
        reader.close()
    engine = engine_of(loaded, saved)
    (view,) = engine.views()
    assert (view.alarm, view.state) == (ALARM, AlarmState.UNACK)
    assert view.occurrence == pipeline.engine.views()[0].occurrence
    assert engine.tick(time.monotonic(), NOW) == [], "nothing is told again"
    assert await journal.stop() == 0
