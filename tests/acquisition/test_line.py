"""Lines on a virtual clock: an hour passes in seconds, with the scheduling code that runs in service."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from virtual_clock import run

from labmon.acquisition.line import Line
from labmon.acquisition.plan import DevicePlan, LinePlan, QueryPlan, Slot
from labmon.drivers.driver import Answer, ChannelSpec, Identified, Outcome, WrongInstrument
from labmon.drivers.session import SESSION, CompiledSession, Opened
from labmon.health.line import LineHealth
from labmon.links import link
from labmon.links.endpoint import TcpEndpoint
from labmon.links.errors import Garbled, LinkLost, Refused, Silent
from labmon.model.event import EventKind
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import reason_code

REPLY = 0.03


class Wire:
    """A link on virtual time. Who answers how is in `manner`: device name -> what happens to a request to it."""

    def __init__(self) -> None:
        self.memory = link.Memory()
        self.retries = 0
        self.manner: dict[str, Any] = {}
        self.is_open = False
        self.reachable = True
        self.late = 0
        self.under_way = 0
        self.opened = 0

    async def open(self) -> None:
        if not self.reachable:
            raise LinkLost("nobody there")
        self.opened += 1
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def settle(self) -> int:
        await asyncio.sleep(0.1)
        late, self.late = self.late, 0
        return late

    async def exchange(self, request: Any, timeout: float, *, gap: float = 0.0) -> bytes:
        self.under_way += 1
        assert self.under_way == 1, "two exchanges at once on one line"
        try:
            if not self.is_open or not self.reachable:
                self.is_open = False
                raise LinkLost("gone")
            manner = self.manner.get(request, "good")
            if manner == "good":
                await asyncio.sleep(REPLY)
                return b"1"
            if isinstance(manner, float):
                if manner <= timeout:
                    await asyncio.sleep(manner)
                    return b"1"
                await asyncio.sleep(timeout)
                self.late = 1
                raise Silent
            if manner == "silent":
                await asyncio.sleep(timeout)
                raise Silent
            await asyncio.sleep(REPLY)
            raise manner
        finally:
            self.under_way -= 1


@dataclass
class Ask:
    """A query that asks the wire under its device's name."""

    device: str
    name: str = "values"
    every: float = 1.0
    timeout: float = 1.0
    kind: str = "live"
    waits: float = 1.0
    channels: tuple[ChannelSpec, ...] = (ChannelSpec("x", "X", "temperature", "Cel"),)
    answers: list[Answer] = field(default_factory=list)

    async def ask(self, link: Any) -> Answer:
        await link.exchange(self.device, self.timeout)
        return self.answers.pop(0) if self.answers else Answer([Outcome(1.0, None)])


class Recorder:
    def __init__(self) -> None:
        self.exchanges: list[tuple[float, Exchange]] = []
        self.conditions: list[tuple[str, bool]] = []
        self.settings: dict[str, str] = {}
        self.events: list[tuple[EventKind, str, str]] = []

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        self.exchanges.append((asyncio.get_running_loop().time(), exchange))

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        self.conditions.append((alarm, active))

    def flags(self, device: str) -> int:
        return 0

    @property
    def taken(self) -> int:
        return 0

    def stored(self, first: int, last: int) -> bool | None:
        return True

    def last_record(self, query: str) -> tuple[int, str] | None:
        return None

    def unstored(self, query: str) -> None:
        return None

    remembers = True

    def setting(self, name: str) -> str | None:
        return self.settings.get(name)

    def told(
        self, device: str, detail: str, kind: EventKind = EventKind.DEVICE, settings: Mapping[str, str] | None = None
    ) -> None:
        self.settings |= settings or {}
        if detail:
            self.events.append((kind, device, detail))

    def good(self, device: str) -> list[float]:
        return [
            t for t, e in self.exchanges if e.layout.query.startswith(device + ".") and e.readings[0].value is not None
        ]

    def reasons(self, device: str) -> Counter[str]:
        readings = [e.readings[0] for _, e in self.exchanges if e.layout.query.startswith(device + ".")]
        return Counter(reason_code(r.reason) for r in readings if r.reason)


