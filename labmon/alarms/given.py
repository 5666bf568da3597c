"""What a step is given: a value, the lack of one, a condition told from outside, or a command."""

from __future__ import annotations

from dataclasses import dataclass

from labmon.model.reading import Reason

UNHEARD = frozenset({Reason.SILENT, Reason.GARBLED, Reason.LINK_LOST, Reason.RESTING})
"""Reasons that say that no reply was had from the instrument."""


@dataclass(frozen=True, slots=True)
class Value:
    """A good or uncertain reading: its value and its time (UTC ns)."""

    value: float
    time: int
    late: bool = False
    """A record that an instrument stored while nobody asked; `past` when a later one was judged before it."""
    past: bool = False
    moment: float | None = None
    """When it was so in monotonic seconds, where that is not now."""


@dataclass(frozen=True, slots=True)
class NoValue:
    """No value: said by a reading without one, or by the clock. Monotonic seconds, and UTC ns where named `_at`."""

    by_reading: bool
    detail: str
    """The reason of the latest reading without a value."""
    last: float
    """When there was a value last, or labmon started."""
    heard: float
    """Since when nothing was heard from the instrument."""
    heard_at: int
    valued: float
    """Since when there is no value."""
    valued_at: int
    answered: float | None
    """When the instrument last replied without a value, in this spell."""
    inhibited: bool = False
    """A dead line or device stands above."""


@dataclass(frozen=True, slots=True)
class Level:
    """A condition as it is told from outside, or as it still is when its delay is over."""

    active: bool
    detail: str = ""
    since: int | None = None
    """When it began to hold (UTC ns), where it was noticed later than it began."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """An acknowledgement of one occurrence by a named user."""

    occurrence: str
    user: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TakeOut:
    """The alarm's device goes out of service."""

    user: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PutBack:
    """The alarm's device is in service again; no user when its time was over."""

    user: str
    reason: str
    detail: str = ""


Given = Value | NoValue | Level | Acknowledge | TakeOut | PutBack
