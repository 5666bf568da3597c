"""Alarms as data: classes, states, and the events that journal, MQTT and notices carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from labmon.model.ids import new_uid


class AlarmClass(StrEnum):
    """Class of an alarm; priority and escalation derive from it and are the site's to set."""

    ACTION = "action"
    ALERT = "alert"
    TECHNICAL = "technical"


class AlarmState(StrEnum):
    """States of ISA-18.2 / IEC 62682 (facts: NORM, UNACK, ACKED, RTNUN, LATCH_*, SHLVD, DSUPR, OOSRV)."""

    NORM = "NORM"
    UNACK = "UNACK"
    ACKED = "ACKED"
    RTNUN = "RTNUN"
    LATCH_UNACK = "LATCH_UNACK"
    LATCH_ACK = "LATCH_ACK"
    SHLVD = "SHLVD"
    DSUPR = "DSUPR"
    OOSRV = "OOSRV"


class EventKind(StrEnum):
    """What happened. The first group concerns an alarm occurrence, the second the gateway."""

    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    OUT_OF_SERVICE = "out-of-service"
    IN_SERVICE = "in-service"
    NOT_MEASURED = "not-measured"
    """An active process alarm lost its measurement; its state is unchanged."""
    MEASURED_AGAIN = "measured-again"
    REMOVED = "removed"
    """The alarm was not normal when its rule left the configuration; it is watched no more."""

    STARTED = "started"
    STOPPED = "stopped"
    CONFIGURED = "configured"
    COMMAND = "command"
    """A command was carried out or refused; the detail says which."""
    CLOCK_STEP = "clock-step"
    CLOCK_STATE = "clock-state"
    """Whether the system time can be trusted, at the start and with each change; the detail says why."""
    GAP = "gap"
    """Something that should be in the record is not; the detail counts it."""
    FAULT = "fault"
    """A part of labmon failed, or was stuck and replaced; the detail names it."""
    LINE = "line"
    DEVICE = "device"
    JOURNAL = "journal"
    QUARANTINE = "quarantine"
    IDENTITY = "identity"
    """What an instrument says of itself is not what it said before; the detail has both."""
    SETTINGS = "settings-changed"
    """An instrument is set otherwise than before; the detail has the old and the new values."""
    DEVICE_CLOCK = "device-clock-set"
    """labmon set an instrument's clock, or could not; the detail says by how much it was off."""
    NOTICE = "notice"
    """A person was told of an alarm, or could not be; `to`, `by` and `outcome` say who, how and whether."""


@dataclass(slots=True)
class Event:
    """One event. Serialisable; `uid` is unique, so that an event seen twice counts once.

    `time` is when it happened, `detected` when labmon knew (both UTC ns). For alarm events `since` is the moment of
    the first breach, `state` the alarm's state after the event, `journaled` is False when the event went on from
    memory before it was on disk.
    """

    kind: EventKind
    time: int
    detected: int
    detail: str = ""
    alarm: str = ""
    occurrence: str = ""
    alarm_class: AlarmClass | None = None
    state: AlarmState | None = None
    area: str = ""
    line: str = ""
    device: str = ""
    channel: str = ""
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    direction: str = ""
    """`high` or `low` for a limit alarm."""
    since: int | None = None
    user: str = ""
    reason: str = ""
    command: str = ""
    command_id: str = ""
    """Of a command whose proof was right: its id, which counts as used from then on."""
    to: str = ""
    """Of a notice: the person."""
    by: str = ""
    """Of a notice: the notice channel."""
    outcome: str = ""
    """Of a notice: `accepted` or `refused` by the far end."""
    measured: bool = True
    journaled: bool = True
    uid: str = field(default_factory=new_uid)

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-ready dict; empty fields are left out."""
        return {k: v for k, v in asdict(self).items() if v not in ("", None)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Event:
        """The inverse of to_dict. Raises ValueError on an unknown field or kind."""
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise ValueError(f"event with unknown fields {sorted(unknown)}")
        data = dict(data)
        data["kind"] = EventKind(data["kind"])
        if "alarm_class" in data:
            data["alarm_class"] = AlarmClass(data["alarm_class"])
        if "state" in data:
            data["state"] = AlarmState(data["state"])
        return cls(**data)
