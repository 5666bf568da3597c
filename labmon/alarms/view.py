"""What is shown of alarms: to the command line, to MQTT, to notices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from labmon.alarms.errors import StateError
from labmon.alarms.rule import LimitRule
from labmon.alarms.watch import Alarm
from labmon.model.event import AlarmClass, AlarmState


@dataclass(frozen=True, slots=True)
class AlarmView:
    """One alarm that is not normal. Times in UTC ns; `value` is the channel's latest, None when it has none now."""

    alarm: str
    state: AlarmState
    underlying: AlarmState
    """What it is underneath while it is out of service; else the same as `state`."""
    occurrence: str
    activations: int
    alarm_class: AlarmClass
    area: str
    line: str
    device: str
    channel: str
    began: int
    since: int
    raised: int
    value: float | None
    unit: str
    limit: float | None
    direction: str
    peak: float | None
    peak_time: int | None
    measured: bool
    detail: str
    acknowledged: int | None
    user: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As a JSON-ready dict; empty fields are left out."""
        return {k: v for k, v in asdict(self).items() if v not in ("", None)}


def view(alarm: Alarm) -> AlarmView:
    """The view of an alarm as it stands."""
    rule, state, watch = alarm.rule, alarm.state, alarm.watch
    limit = rule if isinstance(rule, LimitRule) else None
    value = None
    if watch is not None and watch.reading is not None and watch.failed < watch.valued:
        value = watch.reading.value
    return AlarmView(
        alarm=rule.alarm,
        state=state.shown,
        underlying=state.base,
        occurrence=state.occurrence,
        activations=state.activations,
        alarm_class=rule.cls,
        area=alarm.area,
        line=alarm.line,
        device=rule.device,
        channel=rule.channel,
        began=state.began,
        since=state.since,
        raised=state.raised,
        value=value,
        unit=limit.unit if limit else "",
        limit=limit.limit if limit else None,
        direction=limit.direction if limit else "",
        peak=state.peak,
        peak_time=state.peak_time or None,
        measured=state.measured,
        detail=state.detail,
        acknowledged=state.acknowledged or None,
        user=state.user,
        reason=state.reason,
    )


@dataclass(frozen=True, slots=True)
class OutOfService:
    """A device that is out of service: since and until when (UTC ns; None: until somebody ends it), who, and why."""

    device: str
    since: int
    until: int | None
    user: str
    reason: str

    def to_bytes(self) -> bytes:
        """As JSON."""
        return orjson.dumps({"v": 1, **asdict(self)})

    @classmethod
    def from_bytes(cls, saved: bytes) -> OutOfService:
        """The inverse of to_bytes. Raises StateError."""
        try:
            data = orjson.loads(saved)
            if data.pop("v") != 1:
                raise StateError("not an out-of-service record of version 1")
            record = cls(**data)
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise StateError(f"not an out-of-service record: {error}") from error
        texts = all(isinstance(t, str) for t in (record.device, record.user, record.reason))
        if not (texts and isinstance(record.since, int) and isinstance(record.until, int | None)):
            raise StateError("not an out-of-service record: a field of the wrong type")
        return record
