"""A running engine takes another configuration: what goes on goes on as it is, what goes is told, what is new begins.

An alarm whose rule stays keeps its state, its occurrence and any delay under way; another limit counts from the next
reading on. An alarm that is not normal does not vanish in silence: its occurrence ends with an event that says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from labmon.alarms.placed import Placed, RuleChange
from labmon.alarms.restore import SERVICE_PREFIX, connect, watch_over
from labmon.alarms.rule import ConditionRule, LimitRule
from labmon.alarms.state import FRESH, State
from labmon.alarms.view import OutOfService
from labmon.alarms.watch import Alarm, ChannelWatch
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.plant import Device, Plant


@dataclass(frozen=True, slots=True)
class Applied:
    """Who applies a configuration, and when: monotonic seconds, UTC ns."""

    user: str
    mono: float
    now: int


@dataclass(slots=True)
class Reconfigured:
    """What came of it, beside what the alarms and watches themselves are now."""

    events: list[Event] = field(default_factory=list)
    changed: list[Alarm] = field(default_factory=list)
    """Alarms whose state is to be saved."""
    forgotten: list[str] = field(default_factory=list)
    """Keys of saved states that belong to nothing any more."""


@dataclass(slots=True)
class Standing:
    """What an engine holds; changed in place."""

    alarms: dict[str, Alarm]
    watches: dict[str, ChannelWatch]
    services: dict[str, OutOfService]


def reconfigure(standing: Standing, change: RuleChange, before: Plant, plant: Plant, by: Applied) -> Reconfigured:
    """Carry the change out. Raises ValueError, with nothing changed, for a change that is not one of these alarms."""
    _check(standing, change)
    made = Reconfigured()
    touched: set[ChannelWatch] = set()
    for name in sorted(change.removed):
        _remove(standing, name, made, touched, by)
    for name, new in change.changed.items():
        _change(standing.alarms[name], new, made, touched)
    for device in [d for d in standing.services if d not in plant.devices]:
        made.events.append(_gone(before.devices[device], by))
        made.forgotten.append(SERVICE_PREFIX + device)
        del standing.services[device]
    for name, new in change.added.items():
        hidden = AlarmState.OOSRV if new.rule.device in standing.services else None
        alarm = standing.alarms[name] = Alarm(new.rule, replace(FRESH, hidden=hidden), new.area, new.line)
        if hidden:
            made.changed.append(alarm)
        watch_over(alarm, standing.watches, by.mono, by.now)
        if alarm.watch is not None:
            touched.add(alarm.watch)
    _connect(standing, plant, by)
    for watch in touched:
        watch.settle()
    return made


def _check(standing: Standing, change: RuleChange) -> None:
    known = standing.alarms.keys()
    wrong = (change.removed | change.changed.keys()) - known or (change.added.keys() & known) - change.removed
    if wrong:
        raise ValueError(f"the change does not fit the alarms that there are: {', '.join(sorted(wrong)[:5])}")


def _remove(standing: Standing, name: str, made: Reconfigured, touched: set[ChannelWatch], by: Applied) -> None:
    alarm = standing.alarms.pop(name)
    made.forgotten.append(name)
    if alarm.state.base is not AlarmState.NORM:
        made.events.append(_removed(alarm, by))
    if (watch := alarm.watch) is None:
        return
    (watch.limits if isinstance(alarm.rule, LimitRule) else watch.spells).remove(alarm)
    touched.add(watch)
    if not watch.limits and not watch.spells:
        del standing.watches[alarm.rule.channel]


def _change(alarm: Alarm, new: Placed, made: Reconfigured, touched: set[ChannelWatch]) -> None:
    before = alarm.rule
    alarm.rule, alarm.area, alarm.line = new.rule, new.area, new.line
    if isinstance(before, LimitRule) and isinstance(new.rule, LimitRule) and before.unit != new.rule.unit:
        # Figures in another unit say nothing any more, and would be compared with what comes.
        alarm.state = replace(alarm.state, value=None, peak=None, peak_time=0)
        made.changed.append(alarm)
        if alarm.watch is not None:
            alarm.watch.reading = None
    if alarm.watch is not None:
        touched.add(alarm.watch)


def _connect(standing: Standing, plant: Plant, by: Applied) -> None:
    """What stands above whom, anew. Where that is something else now, silence is judged from here on."""
    before = {key: watch.parents for key, watch in standing.watches.items()}
    connect(standing.alarms, standing.watches, plant)
    for key, watch in standing.watches.items():
        if watch.parents != before[key]:
            watch.begin_anew(by.mono)


def _removed(alarm: Alarm, by: Applied) -> Event:
    rule, state = alarm.rule, alarm.state
    event = Event(
        kind=EventKind.REMOVED,
        time=by.now,
        detected=by.now,
        detail=f"was {_shown(state)} when its rule left the configuration; it is watched no more",
        alarm=rule.alarm,
        occurrence=state.occurrence,
        alarm_class=rule.cls,
        # Hidden, it ends in silence, as it would have cleared.
        state=state.hidden or AlarmState.NORM,
        area=alarm.area,
        line=alarm.line,
        device=rule.device,
        channel=rule.channel,
        value=state.value,
        since=state.since or None,
        user=by.user,
        measured=state.measured,
    )
    if isinstance(rule, LimitRule):
        event.unit, event.limit, event.direction = rule.unit, rule.limit, rule.direction
    elif isinstance(rule, ConditionRule):
        event.line = rule.line or alarm.line
    return event


def _shown(state: State) -> str:
    return state.shown.value if state.hidden is None else f"{state.shown.value} ({state.base.value} underneath)"


def _gone(device: Device, by: Applied) -> Event:
    return Event(
        kind=EventKind.IN_SERVICE,
        time=by.now,
        detected=by.now,
        detail="was out of service when it was removed from the configuration",
        area=device.area,
        line=device.line,
        device=device.id,
        user=by.user,
    )
