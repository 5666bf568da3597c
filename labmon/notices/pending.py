"""What one person has yet to be told about one alarm: events fold into it, superseded ones merge. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from labmon.model.event import AlarmState, Event, EventKind
from labmon.notices.notice import NoticeKind

_TOLD = frozenset(
    {
        EventKind.RAISED,
        EventKind.CLEARED,
        EventKind.ACKNOWLEDGED,
        EventKind.NOT_MEASURED,
        EventKind.MEASURED_AGAIN,
        EventKind.REMOVED,
    }
)


def is_silent(event: Event) -> bool:
    """Say whether `event` sends nothing to anybody: it is about no alarm, or its device is out of service.

    Coming back into service is silent too: an alarm that was raised meanwhile is raised then.
    """
    return not event.alarm or event.state is AlarmState.OOSRV or event.kind not in _TOLD


@dataclass(slots=True)
class Pending:
    """The untold part of one alarm's story, for one person.

    Only the last occurrence is kept, with the count of earlier ones, so its size does not grow with an outage.
    `first` and `last` are journal sequence numbers (None: not read from the journal yet); `oldest` is when labmon knew
    of the oldest event in it (UTC ns), `begun` the same in monotonic seconds: a step of the clock makes no news late.
    """

    alarm: str
    oldest: int
    begun: float
    newest: Event
    first: int | None = None
    last: int | None = None
    raised: Event | None = None
    cleared: Event | None = None
    """How the occurrence ended, also by its rule's removal from the configuration."""
    acknowledged: Event | None = None
    unmeasured: Event | None = None
    earlier: int = 0
    earliest: Event | None = None
    """The first raise of the earlier ones."""
    before: Event | None = None
    """How the occurrence before the last one cleared, where that was not told."""
    unjournaled: set[str] = field(default_factory=set)
    """Uids of events that came before the journal had them."""

    @property
    def empty(self) -> bool:
        """Nothing is left to tell."""
        return self.kind is None

    @property
    def kind(self) -> NoticeKind | None:
        """What the message will be about: the latest that holds."""
        if self.cleared is not None:
            return NoticeKind.REMOVED if self.cleared.kind is EventKind.REMOVED else NoticeKind.CLEARED
        if self.raised is not None:
            return NoticeKind.RAISED
        if self.acknowledged is not None:
            return NoticeKind.ACKNOWLEDGED
        return NoticeKind.NOT_MEASURED if self.unmeasured is not None else None

    @property
    def event(self) -> Event:
        """The event that the message is mainly about."""
        return self.cleared or self.raised or self.acknowledged or self.unmeasured or self.newest

    @property
    def same(self) -> tuple[object, ...]:
        """Two people with equal `same` get the same message."""
        story = (self.raised, self.cleared, self.acknowledged, self.unmeasured, self.earliest, self.before)
        return (self.alarm, self.earlier, *(event and event.uid for event in story))

    def fold(self, seq: int | None, event: Event) -> None:
        """Take in the next event of this alarm."""
        self.newest = event
        self.place(seq, event.uid)
        if event.kind is EventKind.RAISED:
            self._again(event)
        elif event.kind in (EventKind.CLEARED, EventKind.REMOVED):
            self.cleared, self.unmeasured = event, None
        elif event.kind is EventKind.ACKNOWLEDGED:
            self.acknowledged = event
        elif event.kind is EventKind.NOT_MEASURED:
            self.unmeasured = event
        elif event.kind is EventKind.MEASURED_AGAIN:
            self.unmeasured = None

    def _again(self, event: Event) -> None:
        if self.raised is not None:
            self.earlier += 1
            self.earliest = self.earliest or self.raised
        self.before = self.cleared or self.before
        self.raised = event
        self.cleared = self.acknowledged = self.unmeasured = None

    def place(self, seq: int | None, uid: str) -> None:
        """Note where in the journal an event of this story stands; None while it stands nowhere."""
        if seq is None:
            self.unjournaled.add(uid)
            return
        self.unjournaled.discard(uid)
        self.first = seq if self.first is None else min(self.first, seq)
        self.last = seq if self.last is None else max(self.last, seq)

    def absorb(self, newer: Pending) -> None:
        """Take in what came while this one was being sent in vain."""
        if newer.raised is not None:
            earlier = self.earlier + newer.earlier + (self.raised is not None)
            self.earliest = self.earliest or self.raised or newer.earliest
            self.earlier = earlier
            self.before = newer.before or self.cleared or self.before
            self.raised = newer.raised
            self.cleared, self.acknowledged, self.unmeasured = newer.cleared, newer.acknowledged, newer.unmeasured
        else:
            self.cleared = newer.cleared or self.cleared
            self.acknowledged = newer.acknowledged or self.acknowledged
            self.unmeasured = newer.unmeasured or (None if newer.cleared else self.unmeasured)
        self.newest = newer.newest
        self.unjournaled |= newer.unjournaled
        for seq in (newer.first, newer.last):
            if seq is not None:
                self.first = seq if self.first is None else min(self.first, seq)
                self.last = seq if self.last is None else max(self.last, seq)


def start(seq: int | None, event: Event, begun: float) -> Pending:
    """A story that begins with `event`, of which labmon knows since `begun` (monotonic seconds)."""
    pending = Pending(event.alarm, event.detected, begun, event)
    pending.fold(seq, event)
    return pending
