"""Commits what is buffered, watches each commit, and goes on when the disk does not (rule 4)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from labmon.journal.buffer import Buffer
from labmon.journal.entries import Committed, Configuration, Group
from labmon.journal.errors import JournalDamaged, JournalGone, JournalUnavailable
from labmon.journal.retention import Retention, Trimmer
from labmon.journal.store import Store
from labmon.journal.waiters import Waiters
from labmon.journal.watch import Callbacks, Watch
from labmon.journal.worker import Worker
from labmon.model.event import Event, EventKind
from labmon.tasks.faults import fault, words

log = logging.getLogger("labmon.journal")


@dataclass(frozen=True, slots=True)
class Pace:
    """When the writer does what; all in seconds."""

    commit_every: float = 1.0
    slow_after: float = 2.0
    """A commit under way for longer is trouble (rule 4)."""
    retry_first: float = 0.5
    retry_most: float = 30.0
    trim_every: float = 10.0


class Committer:
    """One task and one thread between the buffer and the file."""

    def __init__(
        self,
        path: Path,
        buffer: Buffer,
        pace: Pace,
        callbacks: Callbacks,
        retention: Retention | None,
        clock_trusted: Callable[[], bool],
        open_store: Callable[..., Store],
    ) -> None:
        self.watch = Watch(pace.slow_after, callbacks, self._pending_events)
        self.journal: str | None = None
        """Id of the open journal; None while none is open."""
        self.last_seq = 0
        self.committed_at: int | None = None
        """When the last commit was on the disk (UTC ns)."""
        self.turns = 0
        """Turns begun: what is to be done now, or a pause."""
        self.session: int | None = None
        """Number of this run; None before a journal was open."""
        self._path = path
        self._buffer = buffer
        self._pace = pace
        self._callbacks = callbacks
        self._retention = retention
        self._clock_trusted = clock_trusted
        self._open_store = open_store
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened: Store | None = None
        """The open store as the worker thread knows it."""
        self._store: Store | None = None
        self._trimmer: Trimmer | None = None
        self._group: Group | None = None
        self._configuration: Configuration | None = None
        """The last one written; a journal that begins anew begins with it."""
        self._previous: str | None = None
        self._condemned: str | None = None
        self._reopen = False
        self._own_fault = False
        """A fault of labmon, and not of the disk, was told as trouble."""
        self._urgent = self._stopping = self._abandoned = False
        self._wake = asyncio.Event()
        self._attempted = asyncio.Event()
        self._backoff = pace.retry_first
        self._next_commit = self._next_trim = 0.0
        self._for_next, self._for_group, self._for_all = Waiters(), Waiters(), Waiters()

    @property
    def backlog(self) -> int:
        """Exchanges that are not on the disk."""
        return self._buffer.exchanges + (len(self._group.readings) if self._group else 0)

    @property
    def disk_busy(self) -> float:
        """Seconds for which the disk has been at its present call; 0 when it is not asked anything."""
        return 0.0 if self._worker is None else self._worker.busy

    def _pending_events(self) -> list[Event]:
        taken = [event for event, _ in self._group.events] if self._group else []
        return taken + self._buffer.events

    async def start(self) -> None:
        """Start thread and task; return when the journal is open, or the first attempt failed or takes too long."""
        self._worker = Worker("labmon-journal-write")
        self._task = asyncio.get_running_loop().create_task(self._keep_on(self._worker), name="journal")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._attempted.wait(), self._pace.slow_after)

    async def stop(self, timeout: float) -> int:
        """Write what waits, close the file; give up after `timeout`. Returns exchanges and events not written."""
        task, worker, self._task = self._task, self._worker, None
        if task is None or worker is None:
            return self.backlog + len(self._pending_events())
        end = self._now() + timeout
        self._stopping = True
        self._wake.set()
        _, late = await asyncio.wait({task}, timeout=timeout)
        if late:
            self._abandoned = True
            task.cancel()
            await asyncio.wait({task})
        elif (error := task.exception()) is not None:
            log.error("the journal's task failed", exc_info=error)
        unwritten = self.backlog + len(self._pending_events())
        for waiters in (self._for_next, self._for_group, self._for_all):
            waiters.fail(JournalUnavailable("the journal is closed"))
        if not await worker.stop(self._close, max(0.2, end - self._now())):
            log.error("the disk hangs: the journal is left open")
        self.journal = None
        if unwritten:
            log.error("%d exchanges and events were not written", unwritten)
        return unwritten

    def flush(self) -> None:
        """Commit at once, or right after the commit under way."""
        self._urgent = True
        self._wake.set()

    def adjust(self, retention: Retention, commit_every: float) -> None:
        """Keep readings and commit by other rules from now on."""
        self._retention, self._trimmer = retention, None
        self._pace = replace(self._pace, commit_every=commit_every)
        self._next_commit = min(self._next_commit, self._now() + commit_every)
        self._wake.set()

    def condemn(self, journal: str, why: str) -> None:
        """Set this journal aside before the next commit: a part of it cannot be read."""
        if journal == self.journal:
            self._condemned = why
            self._wake.set()

    async def committed(self) -> None:
        """Wait until the next group is on the disk. Raises JournalUnavailable when a commit fails before."""
        await self._for_next.wait()

    async def drained(self) -> None:
        """Wait until everything accepted so far is on the disk."""
        if self._group is None and not self._buffer:
            return
        self.flush()
        await self._for_all.wait()

    async def _keep_on(self, worker: Worker) -> None:
        """Run until there is nothing more to do at the end; a fault of labmon is trouble as that of a disk is."""
        while True:
            try:
                await self._run(worker)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, what was accepted is still to be written
                fault("journal", f"failed ({words(error)}), goes on soon", error)
                self.watch.degrade("failing", f"fault in labmon: {words(error)}")
                if self._group is None:  # whoever waits for what is on the disk waits no longer
                    self._for_group.resolve()
                    if not self._buffer:
                        self._for_all.resolve()
                self._own_fault = True
                await self._rest()

    async def _run(self, worker: Worker) -> None:
        while not (self._stopping and self._group is None and not self._buffer):
            self.turns += 1
            if self._condemned is not None or self._reopen:
                self._store, self.journal, self._reopen = None, None, False
                await self.watch.run(worker, "closing the journal", self._close)
            if self._store is None:
                if not await self._open(worker):
                    await self._rest()
            elif self._group is None and self._commit_due():
                self._take()
            elif self._group is not None:
                if not await self._commit(worker, self._store, self._group):
                    await self._rest()
            elif self._retention is not None and self._now() >= self._next_trim:
                await self._trim(worker, self._store, self._retention)
            else:
                if self._own_fault:  # nothing waits, and the disk is well
                    self._own_fault = False
                    self.watch.recover()
                await self._pause(min(self._next_commit, self._next_trim if self._retention else self._next_commit))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _pause(self, until: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, until - self._now()))

    async def _rest(self) -> None:
        """The quiet time after a failure, doubling; a flush does not cut it short, for its events went on anyway."""
        until = self._now() + self._backoff
        self._backoff = min(self._backoff * 2, self._pace.retry_most)
        while self._now() < until:
            if self._stopping:
                until = min(until, self._now() + self._pace.retry_first)
                await asyncio.sleep(until - self._now())
            else:
                await self._pause(until)

    def _commit_due(self) -> bool:
        if self._stopping or self._now() >= self._next_commit:
            return True
        return bool(self._buffer) and (self._urgent or self._buffer.exceeds_commit)

    def _take(self) -> None:
        self._next_commit = self._now() + self._pace.commit_every
        if not self._buffer:
            return
        self._group = self._buffer.take(time.time_ns())
        self._for_next.move_to(self._for_group)
        if not self._buffer:
            self._urgent = False

    async def _commit(self, worker: Worker, store: Store, group: Group) -> bool:
        try:
            committed = await self.watch.run(worker, "a commit", lambda: store.commit(group))
        except Exception as error:  # noqa: BLE001 - whatever it is, alarms go on and the group is tried again
            self._failed("", error)
            for waiters in (self._for_group, self._for_next):
                waiters.fail(JournalUnavailable(self.watch.health.reason))
            return False
        self._group = None
        self.committed_at = time.time_ns()
        self.watch.written(event for event, _ in group.events)
        if group.configurations:
            self._configuration = group.configurations[-1][1]
        self._backoff = self._pace.retry_first
        self.watch.recover()
        self._announce(committed)
        self._for_group.resolve()
        if not self._buffer:
            self._for_all.resolve()
        return True

    def _failed(self, doing: str, error: Exception) -> None:
        text = doing + (str(error) or repr(error))
        if isinstance(error, JournalDamaged):
            self._condemned = text
        elif isinstance(error, JournalGone):
            self._reopen = True
        elif not isinstance(error, JournalUnavailable):
            log.error("journal: unforeseen", exc_info=error)
        self.watch.degrade("failing", text)

    def _announce(self, committed: Committed) -> None:
        if committed.first is not None and committed.last is not None:
            self.last_seq = committed.last
            self.watch.call(self._callbacks.on_commit, committed.first, committed.last, committed.events)

    async def _trim(self, worker: Worker, store: Store, retention: Retention) -> None:
        if self._trimmer is None or self._trimmer.store is not store:
            self._trimmer = Trimmer(store, retention)
        step, now, trusted = self._trimmer.step, time.time_ns(), self._clock_trusted()
        try:
            trimmed = await self.watch.run(worker, "retention", lambda: step(now, clock_trusted=trusted))
        except Exception as error:  # noqa: BLE001 - as for a commit
            self._failed("retention: ", error)
        else:
            self._announce(trimmed.gap)
            if trimmed.more:
                return
        self._next_trim = self._now() + self._pace.trim_every

    async def _open(self, worker: Worker) -> bool:
        try:
            store, last_seq, session = await self.watch.run(worker, "opening the journal", self._open_in_thread)
        except Exception as error:  # noqa: BLE001 - whatever it is, the daemon runs and it is tried again
            self._failed("", error)
            return False
        finally:
            self._attempted.set()
        self._store, self._condemned = store, None
        self.journal, self.last_seq = store.journal, last_seq
        self.session = self.session or session
        if self._previous not in (None, store.journal):
            self._begin_anew()
        self._previous = store.journal
        if store.trouble:
            log.error("%s", store.trouble)
            now = time.time_ns()
            self._buffer.add_events([Event(EventKind.JOURNAL, now, now, store.trouble)])
        self.watch.recover()
        self.watch.call(self._callbacks.on_open, store.journal, store.trouble)
        return True

    def _open_in_thread(self) -> tuple[Store, int, int]:
        if self._abandoned:
            raise JournalUnavailable("the journal is closed")
        self._opened = self._open_store(self._path, condemned=self._condemned)
        least = (self.session or 0) * 10**6  # a journal begun anew in this run knows no number
        return self._opened, self._opened.last_seq(), self._opened.begin_session(max(time.time_ns(), least))

    def _close(self) -> None:
        store, self._opened = self._opened, None
        if store is not None:
            store.close()

    def _begin_anew(self) -> None:
        """Another journal stands at the path: what names entries of the old one is void."""
        for pending in (self._group, self._buffer):
            if pending is not None:
                pending.cursors.clear()
                pending.dropped.clear()
                pending.quarantined.clear()
        if not self._group:
            self._group = None
        for waiters in (self._for_next, self._for_group):
            waiters.fail(JournalUnavailable("another journal was begun"))
        if self._configuration is None:
            return
        if self._group is None:
            self._buffer.begin_with(time.time_ns(), self._configuration)
        elif not self._group.configurations:
            self._group.configurations.append((time.time_ns(), self._configuration))
