"""The asyncio face: grouped commits, callbacks, cursors, and what a slow or failing disk does to them."""

import asyncio
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from journal_things import NOW, SECOND, event, exchange, layout, same

from labmon.journal.buffer import Bounds
from labmon.journal.committer import Pace
from labmon.journal.entries import Committed, Configuration, EntryKind, Gap, Group, RecordKey
from labmon.journal.errors import JournalUnavailable, Unpackable
from labmon.journal.store import Store
from labmon.journal.watch import Callbacks, JournalHealth
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event
from labmon.model.reading import Reading

MANY = 10**9
SOON = Pace(commit_every=0.01, slow_after=5.0, retry_first=0.01, retry_most=0.05, trim_every=0.05)
LATER = Pace(commit_every=3600.0, slow_after=5.0, retry_first=0.01, retry_most=0.05)
WATCHFUL = Pace(commit_every=0.01, slow_after=0.05, retry_first=0.01, retry_most=0.05)


class Heard:
    """Everything that the writer told."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, int]] = []
        self.events: list[tuple[int, Event]] = []
        self.trouble: list[Event] = []
        self.health: list[JournalHealth] = []
        self.opened: list[tuple[str, str | None]] = []
        self.callbacks = Callbacks(self._commit, self.trouble.extend, self.health.append, self._open)

    def _commit(self, first: int, last: int, events: list[tuple[int, Event]]) -> None:
        self.commits.append((first, last))
        self.events += events

    def _open(self, journal: str, trouble: str | None) -> None:
        self.opened.append((journal, trouble))

    @property
    def states(self) -> list[str]:
        return [health.state for health in self.health]


class Disk:
    """Opens stores whose commits can be held up or made to fail."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.failure: Exception | None = None
        self.refuse_open: Exception | None = None
        self.commits = 0

    def open(self, path: Path, *, condemned: str | None = None) -> Store:
        disk = self

        class Slow(Store):
            def commit(self, group: Group, removed: Any = ()) -> Committed:
                disk.commits += 1
                disk.entered.set()
                assert disk.go.wait(20)
                if disk.failure is not None:
                    raise disk.failure
                return super().commit(group, removed)

        if self.refuse_open is not None:
            raise self.refuse_open
        return Slow.open(path, condemned=condemned)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_what_is_accepted_is_read_back(path: Path) -> None:
    heard = Heard()
    writer = JournalWriter(path, heard.callbacks, pace=SOON)
    await writer.start()
    assert heard.opened == [(writer.journal, None)]
    sent = [exchange(layout(), NOW + i, i) for i in range(5)]
    raised = event()
    for one in sent:
        writer.append(one)
    writer.record([raised], {"a": b"1"}, {"p.records": RecordKey(NOW, "17")})
    writer.record([], {"a": b"2"})
    await writer.flushed()
    entries = await writer.read_entries(0, 100, MANY)
    assert all(same(e.content, x) for e, x in zip(entries[1:6], sent, strict=True))
    assert await writer.events_after(0, 10) == [(7, raised)] == heard.events
    assert await writer.alarm_states() == {"a": b"2"}
    assert await writer.latest_records() == {"p.records": RecordKey(NOW, "17")}
    assert heard.commits == [(1, 7)] and writer.last_seq == 7
    assert (writer.backlog, writer.health.state, heard.trouble, heard.health) == (0, "ok", [], [])
    assert await writer.stop() == 0
    with pytest.raises(JournalUnavailable):
        await writer.read_entries(0, 1, 1)


async def test_groups_are_committed_by_the_clock(path: Path, eventually: Any) -> None:
    heard = Heard()
    writer = JournalWriter(path, heard.callbacks, pace=SOON)
    await writer.start()
    writer.append(exchange(layout()))
    await eventually(lambda: heard.commits == [(1, 2)])
    await writer.stop()