def plan_of(*asks: Ask, identity: Any = None) -> LinePlan:
    devices: dict[str, list[QueryPlan]] = {}
    for ask in asks:
        key = f"{ask.device}.x"
        layout = Layout(f"{ask.device}.{ask.name}", (Column(key, "a", ask.device, "x", "temperature", "Cel"),))
        devices.setdefault(ask.device, []).append(
            QueryPlan(ask, ask.every, layout, (Slot(0, key, 1.0, 0.0, 0),), ask.waits)
        )  # type: ignore[arg-type]
    plans = tuple(DevicePlan(name, None, identity, tuple(queries), None) for name, queries in devices.items())  # type: ignore[arg-type]
    return LinePlan("bus", TcpEndpoint("127.0.0.1", 502), "modbus-rtu", 0.0, plans)


def play(plan: LinePlan, wire: Wire, seconds: float, then: Any = None) -> tuple[Recorder, Line]:
    """Run a line for so many virtual seconds; `then` maps a second to a deed."""

    async def main() -> tuple[Recorder, Line]:
        loop = asyncio.get_running_loop()
        recorder = Recorder()
        line = Line(plan, wire, recorder, LineHealth(plan.id), loop.time)
        task = asyncio.create_task(line.run())
        start = loop.time()
        for second in sorted(then or {}):
            await asyncio.sleep(start + second - loop.time())
            then[second]()
        await asyncio.sleep(start + seconds - loop.time())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not wire.is_open
        return recorder, line

    return run(main())


def test_one_dead_device_of_eight_costs_the_live_ones_nothing_in_an_hour() -> None:
    asks = [Ask(f"d{n}") for n in range(8)]
    wire = Wire()
    wire.manner["d3"] = "silent"
    recorder, _ = play(plan_of(*asks), wire, 3600)
    for n in range(8):
        if n == 3:
            continue
        good = recorder.good(f"d{n}")
        assert len(good) >= 0.995 * 3600
        assert max(b - a for a, b in pairwise(good)) < 3.0
    assert not recorder.good("d3")
    assert set(recorder.reasons("d3")) == {"silent", "resting"}
    assert recorder.reasons("d3")["silent"] == 3
    assert recorder.conditions.count(("d3.dead", True)) == 1


def test_ticks_not_tried_are_counted_in_the_entries_of_the_probes() -> None:
    wire = Wire()
    wire.manner["d0"] = "silent"
    recorder, _ = play(plan_of(Ask("d0"), Ask("d1")), wire, 600)
    entries = [e for _, e in recorder.exchanges if e.layout.query == "d0.values"]
    assert len(entries) < 40
    assert 565 <= recorder.reasons("d0")["silent"] + sum(e.skipped for e in entries) <= 601


def test_full_speed_again_as_soon_as_it_answers() -> None:
    wire = Wire()
    wire.manner["d0"] = "silent"
    recorder, _ = play(plan_of(Ask("d0"), Ask("d1")), wire, 200, {100: lambda: wire.manner.clear()})
    good = recorder.good("d0")
    assert good[0] < 1000 + 100 + 80 + 2
    assert recorder.conditions[-1] == ("d0.dead", False)
    assert max(b - a for a, b in pairwise(good)) < 1.5


def test_a_late_device_is_told_apart_from_a_dead_one_and_gets_more_time() -> None:
    wire = Wire()
    wire.manner["d0"] = 1.3
    recorder, line = play(plan_of(Ask("d0", every=5.0), Ask("d1", every=5.0)), wire, 120)
    assert recorder.good("d0"), "its timeout was stretched"
    assert ("d0.dead", True) not in recorder.conditions
    assert line.devices[0].health.answered_late >= 1
    assert line.devices[0].link.stretch <= 3.0


def test_a_refusal_is_a_reading_and_no_reason_to_rest() -> None:
    wire = Wire()
    wire.manner["d0"] = Refused(2, "illegal data address")
    recorder, _ = play(plan_of(Ask("d0")), wire, 60)
    assert recorder.reasons("d0").keys() == {"refused"}
    assert recorder.reasons("d0")["refused"] >= 58
    assert ("d0.dead", True) not in recorder.conditions


@pytest.mark.parametrize("manner", ["silent", Garbled("crc"), Refused(11, "gateway target failed to respond")])
def test_what_does_not_answer_rests(manner: object) -> None:
    wire = Wire()
    wire.manner["d0"] = manner
    recorder, _ = play(plan_of(Ask("d0"), Ask("d1")), wire, 60)
    assert recorder.conditions.count(("d0.dead", True)) == 1
    assert len(recorder.good("d1")) >= 59


