"""One notice channel at work: what waits for whom, one attempt at a time, retried until the far end has answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labmon.config.secrets import SecretError
from labmon.config.site import Person
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.notices.attempt import Attempt
from labmon.notices.condition import ChannelCondition
from labmon.notices.mailbox import Mailbox
from labmon.notices.matter import House, Situation
from labmon.notices.notice import AlarmNow, Answer, ChannelFailed, Notice, NoticeKind, Outcome, Sender
from labmon.notices.pending import Pending
from labmon.notices.text import write
from labmon.tasks.faults import fault, words
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_URGENCY = {AlarmClass.ACTION: 0, AlarmClass.ALERT: 1, AlarmClass.TECHNICAL: 2}


@dataclass(frozen=True, slots=True)
class Timing:
    """Delays of the notices, in seconds. The defaults are what a site gets."""

    first_retry: float = 5.0
    longest_retry: float = 300.0
    failing_after: float = 60.0
    """A channel that fails for longer is an alarm."""
    unmeasured_hold: float = 60.0
    """An active alarm must be without measurement for so long before anybody is told."""
    look: float = 10.0
    """The journal is looked at so often even when nobody calls."""
    grace: float = 1.0
    """On stopping, a conversation under way may take so long to end."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a channel knows of the rest: what all texts share, alarms now, where conditions and events go, clocks."""

    house: House
    views: Callable[[], Sequence[AlarmNow]]
    on_condition: Callable[[str, bool, str], None]
    on_event: Callable[[Event], None]
    told: Callable[[str, str, tuple[str, str]], None]
    clock: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    """How long a message has waited is told by this one."""
    origin: str = "gateway"
    """What the alarms of failing channels begin with."""


