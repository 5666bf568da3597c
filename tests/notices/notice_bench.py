"""A small plant, a journal in memory with durable cursors, and a notifier that can be started again on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from labmon.config.secrets import SecretError
from labmon.config.site import NoticesConfig, User
from labmon.config.types import Secret
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.model.plant import Area, Channel, Device, LineInfo, Plant
from labmon.notices.channel import Timing
from labmon.notices.outbox import Notifier

NOON = 1_795_316_400_000_000_000
"""Sun 2026-11-22 03:00:00 UTC, 04:00:00 in Berlin."""
SECOND = 1_000_000_000
FAST = Timing(first_retry=0.02, longest_retry=0.2, failing_after=0.3, unmeasured_hold=0.0, look=5.0, grace=0.3)


def make_plant() -> Plant:
    areas = {
        "culture-b": Area("culture-b", "Cell culture B", "B", "in-operation"),
        "corridor": Area("corridor", "Corridor", "none", "in-operation"),
    }
    channels = [
        Channel(
            "incubator-1.temperature",
            "temperature",
            "incubator-1",
            "culture-b",
            "Chamber temperature",
            "temperature",
            "Cel",
            place="shelf 2",
            decimals=1,
            instruction="Move the flasks to incubator-2.\nCall the shift lead: 4711.",
        ),
        Channel("incubator-1.co2", "co2", "incubator-1", "culture-b", "CO2", "ratio-co2", "%{CO2}", decimals=1),
        Channel(
            "counter-1.p05",
            "p05",
            "counter-1",
            "culture-b",
            "Particles ≥ 0.5 µm",
            "particle-concentration",
            "/m3",
            decimals=0,
        ),
        Channel(
            "freezer-1.door", "door", "freezer-1", "corridor", "Door", "state", "1", states={0: "closed", 1: "open"}
        ),
    ]
    devices = [
        Device(
            "incubator-1",
            "CO2 incubator 1",
            "culture-b",
            "rs485-a",
            "thermo-cytomat",
            "EQ-0042",
            ("incubator-1.temperature", "incubator-1.co2"),
        ),
        Device("counter-1", "Particle counter 1", "culture-b", "rs485-a", "lighthouse", "EQ-0107", ("counter-1.p05",)),
        Device("freezer-1", "Freezer 1", "corridor", "tcp-1", "thermo-ult", "", ("freezer-1.door",)),
    ]
    lines = [
        LineInfo("rs485-a", "RS-485 in room 12", "/dev/labmon-a", ("incubator-1", "counter-1")),
        LineInfo("tcp-1", "Freezer room", "10.0.0.7:502", ("freezer-1",)),
    ]
    return Plant(
        "site-1",
        "Example Cell Therapy",
        "gw-1",
        "Europe/Berlin",
        areas,
        {line.id: line for line in lines},
        {device.id: device for device in devices},
        {channel.key: channel for channel in channels},
    )


USERS = [
    User.model_validate({"id": "duty", "name": "On Call", "role": "operator"}),
    User.model_validate({"id": "lead", "name": "Shift Lead", "role": "qa"}),
    User.model_validate({"id": "vera", "name": "Vera Blick", "role": "viewer"}),
]


def event(kind: str, after: float = 0.0, **fields: Any) -> Event:
    """An event of the incubator's action alarm, `after` seconds past NOON; any field can be given."""
    moment = NOON + round(after * SECOND)
    states = {"raised": AlarmState.UNACK, "cleared": AlarmState.RTNUN, "acknowledged": AlarmState.ACKED}
    given: dict[str, Any] = {
        "alarm": "incubator-1.temperature.action-high",
        "occurrence": "occ-1",
        "alarm_class": AlarmClass.ACTION,
        "state": states.get(kind, AlarmState.UNACK),
        "area": "culture-b",
        "line": "rs485-a",
        "device": "incubator-1",
        "channel": "incubator-1.temperature",
        "value": 38.1 if kind != "cleared" else 37.2,
        "unit": "Cel",
        "limit": 37.5,
        "direction": "high",
        "since": NOON - 300 * SECOND,
    }
    return Event(EventKind(kind), moment, moment, **(given | fields))


def technical(alarm: str, kind: str = "raised", after: float = 0.0, **fields: Any) -> Event:
    """An event of a technical alarm, with nothing but what is given."""
    blank = {
        "value": None,
        "unit": "",
        "limit": None,
        "direction": "",
        "area": "",
        "line": "",
        "device": "",
        "channel": "",
    }
    return event(kind, after, **(blank | {"alarm": alarm, "alarm_class": AlarmClass.TECHNICAL} | fields))


