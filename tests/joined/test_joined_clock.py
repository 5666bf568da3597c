"""The system clock set under a working gateway: nothing that waits is moved, and readings say when to doubt it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hour import BEGIN, Ask, Clock, Memory, Run, Wire, plan_of, play, virtual
from joined_gateway import room, running

from labmon.acquisition.plan import Plan
from labmon.config.site import Profile
from labmon.daemon.clock import ClockWatch
from labmon.daemon.daemon import Daemon
from labmon.drivers.driver import Answer, Outcome
from labmon.health.clock import ClockState
from labmon.journal.entries import EntryKind
from labmon.journal.reader import Reader
from labmon.model.event import EventKind
from labmon.model.reading import Flag

__all__ = ["virtual"]

RIGHT = ClockState(True, 0.0, 0.02, 0.001)
UNSYNCHRONISED = ClockState(False, 0.0, 16.0, 16.0)
HOUR = 3600.0


# ---------------------------------------------------------------- half an hour on virtual time, with and without


@dataclass
class Heard(Memory):
    """A journal that notes when it was given what, on the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self.polls: list[tuple[float, str, str]] = []
        self.happened: list[tuple[float, str, str]] = []

    def append(self, exchange: Any) -> None:
        super().append(exchange)
        reading = exchange.readings[0]
        self.polls.append((round(Clock.monotonic(), 3), exchange.layout.query, reading.reason or f"{reading.value}"))

    def record(self, events: Any = (), alarm_states: Any = None, record_keys: Any = None, settings: Any = None) -> None:
        super().record(events, alarm_states, record_keys)
        for event in events:
            if event.kind not in (EventKind.CLOCK_STEP, EventKind.CLOCK_STATE):
                what = event.alarm or event.device
                self.happened.append((round(Clock.monotonic(), 3), event.kind.value, what))


@dataclass
class Value:
    """What a device measures."""

    now: float = 20.0

    def answer(self) -> Answer:
        return Answer([Outcome(self.now, None)])


@dataclass
class Scene:
    """A limit broken and kept, a device that falls silent and returns, one out of service for twenty minutes."""

    steps: Mapping[float, float]
    value: Value = field(default_factory=Value)
    wire: Wire = field(default_factory=Wire)
    journal: Heard = field(default_factory=Heard)
    watch: ClockWatch | None = None

    def plan(self) -> Plan:
        plan = plan_of(Ask("warm", every=5.0, answer=self.value.answer), Ask("mute", every=5.0), Ask("out", every=5.0))
        limits = Profile.model_validate(
            {
                "version": 1,
                "reason": "test",
                "unit": "Cel",
                "limits": [{"level": "action", "high": 30, "on-delay": "5 min", "off-delay": "2 min"}],
                "silence": "4 min",
            }
        )
        return replace(plan, channels=[replace(channel, profile=limits) for channel in plan.channels])

    def look(self, made: Run) -> None:
        wall, mono = Clock.time_ns() / 1e9, Clock.monotonic()
        if self.watch is None:
            self.watch = ClockWatch(made.pipeline, lambda: RIGHT)
            self.watch.offset = wall - mono
        self.watch.look(wall, mono)

    def set_clock(self, seconds: float) -> Callable[[Run], None]:
        def deed(made: Run) -> None:
            Clock.stepped += seconds
            self.look(made)

        return deed

    def take_out(self, made: Run) -> None:
        now = Clock.time_ns()
        engine = made.pipeline.engine
        made.pipeline.command(
            engine.out_of_service("out", now + 1200 * 10**9, "qa", "cleaning", Clock.monotonic(), now)
        )

    def play(self) -> None:
        deeds: dict[float, Callable[[Run], object]] = {
            1.0: self.look,
            200.0: lambda _: setattr(self.value, "now", 35.0),
            300.0: lambda _: self.wire.silent.add("mute"),
            400.0: self.take_out,
            1000.0: lambda _: setattr(self.value, "now", 20.0),
            1100.0: lambda _: self.wire.silent.clear(),
        }
        deeds |= {second: self.set_clock(seconds) for second, seconds in self.steps.items()}
        play(self.plan(), 1800.0, deeds, wire=self.wire, journal=self.journal)


@pytest.mark.usefixtures("virtual")
@pytest.mark.parametrize(
    "steps",
    [
        {250.5: HOUR},
        {250.5: -HOUR},
        {250.5: HOUR, 450.5: -HOUR, 1050.5: -HOUR},
        {2.5: -BEGIN / 1e9 + 1100, 700.5: BEGIN / 1e9},
    ],
    ids=["forward", "back", "forth and back", "1970 and right at last"],
)
def test_a_step_of_the_clock_moves_nothing(steps: Mapping[float, float], undisturbed: Scene) -> None:
    """Polls, delays, silence, rests and the end of out of service: all at the same monotonic moments."""
    disturbed = Scene(steps)
    disturbed.play()
    assert disturbed.watch is not None
    assert disturbed.watch.steps == len(steps)
    assert disturbed.journal.polls == undisturbed.journal.polls
    assert disturbed.journal.happened == undisturbed.journal.happened


