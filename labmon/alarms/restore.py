"""How an engine begins: alarms from rules, their states from what was saved. Nothing is told again or forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from labmon.alarms.errors import StateError
from labmon.alarms.placed import place
from labmon.alarms.rule import ConditionRule, Rule
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
    _restore_services(made, plant, saved, now)
    for name, placed in place(rules, plant).items():
        alarm = made.alarms[name] = Alarm(placed.rule, FRESH, placed.area, placed.line)
        _restore_state(made, alarm, saved.get(name, b""), mono, now)
        watch_over(alarm, made.watches, mono, now)
    connect(made.alarms, made.watches, plant)
    for watch in made.watches.values():
        watch.settle()
    _remove_vanished(made, plant, saved, mono, now)
    return made


def watch_over(alarm: Alarm, watches: dict[str, ChannelWatch], mono: float, now: int) -> None:
    """Put an alarm to its channel's others, where it concerns a channel."""
    if alarm.rule.channel:
        watch = watches.get(alarm.rule.channel)
        if watch is None:
            watch = watches[alarm.rule.channel] = ChannelWatch(mono, now)
        watch.add(alarm)


def connect(alarms: Mapping[str, Alarm], watches: Mapping[str, ChannelWatch], plant: Plant) -> None:
    """Give each channel with silence or quality alarms the conditions that stand above it, and these their children."""
    above_device: dict[str, list[Alarm]] = {}
    above_line: dict[str, list[Alarm]] = {}
    for alarm in alarms.values():
        alarm.children = []
        if isinstance(alarm.rule, ConditionRule) and alarm.rule.inhibits:
            if alarm.rule.device:
                above_device.setdefault(alarm.rule.device, []).append(alarm)
            else:
                above_line.setdefault(alarm.rule.line, []).append(alarm)
    for key, watch in watches.items():
        watch.parents = []
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