def test_a_lost_line_is_told_once_and_comes_back_by_itself() -> None:
    wire = Wire()

    def lose() -> None:
        wire.reachable = False

    def regain() -> None:
        wire.reachable = True

    recorder, _ = play(plan_of(Ask("d0"), Ask("d1")), wire, 300, {60: lose, 180: regain})
    assert recorder.conditions.count(("line.bus.lost", True)) >= 1
    lost = [c for c in recorder.conditions if c[0] == "line.bus.lost"]
    assert lost[-1] == ("line.bus.lost", False)
    for name in ("d0", "d1"):
        assert recorder.reasons(name).keys() == {"link-lost"}
        assert max(recorder.good(name)) > 1298
        entries = [e for _, e in recorder.exchanges if e.layout.query == f"{name}.values"]
        assert 295 <= len(recorder.good(name)) + sum(e.skipped for e in entries) <= 302
        assert len(entries) < 200


def test_a_line_absent_at_start_gives_readings_at_once() -> None:
    wire = Wire()
    wire.reachable = False
    recorder, _ = play(plan_of(Ask("d0"), Ask("d1", every=60.0)), wire, 0.9)
    assert recorder.reasons("d0")["link-lost"] >= 1
    assert recorder.reasons("d1")["link-lost"] >= 1


@pytest.mark.parametrize("seconds", [3.0, 1000.0])
def test_a_line_that_takes_long_to_open_gives_readings_meanwhile(seconds: float) -> None:
    class Slow(Wire):
        async def open(self) -> None:
            await asyncio.sleep(seconds)
            await super().open()

    recorder, _ = play(plan_of(Ask("d0"), Ask("d1", every=60.0)), Slow(), 5.0)
    early = [(e.layout.query, e.readings[0].reason) for at, e in recorder.exchanges if at < 1001.0]
    assert sorted(early) == [(f"{d}.values", "link-lost (still opening)") for d in ("d0", "d1")]
    assert bool(recorder.good("d1")) is (seconds < 5.0), "what was due is polled as soon as the line is open"


def test_the_wrong_instrument_gives_no_values_and_one_condition() -> None:
    class Identity:
        wrong = True

        async def check(self, link: Any) -> Identified:
            await link.exchange("d0", 1.0)
            if self.wrong:
                raise WrongInstrument("a kettle", "a probe")
            return Identified("a probe")

    identity = Identity()

    def swap() -> None:
        identity.wrong = False

    recorder, _ = play(plan_of(Ask("d0"), identity=identity), Wire(), 60, {30: swap})
    good = recorder.good("d0")
    assert min(good) > 1029
    assert recorder.reasons("d0").keys() == {"wrong-instrument"}
    assert recorder.conditions.count(("d0.wrong-instrument", True)) == 1
    assert recorder.conditions[-1] == ("d0.wrong-instrument", False)
    assert ("d0.dead", True) not in recorder.conditions


class Swappable:
    """Who stands at d0, until somebody swaps it."""

    wrong = False
    variants: Mapping[str, Any] = {}

    async def check(self, link: Any) -> Identified:
        await link.exchange("d0", 1.0)
        if self.wrong:
            raise WrongInstrument("a kettle", "a probe")
        return Identified("a probe")


def test_who_is_not_identified_is_asked_nothing_else_and_its_clock_is_not_set() -> None:
    """An instrument dies while its clock is read, and another one takes its place."""
    asked: list[float] = []

    class Clock:
        every, at_most, can_be_set = 1.0, 60.0, True

        async def ask(self, link: Any) -> int:
            asked.append(asyncio.get_running_loop().time())
            await link.exchange("d0", 1.0)
            return 0

        async def set(self, link: Any, now: int) -> None:
            await link.exchange("d0", 1.0)

    identity, wire = Swappable(), Wire()
    plan = plan_of(Ask("d0", every=600.0), identity=identity)
    plan = replace(plan, devices=(replace(plan.devices[0], clock=Clock(), set_clock=True),))  # type: ignore[arg-type]

    def dies() -> None:
        wire.manner["d0"] = "silent"

    def swapped() -> None:
        wire.manner["d0"], identity.wrong = "good", True

    _, line = play(plan, wire, 700, {30: dies, 200: swapped})
    assert line.devices[0].health.rests == 1
    assert asked
    assert max(asked) < 1000 + 200


def test_a_record_polled_twice_is_one_reading() -> None:
    ask = Ask("d0", kind="record")
    ask.answers = [Answer([Outcome(5.0, None)], time=7, key=key) for key in "aaabb"]
    recorder, _ = play(plan_of(ask), Wire(), 4.9)
    assert [e.readings[0].time for _, e in recorder.exchanges[:2]] == [7, 7]
    assert len([e for _, e in recorder.exchanges if e.time == 7]) == 2


