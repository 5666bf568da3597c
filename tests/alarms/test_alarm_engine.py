"""What the case files cannot say: bounds of values, what is saved when, views, refusals of nonsense."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from alarm_cases import BEGIN, CHANNEL, DEVICE, PLANT, alarm_id, make_rules
from hypothesis import given
from hypothesis import strategies as st

from labmon.alarms.engine import PEAK_EVERY, AlarmEngine
from labmon.alarms.errors import CommandRefused
from labmon.alarms.given import Level, Value
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.alarms.state import FRESH, State
from labmon.alarms.step import step
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.model.reading import Reading

HIGH = alarm_id("action-high")


def wall(seconds: float) -> int:
    return BEGIN + round(seconds * 1e9)


def engine(saved: dict[str, bytes] | None = None, **rules: dict[str, float]) -> AlarmEngine:
    named = {name.replace("_", "-"): options for name, options in rules.items()}
    return AlarmEngine(make_rules(named), PLANT, saved or {}, mono=0.0, now=BEGIN)


def give(target: AlarmEngine, seconds: float, value: float | None) -> list[Event]:
    reason = "no-sensor" if value is None else None
    return target.reading(Reading(CHANNEL, wall(seconds), wall(seconds), value, reason), seconds)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_no_value(value: float) -> None:
    target = engine(action_high={"limit": 38}, action_low={"limit": 10}, alert_high={"limit": 30})
    assert give(target, 0, value) == []
    assert [e.alarm for e in give(target, 1, 31)] == [alarm_id("alert-high")]
    (event,) = give(target, 2, value)
    assert (event.kind, event.alarm) == (EventKind.NOT_MEASURED, alarm_id("alert-high"))
    assert event.detail == "internal (not a finite number)"
    assert target.views()[0].value is None


def test_an_infinite_value_is_not_in_the_band_of_a_channel_without_limits() -> None:
    target = engine(quality={"after": 10})
    target.tick(0.0, BEGIN)
    give(target, 0, 20)
    for seconds in range(1, 10):
        assert give(target, seconds, math.inf) == []
    (event,) = give(target, 10, math.inf)
    assert (event.kind, event.alarm) == (EventKind.RAISED, alarm_id("quality"))
    assert event.since == BEGIN


def test_a_channel_without_rules_is_nobodys_business() -> None:
    target = AlarmEngine([], PLANT, {}, mono=0.0, now=BEGIN)
    assert give(target, 0, 39) == []
    target.tick(0.0, BEGIN)
    assert target.next_due() is None
    assert target.take_changes() == {}


def test_readings_in_the_band_change_nothing_that_is_saved() -> None:
    target = engine(action_high={"limit": 38}, silence={"after": 10}, quality={"after": 10})
    for seconds in range(100):
        assert give(target, seconds, 37 + seconds / 200) == []
        assert target.tick(seconds + 0.5, wall(seconds + 0.5)) == []
    assert give(target, 101, None) == []
    assert give(target, 102, 37) == []
    assert target.take_changes() == {}


def test_a_whole_number_survives_a_restart() -> None:
    target = engine(action_high={"limit": 38})
    give(target, 0, 39)
    assert [e.kind for e in engine(target.take_changes(), action_high={"limit": 38}).tick(0.0, BEGIN)] == []


def test_states_are_saved_with_their_events_and_only_once() -> None:
    target = engine(action_high={"limit": 38, "on-delay": 10})
    give(target, 0, 39)
    pending = target.take_changes()
    assert set(pending) == {HIGH}
    assert State.from_bytes(pending[HIGH], 0.0, BEGIN).turn == BEGIN
    give(target, 5, 39)
    assert target.take_changes() == {}
    (event,) = give(target, 10, 39)
    state = State.from_bytes(target.take_changes()[HIGH], 10.0, wall(10))
    assert (state.base, state.occurrence, state.since) == (AlarmState.UNACK, event.occurrence, BEGIN)
    assert target.take_changes() == {}


def test_a_peak_is_saved_with_the_next_change_or_after_a_while() -> None:
    target = engine(action_high={"limit": 38})
    target.tick(0.0, BEGIN)
    give(target, 0, 39)
    target.take_changes()
    give(target, 1, 41)
    give(target, 2, 40)
    assert target.take_changes() == {}
    (shown,) = target.views()
    assert (shown.peak, shown.peak_time, shown.value) == (41, wall(1), 40)
    due = target.next_due()
    assert due == 1 + PEAK_EVERY
    assert target.tick(due, wall(due)) == []
    assert State.from_bytes(target.take_changes()[HIGH], 0.0, BEGIN).peak == 41
    give(target, 62, 42)
    give(target, 63, 37)
    state = State.from_bytes(target.take_changes()[HIGH], 0.0, BEGIN)
    assert (state.base, state.peak, state.value) == (AlarmState.RTNUN, 42, 37)
    assert target.next_due() is None or not target.tick(1000.0, wall(1000))
    assert target.take_changes() == {}


def test_the_peak_of_a_low_limit_is_the_lowest() -> None:
    target = engine(action_low={"limit": 36})
    for seconds, value in enumerate((35, 33, 34)):
        give(target, seconds, value)
    assert target.views()[0].peak == 33


def test_a_view_holds_what_a_person_wants_to_know() -> None:
    target = engine(action_high={"limit": 38})
    (event,) = give(target, 10, 39)
    target.acknowledge(HIGH, event.occurrence, "duty", "door", 20.0, wall(20))
    (shown,) = target.views()
    assert shown.to_dict() == {
        "alarm": HIGH,
        "state": "ACKED",
        "underlying": "ACKED",
        "occurrence": event.occurrence,
        "activations": 1,
        "alarm_class": "action",
        "area": "suite-1",
        "line": "serial-1",
        "device": DEVICE,
        "channel": CHANNEL,
        "began": wall(10),
        "since": wall(10),
        "raised": wall(10),
        "value": 39,
        "unit": "Cel",
        "limit": 38,
        "direction": "high",
        "peak": 39,
        "peak_time": wall(10),
        "measured": True,
        "acknowledged": wall(20),
        "user": "duty",
        "reason": "door",
    }
    give(target, 30, None)
    assert "value" not in target.views()[0].to_dict()
    assert target.views()[0].measured is False


def test_views_of_a_device_out_of_service_show_what_is_underneath() -> None:
    target = engine(action_high={"limit": 38}, alert_high={"limit": 37})
    target.out_of_service(DEVICE, wall(100), "duty", "cleaning", 1.0, wall(1))
    assert target.views() == []
    assert target.is_out_of_service(DEVICE)
    (record,) = target.services()
    assert (record.since, record.until, record.user, record.reason) == (wall(1), wall(100), "duty", "cleaning")
    give(target, 2, 37.5)
    (shown,) = target.views()
    assert (shown.state, shown.underlying) == (AlarmState.OOSRV, AlarmState.UNACK)
    target.in_service(DEVICE, "operator-2", "", 3.0, wall(3))
    assert not target.is_out_of_service(DEVICE)
    assert target.services() == []


def test_what_is_out_of_service_is_deleted_from_the_saved_states_when_it_ends() -> None:
    target = engine(action_high={"limit": 38})
    target.out_of_service(DEVICE, None, "duty", "cleaning", 1.0, wall(1))
    saved = target.take_changes()
    again = engine(saved, action_high={"limit": 38})
    assert again.is_out_of_service(DEVICE)
    again.in_service(DEVICE, "duty", "", 2.0, wall(2))
    changes = again.take_changes()
    assert [key for key, state in changes.items() if not state] == [f"@{DEVICE}"]
    # A journal that keeps the empty bytes is as good as one that deletes the key.
    assert not engine(saved | changes, action_high={"limit": 38}).is_out_of_service(DEVICE)


@pytest.mark.parametrize("device", ["incubator-2", "incubator1", ""])
def test_an_unknown_device_is_refused_with_the_nearest(device: str) -> None:
    target = engine(action_high={"limit": 38})
    for act in (
        lambda: target.out_of_service(device, None, "duty", "why", 0.0, BEGIN),
        lambda: target.in_service(device, "duty", "why", 0.0, BEGIN),
    ):
        with pytest.raises(CommandRefused, match="no device is called") as refused:
            act()
        assert ("did you mean incubator-1?" in str(refused.value)) is bool(device)
    assert target.take_changes() == {}


def test_a_refused_command_changes_nothing() -> None:
    target = engine(action_high={"limit": 38})
    (event,) = give(target, 0, 39)
    target.take_changes()
    before = target.views()
    with pytest.raises(CommandRefused):
        target.acknowledge(HIGH, "0123", "duty", "", 1.0, wall(1))
    with pytest.raises(CommandRefused):
        target.acknowledge(HIGH, event.occurrence, "", "", 1.0, wall(1))
    assert target.views() == before
    assert target.take_changes() == {}


@pytest.mark.parametrize("saved", [b"rubbish", b'{"v":9}', b'{"v":1,"base":"X"}'])
def test_an_unreadable_state_is_told_and_the_alarm_comes_anew(saved: bytes) -> None:
    target = engine({HIGH: saved, f"@{DEVICE}": saved, "gone.x.action-high": saved}, action_high={"limit": 38})
    events = target.tick(0.0, BEGIN)
    assert [e.kind for e in events] == [EventKind.JOURNAL] * 3
    assert all("cannot be read" in e.detail for e in events)
    assert target.tick(1.0, wall(1)) == []
    assert target.take_changes() == {HIGH: FRESH.to_bytes(), f"@{DEVICE}": b"", "gone.x.action-high": b""}
    assert [e.kind for e in give(target, 2, 39)] == [EventKind.RAISED]


def test_a_device_that_left_the_plant_is_not_out_of_service_any_more() -> None:
    target = engine(action_high={"limit": 38})
    target.out_of_service(DEVICE, None, "duty", "cleaning", 1.0, wall(1))
    saved = {key.replace(DEVICE, "incubator-9"): value for key, value in target.take_changes().items()}
    again = engine(saved, action_high={"limit": 38})
    assert again.services() == []
    assert again.take_changes() == dict.fromkeys(saved, b"")


def test_events_of_the_restart_come_with_the_first_tick_which_is_due_at_once() -> None:
    target = engine(action_high={"limit": 38})
    give(target, 0, 39)
    again = engine(target.take_changes(), action_low={"limit": 30})
    assert again.next_due() == 0.0
    (event,) = again.tick(0.0, BEGIN)
    assert (event.kind, event.alarm, event.state) == (EventKind.REMOVED, HIGH, AlarmState.NORM)


def test_a_condition_that_does_not_exist_is_an_error_of_the_program() -> None:
    target = engine(action_high={"limit": 38}, dead={})
    for name in ("incubator-9.dead", HIGH):
        with pytest.raises(KeyError, match="no condition is called"):
            target.condition(name, True, 0.0, BEGIN)


def test_a_condition_that_does_not_hold_may_be_told_at_any_time() -> None:
    target = engine(dead={}, journal={"on-delay": 10})
    for name in ("dead", "journal"):
        assert target.condition(alarm_id(name), False, 0.0, BEGIN) == []
    assert target.take_changes() == {}


def test_the_detail_of_a_condition_is_the_latest() -> None:
    target = engine(journal={})
    target.condition(alarm_id("journal"), True, 0.0, BEGIN, "slow")
    target.take_changes()
    assert target.condition(alarm_id("journal"), True, 1.0, wall(1), "disk full") == []
    assert target.views()[0].detail == "disk full"
    assert State.from_bytes(target.take_changes()[alarm_id("journal")], 0.0, BEGIN).detail == "disk full"


def test_a_condition_noticed_late_says_when_it_began() -> None:
    target = engine(journal={})
    (raised,) = target.condition(alarm_id("journal"), True, 100.0, wall(100), "slow", wall(40))
    assert (raised.time, raised.detected, raised.since) == (wall(100), wall(100), wall(40))
    assert target.views()[0].since == wall(40)


def test_a_self_clearing_condition_is_over_without_an_acknowledgement() -> None:
    rule = ConditionRule(alarm="watch.broker", self_clearing=True)
    target = AlarmEngine([rule], PLANT, {}, mono=0.0, now=BEGIN)
    (raised,) = target.condition(rule.alarm, True, 0.0, BEGIN)
    (cleared,) = target.condition(rule.alarm, False, 1.0, wall(1))
    assert (raised.state, cleared.state, cleared.since) == (AlarmState.UNACK, AlarmState.NORM, BEGIN)
    assert target.views() == []
    (again,) = target.condition(rule.alarm, True, 2.0, wall(2))
    assert again.occurrence != raised.occurrence
    target.acknowledge(rule.alarm, again.occurrence, "duty", "seen", 3.0, wall(3))
    (over,) = target.condition(rule.alarm, False, 4.0, wall(4))
    assert over.state is AlarmState.NORM


def limit_rule(**changes: object) -> LimitRule:
    rule = LimitRule(
        alarm=HIGH, channel=CHANNEL, device=DEVICE, level="action", direction="high", limit=38, cls=AlarmClass.ACTION
    )
    return replace(rule, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"limit": math.nan}, {"limit": math.inf}, {"dead_band": -1}, {"on_delay": -1}, {"off_delay": math.inf}],
)
def test_numbers_that_cannot_be_meant_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=HIGH):
        limit_rule(**changes)


@pytest.mark.parametrize(
    "rules",
    [
        [limit_rule(), limit_rule()],
        [limit_rule(channel="incubator-1.co2")],
        [limit_rule(device="incubator-9")],
        [SilenceRule(alarm="x.y.silence", channel="x.y", after=1)],
        [QualityRule(alarm="x.y.quality", channel="x.y", after=1)],
        [ConditionRule(alarm="line.nine.lost", line="nine")],
        [ConditionRule(alarm="nine.dead", device="nine")],
    ],
)
def test_rules_that_do_not_fit_the_plant_are_refused(rules: list[Rule]) -> None:
    with pytest.raises(ValueError, match="alarm"):
        AlarmEngine(rules, PLANT, {}, mono=0.0, now=BEGIN)


def test_a_condition_of_the_gateway_has_nothing_below_it() -> None:
    with pytest.raises(ValueError, match="nothing is below"):
        ConditionRule(alarm="gateway.journal", inhibits=True)


def test_a_step_is_given_only_what_its_rule_knows() -> None:
    with pytest.raises(TypeError):
        step(limit_rule(), FRESH, Level(True), 0.0, 0)
    with pytest.raises(TypeError):
        step(ConditionRule(alarm="gateway.journal"), FRESH, Value(1.0, 1), 0.0, 0)


def test_a_step_that_changes_nothing_gives_the_same_state_back() -> None:
    state, events = step(limit_rule(), FRESH, Value(37.0, BEGIN), 0.0, BEGIN)
    assert state is FRESH
    assert events == []


@given(st.floats(1, 1e7), st.integers(1, 2 * 10**18))
def test_a_delay_carried_over_a_restart_is_over_in_its_time_and_not_a_reading_later(mono: float, began: int) -> None:
    rule, delay = limit_rule(on_delay=600.1), 600_100_000_000
    pending, _ = step(rule, FRESH, Value(39.0, began), 0.0, began)
    for early, expected in ((10**7, []), (0, [EventKind.RAISED])):
        now = began + delay - early
        _, events = step(rule, State.from_bytes(pending.to_bytes(), mono, now), Value(39.0, now), mono, now)
        assert [e.kind for e in events] == expected


def test_on_the_limit_is_inside_also_while_another_limit_is_breached() -> None:
    target = engine(alert_high={"limit": 37}, action_high={"limit": 38}, alert_low={"limit": 38})
    assert [e.alarm for e in give(target, 0, 38)] == [alarm_id("alert-high")]
    assert give(target, 1, 38) == []
