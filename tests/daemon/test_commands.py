"""Commands: who may, with which reason; every act and every refusal is recorded."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from labmon.acquisition.pipeline import Pipeline
from labmon.alarms.engine import AlarmEngine
from labmon.alarms.errors import CommandRefused
from labmon.alarms.rule import ConditionRule
from labmon.config.site import User
from labmon.daemon.commands import LONGEST_OUT, ROLES, Commands
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.model.plant import Area, Device, LineInfo, Plant

ALARM = "pump.dead"
USERS = {name: User(id=name, name=name.title(), role=name) for name in ("viewer", "operator", "engineer", "qa")}  # type: ignore[arg-type]
PLANT = Plant(
    "lab",
    "Laboratory",
    "gw-1",
    "UTC",
    {"room": Area("room", "Room", "C", "in-operation")},
    {"bus": LineInfo("bus", "Bus", "x", ("pump",))},
    {"pump": Device("pump", "Pump", "room", "bus", "a/b", "", ())},
    {},
)


class Record:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, exchange: object) -> None:
        raise AssertionError

    def record(
        self, events: Sequence[Event] = (), alarm_states: Any = None, record_keys: Any = None, settings: Any = None
    ) -> None:
        self.events += events

    def flush(self) -> None:
        pass


class Bench:
    def __init__(self) -> None:
        rule = ConditionRule(alarm=ALARM, cls=AlarmClass.TECHNICAL, device="pump", inhibits=True)
        engine = AlarmEngine([rule], PLANT, {}, mono=time.monotonic(), now=time.time_ns())
        self.record = Record()
        self.pipeline = Pipeline(engine, self.record, lambda _: None)
        self.commands = Commands(self.pipeline, USERS, PLANT)

    def raise_alarm(self) -> str:
        self.pipeline.condition(ALARM, True, "silent")
        return self.pipeline.engine.views()[0].occurrence

    def refused(self, verb: str, user: str, arguments: Mapping[str, Any], identifier: str = "") -> str:
        """The refusal, after having seen that it is recorded and changed nothing."""
        before = self.pipeline.engine.views(), self.pipeline.engine.services()
        count = len(self.record.events)
        with pytest.raises(CommandRefused) as refused:
            self.commands.carry_out(verb, user, arguments, identifier)
        assert (self.pipeline.engine.views(), self.pipeline.engine.services()) == before
        (event,) = self.record.events[count:]
        assert (event.kind, event.user, event.command_id) == (EventKind.COMMAND, user, identifier)
        assert event.detail == f"refused: {refused.value}"[:500]
        return str(refused.value)


def test_an_acknowledgement_names_user_reason_and_occurrence() -> None:
    bench = Bench()
    occurrence = bench.raise_alarm()
    said = bench.commands.carry_out(
        "alarm-ack", "operator", {"alarm": ALARM, "occurrence": occurrence, "reason": " seen "}, "id-1"
    )
    assert said == f"{ALARM} acknowledged"
    assert bench.pipeline.engine.views()[0].state is AlarmState.ACKED
    acknowledged, command = bench.record.events[-2:]
    assert (acknowledged.kind, acknowledged.user, acknowledged.reason) == (EventKind.ACKNOWLEDGED, "operator", "seen")
    assert (command.kind, command.command, command.detail) == (EventKind.COMMAND, "alarm-ack", "done")
    assert (command.alarm, command.occurrence, command.user, command.command_id) == (
        ALARM,
        occurrence,
        "operator",
        "id-1",
    )


@pytest.mark.parametrize("verb", ROLES)
@pytest.mark.parametrize("user", [*USERS, "mallory", ""])
def test_roles(verb: str, user: str) -> None:
    bench = Bench()
    occurrence = bench.raise_alarm()
    if verb == "device-in-service":
        bench.commands.carry_out("device-out-of-service", "qa", {"device": "pump", "seconds": 60, "reason": "r"})
    arguments = {"alarm": ALARM, "occurrence": occurrence, "device": "pump", "seconds": 60, "reason": "r"}
    if user in ROLES[verb]:
        bench.commands.carry_out(verb, user, arguments)
        assert bench.record.events[-1].detail == "done"
    else:
        said = bench.refused(verb, user, arguments)
        assert ("is viewer" in said or "is operator" in said) if user in USERS else said == f"unknown user {user}"


def test_a_viewer_may_nothing() -> None:
    assert not any("viewer" in allowed for allowed in ROLES.values())


@pytest.mark.parametrize("reason", [None, "", "   "])
def test_nothing_without_a_reason(reason: str | None) -> None:
    bench = Bench()
    occurrence = bench.raise_alarm()
    given = {} if reason is None else {"reason": reason}
    for verb in ROLES:
        arguments = {"alarm": ALARM, "occurrence": occurrence, "device": "pump", "seconds": 60} | given
        assert bench.refused(verb, "qa", arguments) == "a reason is needed"


def test_what_does_not_fit_is_refused() -> None:
    bench = Bench()
    occurrence = bench.raise_alarm()
    ack = {"alarm": ALARM, "occurrence": occurrence, "reason": "r"}
    assert "unknown command stop; there are alarm-ack" in bench.refused("stop", "qa", {})
    assert "did you mean" in bench.refused("alarm-ack", "qa", ack | {"alarm": "pump.daed"}).lower()
    assert "occurrence" in bench.refused("alarm-ack", "qa", ack | {"occurrence": "past"})
    bench.commands.carry_out("alarm-ack", "qa", ack)
    bench.refused("alarm-ack", "qa", ack)
    out = {"device": "pump", "seconds": 60, "reason": "r"}
    assert "no device pomp; there are pump" in bench.refused("device-out-of-service", "qa", out | {"device": "pomp"})
    assert "in service" in bench.refused("device-in-service", "qa", {"device": "pump", "reason": "r"})


@pytest.mark.parametrize("seconds", [None, 0, -1, "60", math.nan, math.inf, LONGEST_OUT + 1, True, [60]])
def test_out_of_service_is_for_a_time(seconds: Any) -> None:
    arguments = {"device": "pump", "reason": "r"} | ({} if seconds is None else {"seconds": seconds})
    assert "for how long, at most 30 d" in Bench().refused("device-out-of-service", "engineer", arguments)


def test_out_of_service_and_back() -> None:
    bench = Bench()
    bench.raise_alarm()
    arguments = {"device": "pump", "seconds": 600, "reason": "calibration"}
    assert "pump out-of-service" in bench.commands.carry_out("device-out-of-service", "engineer", arguments)
    assert bench.pipeline.engine.is_out_of_service("pump")
    assert bench.pipeline.engine.views()[0].state is AlarmState.OOSRV
    bench.commands.carry_out("device-in-service", "engineer", {"device": "pump", "reason": "done"})
    assert bench.pipeline.engine.views()[0].state is AlarmState.UNACK


def test_what_a_command_brought_along_is_recorded_in_bounds() -> None:
    bench = Bench()
    long = "x" * 60_000
    bench.refused("alarm-ack", "qa", {"alarm": long, "occurrence": long, "device": long, "reason": long})
    bench.refused(long, "qa", {})
    for event in bench.record.events:
        assert all(len(text) <= 500 for text in event.to_dict().values() if isinstance(text, str))


def test_refusals_without_end_are_counted_and_not_recorded_one_by_one(monkeypatch: Any) -> None:
    bench = Bench()
    for _ in range(1000):
        with pytest.raises(CommandRefused):
            bench.commands.carry_out("alarm-ack", "nobody", {"reason": "x"})
    assert len(bench.record.events) == 50
    now = time.monotonic()
    monkeypatch.setattr("labmon.daemon.commands.time.monotonic", lambda: now + 61.0)
    with pytest.raises(CommandRefused):
        bench.commands.carry_out("alarm-ack", "nobody", {"reason": "x"})
    assert "(950 more refused commands were passed over before)" in bench.record.events[-1].detail