def test_a_line_that_is_cancelled_again_while_it_closes_gives_its_port_free() -> None:
    class Endless(CompiledSession):
        def __init__(self) -> None:
            pass

        async def close(self, link: Any) -> None:
            await asyncio.sleep(1000.0)

    wire = Wire()
    wire.memory.devices["a"] = {SESSION: Opened(Endless())}

    async def main() -> None:
        line = Line(plan_of(Ask("a")), wire, Recorder(), LineHealth("bus"), asyncio.get_running_loop().time)
        task = asyncio.create_task(line.run())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.sleep(0.1)
        assert wire.is_open
        task.cancel()
        await asyncio.sleep(0.1)
        assert task.done()

    run(main())
    assert not wire.is_open


def test_a_fault_in_a_driver_costs_its_device_alone() -> None:
    class Broken(Ask):
        async def ask(self, link: Any) -> Answer:
            raise ZeroDivisionError

    recorder, _ = play(plan_of(Broken("d0"), Ask("d1")), Wire(), 60)
    assert "internal" in recorder.reasons("d0")
    assert len(recorder.good("d1")) >= 59


def test_ticks_missed_are_counted_and_never_made_up() -> None:
    wire = Wire()
    wire.manner["d0"] = 2.5
    recorder, line = play(plan_of(Ask("d0", timeout=3.0)), wire, 60)
    assert 18 <= len(recorder.good("d0")) <= 21
    assert line.devices[0].health.missed_ticks >= 35


def test_no_drift_over_an_hour() -> None:
    recorder, _ = play(plan_of(Ask("d0")), Wire(), 3600)
    good = recorder.good("d0")
    assert 3598 <= len(good) <= 3602
    phases = {round((t - REPLY) % 1.0, 2) for t in good[2:]}
    assert len(phases) == 1


def test_on_a_full_line_high_priority_keeps_its_ticks_and_low_is_never_starved() -> None:
    # 1.1 s of exchanges per second: 30 of the high ones in 0.9 s, and 7 of the low ones in 0.2 s.
    fast = [Ask(f"fast-{n}", every=0.1, waits=0.0) for n in range(3)]
    slow = [Ask(f"slow-{n}", every=1.0, waits=10.0) for n in range(7)]
    recorder, _ = play(plan_of(*fast, *slow), Wire(), 120.0)
    kept = [len(recorder.good(ask.device)) / 1200 for ask in fast]
    assert min(kept) > 0.97, kept
    for ask in slow:
        times = recorder.good(ask.device)
        assert max(b - a for a, b in pairwise([1000.0, *times, 1120.0])) < 13.0, (ask.device, times)
    equal, _ = play(plan_of(*[Ask(a.device, every=a.every) for a in (*fast, *slow)]), Wire(), 120.0)
    assert min(len(equal.good(ask.device)) / 1200 for ask in fast) < 0.95, "the line was not full: nothing is shown"


def test_what_was_asked_again_within_an_asking_is_counted_with_its_device() -> None:
    class Again(Ask):
        async def ask(self, link: Any) -> Answer:
            link.retries += 2
            return await super().ask(link)

    _, line = play(plan_of(Again("a"), Ask("b")), Wire(), 10.5)
    a, b = (device.health for device in line.devices)
    assert a.retries == 2 * a.exchanges > 0
    assert b.retries == 0


def test_a_line_that_ends_closes_the_sessions_of_its_devices_first() -> None:
    closed: list[bool] = []

    class Closing(CompiledSession):
        def __init__(self) -> None:
            pass

        async def close(self, link: Any) -> None:
            closed.append(link.is_open)

    wire = Wire()
    wire.memory.devices["a"] = {SESSION: Opened(Closing())}
    play(plan_of(Ask("a")), wire, 2.0)
    assert closed == [True]
    assert not wire.is_open


def test_who_was_silent_long_enough_to_be_swapped_is_asked_again_who_it_is() -> None:
    identity, wire = Swappable(), Wire()

    def out() -> None:
        wire.manner["d0"] = "silent"

    def another() -> None:
        wire.manner["d0"], identity.wrong = "good", True

    # One poll fails, which is no rest yet.
    recorder, line = play(plan_of(Ask("d0", every=60.0), identity=identity), wire, 400, {90: out, 150: another})
    assert line.devices[0].health.rests == 0
    assert max(recorder.good("d0")) < 1000 + 90
    assert ("d0.wrong-instrument", True) in recorder.conditions
