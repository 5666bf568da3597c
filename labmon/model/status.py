"""`P/health/<line>` and `P/status`: how lines, devices and the daemon itself are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from labmon.model.wire import MAX_SEQ, MAX_SMALL_BYTES, MAX_TEXT, VERSION, Fields, checked_text, dumps, loads

MAX_HEALTH_BYTES: Final = 2 * 2**20
MAX_DEVICES: Final = 1000
MAX_COUNTS: Final = 100
MAX_SESSION: Final = 2**53 - 1
MAX_STORES: Final = 100
MAX_CHANNELS: Final = 100
MAX_LINES: Final = 100_000


@dataclass(slots=True)
class DeviceHealth:
    """One device of a line: its state in a word, since when (UTC ns), and why."""

    device: str
    state: str
    since: int
    detail: str = ""


@dataclass(slots=True)
class LineHealth:
    """`P/health/<line>`: how a line and its devices are. `counts` are totals since the start."""

    line: str
    state: str
    since: int
    time: int
    detail: str = ""
    devices: Sequence[DeviceHealth] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    path: ClassVar[str] = "health"

    def encode(self) -> bytes:
        """JSON bytes; long details are cut."""
        item = {
            "v": VERSION,
            "line": self.line,
            "state": self.state,
            "since": self.since,
            "time": self.time,
            "detail": self.detail[:MAX_TEXT],
            "devices": [
                {"device": d.device, "state": d.state, "since": d.since, "detail": d.detail[:MAX_TEXT]}
                for d in self.devices
            ],
            "counts": dict(self.counts),
        }
        return dumps(item, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> LineHealth:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_HEALTH_BYTES)
        devices = []
        for index, item in enumerate(fields.items("devices", MAX_DEVICES)):
            one = Fields(item, f"health.devices[{index}]")
            devices.append(
                DeviceHealth(
                    one.text("device", 64),
                    one.text("state", 40),
                    one.time("since"),
                    one.optional_text("detail", MAX_TEXT),
                )
            )
            one.done()
        counts = Fields(fields.members("counts", MAX_COUNTS), "health.counts")
        health = cls(
            fields.text("line", 64),
            fields.text("state", 40),
            fields.time("since"),
            fields.time("time"),
            fields.optional_text("detail", MAX_TEXT),
            tuple(devices),
            {name: counts.integer(name, 0, MAX_SEQ) for name in fields.members("counts", MAX_COUNTS)},
        )
        fields.done()
        return health


@dataclass(slots=True)
class Status:
    """`P/status`: the daemon is online or offline. An offline of a lower session than the last online is an old will.

    `since` is the start of the daemon, `time` when it said so last (UTC ns; 0 in a will, which is made beforehand: an
    offline with a time was said by a daemon that was being stopped). The rest is None where it is not told.
    """

    online: bool
    session: int
    version: str
    since: int
    time: int
    lines: int | None = None
    """How many lines the daemon has, each with a `P/health/<line>` that is refreshed like the status."""
    stores: Mapping[str, int | None] | None = None
    """Entries of the journal that each store has not confirmed; None while that is not known."""
    failing: Sequence[str] | None = None
    """Notice channels that do not work, or not for everybody."""

    path: ClassVar[str] = "status"

    def encode(self) -> bytes:
        """JSON bytes."""
        item: dict[str, Any] = {
            "v": VERSION,
            "online": self.online,
            "session": self.session,
            "version": self.version,
            "since": self.since,
            "time": self.time,
        }
        if self.lines is not None:
            item["lines"] = self.lines
        if self.stores is not None:
            item["stores"] = dict(self.stores)
        if self.failing is not None:
            item["failing"] = list(self.failing)
        return dumps(item, self.path)

    @classmethod
    def decode(cls, payload: bytes) -> Status:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_SMALL_BYTES)
        status = cls(
            fields.boolean("online"),
            fields.integer("session", 0, MAX_SESSION),
            fields.text("version", 64),
            fields.time("since"),
            fields.time("time"),
            fields.integer("lines", 0, MAX_LINES) if fields.has("lines") else None,
            _stores(fields) if fields.has("stores") else None,
            _failing(fields) if fields.has("failing") else None,
        )
        fields.done()
        return status


def _stores(fields: Fields) -> dict[str, int | None]:
    members = fields.members("stores", MAX_STORES)
    behind = Fields(members, "status.stores")
    return {
        checked_text(name, "status.stores", 64): behind.integer(name, 0, MAX_SEQ) if behind.has(name) else None
        for name in members
    }


def _failing(fields: Fields) -> tuple[str, ...]:
    return tuple(checked_text(name, "status.failing", 64) for name in fields.items("failing", MAX_CHANNELS))
