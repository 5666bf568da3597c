"""What an alarm watches: plain data, made once from the configuration. All durations in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from labmon.model.event import AlarmClass

Level = Literal["alert", "action"]
Direction = Literal["high", "low"]


def _seconds(rule: Rule, **durations: float | None) -> None:
    for name, value in durations.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"alarm {rule.alarm}: {name} must be a finite number of seconds, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """A process alarm: one channel against one limit in one direction.

    A value is a breach when it lies strictly beyond the limit; it is back inside when it lies at least the dead-band
    on the good side; between the two it says nothing. Raises ValueError on numbers that cannot be meant.
    """

    alarm: str
    channel: str
    device: str
    level: Level
    direction: Direction
    limit: float
    dead_band: float = 0.0
    on_delay: float = 0.0
    off_delay: float = 0.0
    unit: str = ""
    cls: AlarmClass
    unmeasured_after: float | None = None
    """An active alarm without a value for so long is marked as not being measured.

    None: as long as the channel's silence rule says; without one, with the first reading that has no value.
    """

    def __post_init__(self) -> None:
        _seconds(self, on_delay=self.on_delay, off_delay=self.off_delay, unmeasured_after=self.unmeasured_after)
        if not math.isfinite(self.limit) or not (math.isfinite(self.dead_band) and self.dead_band >= 0):
            raise ValueError(f"alarm {self.alarm}: limit {self.limit} with dead-band {self.dead_band}")

    def breached_by(self, value: float) -> bool:
        """Say whether the value lies beyond the limit."""
        return value > self.limit if self.direction == "high" else value < self.limit

    def left_by(self, value: float) -> bool:
        """Say whether the value lies back inside, by the dead-band or more."""
        if self.direction == "high":
            return value <= self.limit - self.dead_band
        return value >= self.limit + self.dead_band


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceRule:
    """A technical alarm: nothing was heard from the instrument on this channel for `after`.

    Heard is a value, and also a reply that holds none (no-sensor, not-ready, refused, ...). Not heard is the absence
    of any reading, and a reading whose reason is silent, garbled, link-lost or resting. Ends with the first value.
    """

    alarm: str
    channel: str
    after: float
    off_delay: float = 0.0
    cls: AlarmClass = AlarmClass.TECHNICAL

    def __post_init__(self) -> None:
        _seconds(self, after=self.after, off_delay=self.off_delay)

    @property
    def device(self) -> str:
        """The channel's device."""
        return self.channel.partition(".")[0]

    @property
    def on_delay(self) -> float:
        """The delay is all that there is to the rule."""
        return self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRule:
    """A technical alarm: no value for `after`, although the instrument was heard meanwhile, within `after`.

    With the same `after` as the silence rule, a spell without values begins with exactly one of the two. Ends with
    the first value.
    """

    alarm: str
    channel: str
    after: float
    off_delay: float = 0.0
    cls: AlarmClass = AlarmClass.TECHNICAL

    def __post_init__(self) -> None:
        _seconds(self, after=self.after, off_delay=self.off_delay)

    @property
    def device(self) -> str:
        """The channel's device."""
        return self.channel.partition(".")[0]

    @property
    def on_delay(self) -> float:
        """The delay is all that there is to the rule."""
        return self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRule:
    """A technical alarm on a condition that is told from outside: dead device, lost line, journal, delivery, clock.

    It belongs to a device, or to a line, or to the gateway. With `inhibits`, the silence and quality alarms of the
    channels below that device or line are not raised meanwhile; nothing else ever is inhibited.
    """

    alarm: str
    cls: AlarmClass = AlarmClass.TECHNICAL
    on_delay: float = 0.0
    off_delay: float = 0.0
    device: str = ""
    line: str = ""
    inhibits: bool = False
    self_clearing: bool = False
    """Normal as soon as the condition is over, acknowledged or not: for alarms that nobody can acknowledge."""

    def __post_init__(self) -> None:
        _seconds(self, on_delay=self.on_delay, off_delay=self.off_delay)
        if self.inhibits and not (self.device or self.line):
            raise ValueError(f"alarm {self.alarm}: nothing is below it that it could inhibit")

    @property
    def channel(self) -> str:
        """None: it concerns no channel."""
        return ""


Rule = LimitRule | SilenceRule | QualityRule | ConditionRule
