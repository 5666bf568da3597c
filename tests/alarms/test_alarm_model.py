"""The life cycle against a model of it: a dictionary of the facts' rows, and random days of a plant."""

from __future__ import annotations

import pytest
from alarm_cases import BEGIN, CHANNEL, DEVICE, PLANT, alarm_id, make_rules
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from labmon.alarms.engine import AlarmEngine
from labmon.alarms.errors import CommandRefused
from labmon.model.event import Event, EventKind
from labmon.model.reading import Reading

ALARM = alarm_id("action-high")
NEXT = {
    ("NORM", "breach"): "UNACK",
    ("RTNUN", "breach"): "UNACK",
    ("UNACK", "return"): "RTNUN",
    ("ACKED", "return"): "NORM",
    ("UNACK", "ack"): "ACKED",
    ("RTNUN", "ack"): "NORM",
}


class Day(RuleBasedStateMachine):
    """One limit alarm with both delays, through readings, gaps, commands, kill -9 and steps of the clock."""

    ON, OFF = 7, 4

    def __init__(self) -> None:
        super().__init__()
        self.rules = make_rules({"action-high": {"limit": 38, "on-delay": self.ON, "off-delay": self.OFF}})
        self.true = 0
        self.boot = 0
        self.step = 0
        self.saved: dict[str, bytes] = {}
        self.engine = AlarmEngine(self.rules, PLANT, {}, mono=0.0, now=BEGIN)
        self.state = "NORM"
        self.turned: int | None = None
        self.out = False
        self.measured = True
        self.told = False
        self.occurrence = ""
        self.all: list[str] = []
        self.uids: set[str] = set()

    @property
    def mono(self) -> float:
        return float(self.true - self.boot)

    @property
    def now(self) -> int:
        return BEGIN + (self.true + self.step) * 10**9

    def commit(self, events: list[Event], *expected: EventKind) -> list[Event]:
        of_alarm = [e for e in events if e.alarm]
        assert [e.kind for e in of_alarm] == list(expected)
        for event in of_alarm:
            assert event.alarm == ALARM
            assert event.uid not in self.uids
            self.uids.add(event.uid)
            assert event.state is not None
            assert event.state.value == ("OOSRV" if self.out else self.state)
            if self.occurrence:
                assert event.occurrence == self.occurrence
            assert (event.area, event.line, event.device) == ("suite-1", "serial-1", DEVICE)
        self.saved |= self.engine.take_changes()
        return of_alarm

    def move(self, trigger: str) -> None:
        self.state = NEXT[self.state, trigger]

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds: int) -> None:
        self.true += seconds
        self.commit(self.engine.tick(self.mono, self.now))

    @rule(value=st.sampled_from([37.0, 38.0, 38.5, 50.0, None]))
    def read(self, value: float | None) -> None:
        reading = Reading(CHANNEL, self.now, self.now, value, None if value is not None else "silent")
        active = self.state in ("UNACK", "ACKED")
        kinds: list[EventKind] = []
        if value is None:
            if active and self.measured:
                self.measured = False
                kinds.append(EventKind.NOT_MEASURED)
        else:
            if active and not self.measured:
                self.measured = True
                kinds.append(EventKind.MEASURED_AGAIN)
            kinds += self.judge(value > 38, active)
        events = self.commit_ending(self.engine.reading(reading, self.mono), kinds)
        if EventKind.RAISED in kinds:
            raised = events[-1]
            if not self.occurrence:
                assert raised.occurrence not in self.all
                self.all.append(raised.occurrence)
                self.occurrence = raised.occurrence

    def judge(self, breach: bool, active: bool) -> list[EventKind]:
        if breach == active:
            self.turned = None
            return []
        if self.turned is None:
            self.turned = self.true
        if self.true - self.turned < (self.ON if breach else self.OFF):
            return []
        self.turned = None
        self.move("breach" if breach else "return")
        self.measured = True
        self.told = breach and not self.out
        return [EventKind.RAISED if breach else EventKind.CLEARED]

    def commit_ending(self, events: list[Event], kinds: list[EventKind]) -> list[Event]:
        if kinds[-1:] == [EventKind.CLEARED] and kinds[:1] == [EventKind.MEASURED_AGAIN]:
            # The first of the two was made before the state moved on.
            assert [e.kind for e in events] == kinds
            self.commit(events[1:], EventKind.CLEARED)
            found = events
        else:
            found = self.commit(events, *kinds)
        if self.state == "NORM":
            self.occurrence = ""
        return found

    @rule()
    def acknowledge(self) -> None:
        if (self.state, "ack") not in NEXT:
            with pytest.raises(CommandRefused):
                self.engine.acknowledge(ALARM, self.occurrence, "duty", "", self.mono, self.now)
            return
        returned = self.state == "RTNUN"
        events = self.engine.acknowledge(ALARM, self.occurrence, "duty", "", self.mono, self.now)
        self.move("ack")
        self.commit(events, EventKind.ACKNOWLEDGED)
        if returned:
            self.occurrence = ""

    @precondition(lambda self: len(self.all) > 1)
    @rule()
    def acknowledge_a_past_occurrence(self) -> None:
        past = next(o for o in self.all if o != self.occurrence)
        with pytest.raises(CommandRefused):
            self.engine.acknowledge(ALARM, past, "duty", "", self.mono, self.now)

    @precondition(lambda self: not self.out)
    @rule()
    def take_out(self) -> None:
        events = self.engine.out_of_service(DEVICE, None, "duty", "cleaning", self.mono, self.now)
        self.out = True
        self.commit(events, *([EventKind.OUT_OF_SERVICE] if self.state != "NORM" else []))

    @precondition(lambda self: self.out)
    @rule()
    def put_back(self) -> None:
        events = self.engine.in_service(DEVICE, "duty", "", self.mono, self.now)
        self.out = False
        if self.state == "NORM":
            self.commit(events)
        elif self.state == "UNACK" and not self.told:
            self.told = True
            self.commit(events, EventKind.RAISED)
        else:
            self.commit(events, EventKind.IN_SERVICE)

    @rule(away=st.integers(0, 20))
    def kill(self, away: int) -> None:
        self.true += away
        self.boot = self.true - 100
        self.engine = AlarmEngine(self.rules, PLANT, self.saved, mono=self.mono, now=self.now)
        self.commit(self.engine.tick(self.mono, self.now))

    @rule(seconds=st.sampled_from([-3600, 3600]))
    @precondition(lambda self: self.turned is None)
    def clock_step(self, seconds: int) -> None:
        """Only while no delay runs: a restart inside one can but go by the wall clock (case files)."""
        self.step += seconds

    @invariant()
    def stands_as_the_model_says(self) -> None:
        views = self.engine.views()
        if self.state == "NORM":
            assert views == []
            return
        (shown,) = views
        assert shown.underlying.value == self.state
        assert shown.state.value == ("OOSRV" if self.out else self.state)
        assert shown.occurrence == self.occurrence
        assert shown.measured is self.measured


Day.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDay = Day.TestCase
