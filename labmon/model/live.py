"""`P/live/<area>/<device>`: the latest reading of every channel of a device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from labmon.model.reading import Quality, Reason, quality_of, reason_text
from labmon.model.record import MAX_COLUMNS, MAX_FLAGS, MAX_REASON
from labmon.model.wire import VERSION, Fields, MessageError, dumps, loads

MAX_LIVE_BYTES: Final = 2 * 2**20
_QUALITY: Final = {quality: quality.name.lower() for quality in Quality}
_QUALITY_NAMES: Final = {name: quality for quality, name in _QUALITY.items()}


@dataclass(slots=True)
class LiveChannel:
    """The latest reading of one channel: value xor reason. Times are UTC ns."""

    time: int
    value: float | None
    reason: str | None
    flags: int
    kind: str
    unit: str

    @property
    def quality(self) -> Quality:
        """Good, uncertain or bad."""
        return quality_of(self.value, self.flags)


@dataclass(slots=True)
class Live:
    """`P/live/<area>/<device>`: the latest of all channels of a device, by channel id. A view; may be lost."""

    device: str
    channels: Mapping[str, LiveChannel]

    path: ClassVar[str] = "live"

    def encode(self) -> bytes:
        """JSON bytes. A value that is no finite number is shown as bad."""
        return dumps(
            {"v": VERSION, "device": self.device, "channels": {k: _live(c) for k, c in self.channels.items()}},
            self.path,
        )

    @classmethod
    def decode(cls, payload: bytes) -> Live:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_LIVE_BYTES)
        device = fields.text("device", 64)
        members = fields.members("channels", MAX_COLUMNS)
        channels = {name: _read_live(member, f"live.channels.{name[:64]}") for name, member in members.items()}
        fields.done()
        return cls(device, channels)


def _live(c: LiveChannel) -> dict[str, Any]:
    value, reason = c.value, c.reason
    if value is not None and not math.isfinite(value):
        value, reason = None, reason_text(Reason.INTERNAL, f"{value} is no number")
    item = {
        "time": c.time,
        "value": value,
        "quality": _QUALITY[quality_of(value, c.flags)],
        "kind": c.kind,
        "unit": c.unit,
    }
    if reason is not None:
        item["reason"] = reason
    if c.flags:
        item["flags"] = c.flags
    return item


def _read_live(data: object, path: str) -> LiveChannel:
    fields = Fields(data, path)
    channel = LiveChannel(
        fields.time("time"),
        fields.number("value") if fields.has("value") else None,
        fields.text("reason", MAX_REASON) if fields.has("reason") else None,
        fields.integer("flags", 0, MAX_FLAGS) if fields.has("flags") else 0,
        fields.text("kind", 64),
        fields.text("unit", 64),
    )
    quality = fields.text("quality", 10)
    fields.done()
    if (channel.value is None) is (channel.reason is None):
        raise MessageError(path, "exactly one of value and reason must be given")
    if _QUALITY_NAMES.get(quality) != channel.quality:
        raise MessageError(f"{path}.quality", f"{quality!r} does not fit the value and flags")
    return channel