@dataclass
class View:
    """How an alarm stands now."""

    alarm: str = "incubator-1.temperature.action-high"
    occurrence: str = "occ-1"
    state: AlarmState = AlarmState.UNACK
    value: float | None = 38.4
    measured: bool = True
    peak: float | None = None


class MemoryJournal:
    """The journal's face towards notices. It outlives the notifiers of a test, as a file outlives a process."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.cursors: dict[str, int] = {}
        self.broken = False

    async def events_after(self, seq: int, limit: int) -> list[tuple[int, Event]]:
        self._works()
        # Every tenth number is an event: readings and layouts count too.
        return [(10 * n, e) for n, e in enumerate(self.events, 1) if 10 * n > seq][:limit]

    async def cursor(self, name: str) -> int:
        self._works()
        return self.cursors.get(name, 0)

    async def advance(self, name: str, seq: int) -> None:
        self._works()
        assert seq >= self.cursors.get(name, 0), f"{name} goes back to {seq}"
        self.cursors[name] = seq

    def _works(self) -> None:
        if self.broken:
            raise OSError("disk gone")


@dataclass
class Bench:
    """A notifier on a journal, with what it reported. `start` and `stop` may be called again: a restart."""

    config: NoticesConfig
    plant: Plant = field(default_factory=make_plant)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    views: list[View] = field(default_factory=list)
    conditions: list[tuple[str, bool, str]] = field(default_factory=list)
    records: list[Event] = field(default_factory=list)
    now: int = NOON
    stepped: float = 0.0
    """Seconds by which somebody has set the clock; no time has passed for them."""
    timing: Timing = FAST
    notifier: Notifier | None = None
    locked: bool = False
    """Secrets cannot be read."""

    def start(self) -> None:
        self.notifier = Notifier(
            self.plant,
            self.config,
            self.journal,
            lambda: self.views,
            lambda alarm, active, detail: self.conditions.append((alarm, active, detail)),
            self._record,
            self._secret,
            users=USERS,
            clock=lambda: self.now,
            monotonic=lambda: (self.now - NOON) / SECOND - self.stepped,
            timing=self.timing,
        )
        self.notifier.start()

    async def stop(self) -> None:
        assert self.notifier is not None
        await self.notifier.stop()
        self.notifier = None

    async def __aenter__(self) -> Bench:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.notifier is not None:
            await self.stop()

    def happen(self, *events: Event) -> None:
        """Events are committed, and the notifier is called."""
        self.journal.events.extend(replace(e) for e in events)
        if self.notifier is not None:
            self.notifier.wake()

    @property
    def condition(self) -> tuple[str, bool, str]:
        """The condition reported last; all empty before the first."""
        return self.conditions[-1] if self.conditions else ("", False, "")

    def settled(self, *targets: str) -> bool:
        """Every cursor named has passed everything that concerns people."""
        last = max(n for n, e in enumerate(self.journal.events, 1) if e.kind is not EventKind.NOTICE)
        return all(self.journal.cursors.get(f"notices.{t}", 0) >= 10 * last for t in targets)

    def _secret(self, secret: Secret) -> str:
        if self.locked:
            raise SecretError(f"secret file {secret.file}: cannot be read")
        return f"secret of {secret.file}"

    def _record(self, record: Event) -> None:
        self.records.append(record)
        self.happen(record)


def configure(channels: Sequence[dict[str, Any]], routes: Sequence[dict[str, Any]] | None = None) -> NoticesConfig:
    """Duty and Lead on every channel for every class, unless routes are given."""
    people = [
        {"id": "duty", "name": "On Call", "email": "duty@example.org"},
        {"id": "lead", "name": "Shift Lead", "email": "lead@example.org"},
    ]
    everything = {
        "classes": ["action", "alert", "technical"],
        "to": ["duty", "lead"],
        "by": [c["id"] for c in channels],
    }
    routes = [everything] if routes is None else routes
    return NoticesConfig.model_validate({"channels": list(channels), "people": people, "routes": list(routes)})


def mail_channel(port: int, **fields: Any) -> dict[str, Any]:
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "from": "labmon <labmon@example.org>",
        "timeout": "5 s",
    }
    return {"id": "mail", "email": settings | fields}


def hook_channel(url: str, **fields: Any) -> dict[str, Any]:
    return {"id": "hook", "webhook": {"url": url, "timeout": "5 s"} | fields}