async def test_a_flush_commits_at_once_and_others_join_the_next(path: Path, eventually: Any) -> None:
    heard, disk = Heard(), Disk()
    writer = JournalWriter(path, heard.callbacks, pace=LATER, open_store=disk.open)
    await writer.start()
    writer.append(exchange(layout()))
    writer.flush()
    await eventually(lambda: heard.commits == [(1, 2)])
    disk.go.clear()
    disk.entered.clear()
    writer.append(exchange(layout()))
    writer.flush()
    await eventually(disk.entered.is_set)
    for i in range(5):
        writer.record([event(str(i))])
        writer.flush()
        await asyncio.sleep(0)
    assert disk.commits == 2
    disk.go.set()
    await eventually(lambda: len(heard.commits) == 3)
    assert heard.commits == [(1, 2), (3, 3), (4, 8)] and disk.commits == 3
    await writer.stop()


async def test_without_a_flush_nothing_is_forced(path: Path) -> None:
    disk = Disk()
    writer = JournalWriter(path, pace=LATER, open_store=disk.open)
    await writer.start()
    await asyncio.sleep(0)  # the first tick falls at the start
    writer.append(exchange(layout()))
    await writer.flushed()
    before = disk.commits
    writer.append(exchange(layout()))
    assert await writer.alarm_states() == {}
    assert disk.commits == before and writer.backlog == 1
    assert await writer.stop() == 0
    store = Store.open(path)
    assert store.last_seq() == 3
    store.close()


async def test_a_slow_commit_lets_alarms_go_on_once_each(path: Path, eventually: Any) -> None:
    heard, disk = Heard(), Disk()
    disk.go.clear()
    writer = JournalWriter(path, heard.callbacks, pace=WATCHFUL, open_store=disk.open)
    await writer.start()
    first, second, third = event("first"), event("second"), event("third")
    writer.record([first])
    await eventually(disk.entered.is_set)
    writer.record([second])
    await eventually(lambda: len(heard.trouble) == 2)
    assert heard.states == ["slow"] and "a commit takes longer than 0.05 s" in heard.health[0].reason
    assert [e.uid for e in heard.trouble] == [first.uid, second.uid]
    assert not any(e.journaled for e in heard.trouble) and first.journaled
    writer.record([third])
    await eventually(lambda: len(heard.trouble) == 3)
    assert heard.commits == []
    disk.go.set()
    await writer.flushed()
    assert [e.uid for _, e in heard.events] == [first.uid, second.uid, third.uid]
    assert [e.uid for e in heard.trouble] == [first.uid, second.uid, third.uid]
    assert heard.states == ["slow", "ok"] and writer.health.state == "ok"
    assert [e for _, e in await writer.events_after(0, 10)] == [first, second, third]
    writer.record([event("fourth")])
    await writer.flushed()
    assert len(heard.trouble) == 3
    await writer.stop()


async def test_a_failing_disk_is_tried_again_and_written_late(path: Path, eventually: Any) -> None:
    heard, disk = Heard(), Disk()
    writer = JournalWriter(path, heard.callbacks, pace=SOON, open_store=disk.open)
    await writer.start()
    writer.append(exchange(layout()))
    await writer.flushed()
    disk.failure = JournalUnavailable("disk I/O error")
    first = event("first")
    sent = exchange(layout(), NOW + SECOND, 1)
    writer.append(sent)
    writer.record([first], {"a": b"1"})
    writer.flush()
    await eventually(lambda: disk.commits >= 4)
    assert [e.uid for e in heard.trouble] == [first.uid]
    assert heard.states == ["failing"] and heard.health[0].reason == "disk I/O error"
    with pytest.raises(JournalUnavailable, match="disk I/O error"):
        await writer.advance("record.influx", 1)
    second = event("second")
    writer.record([second])
    await eventually(lambda: len(heard.trouble) == 2)
    assert writer.backlog == 1
    disk.failure = None
    await writer.flushed()
    entries = await writer.read_entries(2, 100, MANY)
    assert [e.kind for e in entries] == [EntryKind.READINGS, EntryKind.EVENT, EntryKind.EVENT]
    assert same(entries[0].content, sent)
    assert await writer.alarm_states() == {"a": b"1"}
    assert heard.states == ["failing", "ok"]
    await eventually(lambda: writer.cursor("record.influx"))
    assert await writer.cursor("record.influx") == 1
    await writer.stop()


