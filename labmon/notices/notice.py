"""One notice, the answer of the far end to it, and what a sender has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from labmon.config.site import Person
from labmon.model.event import AlarmState, Event
from labmon.notices.attempt import Wire


class NoticeKind(StrEnum):
    """Why a notice is sent."""

    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    NOT_MEASURED = "not-measured"
    REMOVED = "removed"


class AlarmNow(Protocol):
    """What the alarm engine says of an alarm that is not normal at this moment."""

    @property
    def alarm(self) -> str:
        """Alarm id."""

    @property
    def occurrence(self) -> str:
        """The occurrence that is not over."""

    @property
    def state(self) -> AlarmState:
        """Its state."""

    @property
    def value(self) -> float | None:
        """The latest value, in the channel's unit; None for a technical alarm or where none was read."""

    @property
    def peak(self) -> float | None:
        """The worst value of this occurrence so far; None for a technical alarm."""

    @property
    def measured(self) -> bool:
        """False when an active process alarm is not being measured at present."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about one alarm, ready to send.

    `id` is stable over repetitions of the same message, so that the far end can drop a double. All notices of one
    occurrence share `occurrence`. `late` says that it waited; `earlier` counts the occurrences merged into it.
    """

    id: str
    kind: NoticeKind
    event: Event
    occurrence: str
    subject: str
    text: str
    sent: int
    late: bool = False
    earlier: int = 0
    journaled: bool = True

    @property
    def why(self) -> str:
        """The reason for sending, as it stands in the record."""
        return f"{self.kind.value}, late" if self.late else self.kind.value


class Outcome(StrEnum):
    """What the far end did with a notice for one person."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """For good: the same message would be refused again."""
    DEFERRED = "deferred"
    """Not now: to be tried again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The far end's answer for one person, with its words."""

    outcome: Outcome
    text: str


class ChannelFailed(Exception):
    """The channel as a whole did not work; nobody was told. The text is fit for staff.

    `reached` says that the conversation came as far as this message, which may then be what the far end stumbles over.
    """

    def __init__(self, text: str, reached: bool = False) -> None:
        super().__init__(text)
        self.reached = reached


class Sender(Protocol):
    """Sends one notice to some people. Blocking: it runs in a thread of its own."""

    def send(self, wire: Wire, notice: Notice, people: Sequence[Person]) -> Mapping[str, Answer]:
        """Send and return one answer per person id. Raises ChannelFailed or OSError when nobody could be told."""

    @property
    def timeout(self) -> float:
        """Seconds that one step of a conversation may take."""
