"""Another plant and other rules for a running engine: what moves, what goes, and what is saved of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alarm_cases import BEGIN, CHANNEL, DEVICE, PLANT, alarm_id, make_rules

from labmon.alarms.engine import AlarmEngine
from labmon.alarms.placed import RuleChange, place, rule_change
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.alarms.state import State
from labmon.model.event import AlarmClass, AlarmState, EventKind
from labmon.model.plant import LineInfo, Plant
from labmon.model.reading import Reading

HIGH = alarm_id("action-high")
LIMITS = {"action-high": {"limit": 38.0}, "silence": {"after": 50.0}, "dead": {}, "lost": {}}
RULES = make_rules(LIMITS)
MOVED = replace(
    PLANT,
    lines={"serial-2": LineInfo("serial-2", "Serial 2", "/dev/ttyS1", (DEVICE,))},
    devices={DEVICE: replace(PLANT.devices[DEVICE], line="serial-2", area="suite-2")},
    channels={CHANNEL: replace(PLANT.channels[CHANNEL], area="suite-2")},
)
EMPTY = replace(PLANT, lines={}, devices={}, channels={})


def wall(seconds: float) -> int:
    return BEGIN + round(seconds * 1e9)


def engine(rules: list[Rule]) -> AlarmEngine:
    made = AlarmEngine(rules, PLANT, {}, mono=0.0, now=BEGIN)
    made.tick(0.0, BEGIN)
    return made


def give(target: AlarmEngine, seconds: float, value: float) -> None:
    target.reading(Reading(CHANNEL, wall(seconds), wall(seconds), value, None, 0), seconds)


def change(before: list[Rule], plant: Plant, after: list[Rule], other: Plant) -> RuleChange:
    return rule_change(place(before, plant), place(after, other))


def test_what_differs_between_two_sets_of_rules() -> None:
    other = [replace(r, limit=39.0) if isinstance(r, LimitRule) else r for r in RULES if r.alarm != alarm_id("dead")]
    other.append(QualityRule(alarm=alarm_id("quality"), channel=CHANNEL, after=5.0))
    found = change(RULES, PLANT, other, PLANT)
    assert (set(found.added), set(found.changed), found.removed) == (
        {alarm_id("quality")},
        {HIGH},
        {alarm_id("dead")},
    )
    assert found
    assert not change(RULES, PLANT, list(reversed(RULES)), PLANT)


def test_a_silence_that_changes_changes_when_a_limit_alarm_is_no_longer_measured() -> None:
    other = [replace(r, after=70.0) if isinstance(r, SilenceRule) else r for r in RULES]
    assert set(change(RULES, PLANT, other, PLANT).changed) == {alarm_id("silence"), HIGH}


def test_a_rule_of_another_kind_under_the_same_id_is_another_rule() -> None:
    one = [ConditionRule(alarm=HIGH, cls=AlarmClass.TECHNICAL, device=DEVICE)]
    found = change([r for r in RULES if r.alarm == HIGH], PLANT, list(one), PLANT)
    assert found.removed == found.added.keys() == {HIGH}
    target = engine([r for r in RULES if r.alarm == HIGH])
    give(target, 1, 39)
    (event,) = target.reconfigure(found, PLANT, "anna", 2.0, wall(2))
    assert (event.kind, event.alarm, event.state) == (EventKind.REMOVED, HIGH, AlarmState.NORM)
    assert target.condition(HIGH, True, 3.0, wall(3))[0].kind is EventKind.RAISED


def test_a_moved_device_takes_its_alarms_along_and_is_inhibited_by_its_new_line_alone() -> None:
    target = engine(RULES)
    give(target, 0, 39)
    target.condition("line.serial-1.lost", True, 1.0, wall(1))
    other = [
        replace(r, alarm="line.serial-2.lost", line="serial-2") if r.alarm == "line.serial-1.lost" else r for r in RULES
    ]
    events = target.reconfigure(change(RULES, PLANT, other, MOVED), MOVED, "anna", 100.0, wall(100))
    assert [(e.kind, e.alarm, e.user, e.line) for e in events] == [
        (EventKind.REMOVED, "line.serial-1.lost", "anna", "serial-1")
    ]
    (view,) = target.views()
    assert (view.alarm, view.state, view.area, view.line) == (HIGH, AlarmState.UNACK, "suite-2", "serial-2")
    # Silence counts from the move on, and the lost line that it left inhibits it no more.
    assert not [e for e in target.tick(149.0, wall(149)) if e.kind is EventKind.RAISED]
    raised = [e for e in target.tick(150.0, wall(150)) if e.kind is EventKind.RAISED]
    assert [(e.alarm, e.area, e.line) for e in raised] == [(alarm_id("silence"), "suite-2", "serial-2")]


def test_what_is_removed_leaves_nothing_behind() -> None:
    before = make_rules({"action-high": {"limit": 38, "off-delay": 10}, "journal": {"on-delay": 50}, "dead": {}})
    target = engine(before)
    give(target, 0, 39)
    give(target, 1, 41)  # a peak that is to be saved
    target.condition("gateway.journal", True, 1.0, wall(1))  # a delay under way
    target.out_of_service(DEVICE, wall(1000), "anna", "moving", 2.0, wall(2))
    target.take_changes()
    events = target.reconfigure(change(before, PLANT, [], EMPTY), EMPTY, "anna", 3.0, wall(3))
    assert {(e.kind, e.alarm, e.device, e.state) for e in events} == {
        (EventKind.REMOVED, HIGH, DEVICE, AlarmState.OOSRV),
        (EventKind.IN_SERVICE, "", DEVICE, None),
    }
    changes = target.take_changes()
    assert changes == {HIGH: b"", "gateway.journal": b"", alarm_id("dead"): b"", f"@{DEVICE}": b""}
    assert (target.views(), target.services(), target.states()) == ([], [], {})
    assert target.tick(10_000.0, wall(10_000)) == []
    assert target.next_due() is None
    assert target.take_changes() == {}
    give(target, 10_001, 99)
    with pytest.raises(KeyError):
        target.condition("gateway.journal", True, 10_001.0, wall(10_001))


def test_another_unit_forgets_the_figures_in_the_old_one_and_keeps_the_alarm() -> None:
    rules = make_rules({"action-high": {"limit": 38}})
    target = engine(rules)
    give(target, 0, 39)
    occurrence = target.views()[0].occurrence
    target.take_changes()
    other: list[Rule] = [replace(r, limit=100.4, unit="[degF]") for r in rules if isinstance(r, LimitRule)]
    assert target.reconfigure(change(rules, PLANT, other, PLANT), PLANT, "anna", 1.0, wall(1)) == []
    (view,) = target.views()
    assert (view.occurrence, view.value, view.peak, view.limit) == (occurrence, None, None, 100.4)
    assert State.from_bytes(target.take_changes()[HIGH], 1.0, wall(1)).peak is None
    give(target, 2, 102)
    assert target.views()[0].peak == 102


def test_a_change_that_does_not_fit_changes_nothing() -> None:
    target = engine(RULES)
    give(target, 0, 39)
    before = target.views()
    for wrong in (
        change([], PLANT, RULES, PLANT),
        change(make_rules({"action-low": {"limit": 3}}), PLANT, [], PLANT),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            target.reconfigure(wrong, PLANT, "anna", 1.0, wall(1))
    assert target.views() == before
    with pytest.raises(ValueError, match="no channel"):
        place(RULES, EMPTY)


def test_alarms_of_before_are_acknowledged_and_taken_out_of_service_as_ever() -> None:
    target = engine(RULES)
    give(target, 0, 39)
    more = [*RULES, *make_rules({"alert-high": {"limit": 37}})]
    target.reconfigure(change(RULES, PLANT, more, PLANT), PLANT, "anna", 1.0, wall(1))
    give(target, 2, 39)
    assert {v.alarm for v in target.views()} == {HIGH, alarm_id("alert-high")}
    target.acknowledge(HIGH, target.views()[0].occurrence, "duty", "seen", 3.0, wall(3))
    events = target.out_of_service(DEVICE, None, "duty", "cleaning", 4.0, wall(4))
    assert {e.alarm for e in events} == {"", HIGH, alarm_id("alert-high")}