async def test_readings_overflow_into_one_gap_and_nothing_else_does(path: Path, eventually: Any) -> None:
    heard, disk = Heard(), Disk()
    disk.go.clear()
    writer = JournalWriter(path, heard.callbacks, pace=SOON, bounds=Bounds(exchanges=10), open_store=disk.open)
    await writer.start()
    writer.append(exchange(layout(channels=4), NOW))
    await eventually(disk.entered.is_set)
    events = [event(str(i)) for i in range(30)]
    for i, one in enumerate(events):
        writer.append(exchange(layout(channels=4), NOW + (i + 1) * SECOND, i))
        writer.record([one], {"a": bytes([i])})
    assert writer.backlog == 11 and writer.lost_exchanges == 20
    disk.go.set()
    await writer.flushed()
    entries = await writer.read_entries(0, 1000, MANY)
    gaps = [e for e in entries if e.kind == EntryKind.GAP]
    assert len(gaps) == 1
    gap = gaps[0].content
    assert isinstance(gap, Gap)
    assert (gap.exchanges, gap.readings, gap.first, gap.last) == (20, 80, NOW + SECOND, NOW + 20 * SECOND)
    kept = [e.time for e in entries if e.kind == EntryKind.READINGS]
    assert kept == [NOW, *(NOW + i * SECOND for i in range(21, 31))]
    told = await writer.events_after(0, 100)
    assert [e.uid for _, e in told[1:]] == [e.uid for e in events]
    assert "80 readings" in told[0][1].detail and told == heard.events
    assert await writer.alarm_states() == {"a": bytes([29])}
    await writer.stop()


async def test_the_buffer_is_bounded_in_bytes(path: Path, eventually: Any) -> None:
    disk = Disk()
    disk.go.clear()
    writer = JournalWriter(path, pace=SOON, bounds=Bounds(memory=100_000), open_store=disk.open)
    await writer.start()
    for i in range(2000):
        writer.append(exchange(layout(channels=20), NOW, i))
    assert 0 < writer.backlog < 1000
    assert writer.backlog + writer.lost_exchanges == 2000
    disk.go.set()
    await writer.stop()


async def test_the_key_of_a_lost_record_is_not_kept(path: Path, eventually: Any) -> None:
    disk = Disk()
    disk.go.clear()
    writer = JournalWriter(path, pace=SOON, bounds=Bounds(exchanges=2), open_store=disk.open)
    await writer.start()
    writer.append(exchange(layout("a.records")))
    await eventually(disk.entered.is_set)
    writer.record(record_keys={"a.records": RecordKey(NOW, "1")})
    for query, number in (("p.records", "17"), ("a.all", ""), ("b.all", "")):
        writer.append(exchange(layout(query)))
        if number:
            writer.record(record_keys={query: RecordKey(NOW, number)})
    disk.go.set()
    await writer.flushed()
    assert await writer.latest_records() == {"a.records": RecordKey(NOW, "1")}
    await writer.stop()


async def test_a_backlog_is_written_in_bounded_commits(path: Path, eventually: Any) -> None:
    heard, disk = Heard(), Disk()
    disk.go.clear()
    bounds = Bounds(commit_exchanges=100)
    writer = JournalWriter(path, heard.callbacks, pace=LATER, bounds=bounds, open_store=disk.open)
    await writer.start()
    writer.append(exchange(layout()))
    writer.flush()
    await eventually(disk.entered.is_set)
    for i in range(350):
        writer.append(exchange(layout(), NOW, i))
    disk.go.set()
    await writer.flushed()
    assert heard.commits == [(1, 2), (3, 102), (103, 202), (203, 302), (303, 352)]
    await writer.stop()