@pytest.fixture
def undisturbed(virtual: None) -> Scene:
    scene = Scene({})
    scene.play()
    kinds = {(kind, what) for _, kind, what in scene.journal.happened}
    expected = {
        ("raised", "warm.x.action-high"),
        ("cleared", "warm.x.action-high"),
        ("raised", "mute.dead"),
        ("cleared", "mute.dead"),
        ("out-of-service", "out"),
        ("in-service", "out"),
    }
    assert expected <= kinds, "what cannot happen cannot be late"
    return scene


# ---------------------------------------------------------------- a whole daemon


@dataclass
class Wall:
    """The system clock of the process, which can be set."""

    stepped: float = 0.0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wall, wall_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: wall() + self.stepped)
        monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + round(self.stepped * 1e9))


def flags(site: Path) -> list[int]:
    reader = Reader.at(site.with_name("journal.db"))
    try:
        entries = reader.entries_after(0, 10**6, 2**40)
    finally:
        reader.close()
    return [entry.content.readings[0].flags for entry in entries if entry.kind == EntryKind.READINGS]


async def test_readings_say_that_the_clock_was_not_synchronised(tmp_path: Path, eventually: Any) -> None:
    async with room(tmp_path, "probe-1", gateway={"id": "gw-1"}) as made:
        now = UNSYNCHRONISED
        daemon = Daemon(made.loaded(), lambda: now)
        assert not daemon.journal._committer._clock_trusted(), "nothing goes by its age before the clock was asked"
        async with running(daemon):
            await eventually(lambda: daemon._pipeline is not None and daemon.pipeline.polled > 1)
            await eventually(lambda: made.site.with_name("control.sock").exists())
            assert not daemon.journal._committer._clock_trusted()
            status = await made.ask("status")
            assert (status["clock"]["state"], status["clock"]["trusted"]) == ("unsynchronised", False)
            assert status["alarms"] == [], "not before its delay is over"
            now = RIGHT
            await eventually(lambda: daemon.clock is not None and daemon.clock.trusted)
            assert daemon.journal._committer._clock_trusted()
            polled = daemon.pipeline.polled
            await eventually(lambda: daemon.pipeline.polled > polled + 1)
            status = await made.ask("status")
            assert (status["clock"]["state"], status["clock"]["why"]) == ("synchronised", "")
        found = flags(made.site)
        assert found[0] == Flag.CLOCK, "the very first reading"
        assert found[-1] == 0
        assert found == sorted(found, reverse=True), "first all of them, then none"
        told = [event.detail.split(":")[0] for event in made.events(EventKind.CLOCK_STATE)]
        assert told == ["not synchronised", "synchronised, off by at most 0.020 s"]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_daemon_whose_clock_is_set_misses_nothing(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    wall = Wall()
    wall.install(monkeypatch)
    async with room(tmp_path, "probe-1") as made, running(made.daemon()) as daemon:
        await eventually(lambda: daemon._pipeline is not None and daemon.pipeline.polled > 1)
        wall.stepped = step
        await eventually(lambda: made.events(EventKind.CLOCK_STEP))
        await eventually(lambda: made.site.with_name("control.sock").exists())
        polled = daemon.pipeline.polled
        await eventually(lambda: daemon.pipeline.polled > polled + 3)
        status = (await made.ask("status"))["clock"]
        assert status["steps"] == 1
        assert status["last_step"]["seconds"] == pytest.approx(step, abs=0.2)
        assert daemon.pipeline.engine.views() == [], "neither silence nor any other alarm"
        assert sum(d.missed_ticks for line in daemon.health.values() for d in line.devices.values()) == 0
        (event,) = made.events(EventKind.CLOCK_STEP)
        assert ("forward" if step > 0 else "back") in event.detail


async def test_a_start_in_the_past_is_a_later_run_all_the_same(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the status takes an offline of a lower number for an old last will."""
    wall = Wall()
    wall.install(monkeypatch)
    told = []
    async with room(tmp_path, mqtt={"host": "127.0.0.1", "port": 1}) as made:
        for stepped in (0.0, -HOUR):
            wall.stepped = stepped
            async with running(made.daemon()) as daemon:
                await eventually(lambda: daemon.outside.delivery is not None)
                assert daemon.outside.delivery is not None
                told.append(daemon.outside.delivery.status._session)
    assert told[1] > told[0]