class NoticeChannel:
    """Sends what its mailboxes hold, the most urgent first; people with the same message share one conversation.

    When the server stumbled over a message the next attempt takes another if there is one, so that no single message
    can block the rest. It never gives up; the wait between attempts doubles from `first_retry` to `longest_retry`, and
    something new to tell shortens it to `first_retry`.
    """

    def __init__(self, id_: str, sender: Sender, around: Surroundings, timing: Timing) -> None:
        self.id = id_
        self.alarm = f"{around.origin}.notices.{id_}"
        self.mailboxes: dict[str, Mailbox] = {}
        self._sender = sender
        self._around = around
        self._timing = timing
        self._condition = ChannelCondition(timing.failing_after)
        self._reported: frozenset[str] | None = None
        """Who was last reported to be in trouble; None before the first report of this run."""
        self._attempt: Attempt[Mapping[str, Answer]] | None = None
        self._failed_alarm: str | None = None
        self._retry_at = 0.0
        self._wait = timing.first_retry
        self._last_try = float("-inf")
        self._wake = asyncio.Event()
        self._open = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._alarm_timer: asyncio.TimerHandle | None = None

    @property
    def trouble(self) -> str:
        """What fails now; empty when nothing does."""
        return self._condition.text

    def start(self) -> None:
        """Begin sending, as soon as `release` has been called."""
        self._task = kept(f"notices {self.id}", self._run)

    def release(self) -> None:
        """The backlog is complete: what merges has merged."""
        self._open.set()
        self._wake.set()

    def poke(self) -> None:
        """There is something new to tell."""
        self._retry_at = min(self._retry_at, self._last_try + self._timing.first_retry)
        self._open.set()
        self._wake.set()

    async def stop(self) -> None:
        """End within about two seconds, whatever the server does; what was not accepted stays for the next start."""
        self._stopping = True
        self._wake.set()
        self._open.set()
        if (attempt := self._attempt) is not None:
            await asyncio.wait({attempt.result}, timeout=self._timing.grace)
            attempt.cut()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=0.7)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._attempt is not None:
            self._attempt.abandon()
        if self._alarm_timer is not None:
            self._alarm_timer.cancel()

    # The loop

    async def _run(self) -> None:
        await self._open.wait()
        if not self._stopping and not any(self._tellable(time.monotonic())):
            self._report()
        while not self._stopping:
            self._wake.clear()
            now = time.monotonic()
            batch = self._next(now) if now >= self._retry_at else []
            if batch:
                await self._send(batch)
                continue
            due = self._next_due(now)
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _next_due(self, now: float) -> float | None:
        dues = [due for due, _, _ in self._tellable(now)]
        return max(min(dues), self._retry_at) if dues else None

    def _tellable(self, now: float) -> Iterator[tuple[float, Mailbox, Pending]]:
        """What waits, with the moment from which it may go out.

        The news that this very channel fails is told over it only when that is over, or when it concerns single people.
        """
        holds_own = not self._condition.unreachable(now)
        for box in self.mailboxes.values():
            for due, story in box.stories():
                if not (holds_own and story.alarm == self.alarm and story.kind is NoticeKind.RAISED):
                    yield due, box, story

    def _next(self, now: float) -> list[tuple[Mailbox, Pending]]:
        """The most urgent story that is ready, with everybody who is to be told the same."""
        ready = [(box, story) for due, box, story in self._tellable(now) if due <= now]
        if not ready:
            return []
        rest = [item for item in ready if item[1].alarm != self._failed_alarm] or ready
        _, first = min(rest, key=lambda item: _rank(item[1], self.alarm))
        return [(box, story) for box, story in ready if story.same == first.same]

    async def _send(self, batch: list[tuple[Mailbox, Pending]]) -> None:
        began = time.monotonic()
        try:
            await self._tell(batch)
        except Exception as exc:  # noqa: BLE001 - a fault of ours with one message must not block the others
            alarm = batch[0][1].alarm
            for box, story in batch:
                if box.sends(story):
                    box.put_back(story)
            fault(f"notices {self.id}", f"failed with a notice of {alarm}, tries again later ({words(exc)})", exc)
            self._fail(began, exc, alarm)

    async def _tell(self, batch: list[tuple[Mailbox, Pending]]) -> None:
        around = self._around
        people = [box.person for box, _ in batch]
        waited = around.monotonic() - batch[0][1].begun
        situation = Situation(around.clock(), list(around.views()), [p.name for p in people], self.id, waited)
        notice = write(around.house, batch[0][1], situation)
        if _pointless(batch[0][1], situation):
            await asyncio.gather(*(box.done(story) for box, story in batch))
            return
        for box, story in batch:
            box.take(story)
        began = self._last_try = time.monotonic()
        self._failed_alarm = None
        try:
            answers = await self._try(notice, people)
        except Exception as exc:  # noqa: BLE001 - whatever goes wrong is the channel's failure, and is told
            for box, story in batch:
                box.put_back(story)
            self._fail(began, exc, batch[0][1].alarm)
            return
        self._succeed()
        unsaid = Answer(Outcome.DEFERRED, "the server said nothing of this person")
        await asyncio.gather(
            *(self._settle(box, story, notice, answers.get(box.person.id, unsaid)) for box, story in batch)
        )
        self._report()

    async def _try(self, notice: Notice, people: Sequence[Person]) -> Mapping[str, Answer]:
        self._attempt = attempt = Attempt(
            lambda wire: self._sender.send(wire, notice, people), name=f"labmon-notices-{self.id}"
        )
        # A server may keep each step just within its time; all of them together are bounded too.
        limit = 3 * self._sender.timeout
        try:
            done, _ = await asyncio.wait({attempt.result}, timeout=limit)
            if not done:
                attempt.cut()
                await asyncio.wait({attempt.result}, timeout=1.0)
                if not attempt.result.done() or attempt.result.exception() is not None:
                    attempt.abandon()
                    raise ChannelFailed(f"the server came to no end within {limit:g} s", reached=True)
            return attempt.result.result()
        finally:
            if attempt.result.done():
                self._attempt = None

    async def _settle(self, box: Mailbox, story: Pending, notice: Notice, answer: Answer) -> None:
        now = time.monotonic()
        person = box.person
        if answer.outcome is Outcome.DEFERRED:
            self._condition.deferred(person.id, now, answer.text)
            box.put_back(story)
            box.defer(story.alarm, now, self._timing.first_retry, self._timing.longest_retry)
            log.warning("notice %s for %s put off by %s: %s", notice.id, person.id, self.id, answer.text)
            return
        if answer.outcome is Outcome.ACCEPTED:
            self._condition.accepted(person.id)
            self._around.told(story.alarm, notice.occurrence, (self.id, person.id))
        else:
            self._condition.refused(person.id, now, answer.text)
            log.error("notice %s for %s refused by %s: %s", notice.id, person.id, self.id, answer.text)
        # Before the cursor: the record and the cursor's move can share a commit.
        self._around.on_event(self._record(person, notice, answer))
        await box.done(story)

    def _record(self, person: Person, notice: Notice, answer: Answer) -> Event:
        moment, about = self._around.clock(), notice.event
        return Event(
            kind=EventKind.NOTICE,
            time=moment,
            detected=moment,
            detail=f"{notice.subject} [{answer.text}]",
            alarm=about.alarm,
            occurrence=notice.occurrence,
            alarm_class=about.alarm_class,
            area=about.area,
            line=about.line,
            device=about.device,
            channel=about.channel,
            reason=notice.why,
            to=person.id,
            by=self.id,
            outcome=answer.outcome.value,
        )

    # Whether it works

    def _fail(self, began: float, exc: Exception, alarm: str) -> None:
        now = time.monotonic()
        text = str(exc) if isinstance(exc, ChannelFailed | SecretError) else repr(exc)
        reached = exc.reached if isinstance(exc, ChannelFailed) else not isinstance(exc, SecretError)
        if not self._condition.down:
            log.warning("notice channel %s fails: %s", self.id, text)
        self._condition.failed(began, text)
        self._failed_alarm = alarm if reached else None
        self._retry_at = now + self._wait
        self._wait = min(self._wait * 2, self._timing.longest_retry)
        self._report()

    def _succeed(self) -> None:
        if self._condition.down:
            log.warning("notice channel %s works again", self.id)
        self._condition.worked()
        self._retry_at, self._wait = 0.0, self._timing.first_retry

    def _report(self) -> None:
        """Tell the condition when it has changed, and come back when time alone can change it."""
        if self._stopping:
            return
        now = time.monotonic()
        trouble = self._condition.trouble(now)
        # Of an earlier run's failure nothing is known until something was tried, or nothing waits.
        undecided = self._reported is None and not trouble and self._condition.down
        if frozenset(trouble) != self._reported and not undecided:
            self._reported = frozenset(trouble)
            self._around.on_condition(self.alarm, bool(trouble), "; ".join(trouble.values()))
            self._wake.set()
        if self._alarm_timer is not None:
            self._alarm_timer.cancel()
        due = self._condition.next_due(now)
        loop = asyncio.get_running_loop()
        self._alarm_timer = loop.call_later(due - now, self._report) if due is not None else None


def _rank(story: Pending, own: str) -> tuple[bool, int, int]:
    grade = _URGENCY.get(story.event.alarm_class or AlarmClass.ALERT, 1)
    return story.alarm == own, grade, story.oldest


def _pointless(story: Pending, situation: Situation) -> bool:
    """Not measured for a while, but measured again by now: there is nothing left to tell."""
    view = situation.of(story.alarm)
    if story.kind is not NoticeKind.NOT_MEASURED:
        return False
    return view is None or view.measured or view.state is AlarmState.OOSRV
