"""Health of one line and of the devices on it. Durations in seconds, `mono` in monotonic seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from labmon.health.ring import Ring
from labmon.model.reading import Reason


class DeviceState(StrEnum):
    """How a device answers."""

    OK = "ok"
    """The last try was answered."""
    SUSPECT = "suspect"
    """The last try was not, or none was made yet; it is still asked at each tick."""
    RESTING = "resting"
    """It is not asked for a while, after failures in a row."""
    DEAD = "dead"
    """It rests, and a probe was not answered either."""


class LineState(StrEnum):
    """Whether the port or connection is open."""

    OPEN = "open"
    LOST = "lost"


class DeviceHealth:
    """What happened between labmon and one device since labmon started."""

    __slots__ = (
        "answered_late",
        "clock_drift",
        "exchanges",
        "failures",
        "frames",
        "frames_passed_over",
        "id",
        "identity",
        "in_a_row",
        "last_failed",
        "last_failure",
        "last_good",
        "late_after",
        "lateness",
        "missed_ticks",
        "probes",
        "replies",
        "rests",
        "retries",
        "since",
        "state",
        "variant",
        "worst_lateness",
    )

    def __init__(self, device: str) -> None:
        self.id = device
        self.state = DeviceState.SUSPECT
        self.since: float | None = None
        """When the state began; None before the first try."""
        self.exchanges = 0
        """Tries, good and failed."""
        self.failures: dict[str, int] = {}
        """Failed tries by the code of their reason."""
        self.in_a_row = 0
        """Failed tries since the last good one."""
        self.replies = Ring()
        self.lateness = Ring()
        self.worst_lateness = 0.0
        self.answered_late = 0
        self.late_after: float | None = None
        """Seconds after which the latest late reply came."""
        self.rests = 0
        self.retries = 0
        """How often something was asked again at once, because its driver says so."""
        self.probes = 0
        self.missed_ticks = 0
        self.frames = 0
        """Frames that came by themselves."""
        self.frames_passed_over = 0
        """Of them, those that became no reading: a later one of the same interval did, or nobody knew who spoke."""
        self.last_good: float | None = None
        self.last_failed: float | None = None
        self.last_failure: Reason | None = None
        self.identity = ""
        """What the instrument said of itself when it was last identified."""
        self.clock_drift: float | None = None
        """Seconds that its clock was last seen ahead of the gateway's; None where it was not compared."""
        self.variant = ""
        """Which of its driver's variants it is; empty where there are none."""

    def record_success(self, reply_seconds: float, mono: float) -> None:
        """A try was answered after `reply_seconds`."""
        self.exchanges += 1
        self.in_a_row = 0
        self.last_good = mono
        self.replies.add(reply_seconds)
        if self.state is not DeviceState.OK:
            self._become(DeviceState.OK, mono)

    def heard(self, passed_over: bool, mono: float) -> None:
        """A frame came by itself; `passed_over`: it, or the one before it, becomes no reading."""
        self.frames += 1
        self.frames_passed_over += passed_over
        self.in_a_row = 0
        self.last_good = mono
        if self.state is not DeviceState.OK:
            self._become(DeviceState.OK, mono)

    def record_failure(self, code: Reason, mono: float) -> None:
        """A try failed; `code` says how."""
        self.exchanges += 1
        self.in_a_row += 1
        self.failures[code.value] = self.failures.get(code.value, 0) + 1
        self.last_failed = mono
        self.last_failure = code
        if self.state is DeviceState.RESTING:
            self._become(DeviceState.DEAD, mono)
        elif self.state is DeviceState.OK or self.since is None:
            self._become(DeviceState.SUSPECT, mono)

    def resting(self, mono: float) -> None:
        """It begins to rest."""
        self.rests += 1
        self._become(DeviceState.RESTING, mono)

    def probed(self) -> None:
        """A probe is sent to it while it rests."""
        self.probes += 1

    def late(self, after: float) -> None:
        """It answered late: `after` seconds after the request, when nobody waited any more."""
        self.answered_late += 1
        self.late_after = after

    def late_by(self, seconds: float) -> None:
        """A poll began so many seconds after it was due."""
        self.lateness.add(seconds)
        if seconds > self.worst_lateness:
            self.worst_lateness = seconds

    def missed(self, ticks: int) -> None:
        """So many ticks passed without a try."""
        self.missed_ticks += ticks

    def to_dict(self, mono: float, now: int) -> dict[str, Any]:
        """JSON-ready; moments become UTC ns by way of `now` (UTC ns at `mono`). What is not known is null."""
        reply50, reply99 = self.replies.quantiles(0.5, 0.99)
        late50, late99 = self.lateness.quantiles(0.5, 0.99)
        return {
            "state": self.state.value,
            "since": _wall(self.since, mono, now),
            "exchanges": self.exchanges,
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures),
            "failures_in_a_row": self.in_a_row,
            "reply_p50": reply50,
            "reply_p99": reply99,
            "lateness_p50": late50,
            "lateness_p99": late99,
            "lateness_max": self.worst_lateness,
            "answered_late": self.answered_late,
            "late_after": self.late_after,
            "rests": self.rests,
            "retries": self.retries,
            "probes": self.probes,
            "missed_ticks": self.missed_ticks,
            "frames": self.frames,
            "frames_passed_over": self.frames_passed_over,
            "last_good": _wall(self.last_good, mono, now),
            "last_failed": _wall(self.last_failed, mono, now),
            "last_failure": None if self.last_failure is None else self.last_failure.value,
            "identity": self.identity,
            "variant": self.variant,
            "clock_drift": self.clock_drift,
        }

    def _become(self, state: DeviceState, mono: float) -> None:
        self.state = state
        self.since = mono


