"""How long a turn of a line may take, and what becomes of a line that is stuck in one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labmon.acquisition.plan import DevicePlan, LinePlan, QueryPlan, Slot
from labmon.daemon import parts as parts_module
from labmon.daemon.daemon import PART
from labmon.daemon.lines import END
from labmon.daemon.parts import Parts
from labmon.daemon.polling import FLOOR, Polling, longest_turn
from labmon.drivers.driver import Answer, ChannelSpec, Outcome
from labmon.drivers.load import load_driver
from labmon.drivers.session import CLOSING
from labmon.health.line import LineHealth
from labmon.links import link
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.errors import LinkLost
from labmon.model.exchange import Column, Exchange, Layout

Eventually = Callable[..., Any]


class Port:
    """There is one, and one link may have it open."""

    def __init__(self) -> None:
        self.holder: Link | None = None
        self.links: list[Link] = []
        self.stuck = False
        """Whoever asks from now on hangs, whatever is done to it."""
        self.release = asyncio.Event()

    def make(self, plan: LinePlan) -> Any:
        self.links.append(Link(self))
        return self.links[-1]


class Link:
    slowest = 0.0

    def __init__(self, port: Port) -> None:
        self.port = port
        self.memory = link.Memory()
        self.retries = 0
        self.asked = 0

    @property
    def is_open(self) -> bool:
        return self.port.holder is self

    async def open(self) -> None:
        if self.port.holder is not None:
            raise LinkLost("in use")
        self.port.holder = self

    async def close(self) -> None:
        if self.port.holder is self:
            self.port.holder = None

    async def settle(self) -> int:
        return 0

    async def exchange(self, request: Any, timeout: float, *, gap: float = 0.0) -> bytes:
        self.asked += 1
        if self.port.stuck:
            # Bounded, so that a test that fails ends.
            give_up = asyncio.get_running_loop().call_later(20, self.port.release.set)
            while not self.port.release.is_set():
                try:
                    await self.port.release.wait()
                except asyncio.CancelledError:
                    continue
            give_up.cancel()
        await asyncio.sleep(0.001)
        return b"1"


class Query:
    name = "values"
    every = 0.01
    kind = "live"
    channels = (ChannelSpec("x", "X", "temperature", "Cel"),)

    async def ask(self, link: Any) -> Answer:
        await link.exchange("x", 1.0)
        return Answer([Outcome(1.0, None)])


@dataclass
class Recorder:
    readings: list[tuple[float | None, str | None]] = field(default_factory=list)
    conditions: list[tuple[str, bool, str]] = field(default_factory=list)

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        self.readings += [(r.value, r.reason) for r in exchange.readings]

    def show(self, exchange: Exchange) -> None:
        raise AssertionError

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        self.conditions.append((alarm, active, detail))

    def flags(self, device: str) -> int:
        return 0

    @property
    def taken(self) -> int:
        return 0

    def stored(self, first: int, last: int) -> bool | None:
        return True

    def last_record(self, query: str) -> tuple[int, str] | None:
        return None


def plan_of(
    *queries: Any, framing: Any = "modbus-tcp", endpoint: Any = None, identity: Any = None, **device: Any
) -> LinePlan:
    layout = Layout("pump.values", (Column("pump.x", "a", "pump", "x", "temperature", "Cel"),))
    plans = tuple(QueryPlan(query, query.every, layout, (Slot(0, "pump.x", 1.0, 0.0, 0),)) for query in queries)
    given = {"timeout": None} | device
    one = DevicePlan("pump", None, identity, plans, **given)  # type: ignore[arg-type]
    return LinePlan("bus", endpoint or TcpEndpoint("127.0.0.1", 502), framing, 0.0, (one,))


async def test_the_port_of_a_line_left_behind_is_free_for_the_next_and_what_it_still_says_does_not_count(
    eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "GRACE", 0.02)
    port, recorder, told, now = Port(), Recorder(), [], 0.0
    health = LineHealth("bus")
    polling = Polling(plan_of(Query()), recorder, health, port.make)
    parts = Parts(lambda name, what, error: told.append((name, what)), clock=lambda: now)
    parts.keep("line bus", polling.run, progress=polling.progress, patience=5.0, on_fault=polling.fault)
    await eventually(lambda: (1.0, None) in recorder.readings)
    port.stuck = True
    asked = port.links[0].asked
    await eventually(lambda: port.links[0].asked > asked)
    port.stuck = False
    turns = polling.progress()
    assert turns > 0
    recorder.readings.clear()
    for _ in range(7):
        now += 1.0
        parts.look()
    assert told == [("line bus", "stuck (no turn completed in 6 s), is replaced")]
    assert ("line.bus.lost", True, f"fault in labmon: {told[0][1]}") in recorder.conditions
    assert recorder.readings == [(None, "internal (the line's task failed)")]
    await eventually(lambda: (1.0, None) in recorder.readings)
    assert parts.left_behind() == ["line bus"]
    assert port.holder is port.links[1]
    assert ("line.bus.lost", False, "open") in recorder.conditions[-2:]
    assert polling.progress() >= turns, "it never goes back"
    port.release.set()
    await eventually(lambda: parts.left_behind() == [])
    assert port.links[0].asked == asked + 1, "it asks nothing more"
    assert port.holder is port.links[1]
    assert health.state.value == "open"
    good = recorder.readings.count((1.0, None))
    await eventually(lambda: recorder.readings.count((1.0, None)) > good)
    await parts.stop(1.0)
    assert port.holder is None


async def test_a_line_that_fails_says_so_once_on_each_channel(eventually: Eventually) -> None:
    class Broken(Recorder):
        def condition(self, alarm: str, active: bool, detail: str) -> None:
            super().condition(alarm, active, detail)
            if detail == "open":
                raise RuntimeError("boom")

    recorder = Broken()
    polling = Polling(plan_of(Query()), recorder, LineHealth("bus"), Port().make)
    parts = Parts(lambda name, what, error: None)
    parts.keep("line bus", polling.run, progress=polling.progress, patience=polling.patience, on_fault=polling.fault)
    await eventually(lambda: any(active for _, active, _ in recorder.conditions))
    assert recorder.readings == [(None, "internal (the line's task failed)")]
    await parts.stop(1.0)


class Steps(Query):
    def __init__(self, steps: int, timeout: float) -> None:
        self.steps = [None] * steps
        self.timeout = timeout


SERIAL = SerialEndpoint("/dev/ttyX", 9600, 8, "N", 1, False, False)
SLOW = SerialEndpoint("/dev/ttyX", 300, 8, "N", 1, False, False)


@pytest.mark.parametrize(
    ("plan", "seconds"),
    [
        (plan_of(Steps(1, 1.0)), FLOOR),
        (plan_of(Steps(4, 2.0)), 6.0 + 4 * 6.0),
        (plan_of(Steps(1, 1.0), Steps(4, 2.0), identity=Steps(2, 2.0)), 6.0 + 2 * 6.0 + 4 * 6.0),
        (plan_of(Steps(4, 2.0), timeout=5.0), 6.0 + 4 * 15.0),
        (plan_of(Steps(1, 1.0), framing="modbus-rtu"), 6.0 + 3.0 + 3.0 + 20.0),
        (plan_of(Steps(2, 1.0), framing="text", endpoint=SERIAL), 6.0 + 2 * (3.0 + 3.0 + 20.0)),
        (plan_of(Steps(1, 1.0), framing="text", endpoint=SLOW), 6.0 + 600 / 30 + 600 / 30 + 20.0),
        (plan_of(Query()), 6.0 + 10 * 15.0),
    ],
)
def test_the_longest_turn_follows_from_the_plan(plan: LinePlan, seconds: float) -> None:
    assert longest_turn(plan) == pytest.approx(seconds)


PATIENT = """
labmon-driver: 1
maker: Example
models: [P-1]
title: Example P-1
class: other
manual: {document: P-1, revision: A, pages: "1"}
framings: [modbus-tcp]
"""
ASKED = """
queries:
  values:
    every: 60 s
    requests:
      - read: holding
        at: 1
        count: 1
        fields: {ready: {at: 1, type: u16}}
        %s
    channels: [{id: ready, name: Ready, unit: "1"}]
