"""What a notice is about, in the phrases that its subject and body share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from labmon.model.event import AlarmClass, AlarmState, Event
from labmon.model.plant import Plant
from labmon.notices import technical
from labmon.notices.notice import AlarmNow, NoticeKind
from labmon.notices.pending import Pending
from labmon.notices.words import SiteClock, between, decimals_to_tell, quantity

ACTIVE = (AlarmState.UNACK, AlarmState.ACKED)
UNACKNOWLEDGED = (AlarmState.UNACK, AlarmState.RTNUN, AlarmState.LATCH_UNACK)
_MOST_NAMES = 8
_LEVEL = {AlarmClass.ACTION: "action limit", AlarmClass.ALERT: "alert level"}


@dataclass(frozen=True, slots=True)
class House:
    """What is the same in every notice of a site.

    `acknowledge` is the site's way, with `{alarm}` and `{occurrence}`, empty where nobody can acknowledge; `users` maps
    user ids to names, `may` names those who may acknowledge; `teller` is who tells, empty for the gateway itself.
    """

    plant: Plant
    clock: SiteClock
    acknowledge: str
    users: Mapping[str, str]
    may: Sequence[str]
    teller: str = ""

    @property
    def acknowledgeable(self) -> bool:
        """Whether its alarms can be acknowledged."""
        return bool(self.acknowledge)

    def who(self, user: str) -> str:
        """A user's name for people; the id where there is none."""
        return self.users.get(user, user) or "somebody unknown"

    def how_to_acknowledge(self, event: Event) -> str:
        """How to acknowledge this occurrence."""
        # replace and not format: a brace that the site meant literally must not stop a notice.
        return self.acknowledge.replace("{alarm}", event.alarm).replace("{occurrence}", event.occurrence)


@dataclass(frozen=True, slots=True)
class Situation:
    """The moment when a message is made: the time (UTC ns), all alarms not normal, who gets it, by which channel.

    `waited`: seconds since labmon knew of what it tells.
    """

    now: int
    alarms: Sequence[AlarmNow]
    to: Sequence[str]
    by: str
    waited: float = 0.0

    def of(self, alarm: str) -> AlarmNow | None:
        """How this alarm stands now; None when it is normal."""
        return next((view for view in self.alarms if view.alarm == alarm), None)


