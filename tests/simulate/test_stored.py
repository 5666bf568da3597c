"""Samples that simulated instruments store, read by the readers of service: each once, by index or queue."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from test_instruments import CATALOGUE, SPOKEN, connected, instrument

from labmon.drivers.driver import Answer
from labmon.links.conversation import Conversation
from labmon.simulate.console import obey
from labmon.simulate.instrument import Instrument

KEEPING = [
    (driver, framing)
    for driver, framing in SPOKEN
    if any(q.record is not None and q.record.logger is None for q in CATALOGUE.get(driver).file.queries.values())
]
NOW = 1_800_000_000.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        monkeypatch.setattr("labmon.simulate.instrument.time.time", lambda: self.now)

    def sample(self, made: Instrument, count: int = 1) -> None:
        for _ in range(count):
            self.now += made.sample
            made.advance(made.sample)


async def read(made: Instrument, reader: Any, link: Conversation, last: Any) -> list[Answer]:
    """All that there is, as a line takes it: each turn goes on behind the last record that is on the disk."""
    found: list[Answer] = []
    for _ in range(1000):
        turn = await reader.turn(link, last)
        assert not turn.lost
        for record in turn.records:
            found.append(record)
            last = record.time, record.key
        if not turn.records and not turn.more:
            return found
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize(("driver", "framing"), KEEPING)
async def test_each_sample_is_read_once_in_its_order(
    tmp_path: Path, driver: str, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    made = instrument(driver, framing, sample=60.0)
    query = next(q for q in made.queries if q.kind == "record")
    only_newest = query._grammar.record is not None and not (query._grammar.record.index or query._grammar.record.queue)
    async with connected(tmp_path, framing, made) as link:
        reader = query.reader()
        begun = await read(made, reader, link, None)
        assert [record.time for record in begun] == [int(NOW) * 10**9], "one from the start"
        last = begun[-1].time, begun[-1].key
        for count in (1, 3, 7):
            before = clock.now
            clock.sample(made, count)
            found = await read(made, reader, link, last)
            wanted = [int(before + 60 * n) * 10**9 for n in range(1, count + 1)]
            assert [record.time for record in found] == (wanted[-1:] if only_newest else wanted)
            last = found[-1].time, found[-1].key
            assert await read(made, reader, link, last) == [], "and no more"


QUEUED = [
    (driver, framing)
    for driver, framing in KEEPING
    if any(q.record is not None and q.record.queue is not None for q in CATALOGUE.get(driver).file.queries.values())
]


@pytest.mark.parametrize(("driver", "framing"), QUEUED)
async def test_a_full_queue_drops_its_oldest_and_an_empty_one_has_no_record(
    tmp_path: Path, driver: str, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    made = instrument(driver, framing, sample=60.0)
    query = next(q for q in made.queries if q.kind == "record")
    stored = made.stored[query.name]
    assert obey(made, "full") == f"holds {stored.room} samples"
    clock.sample(made, 2)
    async with connected(tmp_path, framing, made) as link:
        reader = query.reader()
        found = await read(made, reader, link, None)
        assert len(found) == stored.room
        times = [record.time for record in found if record.time is not None]
        assert times == sorted(set(times)), "the oldest first, none twice"
        assert times[-1] == int(clock.now) * 10**9
        assert times[0] == int(clock.now - 60 * (stored.room - 1)) * 10**9, "the two oldest are gone"
        last = found[-1].time, found[-1].key
        turn = await reader.turn(link, last)
        assert (turn.records, turn.more) == ([], False)
        assert len(stored.samples) <= 1
        obey(made, "reboot 0 lose")
        assert not stored.samples
        turn = await reader.turn(link, last)
        assert turn.absent and not turn.records, "zeros are no sample"
        clock.sample(made)
        (record,) = (await reader.turn(link, last)).records
        assert record.time == int(clock.now) * 10**9


def test_only_what_stores_can_be_full() -> None:
    made = Instrument(CATALOGUE.get("delta-ohm/hd402st"), "modbus-rtu", 1, {}, chance=random.Random(1))
    with pytest.raises(ValueError, match="stores no samples"):
        obey(made, "full")