"""


@pytest.mark.parametrize(
    ("more", "head", "least"),
    [
        ("until: {conditions: [{field: ready, is: 1}], every: 1 s, at-most: 50}", "", 50 * (1.0 + 3.0)),
        ("timeout: 30 s", "", 90.0),
        ("after: 40 s", "", 40.0),
        ("", "retry: [{on: refused, at-most: 20, pause: 1 s}]", 20 * (1.0 + 3.0)),
        ("", "timing: {timeout: 1 s, after-connect: 50 s}", 50.0),
    ],
)
def test_what_a_driver_file_may_wait_for_is_no_stuck_line(more: str, head: str, least: float) -> None:
    timing = "" if "timing" in head else "timing: {timeout: 1 s}\n"
    loaded = load_driver(Path("example/p-1.yaml"), text=PATIENT + timing + head + ASKED % more)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    (query,) = loaded.driver.queries("modbus-tcp", 1, {})
    longest = longest_turn(plan_of(query))
    assert longest > least
    assert longest < 4 * least + 2 * FLOOR, "nor may it be stuck for ever"


def test_a_session_that_is_closed_keeps_no_line_from_its_end_in_time() -> None:
    """Else a sound line would be left behind as one that is stuck, and its channels told of a fault in labmon."""
    assert min(PART, END) >= CLOSING + 0.05


def test_a_line_on_which_a_reply_came_very_late_may_settle_for_longer() -> None:
    plan = plan_of(Steps(1, 1.0), framing="modbus-rtu")
    assert longest_turn(plan, slowest=30.0) == pytest.approx(6.0 + 3.0 + 60.0 + 20.0)
    assert longest_turn(plan_of(Steps(1, 1.0)), slowest=30.0) == FLOOR