class Matter:
    """One story at one moment, with its phrases."""

    def __init__(self, house: House, story: Pending, situation: Situation, kind: NoticeKind, late: bool) -> None:
        self.house = house
        self.plant = house.plant
        self.story = story
        self.event = story.event
        self.situation = situation
        self.kind = kind
        self.late = late
        view = situation.of(story.alarm)
        self.raised_again = view is not None and view.occurrence != self.event.occurrence
        self.view = None if self.raised_again else view
        self.channel = self.plant.channels.get(self.event.channel)
        self.device = self.plant.devices.get(self.event.device)
        self.technical = self.event.alarm_class is AlarmClass.TECHNICAL and self.event.limit is None
        self.name, self.words = technical.find(self.event, self.plant)
        if not self.technical:
            self.name = self.event.channel.replace(".", " ") or self.name

    @property
    def untold(self) -> bool:
        """Over before anybody could be told; the reader must see that in the first words."""
        return self.kind is NoticeKind.CLEARED and self.story.raised is not None

    @property
    def state(self) -> AlarmState | None:
        """How this occurrence stands now; None when it is over."""
        if self.view is not None:
            return self.view.state
        if self.late:
            return None
        return self.event.state or (AlarmState.UNACK if self.kind is NoticeKind.RAISED else None)

    @property
    def lasted(self) -> str:
        """From the beginning of the condition to the event. Unknown for the clock, which may have been set between."""
        event = self.event
        return "" if event.since is None or event.alarm == "gateway.clock" else between(event.since, event.time)

    @property
    def sentence_name(self) -> str:
        """What it concerns, as the beginning of a sentence."""
        if self.channel is not None and self.device is not None:
            return f"{self.device.name}, {self.channel.name}"
        if self.device is not None:
            return f"{self.device.name} ({self.device.id})"
        return f"{self.name[:1].upper()}{self.name[1:]}"

    @property
    def area(self) -> str:
        """Id of the area of the channel or device concerned; empty for a line or the gateway."""
        place = self.channel or self.device
        return self.event.area or (place.area if place is not None else "")

    @property
    def areas(self) -> str:
        """Names of the areas concerned."""
        ids = [self.area] if self.area else []
        ids = ids or list(dict.fromkeys(d.area for d in technical.devices(self.event, self.plant)))
        return listed(self.plant.areas[i].name if i in self.plant.areas else i for i in ids)

    @property
    def level(self) -> str:
        """`action limit`, `alert level` or `limit`."""
        return _LEVEL.get(self.event.alarm_class or AlarmClass.TECHNICAL, "limit")

    def standing(self, state: AlarmState) -> str:
        """A state in words for people; what nobody can acknowledge is not said to wait for it."""
        if state is AlarmState.UNACK and not self.house.acknowledgeable:
            return "STILL ACTIVE"
        return _STANDING[state]

    def short(self, moment: int) -> str:
        """A moment as a time of day."""
        return self.house.clock.short(moment, self.situation.now)

    def in_words(self, event: Event, tense: str = "") -> str:
        """What is wrong, short: `incubator-1 temperature 38.1 °C > 37.5 °C`."""
        if self.technical:
            lost = len(technical.devices(event, self.plant)) if technical.blinds(event) else 0
            devices = f", {lost} device{'s' if lost > 1 else ''} not monitored" if lost else ""
            return f"{self.name} {self.words.is_}{devices}"
        before = f"{tense} " if tense else ""
        if event.value is None:
            return f"{self.name} {before}out of limits"
        return f"{self.name} {before}{self.compared(event.value, event)}"

    def compared(self, value: float, event: Event) -> str:
        """A value beside the limit: `38.1 °C > 37.5 °C`."""
        if event.limit is None:
            return self.quantity(value)
        decimals = self._decimals(value, event.limit)
        shown, limit = self.quantity(value, decimals), self.quantity(event.limit, decimals)
        beyond = value > event.limit if event.direction == "high" else value < event.limit
        if beyond and event.direction in ("high", "low"):
            return f"{shown} {'>' if event.direction == 'high' else '<'} {limit}"
        # At the limit, or back inside but not yet for long enough or beyond the dead-band.
        return f"{shown} (limit {limit})"

    def breach(self, event: Event, before: str = "") -> str:
        """What is wrong, as a sentence; empty when the event does not say."""
        if self.technical:
            return f"{self.sentence_name} {self.words.is_}."
        if event.value is None:
            return f"{self.sentence_name} is out of limits."
        if event.limit is None:
            return f"{self.sentence_name}: {before}{self.quantity(event.value)}."
        decimals = self._decimals(event.value, event.limit)
        value, limit = self.quantity(event.value, decimals), self.quantity(event.limit, decimals)
        beyond = event.value > event.limit if event.direction == "high" else event.value < event.limit
        if event.direction not in ("high", "low") or not beyond:
            return f"{self.sentence_name}: {before}{value} ({event.direction or ''} {self.level} {limit})."
        side = "above" if event.direction == "high" else "below"
        return f"{self.sentence_name}: {before}{value}, {side} its {self.level} of {limit}."

    def quantity(self, value: float, decimals: int | None = None) -> str:
        """A value with its unit."""
        code = self.event.unit or (self.channel.unit if self.channel is not None else "")
        return quantity(value, code, self.channel, decimals)

    def _decimals(self, value: float, limit: float) -> int:
        return decimals_to_tell(value, limit, self.channel.decimals if self.channel is not None else 2)


def since(event: Event) -> int:
    """When the condition of an alarm began (UTC ns)."""
    return event.since if event.since is not None else event.time


def listed(names: Iterable[str]) -> str:
    """`A, B, C and 4 more`."""
    names = list(names)
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


_STANDING = {
    AlarmState.NORM: "normal",
    AlarmState.UNACK: "STILL ACTIVE, nobody has acknowledged it",
    AlarmState.ACKED: "still active, acknowledged",
    AlarmState.RTNUN: "back to normal, not acknowledged yet",
    AlarmState.LATCH_UNACK: "back to normal, latched until it is acknowledged and reset",
    AlarmState.LATCH_ACK: "back to normal, latched until it is reset",
    AlarmState.SHLVD: "shelved",
    AlarmState.DSUPR: "suppressed by design",
    AlarmState.OOSRV: "taken out of service",
}
