"""Everything that goes over MQTT: one class per topic, each with encode and a strict decode.

Payloads are JSON with `"v": 1`; site and gateway stand in the topic. A reader refuses what it does not know, so a new
field means a new version. The schemas in `docs/schemas/` say the same and are tested against these classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from labmon.model.command import Command, Pin, Reply, command_id
from labmon.model.event import AlarmClass, AlarmState, Event
from labmon.model.live import Live, LiveChannel
from labmon.model.record import (
    MAX_CHANNELS,
    MAX_COLUMNS,
    MAX_ENTRIES,
    MAX_RECORD_BYTES,
    ChannelTag,
    RecordEntry,
    RecordRange,
    Stored,
)
from labmon.model.status import DeviceHealth, LineHealth, Status
from labmon.model.wire import MAX_SMALL_BYTES, MAX_TEXT, VERSION, Fields, MessageError, dumps, loads

__all__ = [
    "MAX_CHANNELS",
    "MAX_COLUMNS",
    "MAX_ENTRIES",
    "MAX_RECORD_BYTES",
    "AlarmMessage",
    "ChannelTag",
    "Command",
    "DeviceHealth",
    "EventMessage",
    "LineHealth",
    "Live",
    "LiveChannel",
    "MessageError",
    "Pin",
    "RecordEntry",
    "RecordRange",
    "Reply",
    "Status",
    "Stored",
    "command_id",
]

_ALARM_PLACE: Final = ("area", "line", "device", "channel", "unit", "direction")
_M = TypeVar("_M", AlarmState, AlarmClass)


def _member(kind: type[_M], fields: Fields, name: str) -> _M:
    text = fields.text(name, 30)
    try:
        return kind(text)
    except ValueError:
        raise MessageError(f"{fields.path}.{name}", f"{text!r} is not one of {', '.join(kind)}") from None


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass(slots=True)
class AlarmMessage:
    """`P/alarm/<id>`: the state of an alarm with its occurrence. Retained while not normal.

    `since` is the moment of the first breach, `time` when the state was entered or last told, both UTC ns.
    `journaled` is False while the transition is known from memory only.
    """

    alarm: str
    state: AlarmState
    time: int
    occurrence: str = ""
    alarm_class: AlarmClass | None = None
    since: int | None = None
    area: str = ""
    line: str = ""
    device: str = ""
    channel: str = ""
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    direction: str = ""
    measured: bool = True
    journaled: bool = True
    detail: str = ""

    path: ClassVar[str] = "alarm"

    @classmethod
    def from_event(cls, event: Event) -> AlarmMessage:
        """The state after an alarm event. Raises ValueError for an event that concerns no alarm."""
        if not event.alarm or event.state is None:
            raise ValueError(f"{event.kind} event {event.uid} concerns no alarm")
        return cls(
            event.alarm,
            event.state,
            event.detected,
            event.occurrence,
            event.alarm_class,
            event.since,
            event.area,
            event.line,
            event.device,
            event.channel,
            event.value,
            event.unit,
            event.limit,
            event.direction,
            event.measured,
            event.journaled,
            event.detail,
        )

    def encode(self) -> bytes:
        """JSON bytes; fields that do not apply are left out."""
        item: dict[str, Any] = {"v": VERSION, "alarm": self.alarm, "state": self.state, "time": self.time}
        item |= {
            name: value
            for name, value in (
                ("occurrence", self.occurrence),
                ("class", self.alarm_class),
                ("since", self.since),
                *((name, getattr(self, name)) for name in _ALARM_PLACE),
                ("value", _finite_or_none(self.value)),
                ("limit", _finite_or_none(self.limit)),
                ("detail", self.detail[:MAX_TEXT]),
            )
            if value not in ("", None)
        }
        item["measured"], item["journaled"] = self.measured, self.journaled
        return dumps(item, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> AlarmMessage:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_SMALL_BYTES)
        message = cls(
            fields.text("alarm", 200),
            _member(AlarmState, fields, "state"),
            fields.time("time"),
            fields.optional_text("occurrence", 100),
            _member(AlarmClass, fields, "class") if fields.has("class") else None,
            fields.time("since") if fields.has("since") else None,
        )
        for name in _ALARM_PLACE:
            setattr(message, name, fields.optional_text(name, 200))
        message.value = fields.number("value") if fields.has("value") else None
        message.limit = fields.number("limit") if fields.has("limit") else None
        message.detail = fields.optional_text("detail", MAX_TEXT)
        message.measured, message.journaled = fields.boolean("measured"), fields.boolean("journaled")
        fields.done()
        return message


@dataclass(slots=True)
class EventMessage:
    """`P/event`: one event, in the order of the journal. `seq` is None for one that is not journaled yet.

    The same event may come twice (once from memory, again after a broken connection): its `uid` tells.
    """

    journal: str
    seq: int | None
    event: Event

    path: ClassVar[str] = "event"

    def encode(self) -> bytes:
        """JSON bytes; long texts are cut, numbers that are not finite left out."""
        item: dict[str, Any] = {}
        for name, value in self.event.to_dict().items():
            if isinstance(value, str):
                item[name] = value[:MAX_TEXT]
            elif not isinstance(value, float) or math.isfinite(value):
                item[name] = value
        return dumps({"v": VERSION, "journal": self.journal, "seq": self.seq, "event": item}, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> EventMessage:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_SMALL_BYTES)
        journal = fields.text("journal", 64)
        seq = fields.seq("seq") if fields.has("seq") else None
        members = fields.members("event", 40)
        fields.done()
        return cls(journal, seq, _event(members))


def _event(members: dict[str, Any]) -> Event:
    fields = Fields(members, "event.event")
    for name in members:
        if name in {"time", "detected", "since"}:
            fields.time(name)
        elif name in {"value", "limit"}:
            fields.number(name)
        elif name in {"measured", "journaled"}:
            fields.boolean(name)
        else:
            fields.text(name, MAX_TEXT, empty=True)
    try:
        return Event.from_dict(members)
    except (ValueError, TypeError, KeyError) as error:
        raise MessageError("event.event", f"{error}") from None
