"""The notifier: reads alarm events from the journal and hands each to the people whom it concerns."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parseaddr

from labmon.config.site import NoticeChannel as ChannelConfig
from labmon.config.site import NoticesConfig, User
from labmon.config.types import Secret
from labmon.model.event import AlarmClass, Event, EventKind
from labmon.model.plant import Plant
from labmon.notices.channel import NoticeChannel, Surroundings, Timing
from labmon.notices.email import EmailSender
from labmon.notices.ledger import Ledger, Target
from labmon.notices.mailbox import Journal, Mailbox
from labmon.notices.matter import House
from labmon.notices.notice import AlarmNow, Outcome, Sender
from labmon.notices.pending import is_silent
from labmon.notices.routing import Routes
from labmon.notices.webhook import WebhookSender
from labmon.notices.words import SiteClock
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_PAGE = 500
_OPEN = "notices.open"
_RECENT = 5000


class Notifier:
    """Tells people of alarms: raised, cleared, acknowledged, no longer measured though active, no longer watched.

    Each person on each notice channel has a durable cursor `notices.<channel>.<person>`, which moves only after the far
    end accepted (or refused for good) the message. Delivery is at least once; see `Mailbox` for the one message that a
    crash may repeat, under the same Message-ID. Messages that wait merge to one per alarm. Cleared and acknowledged go
    to everybody who was told of the occurrence, also when routes have changed; who that is stands in the journal as
    `notice` events, which `on_event` hands out, and is read back from the cursor `notices.open` on.

    A person who is new on a channel is told of what happens from then on. A channel that fails, or a person who is
    refused, is the condition `gateway.notices.<channel>`, reported by `on_condition(alarm, active, detail)`.

    `views` gives the alarms that are not normal now. `users` are named in texts. `clock` gives UTC ns, `monotonic` the
    seconds by which messages are late. Where it is not a gateway that tells, `teller` says who does, and `origin`
    stands for `gateway` in the ids of the conditions above.
    """

    def __init__(
        self,
        plant: Plant,
        config: NoticesConfig,
        journal: Journal,
        views: Callable[[], Sequence[AlarmNow]],
        on_condition: Callable[[str, bool, str], None],
        on_event: Callable[[Event], None],
        secret: Callable[[Secret], str],
        *,
        users: Iterable[User] = (),
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        timing: Timing | None = None,
        origin: str = "gateway",
        teller: str = "",
    ) -> None:
        users = list(users)
        self._journal = journal
        self._views = views
        self._clock = clock
        self._monotonic = monotonic
        self._timing = timing or Timing()
        self._people = {person.id: person for person in config.people}
        self._routes = Routes(config, plant)
        self._ledger = Ledger()
        house = House(
            plant,
            SiteClock(plant.timezone),
            config.acknowledge,
            users={user.id: user.name for user in users},
            may=[user.name for user in users if user.role != "viewer"],
            teller=teller,
        )
        around = Surroundings(house, views, on_condition, on_event, self._ledger.told, clock, monotonic, origin)
        self._channels = {
            channel.id: NoticeChannel(channel.id, _sender(channel, secret, plant), around, self._timing)
            for channel in config.channels
        }
        for target in sorted(self._routes.all()):
            self._add(target)
        self._recent: dict[str, None] = {}
        self._new: list[Mailbox] = []
        self._began = 0
        self._looked = monotonic()
        """When the journal was last read to its end."""
        self._position = 0
        self._open_stored = 0
        self._unmoved = 0
        self._stages = [self._take_up_all, self._read_backlog, self._release]
        """What is still to be done before events are told as they come."""
        self._wake = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None

    @property
    def channels(self) -> Mapping[str, NoticeChannel]:
        """The notice channels by id."""
        return self._channels

    def start(self) -> None:
        """Begin; needs neither the journal nor any server to work. Call within a running event loop."""
        self._began = self._clock()
        self._looked = self._monotonic()
        for channel in self._channels.values():
            channel.start()
        self._feeder = kept("notices", self._feed)

    async def stop(self) -> None:
        """End within three seconds, whatever servers and disk do."""
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        await asyncio.gather(*(channel.stop() for channel in self._channels.values()))
        try:
            async with asyncio.timeout(0.7):
                await self._settle(force=True)
        except Exception as exc:  # noqa: BLE001 - stopping goes on; without its cursor a notice may be repeated
            log.warning("not all notice cursors were stored on stopping: %r", exc)
        await asyncio.gather(*(box.close() for box in self._boxes()))

    def wake(self) -> None:
        """New events are in the journal."""
        self._wake.set()

    def urgent(self, events: Iterable[Event]) -> None:
        """Send events at once that the journal does not have yet; it may bring them later, or never."""
        for event in events:
            if event.uid not in self._recent:
                self._dispatch(None, event, live=True)

    # From the journal

    async def _feed(self) -> None:
        pause, stages = 1.0, self._stages
        while True:
            self._wake.clear()
            try:
                while stages:
                    await stages[0]()
                    del stages[0]
                await self._read(live=True)
                self._looked = self._monotonic()
                pause = 1.0
            except Exception as exc:  # noqa: BLE001 - the journal has an alarm of its own; notices go on from memory
                log.warning("notices cannot use the journal: %s", exc)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 30.0)
                continue
            try:
                async with asyncio.timeout(self._timing.look):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _take_up_all(self) -> None:
        """Put every mailbox behind its cursor.

        Somebody behind `notices.open` is new here, and has no business with the past: that cursor never passes the one
        of anybody who is told of something.
        """
        self._open_stored = await self._journal.cursor(_OPEN)
        cursors = [(box, await self._journal.cursor(box.name)) for box in self._boxes()]
        self._position = self._open_stored
        for box, cursor in cursors:
            if cursor < self._open_stored:
                self._new.append(box)
                box.begin(_NOT_YET, 0)
            else:
                box.begin(cursor, cursor)

    async def _read_backlog(self) -> None:
        """Read what waited before anything is sent, so that it merges."""
        await self._read(live=False)
        for box in self._new:
            box.begin(self._position, 0)
            box.pass_to(self._position)
        self._new.clear()

    async def _release(self) -> None:
        await self._settle(force=True)
        for channel in self._channels.values():
            channel.release()

    async def _read(self, live: bool) -> None:
        while True:
            page = await self._journal.events_after(self._position, _PAGE)
            for seq, event in page:
                if event.kind is EventKind.NOTICE:
                    await self._recall(event)
                if not live:
                    await asyncio.gather(*(box.look_ahead(seq, event) for box in self._boxes()))
                self._dispatch(seq, event, live)
                for box in self._boxes():
                    if box.read < seq:
                        box.pass_to(seq)
                self._position = seq
                self._unmoved += 1
            await self._settle()
            # A short page is not the end: damaged events are left out of it.
            if not page:
                return

    async def _recall(self, event: Event) -> None:
        """Have a mailbox for somebody who was told once, and whom no route names any more."""
        target = (event.by, event.to)
        if event.outcome != Outcome.ACCEPTED or not self._routes.known(target) or self._box(target) is not None:
            return
        cursor = await self._journal.cursor(_cursor_name(target))
        self._add(target).begin(max(cursor, self._position), cursor)

    def _dispatch(self, seq: int | None, event: Event, live: bool) -> None:
        told = self._ledger.who(event.alarm, event.occurrence)
        self._ledger.apply(seq, event)
        if seq is not None:
            self._recent[event.uid] = None
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]
        age = self._age(event, live)
        for channel, person in self._whom(event, told):
            box = self._box((channel, person))
            if box is not None and self._concerns(box, seq, event) and box.put(seq, event, age) and live:
                self._channels[channel].poke()

    def _age(self, event: Event, live: bool) -> float:
        """Seconds since labmon knew of an event.

        Of an earlier run that is known by the wall clock alone. What comes now cannot be older than the last look into
        the journal, whatever the wall clock says: it may have been set meanwhile.
        """
        age = max((self._clock() - event.detected) / 1e9, 0.0)
        return min(age, self._monotonic() - self._looked) if live else age

    def _concerns(self, box: Mailbox, seq: int | None, event: Event) -> bool:
        if box in self._new:
            return seq is None or event.detected >= self._began
        return seq is None or seq > box.read

    def _whom(self, event: Event, told: frozenset[Target]) -> set[Target]:
        if is_silent(event):
            return set()
        if event.kind in (EventKind.NOT_MEASURED, EventKind.MEASURED_AGAIN):
            technical = event.alarm_class is AlarmClass.TECHNICAL
            return set() if technical else self._routes.of(event) | told
        return self._routes.of(event) | (set() if event.kind is EventKind.RAISED else told)

    # Cursors

    async def _settle(self, force: bool = False) -> None:
        await asyncio.gather(*(box.settle(force) for box in self._boxes()))
        if not (force or self._unmoved >= _PAGE):
            return
        self._unmoved = 0
        bounds = [self._position, *(box.stored for box in self._boxes())]
        if (oldest := self._ledger.oldest({view.alarm for view in self._views()})) is not None:
            bounds.append(oldest - 1)
        if min(bounds) > self._open_stored:
            await self._journal.advance(_OPEN, min(bounds))
            self._open_stored = min(bounds)

    # Mailboxes

    def _add(self, target: Target) -> Mailbox:
        channel, person = target
        box = Mailbox(
            _cursor_name(target), self._people[person], self._journal, self._timing.unmeasured_hold, self._monotonic
        )
        self._channels[channel].mailboxes[person] = box
        return box

    def _box(self, target: Target) -> Mailbox | None:
        channel, person = target
        return self._channels[channel].mailboxes.get(person) if channel in self._channels else None

    def _boxes(self) -> list[Mailbox]:
        return [box for channel in self._channels.values() for box in channel.mailboxes.values()]


def _cursor_name(target: Target) -> str:
    channel, person = target
    return f"notices.{channel}.{person}"


_NOT_YET = 1 << 62
"""Stands for the end of the journal while it is being read for the first time."""


def _sender(config: ChannelConfig, secret: Callable[[Secret], str], plant: Plant) -> Sender:
    if config.email is not None:
        own = parseaddr(config.email.from_)[1].partition("@")[2]
        return EmailSender(config.email, secret, own or f"{plant.gateway}.{plant.site}.invalid")
    if config.webhook is not None:
        return WebhookSender(config.webhook, secret, plant)
    raise ValueError(f"notice channel {config.id}: give one of email and webhook")
