"""Faults of the writer itself, planted: they are told, it goes on, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from journal_things import NOW, event, exchange, layout

from labmon.journal import committer as committer_module
from labmon.journal import worker as worker_module
from labmon.journal.committer import Committer, Pace
from labmon.journal.entries import EntryKind
from labmon.journal.watch import Callbacks
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event
from labmon.tasks.faults import faults_to

Eventually = Callable[..., Any]
FORM = layout()
SOON = Pace(commit_every=0.01, slow_after=5.0, retry_first=0.01, retry_most=0.05, trim_every=0.05)


@contextmanager
def hearing() -> Iterator[list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    asyncio.get_running_loop().set_exception_handler(None)
    with faults_to(lambda part, what, error: told.append((part, what))):
        yield told


def once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """The next call of this function fails; those after it do not."""
    right = getattr(owner, name)

    def fails(*_: Any, **__: Any) -> Any:
        monkeypatch.setattr(owner, name, right)
        raise RuntimeError("planted")

    monkeypatch.setattr(owner, name, fails)


@pytest.mark.parametrize("step", ["_take", "_commit_due", "_announce", "_pause"])
async def test_the_task_fails_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, step: str
) -> None:
    trouble: list[Event] = []
    writer = JournalWriter(tmp_path / "journal.db", Callbacks(on_trouble=trouble.extend), pace=SOON)
    await writer.start()
    with hearing() as told:
        once(monkeypatch, Committer, step)
        writer.append(exchange(FORM, NOW))
        happened = event()
        writer.record([happened])
        writer.flush()
        await asyncio.wait_for(writer.flushed(), 10)
        await eventually(lambda: told)
        await eventually(lambda: writer.health.state == "ok")
    assert told == [("journal", "failed (RuntimeError: planted), goes on soon")]
    if step in ("_take", "_commit_due"):
        assert [e.uid for e in trouble] == [happened.uid], "it goes on from memory"
    turns = writer.turns
    await eventually(lambda: writer.turns > turns)
    kinds = [entry.kind for entry in await writer.read_entries(0, 1000, 10**9)]
    assert (kinds.count(EntryKind.READINGS), kinds.count(EntryKind.EVENT)) == (1, 1)
    assert await writer.stop() == 0


async def test_a_fault_while_stopping_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalWriter(tmp_path / "journal.db", pace=Pace(commit_every=3600.0, retry_first=0.01))
    await writer.start()
    with hearing() as told:
        writer.append(exchange(FORM, NOW))
        once(monkeypatch, Committer, "_take")
        assert await writer.stop() == 0
    assert len(told) == 1


@pytest.mark.parametrize("thread", ["write", "read"])
async def test_a_thread_that_dies_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually, thread: str
) -> None:
    writer = JournalWriter(tmp_path / "journal.db", pace=SOON)
    await writer.start()
    with hearing() as told:
        writer.append(exchange(FORM, NOW))
        await asyncio.wait_for(writer.flushed(), 10)
        once(monkeypatch, worker_module, "_run")
        if thread == "write":
            writer.append(exchange(FORM, NOW + 1))
            await asyncio.wait_for(writer.flushed(), 10)
        else:
            with pytest.raises(committer_module.JournalUnavailable, match="the thread labmon-journal-read failed"):
                await writer.cursors()
        await eventually(lambda: told)
        await eventually(lambda: writer.disk_busy == 0.0)
    assert told == [(f"thread labmon-journal-{thread}", "failed (RuntimeError: planted), another one takes its place")]
    entries = [e for e in await writer.read_entries(0, 1000, 10**9) if e.kind == EntryKind.READINGS]
    assert len(entries) == (2 if thread == "write" else 1)
    assert await writer.stop() == 0


async def test_how_long_the_disk_is_at_it_is_known(tmp_path: Path, eventually: Eventually) -> None:
    import threading

    from labmon.journal.store import Store

    go = threading.Event()

    def late(*arguments: Any, **options: Any) -> Store:
        go.wait(20)
        return Store.open(*arguments, **options)

    writer = JournalWriter(tmp_path / "journal.db", pace=Pace(slow_after=0.01), open_store=late)
    await writer.start()
    await eventually(lambda: writer.disk_busy > 0.05)
    assert writer.journal is None
    go.set()
    await eventually(lambda: writer.journal is not None)
    await eventually(lambda: writer.disk_busy == 0.0)
    assert await writer.stop() == 0