async def test_cursors_move_with_the_commits(path: Path, eventually: Any) -> None:
    disk = Disk()
    writer = JournalWriter(path, pace=LATER, open_store=disk.open)
    await writer.start()
    for i in range(4):
        writer.append(exchange(layout(), NOW, i))
    await writer.flushed()
    before = disk.commits
    moves = [asyncio.ensure_future(writer.advance(name, seq)) for name, seq in (("a", 3), ("b", 5), ("a", 2))]
    moves.append(asyncio.ensure_future(writer.quarantine("a", {2: "refused"})))
    await asyncio.sleep(0)
    writer.append(exchange(layout()))
    writer.flush()
    await asyncio.gather(*moves)
    assert await writer.cursors() == {"a": 3, "b": 5}
    assert [(q.seq, q.why) for q in await writer.quarantined("a")] == [(2, "refused")]
    assert disk.commits == before + 1
    with pytest.raises(ValueError, match="the last entry is 6"):
        await writer.advance("a", 7)
    await writer.stop()


async def test_a_journal_that_cannot_be_opened_is_opened_later(path: Path, eventually: Any) -> None:
    heard, disk = Heard(), Disk()
    disk.refuse_open = JournalUnavailable("read-only file system")
    writer = JournalWriter(path, heard.callbacks, pace=SOON, open_store=disk.open)
    await writer.start()
    assert writer.journal is None and heard.states == ["failing"]
    with pytest.raises(JournalUnavailable, match="read-only file system"):
        await writer.alarm_states()
    with pytest.raises(JournalUnavailable):
        await writer.advance("a", 0)
    one = event()
    writer.append(exchange(layout()))
    writer.record([one], {"a": b"1"})
    await eventually(lambda: [e.uid for e in heard.trouble] == [one.uid])
    disk.refuse_open = None
    await writer.flushed()
    assert [e for _, e in await writer.events_after(0, 10)] == [one]
    assert heard.states == ["failing", "ok"]
    await writer.stop()


async def test_an_opening_that_hangs_does_not_hold_up_the_start(path: Path, eventually: Any) -> None:
    heard, go = Heard(), threading.Event()

    def hang(where: Path, **rest: Any) -> Store:
        assert go.wait(20)
        return Store.open(where, **rest)

    writer = JournalWriter(path, heard.callbacks, pace=WATCHFUL, open_store=hang)
    await writer.start()
    assert writer.journal is None
    writer.record([event()])
    await eventually(lambda: heard.states == ["slow"] and len(heard.trouble) == 1)
    go.set()
    await writer.flushed()
    assert heard.states == ["slow", "ok"] and writer.last_seq == 1
    await writer.stop()


async def test_a_stop_does_not_wait_for_a_hanging_disk(path: Path, eventually: Any) -> None:
    disk = Disk()
    disk.go.clear()
    writer = JournalWriter(path, pace=SOON, open_store=disk.open)
    await writer.start()
    writer.append(exchange(layout()))
    await eventually(disk.entered.is_set)
    writer.record([event()])
    waiting = asyncio.ensure_future(writer.flushed())
    moving = asyncio.ensure_future(writer.advance("a", 0))
    await asyncio.sleep(0)
    assert await writer.stop(0.05) == 2
    for task in (waiting, moving):
        with pytest.raises(JournalUnavailable):
            await task
    disk.go.set()  # the thread ends, the lock is given back
    await eventually(lambda: not any("labmon-journal" in t.name for t in threading.enumerate()))
    Store.open(path).close()


