"""What one part would refuse from another costs itself alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hour import Ask, plan_of

from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.rules import make_rules
from labmon.alarms.engine import AlarmEngine
from labmon.config.site import Site
from labmon.delivery.ranges import RangeMaker
from labmon.journal.entries import Entry, EntryKind
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event, EventKind
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.messages import RecordRange
from labmon.model.reading import Reading


@pytest.mark.parametrize("spoilt", [{"detail": "half a character \ud800"}, {"time": 2**70}])
async def test_an_event_that_cannot_be_written_takes_no_other_and_no_state_with_it(
    tmp_path: Path, spoilt: dict[str, Any]
) -> None:
    plan = plan_of(Ask("d0"))
    site = Site.model_validate(
        {"labmon": 1, "site": {"id": "lab", "name": "Lab"}, "gateway": {"id": "gw"}, "areas": [], "lines": []}
    )
    engine = AlarmEngine(make_rules(site, plan), plan.plant, {}, mono=time.monotonic(), now=time.time_ns())
    journal = JournalWriter(tmp_path / "journal.db")
    await journal.start()
    pipeline = Pipeline(engine, journal, lambda _: None)
    now = time.time_ns()
    told: list[Event] = []
    pipeline.watch(told.extend)
    raised = engine.condition("d0.dead", True, time.monotonic(), now, "silent")
    bad = Event(EventKind.LINE, **{"time": now, "detected": now} | spoilt)
    pipeline.command([bad, *raised])
    async with asyncio.timeout(10):
        await journal.flushed()
    kept = [event for _, event in await journal.events_after(0, 100)]
    assert [e.kind for e in kept] == [EventKind.LINE, EventKind.RAISED]
    assert kept[0].uid == bad.uid
    assert set(await journal.alarm_states()) == {"d0.dead"}
    assert told == [bad, *raised]
    await journal.stop()


def test_a_reading_of_before_1970_is_refused_alone() -> None:
    """Ingest reads no such time: sent, it would hold up all that goes with it."""
    layout = Layout("d.q", (Column("d.x", "room", "d", "x", "temperature", "Cel"),))

    def entry(seq: int, moment: int) -> Entry:
        exchange = Exchange(layout, moment, 10**18, [Reading("d.x", moment, 10**18, 1.0, None)])
        return Entry(seq, EntryKind.READINGS, moment, exchange, 10)

    made = RangeMaker("ab").make(1, 4, [entry(1, 5), entry(2, 6), entry(3, -7), entry(4, 8)])
    assert {seq for one in made for seq in one.refused} == {3}
    assert {seq for one in made for seq in one.seqs} == {1, 2, 4}
    for one in made:
        if one.payload is not None:
            RecordRange.decode(one.payload)
