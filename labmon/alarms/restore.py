"""How an engine begins: alarms from rules, their states from what was saved. Nothing is told again or forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from labmon.alarms.errors import StateError
from labmon.alarms.rule import ConditionRule, LimitRule, Rule, SilenceRule
from labmon.alarms.state import FRESH, State
from labmon.alarms.view import OutOfService
from labmon.alarms.watch import Alarm, ChannelWatch
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.plant import Plant

SERVICE_PREFIX = "@"
"""Before a device's id: the key under which its being out of service is saved; no alarm id has it."""


@dataclass(slots=True)
class Restored:
    """What an engine begins with."""

    alarms: dict[str, Alarm] = field(default_factory=dict)
    watches: dict[str, ChannelWatch] = field(default_factory=dict)
    services: dict[str, OutOfService] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    """Keys of saved states that belong to nothing any more."""
    changed: list[Alarm] = field(default_factory=list)


def restore(rules: Iterable[Rule], plant: Plant, saved: Mapping[str, bytes], mono: float, now: int) -> Restored:
    """Put rules, plant and saved states together. Raises ValueError for a rule that does not fit the plant.

    A saved state that cannot be read is an event, and its alarm begins normal: it is raised anew if it still holds.
    """
    made = Restored()
    rules = list(rules)
    _restore_services(made, plant, saved, now)
    silences = {r.channel: r.after for r in rules if isinstance(r, SilenceRule)}
    for rule in rules:
        if rule.alarm in made.alarms:
            raise ValueError(f"two rules for alarm {rule.alarm}")
        if isinstance(rule, LimitRule) and rule.unmeasured_after is None:
            rule = replace(rule, unmeasured_after=silences.get(rule.channel))
        area, line = _place(rule, plant)
        alarm = Alarm(rule, FRESH, area, line)
        _restore_state(made, alarm, saved.get(rule.alarm, b""), mono, now)
        made.alarms[rule.alarm] = alarm
        if rule.channel:
            watch = made.watches.get(rule.channel)
            if watch is None:
                watch = made.watches[rule.channel] = ChannelWatch(mono, now)
            watch.add(alarm)
    _connect(made, plant)
    for watch in made.watches.values():
        watch.settle()
    _remove_vanished(made, plant, saved, mono, now)
    return made


def _place(rule: Rule, plant: Plant) -> tuple[str, str]:
    """Area and line of a rule."""
    if rule.channel and rule.channel not in plant.channels:
        raise ValueError(f"alarm {rule.alarm}: no channel {rule.channel} in the plant")
    if rule.device and rule.device not in plant.devices:
        raise ValueError(f"alarm {rule.alarm}: no device {rule.device} in the plant")
    if isinstance(rule, ConditionRule) and not rule.device:
        if rule.line and rule.line not in plant.lines:
            raise ValueError(f"alarm {rule.alarm}: no line {rule.line} in the plant")
        return "", rule.line
    device = plant.devices[rule.device]
    return (plant.channels[rule.channel].area if rule.channel else device.area), device.line


def _connect(made: Restored, plant: Plant) -> None:
    """Give each channel with silence or quality alarms the conditions that stand above it."""
    above_device: dict[str, list[Alarm]] = {}
    above_line: dict[str, list[Alarm]] = {}
    for alarm in made.alarms.values():
        if isinstance(alarm.rule, ConditionRule) and alarm.rule.inhibits:
            if alarm.rule.device:
                above_device.setdefault(alarm.rule.device, []).append(alarm)
            else:
                above_line.setdefault(alarm.rule.line, []).append(alarm)
    for key, watch in made.watches.items():
        if not watch.spells:
            continue
        device = plant.devices[plant.channels[key].device]
        watch.parents = above_device.get(device.id, []) + above_line.get(device.line, [])
        for parent in watch.parents:
            parent.children.append(watch)


def _restore_services(made: Restored, plant: Plant, saved: Mapping[str, bytes], now: int) -> None:
    for key, data in saved.items():
        if not key.startswith(SERVICE_PREFIX) or not data:
            continue
        device = key.removeprefix(SERVICE_PREFIX)
        try:
            record = OutOfService.from_bytes(data)
        except StateError as error:
            made.events.append(_unreadable(f"device {device}: whether it is out of service", error, now))
            made.forgotten.append(key)
            continue
        if device in plant.devices:
            made.services[device] = record
        else:
            made.forgotten.append(key)


def _restore_state(made: Restored, alarm: Alarm, data: bytes, mono: float, now: int) -> None:
    state = FRESH
    if data:
        try:
            state = State.from_bytes(data, mono, now)
        except StateError as error:
            made.events.append(_unreadable(f"alarm {alarm.rule.alarm}: its saved state", error, now))
            made.changed.append(alarm)
    # The device's record decides: an alarm that is new in the configuration goes with its device.
    hidden = AlarmState.OOSRV if alarm.rule.device in made.services else None
    if state.hidden is not hidden:
        state = replace(state, hidden=hidden)
        made.changed.append(alarm)
    alarm.state = state


def _unreadable(what: str, error: StateError, now: int) -> Event:
    return Event(kind=EventKind.JOURNAL, time=now, detected=now, detail=f"{what} cannot be read: {error}")


def _remove_vanished(made: Restored, plant: Plant, saved: Mapping[str, bytes], mono: float, now: int) -> None:
    for key, data in saved.items():
        if key in made.alarms or key.startswith(SERVICE_PREFIX) or not data:
            continue
        made.forgotten.append(key)
        try:
            state = State.from_bytes(data, mono, now)
        except StateError as error:
            made.events.append(_unreadable(f"alarm {key}, which has no rule any more: its saved state", error, now))
            continue
        if state.base is AlarmState.NORM:
            continue
        device, _, rest = key.partition(".")
        channel = f"{device}.{rest.rpartition('.')[0]}"
        known = plant.devices.get(device)
        made.events.append(
            Event(
                kind=EventKind.REMOVED,
                time=now,
                detected=now,
                detail=f"was {state.shown.value} when its rule left the configuration; it is watched no more",
                alarm=key,
                occurrence=state.occurrence,
                state=AlarmState.NORM,
                area=known.area if known else "",
                line=known.line if known else "",
                device=device if known else "",
                channel=channel if channel in plant.channels else "",
                value=state.value,
                since=state.since or None,
                measured=state.measured,
            )
        )
