"""Readings go by age and by size, the undelivered last and counted; everything else stays."""

from pathlib import Path
from typing import Any

import pytest
from journal_things import DAY, NOW, SECOND, event, exchange, group, layout

from labmon.journal.committer import Pace
from labmon.journal.entries import EntryKind, Gap
from labmon.journal.retention import BESIDE, Retention, Trimmer
from labmon.journal.store import Store
from labmon.journal.watch import Callbacks
from labmon.journal.writer import JournalWriter
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import Flag, Reading

MANY = 10**9
KEEP = Retention(keep=86400.0, size=10**9, stores=("record.influx",))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = Store.open(tmp_path / "journal.db")
    yield opened
    opened.close()


def times(store: Store) -> list[int]:
    return [e.time for e in store.entries_after(0, 10**6, MANY) if e.kind == EntryKind.READINGS]


def kinds(store: Store) -> set[int]:
    return {e.kind for e in store.entries_after(0, 10**6, MANY)}


def trim(trimmer: Trimmer, now: int, **rest: Any) -> int:
    total = 0
    while (step := trimmer.step(now, **rest)).exchanges:
        total += step.exchanges
    return total


def test_delivered_readings_go_by_age_and_nothing_else(store: Store) -> None:
    for hour in range(72):
        at = NOW + hour * 3600 * SECOND
        store.commit(group([exchange(layout(), at, hour)], [event(str(hour), at)], alarm_states={"a": b"1"}))
    end = NOW + 72 * 3600 * SECOND
    trimmer = Trimmer(store, KEEP)
    assert trim(trimmer, end) == 0, "nothing was delivered"
    delivered = store.entries_after(0, 10**6, MANY)[60].seq
    store.advance("record.influx", delivered)
    before = [t for t in times(store) if t >= NOW + 30 * 3600 * SECOND]
    trim(trimmer, end)
    assert times(store) == before, "only what was delivered, though all of two days is old"
    store.advance("record.influx", store.last_seq())
    assert trim(trimmer, end, clock_trusted=False) == 0
    trim(trimmer, end)
    assert times(store) == [NOW + hour * 3600 * SECOND for hour in range(48, 72)]
    assert len(store.events_after(0, 1000)) == 72
    assert EntryKind.LAYOUT in kinds(store) and store.alarm_states() == {"a": b"1"}
    assert EntryKind.GAP not in kinds(store)


def test_more_than_one_step_is_taken(store: Store) -> None:
    store.commit(group([exchange(layout(), NOW + i, i) for i in range(2500)]))
    retention = Retention(keep=1.0, size=10**9)
    trimmer = Trimmer(store, retention)
    first = trimmer.step(NOW + DAY)
    assert first.more and first.exchanges == 1000
    assert trim(trimmer, NOW + DAY) == 1500 and times(store) == []


def test_a_seq_is_never_given_twice(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "journal.db")
    last = store.commit(group([exchange(layout(), NOW + i) for i in range(5)])).last
    assert trim(Trimmer(store, Retention(keep=1.0, size=10**9)), NOW + DAY) == 5
    assert times(store) == [] and store.last_seq() == last
    store.close()
    store = Store.open(tmp_path / "journal.db")
    assert store.last_seq() == last == 6
    assert store.commit(group([exchange(layout(), NOW)])).first == 7
    store.close()


def test_a_doubtful_clock_says_nothing_of_an_age(store: Store) -> None:
    started_in_1970 = [exchange(layout(), i * SECOND, i, flags=Flag.CLOCK) for i in range(1500)]
    store.commit(group(started_in_1970))
    trimmer = Trimmer(store, Retention(keep=86400.0, size=10**9))
    assert trim(trimmer, NOW) == 0
    store.commit(group([exchange(layout(), NOW)]))
    assert trim(trimmer, NOW + SECOND) == 0, "the reading after them is a second old"
    assert trim(trimmer, NOW + 2 * DAY) == 1501


def test_refused_readings_stay(store: Store) -> None:
    store.commit(group([exchange(layout(), NOW + i, i) for i in range(5)]))
    store.quarantine("influx", {3: "poison"}, NOW)
    assert trim(Trimmer(store, Retention(keep=1.0, size=10**9)), NOW + DAY) == 4
    (refused,) = store.quarantined()
    assert refused.seq == 3 and refused.entry is not None and isinstance(refused.entry.content, Exchange)


def big(time: int, number: int) -> Exchange:
    """An exchange of 4 kB."""
    form = Layout("logger-1.all", (Column("logger-1.text", "b", "logger-1", "text", "text", "1", "s"),))
    text = f"{number:010d}" * 400
    return Exchange(form, time, time, [Reading("logger-1.text", time, time, 1.0, None, 0, text)])


def size(path: Path) -> int:
    return sum(part.stat().st_size for part in path.parent.glob("journal.db*"))


def test_the_files_stay_within_their_size_and_the_undelivered_go_last_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = Store.open(path)
    retention = Retention(keep=10 * 365 * 86400.0, size=2 * BESIDE, stores=("record.influx",))
    trimmer = Trimmer(store, retention)
    written = largest = gap_readings = 0
    for commit in range(200):
        at = NOW + commit * SECOND
        done = store.commit(group([big(at, written + i) for i in range(40)], [event(str(commit), at)]))
        written += 40
        if commit < 130:  # then the store goes away
            store.advance("record.influx", done.last or 0)
        lost = []
        while (step := trimmer.step(at)).more:
            lost += step.gap.events
        gap_readings += sum(int(e.detail.split(" ", 1)[0]) for _, e in lost)
        assert commit >= 130 or not lost, "delivered readings go without a word"
        largest = max(largest, size(path))
    assert largest <= retention.size
    assert written * 4000 > 1.5 * retention.size
    entries = store.entries_after(0, 10**6, MANY)
    assert len(store.events_after(0, 1000)) == 200 + sum(e.kind == EntryKind.GAP for e in entries)
    gaps = [e.content for e in entries if isinstance(e.content, Gap)]
    assert gaps and sum(g.readings for g in gaps) == gap_readings
    undelivered = [e for e in entries if e.kind == EntryKind.READINGS and e.time >= NOW + 130 * SECOND]
    assert len(undelivered) + gap_readings == 70 * 40, "each is there, or counted"
    assert gaps[0].first == NOW + 130 * SECOND and gaps[-1].last < undelivered[0].time + SECOND
    assert all("the disk was full" in g.why for g in gaps)
    store.close()


def test_a_size_without_room_for_the_log_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        Retention(keep=1.0, size=BESIDE)
    with pytest.raises(ValueError, match="longer than zero"):
        Retention(keep=0.0, size=10**9)


async def test_the_writer_trims_between_its_commits(tmp_path: Path, eventually: Any) -> None:
    told: list[str] = []
    callbacks = Callbacks(on_commit=lambda first, last, events: told.extend(e.detail for _, e in events))
    retention = Retention(keep=3600.0, size=10**9, stores=("record.influx",))
    pace = Pace(commit_every=0.01, trim_every=0.01)
    writer = JournalWriter(tmp_path / "journal.db", callbacks, pace=pace, retention=retention)
    await writer.start()
    for i in range(2500):
        writer.append(exchange(layout(), NOW - 400 * DAY + i, i))
    await writer.flushed()
    await writer.advance("record.influx", 2000)

    async def left() -> bool:
        entries = await writer.read_entries(0, 10**6, MANY)
        return [e.seq for e in entries if e.kind == EntryKind.READINGS] == list(range(2001, 2502))

    await eventually(left)
    assert told == [] and writer.health.state == "ok"
    await writer.stop()
