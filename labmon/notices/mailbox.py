"""What one person has yet to be told by one channel, and how far that stands in the journal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from labmon.config.site import Person
from labmon.model.event import Event
from labmon.notices.notice import NoticeKind
from labmon.notices.pending import Pending, start

log = logging.getLogger(__name__)

_PATIENCE = 2.0
"""Seconds that sending waits for a cursor to be stored; a slow disk delays no notice (rule 4)."""
_LAG = 50
"""Events that concern nobody here before the cursor is moved for them alone."""


_MOST_UIDS = 5000
"""Of messages sent before the journal had their events; the oldest are those that it never got."""


class Journal(Protocol):
    """The journal as notices use it. Nothing here may block the event loop; each may raise the journal's errors."""

    async def events_after(self, seq: int, limit: int) -> list[tuple[int, Event]]:
        """At most `limit` events after `seq`, in order, with their sequence numbers."""

    async def cursor(self, name: str) -> int:
        """How far this consumer has come; 0 when it was never moved."""

    async def advance(self, name: str, seq: int) -> None:
        """Move a cursor, durably."""


class Mailbox:
    """One person on one channel: a durable cursor, and at most one waiting story per alarm.

    Promise: at least once. The cursor passes an event only after the far end accepted (or refused for good) the message
    that tells of it. The window in which a crash repeats a message is from its acceptance to the cursor's move: one
    message. Messages go out by urgency and merged, so not in the journal's order; one that was accepted before its
    turn moves a cursor of its own alarm (`<name>.ahead.<alarm>`), which keeps that window to the one message.
    """

    def __init__(self, name: str, person: Person, journal: Journal, hold: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.person = person
        self.read = 0
        """Sequence number up to which events were put in."""
        self._journal = journal
        self._hold = hold
        self._clock = clock
        self._stored = 0
        self._passed = 0
        self._waiting: dict[str, Pending] = {}
        self._sending: dict[str, Pending] = {}
        self._not_before: dict[str, float] = {}
        self._ahead: dict[str, int] = {}
        self._delay: dict[str, float] = {}
        self._sent_unjournaled: dict[str, None] = {}
        self._moves: set[asyncio.Task[None]] = set()

    def begin(self, cursor: int, stored: int) -> None:
        """Start behind `cursor`; `stored` is what the journal has."""
        self.read, self._stored = cursor, stored

    @property
    def waiting(self) -> bool:
        """Something is left to tell."""
        return bool(self._waiting or self._sending)

    @property
    def stored(self) -> int:
        """The durable cursor."""
        return self._stored

    def queue(self) -> list[Pending]:
        """What is left to tell, also what is being sent."""
        return [*self._sending.values(), *self._waiting.values()]

    # In

    async def look_ahead(self, seq: int, event: Event) -> None:
        """Of a backlog: learn how far this alarm was told of out of turn before the last stop."""
        if event.alarm and self.read < seq and event.alarm not in self._ahead:
            self._ahead[event.alarm] = await self._journal.cursor(self._ahead_name(event.alarm))

    def put(self, seq: int | None, event: Event, age: float) -> bool:
        """Take an event that is for this person; True when it makes something new to tell.

        `age`: seconds since labmon knew of it.
        """
        if seq is not None and seq <= self._ahead.get(event.alarm, 0):
            return False
        if seq is not None and event.uid in self._sent_unjournaled:
            del self._sent_unjournaled[event.uid]
            return False
        for stories in (self._sending, self._waiting):
            story = stories.get(event.alarm)
            if story is not None and event.uid in story.unjournaled:
                story.place(seq, event.uid)
                return False
        story = self._waiting.get(event.alarm)
        if story is None:
            story = start(seq, event, self._clock() - age)
        else:
            story.fold(seq, event)
        if story.empty:
            self._waiting.pop(event.alarm, None)
            return False
        self._waiting[event.alarm] = story
        if story.kind is NoticeKind.NOT_MEASURED:
            self._not_before[event.alarm] = time.monotonic() + max(self._hold - age, 0.0)
        else:
            self._not_before.pop(event.alarm, None)
        return True

    def pass_to(self, seq: int) -> None:
        """Everything up to `seq` was put in or is not for this person."""
        self.read = seq
        self._passed += 1

    # Out

    def stories(self) -> Iterator[tuple[float, Pending]]:
        """What waits, each with the monotonic time from which it may be sent."""
        return ((self._not_before.get(alarm, 0.0), story) for alarm, story in self._waiting.items())

    def take(self, story: Pending) -> None:
        """The story is being sent; what comes now begins another."""
        self._sending[story.alarm] = self._waiting.pop(story.alarm)

    def sends(self, story: Pending) -> bool:
        """Whether the story is being sent."""
        return self._sending.get(story.alarm) is story

    def put_back(self, story: Pending) -> None:
        """Sending was in vain; the story goes on with what came meanwhile."""
        del self._sending[story.alarm]
        newer = self._waiting.get(story.alarm)
        if newer is not None:
            story.absorb(newer)
        self._waiting[story.alarm] = story

    def defer(self, alarm: str, now: float, first: float, longest: float) -> None:
        """Leave this alarm's story alone for a while that doubles."""
        delay = self._delay.get(alarm, first)
        self._delay[alarm] = min(delay * 2, longest)
        self._not_before[alarm] = now + delay

    async def done(self, story: Pending) -> None:
        """The far end has it: move the cursor, before anything else is sent to this person."""
        if self._sending.get(story.alarm) is story:
            del self._sending[story.alarm]
        elif self._waiting.get(story.alarm) is story:
            del self._waiting[story.alarm]
        self._delay.pop(story.alarm, None)
        for uid in story.unjournaled:
            self._sent_unjournaled[uid] = None
        while len(self._sent_unjournaled) > _MOST_UIDS:
            del self._sent_unjournaled[next(iter(self._sent_unjournaled))]
        if story.last is None:
            return
        cursor = self._contiguous()
        moves: list[Awaitable[None]] = [self._move(self.name, cursor)] if cursor > self._stored else []
        if story.last > cursor:
            moves.append(self._move(self._ahead_name(story.alarm), story.last))
        await self._within_patience(moves)

    async def settle(self, force: bool = False) -> None:
        """Move the cursor over events that concerned nobody here, now and then."""
        if self._passed >= _LAG or (force and self._passed):
            self._passed = 0
            cursor = self._contiguous()
            if cursor > self._stored:
                await self._within_patience([self._move(self.name, cursor)])

    async def close(self) -> None:
        """Give up on cursor moves that the disk has not taken."""
        for move in self._moves:
            move.cancel()
        await asyncio.gather(*self._moves, return_exceptions=True)

    def _ahead_name(self, alarm: str) -> str:
        return f"{self.name}.ahead.{alarm}"

    def _contiguous(self) -> int:
        firsts = [s.first for part in (self._waiting, self._sending) for s in part.values() if s.first is not None]
        return min([self.read, *(first - 1 for first in firsts)])

    async def _within_patience(self, moves: list[Awaitable[None]]) -> None:
        stuck = bool(self._moves)  # The disk has had its chance: nobody waits for it again.
        tasks = {asyncio.ensure_future(move) for move in moves}
        self._moves |= tasks
        for task in tasks:
            task.add_done_callback(self._moves.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=0.0 if stuck else _PATIENCE)

    async def _move(self, name: str, seq: int) -> None:
        try:
            await self._journal.advance(name, seq)
        except Exception as exc:  # noqa: BLE001 - the journal has an alarm of its own; here it costs a repeated message
            log.warning("cursor %s could not be moved to %d: %s", name, seq, exc)
            return
        if name == self.name:
            self._stored = max(self._stored, seq)
