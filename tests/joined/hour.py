"""Lines, pipeline and alarm engine as the daemon joins them, on virtual time: an hour passes in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from virtual_clock import run

import labmon.acquisition.guards
import labmon.acquisition.normalise
import labmon.acquisition.pipeline
import labmon.acquisition.taking
from labmon.acquisition.line import Line
from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import DevicePlan, LimitedChannel, LinePlan, Plan, QueryPlan, Slot
from labmon.acquisition.rules import make_rules
from labmon.alarms.engine import AlarmEngine
from labmon.config.site import Site
from labmon.drivers.driver import Answer, ChannelSpec, Outcome
from labmon.health.line import LineHealth
from labmon.links import link
from labmon.links.endpoint import TcpEndpoint
from labmon.links.errors import LinkLost, Silent
from labmon.model.event import Event, EventKind
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.plant import Area, Channel, Device, LineInfo, Plant

BEGIN = 1_790_000_000 * 10**9
REPLY = 0.02


class Clock:
    """Stands for the module `time`, on the loop's virtual time."""

    stepped = 0.0
    """Seconds by which somebody has set the system clock."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()

    @classmethod
    def time_ns(cls) -> int:
        return BEGIN + round((asyncio.get_running_loop().time() - 1000.0 + cls.stepped) * 1e9)


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (labmon.acquisition.taking, labmon.acquisition.pipeline, labmon.acquisition.guards):
        monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(Clock, "stepped", 0.0)


class Wire:
    """The link of the line `bus`. `far_end`: what there is of it; `silent`: devices that do not answer."""

    def __init__(self) -> None:
        self.memory = link.Memory()
        self.retries = 0
        self.far_end = "there"
        self.silent: set[str] = set()
        self.is_open = False
        self.opened = 0

    async def open(self) -> None:
        if self.far_end == "gone":
            raise LinkLost("refused")
        self.opened += 1
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def settle(self) -> int:
        return 0

    async def exchange(self, request: Any, timeout: float, *, gap: float = 0.0) -> bytes:
        await asyncio.sleep(REPLY)
        if not self.is_open or self.far_end != "there":
            self.is_open = False
            raise LinkLost("closed by the peer")
        if request in self.silent:
            await asyncio.sleep(timeout - REPLY)
            raise Silent
        return b"1"


@dataclass
class Ask:
    """A query that asks the wire under its device's name."""

    device: str
    name: str = "values"
    every: float = 1.0
    timeout: float = 0.5
    kind: str = "live"
    channels: tuple[ChannelSpec, ...] = (ChannelSpec("x", "X", "temperature", "Cel"),)
    answer: Callable[[], Answer] = field(default=lambda: Answer([Outcome(1.0, None)]))

    async def ask(self, link: Any) -> Answer:
        await link.exchange(self.device, self.timeout)
        return self.answer()


def plan_of(*asks: Ask, identity: Any = None) -> Plan:
    queries: dict[str, list[QueryPlan]] = {}
    limited = []
    for ask in asks:
        key = f"{ask.device}.x"
        layout = Layout(f"{ask.device}.{ask.name}", (Column(key, "room", ask.device, "x", "temperature", "Cel"),))
        made = QueryPlan(ask, ask.every, layout, (Slot(0, key, 1.0, 0.0, 0),))  # type: ignore[arg-type]
        queries.setdefault(ask.device, []).append(made)
        limited.append(LimitedChannel(key, ask.device, "Cel", ask.every, ask.kind == "record", "", None))
    devices = tuple(DevicePlan(d, None, identity, tuple(q), None) for d, q in queries.items())  # type: ignore[arg-type]
    plant = Plant(
        site="lab",
        site_name="Lab",
        gateway="gw",
        timezone="UTC",
        areas={"room": Area("room", "Room", "C", "in-operation")},
        lines={"bus": LineInfo("bus", "Bus", "tcp", tuple(queries))},
        devices={d: Device(d, d, "room", "bus", "x/y", "", (f"{d}.x",)) for d in queries},
        channels={f"{d}.x": Channel(f"{d}.x", "x", d, "room", "X", "temperature", "Cel") for d in queries},
    )
    return Plan(plant, [LinePlan("bus", TcpEndpoint("127.0.0.1", 1), "modbus-tcp", 0.0, devices)], limited)


SITE = Site.model_validate(
    {"labmon": 1, "site": {"id": "lab", "name": "Lab"}, "gateway": {"id": "gw"}, "areas": [], "lines": []}
)


class Memory:
    """A journal that takes everything, and outlives its daemon."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.events: list[Event] = []
        self.states: dict[str, bytes] = {}
        self.records: dict[str, Any] = {}
        self.settings: dict[str, str] = {}
        self.gaps: list[Any] = []
        self.refuses = False
        self.readable = True

    def append(self, exchange: Exchange) -> None:
        if self.refuses and exchange.readings[0].value is not None:
            raise ValueError("cannot be packed")
        self.exchanges.append(exchange)

    def record(
        self,
        events: Any = (),
        alarm_states: Mapping[str, bytes] | None = None,
        record_keys: Any = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.events += events
        self.states |= alarm_states or {}
        self.records |= record_keys or {}
        self.settings |= settings or {}

    def flush(self) -> None:
        pass

    @property
    def taken(self) -> int:
        return len(self.exchanges)

    def stored(self, first: int, last: int) -> bool | None:
        return True

    def gap(self, gap: Any) -> None:
        self.gaps.append(gap)

    def told(self, kind: EventKind = EventKind.RAISED) -> list[str]:
        return [e.alarm for e in self.events if e.kind is kind]


@dataclass
class Run:
    """What one run of the daemon's heart was."""

    plan: Plan
    wire: Wire
    journal: Memory
    pipeline: Pipeline
    line: Line
    shown: list[Exchange]

    @property
    def alarms(self) -> dict[str, str]:
        return {view.alarm: view.state.value for view in self.pipeline.engine.views()}


def play(
    plan: Plan,
    seconds: float,
    then: Mapping[float, Callable[[Run], object]] | None = None,
    *,
    wire: Wire | None = None,
    journal: Memory | None = None,
) -> Run:
    """Run for so many virtual seconds; `then` maps a second to a deed."""

    async def main() -> Run:
        loop = asyncio.get_running_loop()
        memory = journal or Memory()
        shown: list[Exchange] = []
        engine = AlarmEngine(
            make_rules(SITE, plan), plan.plant, dict(memory.states), mono=Clock.monotonic(), now=Clock.time_ns()
        )
        settings = dict(memory.settings) if memory.readable else None
        pipeline = Pipeline(engine, memory, shown.append, dict(memory.records), settings)
        link = wire or Wire()
        line = Line(plan.lines[0], link, pipeline, LineHealth("bus"), loop.time)
        made = Run(plan, link, memory, pipeline, line, shown)

        async def ticks() -> None:
            while True:
                pipeline.tick()
                await asyncio.sleep(0.1)

        tasks = [asyncio.create_task(line.run()), asyncio.create_task(ticks())]
        start = loop.time()
        for second in sorted(then or {}):
            await asyncio.sleep(start + second - loop.time())
            (then or {})[second](made)
        await asyncio.sleep(start + seconds - loop.time())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return made

    return run(main())