class LineHealth:
    """One line: whether it is open, how often it was lost, and its devices."""

    __slots__ = ("detail", "devices", "id", "last_lost", "losses", "since", "state", "turns")

    def __init__(self, line: str) -> None:
        self.id = line
        self.state = LineState.LOST
        self.since: float | None = None
        """When the state began; None before the first attempt to open."""
        self.losses = 0
        self.last_lost: float | None = None
        self.detail = "not opened yet"
        """Why it is lost; empty while it is open."""
        self.devices: dict[str, DeviceHealth] = {}
        self.turns = 0
        """Completed turns of its task since labmon started: good, failed or resting."""

    def device(self, device: str) -> DeviceHealth:
        """The health of one of its devices, made at first use."""
        health = self.devices.get(device)
        if health is None:
            health = self.devices[device] = DeviceHealth(device)
        return health

    def opened(self, mono: float) -> None:
        """The port or connection is open."""
        if self.state is not LineState.OPEN:
            self.state, self.since, self.detail = LineState.OPEN, mono, ""

    def lost(self, mono: float, detail: str) -> None:
        """The port or connection is lost, or could not be opened; `detail` says why."""
        if self.state is LineState.OPEN or self.since is None:
            self.state, self.since = LineState.LOST, mono
            self.losses += 1
            self.last_lost = mono
        self.detail = detail

    def to_dict(self, mono: float, now: int) -> dict[str, Any]:
        """JSON-ready, with the devices by id; moments as in `DeviceHealth.to_dict`."""
        devices = self.devices.values()
        return {
            "state": self.state.value,
            "since": _wall(self.since, mono, now),
            "detail": self.detail,
            "losses": self.losses,
            "last_lost": _wall(self.last_lost, mono, now),
            "turns": self.turns,
            "exchanges": sum(d.exchanges for d in devices),
            "failed": sum(sum(d.failures.values()) for d in devices),
            "failures": _added(d.failures for d in devices),
            "missed_ticks": sum(d.missed_ticks for d in devices),
            "devices": {d.id: d.to_dict(mono, now) for d in devices},
        }


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def _wall(moment: float | None, mono: float, now: int) -> int | None:
    return None if moment is None else now - round((mono - moment) * 1e9)
