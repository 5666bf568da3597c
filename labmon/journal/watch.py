"""The health of the journal: how long the disk takes, and which events go on without it (rule 4)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from labmon.journal.worker import Worker
from labmon.model.event import Event

T = TypeVar("T")
log = logging.getLogger("labmon.journal")


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """`ok`, `slow` (the disk takes too long) or `failing`, since when (UTC ns) and why."""

    state: Literal["ok", "slow", "failing"]
    since: int
    reason: str = ""


@dataclass(slots=True)
class Callbacks:
    """What the writer tells, in the event loop. What a callback raises is logged and goes no further."""

    on_commit: Callable[[int, int, list[tuple[int, Event]]], None] = lambda first, last, events: None
    """First and last seq of a commit that wrote entries, and its events with their seq."""
    on_trouble: Callable[[list[Event]], None] = lambda events: None
    """Events that are not on the disk although a commit failed or takes too long, marked not journaled: once each.
    They come by on_commit (and by events_after) all the same when they are written, with the same uid."""
    on_health: Callable[[JournalHealth], None] = lambda health: None
    """The state of health or its reason changed."""
    on_open: Callable[[str, str | None], None] = lambda journal, trouble: None
    """A journal was opened: its id, and what was wrong with the one before. A new journal holds only those alarm states
    that could be taken over: the caller records all of them again."""


class Watch:
    """Keeps the health and tells of it; `pending` gives the events that are not on the disk."""

    def __init__(self, slow_after: float, callbacks: Callbacks, pending: Callable[[], list[Event]]) -> None:
        self.health = JournalHealth("ok", time.time_ns())
        self.callbacks = callbacks
        self._slow_after = slow_after
        self._pending = pending
        self._told: set[str] = set()

    async def run(self, worker: Worker, doing: str, call: Callable[[], T]) -> T:
        """What `call` returns or raises in the worker; the journal is slow as soon as it takes too long."""
        future = worker.call(call)
        try:
            done, _ = await asyncio.wait({future}, timeout=self._slow_after)
            if not done:
                self.degrade("slow", f"{doing} takes longer than {self._slow_after:g} s")
                await asyncio.wait({future})
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()

    def degrade(self, state: Literal["slow", "failing"], reason: str) -> None:
        """The disk is in trouble: events go on from memory until recover()."""
        health = self.health
        if (health.state, health.reason) != (state, reason):
            since = time.time_ns() if health.state == "ok" else health.since
            self._set(JournalHealth(state, since, reason))
        self.tell()

    def recover(self) -> None:
        """The disk took what it was given."""
        if self.health.state != "ok":
            self._set(JournalHealth("ok", time.time_ns()))

    def _set(self, health: JournalHealth) -> None:
        self.health = health
        level = logging.INFO if health.state == "ok" else logging.ERROR
        log.log(level, "journal %s", f"{health.state}: {health.reason}" if health.reason else health.state)
        self.call(self.callbacks.on_health, health)

    def tell_soon(self) -> None:
        """As tell(), after what is running now."""
        if self.health.state != "ok":
            asyncio.get_running_loop().call_soon(self.tell)

    def tell(self) -> None:
        """While the disk is in trouble, tell of the events that nobody was told of."""
        if self.health.state == "ok":
            return
        untold = [event for event in self._pending() if event.uid not in self._told]
        if untold:
            self._told |= {event.uid for event in untold}
            self.call(self.callbacks.on_trouble, [replace(event, journaled=False) for event in untold])

    def written(self, events: Iterable[Event]) -> None:
        """These events are on the disk now."""
        self._told -= {event.uid for event in events}

    def call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back, whatever comes of it."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback of the journal failed")