async def test_a_damaged_journal_is_replaced_while_running(path: Path, eventually: Any) -> None:
    from labmon.journal.errors import JournalDamaged

    heard, disk = Heard(), Disk()
    writer = JournalWriter(path, heard.callbacks, pace=SOON, open_store=disk.open)
    await writer.start()
    configuration = Configuration("0.1.0", "root", "site.yaml", "labmon: 1", {})
    writer.configure(configuration, NOW)
    writer.append(exchange(layout()))
    writer.record([], {"a": b"1"})
    await writer.flushed()
    await writer.advance("record.influx", 3)
    old = writer.journal
    disk.failure = JournalDamaged("database disk image is malformed")
    writer.append(exchange(layout(), NOW + SECOND))
    moving = asyncio.ensure_future(writer.advance("record.other", 3))
    refusing = asyncio.ensure_future(writer.quarantine("influx", {3: "refused"}))
    await asyncio.sleep(0)
    writer.flush()
    await eventually(lambda: heard.states == ["failing"])
    disk.failure = None
    await writer.flushed()
    assert writer.journal != old and [t is None for _, t in heard.opened] == [True, False]
    assert "malformed; set aside as journal.db.damaged-" in str(heard.opened[1][1])
    assert [e.content for e in await writer.configurations()] == [configuration]
    for task in (moving, refusing):
        with pytest.raises(JournalUnavailable):
            await task
    assert await writer.quarantined() == []
    assert await writer.cursors() == {} and await writer.alarm_states() == {"a": b"1"}
    entries = await writer.read_entries(0, 100, MANY)
    assert [e.time for e in entries if e.kind == EntryKind.READINGS] == [NOW + SECOND]
    assert "malformed" in (await writer.events_after(0, 10))[0][1].detail
    assert len(list(path.parent.glob("journal.db.damaged-*"))) >= 1
    await writer.stop()


async def test_a_journal_that_was_removed_is_begun_anew(path: Path, eventually: Any) -> None:
    heard = Heard()
    writer = JournalWriter(path, heard.callbacks, pace=SOON)
    await writer.start()
    old = writer.journal
    for part in path.parent.glob("journal.db*"):
        part.unlink()
    writer.append(exchange(layout()))
    await writer.flushed()
    assert writer.journal != old and path.exists()
    assert "removed or replaced" in heard.health[0].reason
    assert [e.kind for e in await writer.read_entries(0, 10, MANY)] == [EntryKind.LAYOUT, EntryKind.READINGS]
    await writer.stop()


async def test_no_nan_and_no_foreign_reading_enters(path: Path) -> None:
    writer = JournalWriter(path, pace=SOON)
    await writer.start()
    one = exchange(layout(channels=2))
    one.readings[1] = Reading(one.readings[1].channel, one.time, one.received, math.nan, None, 4, 7)
    writer.append(one)
    foreign = exchange(layout())
    foreign.readings.reverse()
    with pytest.raises(Unpackable):
        writer.append(foreign)
    with pytest.raises(TypeError):
        writer.record([event()], {"a": "text"})  # type: ignore[dict-item]
    with pytest.raises(Unpackable):
        writer.record([event(time=2**70)])
    await writer.flushed()
    entries = await writer.read_entries(1, 10, MANY)
    assert len(entries) == 1
    good, bad = entries[0].content.readings  # type: ignore[union-attr]
    assert (good, bad.value, bad.raw, bad.flags) == (one.readings[0], None, 7, 4)
    assert bad.reason == "internal (the value is not a finite number)"
    await writer.stop()


async def test_a_callback_that_fails_stops_nothing(path: Path) -> None:
    def broken(first: int, last: int, events: list[tuple[int, Event]]) -> None:
        raise RuntimeError("broken")

    writer = JournalWriter(path, Callbacks(on_commit=broken), pace=SOON)
    await writer.start()
    for _ in range(2):
        writer.append(exchange(layout()))
        await writer.flushed()
    assert writer.last_seq == 3
    await writer.stop()


async def test_a_run_has_one_number_also_when_its_journal_is_begun_anew(path: Path, eventually: Any) -> None:
    first = JournalWriter(path, pace=SOON)
    assert first.session is None
    await first.start()
    number = first.session
    assert number is not None
    path.write_bytes(b"x" * 4096)  # found at the next commit
    first.record([event()])
    first.flush()
    before = first.journal
    await eventually(lambda: first.journal not in (None, before))
    await first.flushed()
    assert first.session == number
    await first.stop()
    second = JournalWriter(path, pace=SOON)
    await second.start()
    assert second.session is not None
    assert second.session > number
    await second.stop()
