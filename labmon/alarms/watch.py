"""What the engine keeps beside the rules: one entry per alarm, one per channel with its inner band and its clocks."""

from __future__ import annotations

import math
import sys

from labmon.alarms.given import UNHEARD, NoValue
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.alarms.state import State
from labmon.alarms.step import spell_due
from labmon.model.reading import Reading, reason_code


class Alarm:
    """One rule with its state and its place."""

    __slots__ = ("area", "children", "detail", "device", "level", "line", "rule", "state", "watch")

    def __init__(self, rule: Rule, state: State, area: str, line: str) -> None:
        self.rule = rule
        self.state = state
        self.area = area
        self.line = line
        self.watch: ChannelWatch | None = None
        self.children: list[ChannelWatch] = []
        """Channels whose silence and quality alarms this one inhibits."""
        self.level: bool | None = None
        """A condition as last told; None before it was, so also after a restart."""
        self.detail = ""

    @property
    def inhibiting(self) -> bool:
        """Whether what is below must not be raised now."""
        return self.level is True or self.state.active

    def due(self) -> float:
        """Monotonic time at which the delay of a condition is over; infinity when none runs."""
        if not isinstance(self.rule, ConditionRule) or self.level is None or self.level is self.state.active:
            return math.inf
        return self.state.turn_mono + (self.rule.on_delay if self.level else self.rule.off_delay)


class ChannelWatch:
    """The alarms of one channel, the band in which a value asks for nothing, and since when nothing was heard."""

    __slots__ = (
        "answered",
        "answered_at",
        "failed",
        "high",
        "known_at",
        "limits",
        "low",
        "moment",
        "parents",
        "patience",
        "quiet_from",
        "reading",
        "reason",
        "spells",
        "started",
        "valued",
        "valueless_from",
    )

    def __init__(self, mono: float, now: int) -> None:
        self.limits: list[Alarm] = []
        self.spells: list[Alarm] = []
        self.parents: list[Alarm] = []
        self.low = math.inf
        self.high = -math.inf
        self.patience = math.inf
        """Seconds after a value before the clock can have anything to say."""
        self.started = mono
        self.valued = -math.inf
        self.moment = -math.inf
        """When the latest record that was detected late was stored, in monotonic seconds."""
        self.reading: Reading | None = None
        """The latest reading with a value."""
        self.failed = -math.inf
        self.reason = ""
        """Reason of the latest reading without a value, which came at `failed`."""
        self.answered = -math.inf
        self.answered_at = 0
        # Where the clocks begin when nothing was heard yet: start, or the end of what stood above, or a saved delay.
        self.quiet_from = self.valueless_from = mono
        self.known_at = now

    def add(self, alarm: Alarm) -> None:
        """Take in one of the channel's alarms; a delay that its state carries goes on."""
        alarm.watch = self
        if isinstance(alarm.rule, LimitRule):
            self.limits.append(alarm)
            return
        self.spells.append(alarm)
        if alarm.state.turn and not alarm.state.active:
            self.known_at = min(self.known_at, alarm.state.turn)
            if isinstance(alarm.rule, SilenceRule):
                self.quiet_from = alarm.state.turn_mono
            else:
                self.valueless_from = alarm.state.turn_mono

    def settle(self) -> None:
        """Work out the band and the patience anew, after any alarm of the channel changed."""
        alarms = (*self.limits, *self.spells)
        if any(a.state.active or a.state.turn for a in alarms):
            self.low, self.high = math.inf, -math.inf
        else:
            self.low, self.high = -sys.float_info.max, sys.float_info.max
            for alarm in self.limits:
                rule = alarm.rule
                assert isinstance(rule, LimitRule)
                if rule.direction == "high":
                    self.high = min(self.high, rule.limit)
                else:
                    self.low = max(self.low, rule.limit)
        halves = [a.rule.after / 2 for a in self.spells if isinstance(a.rule, SilenceRule | QualityRule)]
        self.patience = min([*halves, *(after for _, after in self._to_mark())], default=math.inf)

    def clock_due(self) -> float:
        """A moment before which the clock certainly has nothing to say; cheap."""
        return max(self.valued, min(self.quiet_from, self.valueless_from, self.started)) + self.patience

    def next_due(self, mono: float) -> float:
        """The next moment after `mono` at which the clock alone changes an alarm, when no reading comes."""
        given = self.no_value(by_reading=False)
        due = [given.last + after for _, after in self._to_mark()]
        for alarm in self.spells:
            assert isinstance(alarm.rule, SilenceRule | QualityRule)
            due.append(spell_due(alarm.rule, alarm.state, given, mono))
        return min((d for d in due if d > mono), default=math.inf)

    def note_bad(self, reading: Reading, mono: float) -> None:
        """Note a reading without a value."""
        self.failed = mono
        self.reason = reading.reason if reading.reason is not None else "internal (not a finite number)"
        if reason_code(self.reason) not in UNHEARD:
            self.answered = mono
            self.answered_at = reading.received

    def begin_anew(self, mono: float) -> None:
        """What stood above has ended: silence and quality are judged from here on."""
        self.quiet_from = self.valueless_from = mono

    def no_value(self, *, by_reading: bool) -> NoValue:
        """What the alarms are given when there is no value."""
        valued_at = self.known_at if self.reading is None else self.reading.received
        valued = max(self.valued, self.valueless_from)
        return NoValue(
            by_reading=by_reading,
            detail=self.reason if self.failed > self.valued else "",
            last=max(self.valued, self.started),
            heard=max(self.valued, self.answered, self.quiet_from),
            heard_at=self.answered_at if self.answered > self.valued else valued_at,
            valued=valued,
            valued_at=valued_at,
            answered=self.answered if self.answered > valued else None,
            inhibited=any(parent.inhibiting for parent in self.parents),
        )

    def _to_mark(self) -> list[tuple[Alarm, float]]:
        """Active limit alarms that are not marked as unmeasured yet, with how long they may go without a value."""
        return [
            (a, a.rule.unmeasured_after)
            for a in self.limits
            if a.state.active and a.state.measured and isinstance(a.rule, LimitRule)
            if a.rule.unmeasured_after is not None
        ]
