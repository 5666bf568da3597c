"""A configuration that changes while the journal is written: what was made under which, and what is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from journal_things import NOW, SECOND, exchange, layout

from labmon.journal.buffer import Bounds, Buffer
from labmon.journal.committer import Pace
from labmon.journal.entries import Configuration, EntryKind
from labmon.journal.errors import JournalUnavailable
from labmon.journal.packers import Packers
from labmon.journal.retention import Retention
from labmon.journal.writer import JournalWriter

LATER = Pace(commit_every=3600.0, slow_after=5.0)
OLD = Configuration("0.1.0", "root", "site.yaml", "old", {})
NEW = Configuration("0.1.0", "anna", "site.yaml", "new", {})


async def test_readings_stand_after_the_configuration_that_they_were_made_with(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.db", pace=LATER)
    await writer.start()
    writer.configure(OLD, NOW)
    writer.append(exchange(layout(), NOW + 1, 1))
    writer.configure(NEW, NOW + 2)
    writer.append(exchange(layout(), NOW + 3, 2))
    await writer.flushed()
    order = [
        e.content.site if isinstance(e.content, Configuration) else e.time - NOW
        for e in await writer.read_entries(0, 100, 10**9)
        if e.kind in (EntryKind.CONFIGURATION, EntryKind.READINGS)
    ]
    await writer.stop()
    assert order == ["old", 1, "new", 3]


def test_a_configuration_does_not_overflow_with_the_readings() -> None:
    packers, buffer = Packers(), Buffer(Bounds(exchanges=2))
    for number in range(4):
        if number == 1:
            buffer.add_configuration(NOW, NEW)
        buffer.add(packers.pack(exchange(layout(), NOW + number, number)))
    group = buffer.take(NOW)
    assert [c for _, c in group.configurations] == [NEW]
    assert [p.time - NOW for p in group.readings] == [2, 3]
    assert [g.exchanges for _, g in group.gaps] == [2]
    assert not buffer


async def test_a_journal_begun_anew_ends_with_the_newest_configuration(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = JournalWriter(path, pace=Pace(commit_every=0.01, retry_first=0.01, retry_most=0.05))
    await writer.start()
    writer.configure(OLD, NOW)
    await writer.flushed()
    path.unlink()
    writer.configure(NEW, NOW + 1)
    writer.append(exchange(layout(), NOW + 2))
    await writer.flushed()
    found = [e.content.site for e in await writer.configurations() if isinstance(e.content, Configuration)]
    await writer.stop()
    assert found[-1] == "new"


async def test_a_consumer_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.db", pace=Pace(commit_every=0.01))
    with pytest.raises(JournalUnavailable):
        await writer.drop_cursor("record.a")
    await writer.start()
    writer.append(exchange(layout()))
    await writer.flushed()
    for name in ("record.a", "record.b"):
        await writer.advance(name, 2)
    await writer.drop_cursor("record.a")
    assert await writer.cursors() == {"record.b": 2}
    await writer.stop()


async def test_the_state_of_an_alarm_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "journal.db", pace=LATER)
    await writer.start()
    writer.record([], {"a": b"1", "b": b"2"})
    await writer.flushed()
    writer.record([], {"a": b""})
    await writer.flushed()
    assert await writer.alarm_states() == {"b": b"2"}
    await writer.stop()


async def test_another_rule_for_keeping_holds_from_then_on(tmp_path: Path, eventually: Any) -> None:
    """What a removed store has not confirmed is kept no longer for its sake."""
    size = 10**9
    pace = Pace(commit_every=0.01, trim_every=0.02)
    writer = JournalWriter(tmp_path / "journal.db", pace=pace, retention=Retention(1.0, size, ("record.gone",)))
    await writer.start()
    for number in range(3):
        writer.append(exchange(layout(), NOW + number * SECOND, number))
    await writer.flushed()
    kept = [e for e in await writer.read_entries(0, 100, 10**9) if e.kind == EntryKind.READINGS]
    assert len(kept) == 3
    writer.adjust(Retention(1.0, size), 0.05)
    assert writer._committer._pace == Pace(commit_every=0.05, trim_every=0.02)

    async def gone() -> bool:
        return all(e.kind != EntryKind.READINGS for e in await writer.read_entries(0, 100, 10**9))

    await eventually(gone)
    await writer.stop()
