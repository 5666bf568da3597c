"""The alarm engine of a gateway: readings, the clock, conditions and commands in, events out. No I/O, no waiting.

Monotonic seconds (`mono`) carry every delay, UTC ns (`now`) every record. All calls come from one thread.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from labmon.alarms.errors import CommandRefused
from labmon.alarms.given import Acknowledge, Given, Level, NoValue, PutBack, TakeOut, Value
from labmon.alarms.placed import RuleChange
from labmon.alarms.reconfigure import Applied, Standing, reconfigure
from labmon.alarms.restore import SERVICE_PREFIX, restore
from labmon.alarms.rule import ConditionRule, LimitRule, Rule
from labmon.alarms.state import State
from labmon.alarms.step import ROUNDING, step
from labmon.alarms.view import AlarmView, OutOfService, view
from labmon.alarms.watch import Alarm, ChannelWatch
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.plant import Plant
from labmon.model.reading import Flag, Reading

PEAK_EVERY = 60.0
"""Seconds after which a new peak is saved, when nothing else of its alarm changed meanwhile."""


class AlarmEngine:
    """All alarms of one gateway.

    After every call the events that it returned and the states of `take_changes` belong into one commit. Events of a
    restart (a rule that vanished, a state that cannot be read) come with the first tick. Alarms of a device that is
    out of service are evaluated and recorded, and their events carry the state OOSRV: they are not annunciated.
    """

    def __init__(self, rules: Iterable[Rule], plant: Plant, saved: Mapping[str, bytes], *, mono: float, now: int):
        """Begin with the states that were saved. Raises ValueError for rules that do not fit the plant."""
        made = restore(rules, plant, saved, mono, now)
        self._plant = plant
        self._alarms = made.alarms
        self._watches = made.watches
        self._services = made.services
        self._service_due = {device: _remaining(record, mono, now) for device, record in made.services.items()}
        self._clock_right = False
        self._by_wall = set(made.services)
        """Devices whose end was read from the disk, and not yet by a system clock that is known to be right."""
        self._sort()
        self._news = made.events
        self._changed: dict[str, Alarm] = {alarm.rule.alarm: alarm for alarm in made.changed}
        self._saved_else: dict[str, bytes] = dict.fromkeys(made.forgotten, b"")
        self._delayed: dict[str, Alarm] = {}
        self._peaks: dict[str, Alarm] = {}
        self._peaks_due = math.inf
        self._due = mono

    @property
    def plant(self) -> Plant:
        """The plant that it watches."""
        return self._plant

    def _sort(self) -> None:
        self._clocked = [w for w in self._watches.values() if w.spells or w.limits]
        self._by_device: dict[str, list[Alarm]] = {}
        for alarm in self._alarms.values():
            if alarm.rule.device:
                self._by_device.setdefault(alarm.rule.device, []).append(alarm)

    def reconfigure(self, change: RuleChange, plant: Plant, user: str, mono: float, now: int) -> list[Event]:
        """Take another plant and the rules that `change` leads to; returns the ends of what is watched no more.

        Every other alarm goes on as it is (labmon.alarms.reconfigure). Raises ValueError, with nothing changed, for a
        change from other rules than these.
        """
        standing = Standing(self._alarms, self._watches, self._services)
        made = reconfigure(standing, change, self._plant, plant, Applied(user, mono, now))
        self._plant = plant
        self._service_due = {device: due for device, due in self._service_due.items() if device in self._services}
        self._by_wall &= self._services.keys()
        self._sort()
        for waiting in (self._changed, self._delayed, self._peaks):
            for name in change.removed & waiting.keys():
                del waiting[name]
        for name in change.changed:
            self._watch_delay(self._alarms[name])
        self._changed |= {alarm.rule.alarm: alarm for alarm in made.changed}
        self._saved_else |= dict.fromkeys(made.forgotten, b"")
        self._due = min(self._due, mono)
        return made.events

    def remember(self, saved: Mapping[str, bytes], mono: float, now: int) -> list[Event]:
        """Take up saved states that could not be read at the beginning; returns what follows from them.

        What has happened since then stands: an alarm that was raised meanwhile keeps its new occurrence. Every other
        one is again what it was, and a device that is out of service is so again.
        """
        made = restore([alarm.rule for alarm in self._alarms.values()], self._plant, saved, mono, now)
        events = made.events
        for name, alarm in self._alarms.items():
            before = made.alarms[name].state
            if alarm.state.base is AlarmState.NORM and before.base is not AlarmState.NORM:
                events += self._resume(alarm, replace(before, hidden=alarm.state.hidden), mono, now)
        for device, record in made.services.items():
            if device not in self._services:
                self._services[device] = record
                self._service_due[device] = _remaining(record, mono, now)
                if not self._clock_right:
                    self._by_wall.add(device)
                for alarm in self._by_device.get(device, []):
                    events += self._apply(alarm, TakeOut(record.user, record.reason), mono, now)
        self._changed |= {alarm.rule.alarm: self._alarms[alarm.rule.alarm] for alarm in made.changed}
        self._saved_else |= dict.fromkeys(made.forgotten, b"")
        self._due = min(self._due, mono)
        return events

    def _resume(self, alarm: Alarm, state: State, mono: float, now: int) -> list[Event]:
        alarm.state = state
        if alarm.watch is not None:
            alarm.watch.settle()
        if alarm.level is None:
            return []
        # It was told before the alarm was known to be active, and will not be told again.
        events = self._apply(alarm, Level(alarm.level, alarm.detail), mono, now)
        self._watch_delay(alarm)
        return events

    # What comes in

    def reading(self, reading: Reading, mono: float) -> list[Event]:
        """Judge one reading that arrived at `mono`. A value within the inner band of a quiet channel costs nothing."""
        watch = self._watches.get(reading.channel)
        if watch is None:
            return []
        value = reading.value
        if value is not None and watch.low <= value <= watch.high:
            watch.valued = mono
            watch.reading = reading
            return []
        if value is None or not math.isfinite(value):
            watch.note_bad(reading, mono)
            if watch.low <= watch.high and mono < (due := watch.clock_due()) - ROUNDING:
                self._due = min(self._due, due)
                return []
            return self._judge(watch, watch.no_value(by_reading=True), mono, reading.received)
        given = Value(value, reading.time)
        if reading.flags & Flag.DETECTED_LATE:
            given = _late(watch, reading, value, mono)
        watch.valued = mono
        if not given.past:
            watch.reading = reading
        return self._judge(watch, given, mono, reading.received)

    def tick(self, mono: float, now: int) -> list[Event]:
        """Do what the clock alone brings about. To be called at `next_due`, or once a second; early costs nothing."""
        events, self._news = self._news, []
        if mono < self._due:
            return events
        self._due = math.inf
        for device, due in list(self._service_due.items()):
            if due <= mono + ROUNDING:
                events += self._put_back(device, PutBack("", "", "its time out of service is over"), mono, now)
        for alarm in list(self._delayed.values()):
            if alarm.due() <= mono + ROUNDING and alarm.level is not None:
                events += self._apply(alarm, Level(alarm.level, alarm.detail), mono, now)
            self._watch_delay(alarm)
        for watch in self._clocked:
            due = watch.clock_due()
            if due > mono + ROUNDING:
                self._due = min(self._due, due)
            else:
                events += self._judge(watch, watch.no_value(by_reading=False), mono, now)
        if self._peaks_due <= mono:
            self._changed |= self._peaks
            self._peaks.clear()
            self._peaks_due = math.inf
        self._due = min(self._due, self._peaks_due, *self._service_due.values())
        return events

    def condition(
        self, alarm: str, active: bool, mono: float, now: int, detail: str = "", since: int | None = None
    ) -> list[Event]:
        """Tell whether a condition holds, and since when (UTC ns) where that is before `now`; delays run from now on.

        A level, not an edge: telling it again costs nothing, and after a start it must be told also when it does not
        hold, for the alarm may have been left active. Raises KeyError for an id that is no condition's.
        """
        entry = self._alarms.get(alarm)
        if entry is None or not isinstance(entry.rule, ConditionRule):
            raise KeyError(f"no condition is called {alarm}")
        if entry.level is active and entry.detail == detail:
            return []
        turned = entry.level is not active
        entry.level, entry.detail = active, detail
        events = self._apply(entry, Level(active, detail, since), mono, now)
        self._watch_delay(entry)
        if turned and entry.children:
            self._due = min(self._due, mono)
        return events

    def clock_set(self, mono: float, now: int, *, trusted: bool) -> None:
        """Take note that the system clock was stepped to `now`, or is known to be right from now on.

        No delay moves for it, and no end of a time out of service that was given in this run: that is as long as it was
        meant to be, and only its `until` is told anew. An end from an earlier run is known by the wall clock alone, so
        it is looked up again until that clock was right once.
        """
        for device, record in self._services.items():
            if device in self._by_wall:
                self._service_due[device] = _remaining(record, mono, now)
            elif record.until is not None:
                until = now + round((self._service_due[device] - mono) * 1e9)
                if abs(until - record.until) >= 10**9:
                    record = self._services[device] = replace(record, until=until)
                    self._saved_else[SERVICE_PREFIX + device] = record.to_bytes()
        if trusted:
            self._clock_right = True
            self._by_wall.clear()
        self._due = min(self._due, *self._service_due.values(), mono)

    # Commands

    def acknowledge(self, alarm: str, occurrence: str, user: str, reason: str, mono: float, now: int) -> list[Event]:
        """Acknowledge one occurrence. Raises CommandRefused."""
        entry = self._alarms.get(alarm)
        if entry is None:
            raise CommandRefused(f"no alarm is called {alarm}{_nearest(alarm, self._alarms)}")
        return self._apply(entry, Acknowledge(occurrence, user, reason), mono, now)

    def out_of_service(
        self, device: str, until: int | None, user: str, reason: str, mono: float, now: int
    ) -> list[Event]:
        """Take a device out of service until a time (UTC ns), or until it is put back; again to change the time.

        The first event concerns the device; one more follows for each of its alarms that is not normal. Raises
        CommandRefused.
        """
        place = self._plant.devices.get(device)
        if place is None:
            raise CommandRefused(f"no device is called {device}{_nearest(device, self._plant.devices)}")
        if not user or not reason.strip():
            raise CommandRefused("taking a device out of service needs a user and a reason")
        if until is not None and until <= now:
            raise CommandRefused("the time until which it shall be out of service is past")
        record = OutOfService(device, now, until, user, reason)
        if (before := self._services.get(device)) is not None:
            record = replace(record, since=before.since)
        self._services[device] = record
        self._service_due[device] = math.inf if until is None else mono + (until - now) / 1e9
        self._by_wall.discard(device)
        self._saved_else[SERVICE_PREFIX + device] = record.to_bytes()
        self._due = min(self._due, self._service_due[device])
        detail = "until it is put back" if until is None else f"until {_text(until)}"
        events = [self._device_event(EventKind.OUT_OF_SERVICE, device, user, reason, detail, now)]
        for alarm in self._by_device.get(device, []):
            events += self._apply(alarm, TakeOut(user, reason, detail), mono, now)
        return events

    def in_service(self, device: str, user: str, reason: str, mono: float, now: int) -> list[Event]:
        """Put a device back into service. Each alarm is again what it was; raised meanwhile, it is told now.

        Raises CommandRefused.
        """
        if device not in self._services:
            known = device in self._plant.devices
            text = f"device {device} is in service" if known else f"no device is called {device}"
            raise CommandRefused(text + ("" if known else _nearest(device, self._plant.devices)))
        if not user:
            raise CommandRefused("putting a device back into service needs a user")
        return self._put_back(device, PutBack(user, reason), mono, now)

    # What is known

    def is_out_of_service(self, device: str) -> bool:
        """Whether a device is out of service."""
        return device in self._services

    def services(self) -> list[OutOfService]:
        """The devices that are out of service."""
        return list(self._services.values())

    def views(self) -> list[AlarmView]:
        """All alarms that have an occurrence, the earliest raised first; hidden ones are among them."""
        found = [view(a) for a in self._alarms.values() if a.state.base is not AlarmState.NORM]
        return sorted(found, key=lambda v: (v.raised, v.alarm))

    def states(self) -> dict[str, bytes]:
        """Every state that there is to save, by key: for a journal that holds none of them."""
        found = {name: alarm.state.to_bytes() for name, alarm in self._alarms.items() if alarm.state != State()}
        return found | {SERVICE_PREFIX + device: record.to_bytes() for device, record in self._services.items()}

    def take_changes(self) -> dict[str, bytes]:
        """States to be saved with the events since the last call, by key. Empty bytes: the key may be deleted."""
        changes = self._saved_else | {name: alarm.state.to_bytes() for name, alarm in self._changed.items()}
        for name in self._changed:
            self._peaks.pop(name, None)
        self._changed = {}
        self._saved_else = {}
        return changes

    def next_due(self) -> float | None:
        """Monotonic time of the next tick that can matter; None when no clock runs. A reading may bring it nearer."""
        return None if math.isinf(self._due) else self._due

    # Inside

    def _judge(self, watch: ChannelWatch, given: Value | NoValue, mono: float, now: int) -> list[Event]:
        events: list[Event] = []
        changed = False
        for alarm in (*watch.limits, *watch.spells):
            before = alarm.state
            if isinstance(given, NoValue) and not before.active and isinstance(alarm.rule, LimitRule):
                continue
            events += self._apply(alarm, given, mono, now)
            changed = changed or alarm.state is not before
        if changed:
            watch.settle()
        # A value puts everything off, so that a bound will do.
        self._due = min(self._due, watch.clock_due() if isinstance(given, Value) else watch.next_due(mono))
        return events

    def _apply(self, alarm: Alarm, given: Given, mono: float, now: int) -> list[Event]:
        before = alarm.state
        state, events = step(alarm.rule, before, given, mono, now)
        if state is before:
            return events
        alarm.state = state
        if not events and _only_peak(before, state):
            self._peaks[alarm.rule.alarm] = alarm
            self._peaks_due = min(self._peaks_due, mono + PEAK_EVERY)
            self._due = min(self._due, self._peaks_due)
        else:
            self._changed[alarm.rule.alarm] = alarm
        for event in events:
            event.area, event.line = alarm.area, alarm.line
        if before.active and not state.active:
            for child in alarm.children:
                child.begin_anew(mono)
        return events

    def _watch_delay(self, alarm: Alarm) -> None:
        due = alarm.due()
        if due < math.inf:
            self._delayed[alarm.rule.alarm] = alarm
            self._due = min(self._due, due)
        else:
            self._delayed.pop(alarm.rule.alarm, None)

    def _put_back(self, device: str, given: PutBack, mono: float, now: int) -> list[Event]:
        del self._services[device], self._service_due[device]
        self._saved_else[SERVICE_PREFIX + device] = b""
        events = [self._device_event(EventKind.IN_SERVICE, device, given.user, given.reason, given.detail, now)]
        for alarm in self._by_device.get(device, []):
            events += self._apply(alarm, given, mono, now)
        return events

    def _device_event(self, kind: EventKind, device: str, user: str, reason: str, detail: str, now: int) -> Event:
        place = self._plant.devices[device]
        return Event(
            kind=kind,
            time=now,
            detected=now,
            detail=detail,
            area=place.area,
            line=place.line,
            device=device,
            user=user,
            reason=reason,
        )


def _late(watch: ChannelWatch, reading: Reading, value: float, mono: float) -> Value:
    """A record that was stored during an outage: its delays run by its own time, and it judges nothing that is newer.

    Its place in monotonic time is between the value before and now, whatever the instrument's clock says.
    """
    before = watch.reading
    if before is not None and reading.time < before.time:
        return Value(value, reading.time, late=True, past=True)
    least = watch.moment if before is not None and before.flags & Flag.DETECTED_LATE else watch.valued
    moment = mono - max(0.0, (reading.received - reading.time) / 1e9)
    watch.moment = min(mono, max(moment, least))
    return Value(value, reading.time, late=True, moment=watch.moment)


def _only_peak(before: State, after: State) -> bool:
    return replace(before, value=after.value, peak=after.peak, peak_time=after.peak_time) == after


def _remaining(record: OutOfService, mono: float, now: int) -> float:
    """Monotonic time of an end that was saved: never farther off than it was when it was given.

    A gateway without a battery may start years in the past, and would keep the device out of service for them.
    """
    if record.until is None:
        return math.inf
    return mono + min(record.until - now, record.until - record.since) / 1e9


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _text(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
