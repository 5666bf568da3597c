"""The system clock: steps, synchronisation, the flag on readings, and the alarm after its delay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import labmon.acquisition.pipeline
from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import Plan
from labmon.acquisition.rules import CLOCK, STEADY, make_rules
from labmon.alarms.engine import AlarmEngine
from labmon.config.site import Site
from labmon.daemon.clock import ALARM, ClockWatch
from labmon.health.clock import ClockState
from labmon.model.event import Event, EventKind
from labmon.model.plant import Area, Device, LineInfo, Plant
from labmon.model.reading import Flag

SITE = Site.model_validate(
    {"labmon": 1, "site": {"id": "lab", "name": "Lab"}, "gateway": {"id": "gw"}, "areas": [], "lines": []}
)
PLANT = Plant(
    "lab",
    "Laboratory",
    "gw",
    "UTC",
    {"room": Area("room", "Room", "C", "in-operation")},
    {"bus": LineInfo("bus", "Bus", "x", ("pump",))},
    {"pump": Device("pump", "Pump", "room", "bus", "a/b", "", ())},
    {},
)
RIGHT = ClockState(True, 0.0002, 0.02, 0.0004)
UNSYNCHRONISED = ClockState(False, 0.0, 16.0, 16.0)
BEGIN = 1_795_000_000.0


class Record:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.states: dict[str, bytes] = {}

    def append(self, exchange: object) -> None:
        raise AssertionError

    def record(
        self, events: Sequence[Event] = (), alarm_states: Any = None, record_keys: Any = None, settings: Any = None
    ) -> None:
        self.events += events
        self.states |= alarm_states or {}

    def flush(self) -> None:
        pass


class Bench:
    """A watch with its alarm engine; time passes by `after`, and `set_clock` is somebody who sets the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, saved: dict[str, bytes] | None = None, trusted: str = ""):
        self.mono, self.wall = 5000.0, BEGIN
        monkeypatch.setattr(labmon.acquisition.pipeline, "time", self)
        self.state = RIGHT
        self.record = Record()
        rules = make_rules(SITE, Plan(PLANT, [], []))
        engine = AlarmEngine(rules, PLANT, saved or {}, mono=self.mono, now=self.time_ns())
        self.pipeline = Pipeline(engine, self.record, lambda _: None)
        self.watch = ClockWatch(self.pipeline, lambda: self.state, trusted)
        self.watch.offset = self.wall - self.mono

    def monotonic(self) -> float:
        return self.mono

    def time_ns(self) -> int:
        return round(self.wall * 1e9)

    def after(self, seconds: float, *, looks: int = 1) -> float:
        """Time passes, with so many looks at the clock; the step that the last one saw."""
        step = 0.0
        for _ in range(looks):
            self.mono += seconds / looks
            self.wall += seconds / looks
            step = self.watch.look(self.wall, self.mono)
            self.pipeline.tick()
        return step

    def set_clock(self, seconds: float) -> None:
        self.wall += seconds

    def told(self, kind: EventKind) -> list[Event]:
        return [event for event in self.record.events if event.kind is kind]

    def alarms(self) -> list[tuple[str, str]]:
        return [(event.kind.value, event.alarm) for event in self.record.events if event.alarm]


@pytest.mark.parametrize("step", [3600.0, -3600.0, 0.4, -0.4, -86400.0, -BEGIN + 60])
def test_a_step_of_the_clock_is_an_event_once(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    bench = Bench(monkeypatch)
    assert bench.after(1) == 0.0
    bench.set_clock(step)
    assert bench.after(1) == pytest.approx(step, abs=1e-5)
    assert bench.after(1) == 0.0
    (event,) = bench.told(EventKind.CLOCK_STEP)
    assert f"stepped {'forward' if step > 0 else 'back'} by {step:+.3f} s" in event.detail
    assert (event.value, event.unit) == (pytest.approx(step, abs=1e-3), "s")
    assert event.time == pytest.approx((BEGIN + 2 + step) * 1e9, abs=1000)
    assert bench.watch.steps == 1


def test_the_event_of_a_step_says_which_time_became_which(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.set_clock(3600)
    bench.after(0)
    (event,) = bench.told(EventKind.CLOCK_STEP)
    assert event.detail.endswith(": 2026-11-18T11:06:40Z became 2026-11-18T12:06:40Z"), event.detail


def test_noise_between_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time service slews both clocks; what is left are the microseconds between reading one and the other."""
    bench = Bench(monkeypatch)
    for noise in (0.01, -0.02, 0.05, -0.04):
        bench.set_clock(noise)
        assert bench.after(1) == 0.0
    assert bench.told(EventKind.CLOCK_STEP) == []


def test_readings_are_marked_until_the_clock_is_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.state = UNSYNCHRONISED
    assert not bench.watch.trusted, "not before it was asked"
    bench.after(0)
    assert (bench.pipeline.flags("pump"), bench.watch.trusted) == (Flag.CLOCK, False)
    bench.state = RIGHT
    bench.after(1)
    assert (bench.pipeline.flags("pump"), bench.watch.trusted) == (0, True)
    bench.state = UNSYNCHRONISED
    bench.after(1)
    assert bench.pipeline.flags("pump") == Flag.CLOCK
    assert [event.detail.split(":")[0].split(",")[0] for event in bench.told(EventKind.CLOCK_STATE)] == [
        "not synchronised",
        "synchronised",
        "not synchronised",
    ]


def test_an_ordinary_boot_is_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.state = UNSYNCHRONISED
    bench.after(0)
    bench.after(CLOCK - 10, looks=100)
    bench.state = RIGHT
    bench.after(CLOCK * 2, looks=100)
    assert bench.alarms() == []


def test_a_clock_that_is_never_synchronised_is_an_alarm_that_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.state = UNSYNCHRONISED
    bench.after(0)
    bench.after(CLOCK - 1, looks=30)
    assert bench.alarms() == []
    bench.after(2, looks=2)
    assert bench.alarms() == [("raised", ALARM)]
    (view,) = bench.pipeline.engine.views()
    assert view.detail.startswith("not synchronised")
    bench.state = RIGHT
    bench.after(1)
    bench.after(STEADY + 1, looks=10)
    assert bench.alarms() == [("raised", ALARM), ("cleared", ALARM)]


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_the_delay_of_the_alarm_does_not_move_with_the_clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    bench = Bench(monkeypatch)
    bench.state = UNSYNCHRONISED
    bench.after(0)
    bench.after(CLOCK / 2, looks=10)
    bench.set_clock(step)
    bench.after(CLOCK / 2 - 1, looks=10)
    assert bench.alarms() == []
    bench.after(2, looks=2)
    assert bench.alarms() == [("raised", ALARM)]


def test_a_loss_later_is_an_alarm_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(86400, looks=3)
    bench.state = UNSYNCHRONISED
    bench.after(1)
    assert bench.alarms() == []
    bench.after(CLOCK + 1, looks=10)
    assert bench.alarms() == [("raised", ALARM)]


@pytest.mark.parametrize("state", [ClockState(True, -1.2, 2.0, 0.1), ClockState(True, 0.0, 2.0, 1.2)])
def test_a_clock_that_is_off_is_doubted_and_does_not_flutter(
    monkeypatch: pytest.MonkeyPatch, state: ClockState
) -> None:
    bench = Bench(monkeypatch)
    bench.after(1)
    bench.state = state
    bench.after(1)
    assert bench.pipeline.flags("pump") == Flag.CLOCK
    for error in (0.99, 1.01, 0.98, 1.02):
        bench.state = ClockState(True, error, 2.0, 0.0)
        bench.after(1)
    assert bench.pipeline.flags("pump") == Flag.CLOCK
    bench.state = ClockState(True, 0.4, 2.0, 0.0)
    bench.after(1)
    assert bench.pipeline.flags("pump") == 0
    assert len(bench.told(EventKind.CLOCK_STATE)) == 3


def test_a_doubt_whose_figures_change_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset that is another one each second must not be a commit each second."""
    bench = Bench(monkeypatch)
    bench.state = ClockState(True, 4.0)
    bench.after(CLOCK + 1, looks=10)
    bench.record.states.clear()
    for error in range(2, 30):
        bench.state = ClockState(True, float(error))
        bench.after(1)
    assert bench.record.states == {}
    assert len(bench.told(EventKind.CLOCK_STATE)) == 1


def test_a_kernel_that_may_not_be_asked_is_doubted_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.state = ClockState(False, problem="adjtimex: Operation not permitted")
    bench.after(0)
    bench.after(CLOCK + 1, looks=10)
    (view,) = bench.pipeline.engine.views()
    assert "cannot be asked" in view.detail
    assert "Operation not permitted" in view.detail
    report = bench.watch.report(bench.mono, bench.time_ns())
    assert (report["state"], report["trusted"], report["offset"]) == ("unknown", False, None)


def test_a_site_may_trust_its_clock_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, trusted="time card, SOP 815")
    bench.state = UNSYNCHRONISED
    bench.after(CLOCK * 3, looks=100)
    assert bench.alarms() == []
    assert bench.pipeline.flags("pump") == 0
    (event,) = bench.told(EventKind.CLOCK_STATE)
    assert event.detail == "trusted by the site file: time card, SOP 815"
    bench.set_clock(-3600)
    bench.after(1)
    assert len(bench.told(EventKind.CLOCK_STEP)) == 1, "a step is told all the same"
    report = bench.watch.report(bench.mono, bench.time_ns())
    assert (report["state"], report["trusted"], report["why"]) == ("unsynchronised", True, "time card, SOP 815")


def test_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(0)
    bench.after(60, looks=60)
    bench.set_clock(-3600)
    bench.after(40, looks=40)
    assert bench.watch.report(bench.mono, bench.time_ns()) == {
        "state": "synchronised",
        "trusted": True,
        "why": "",
        "since": round((bench.wall - 100) * 1e9),
        "offset": 0.0002,
        "estimated_error": 0.0004,
        "max_error": 0.02,
        "steps": 1,
        "last_step": {"time": round((BEGIN + 61 - 3600) * 1e9), "seconds": pytest.approx(-3600, abs=1e-5)},
    }


def test_a_day_begins_once_and_only_by_a_clock_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on the date, as a calibration that is overdue."""
    days: list[str] = []
    monkeypatch.setattr(f"{__name__}.BEGIN", 0.0)
    bench = Bench(monkeypatch)
    bench.watch.on_day = lambda day: days.append(str(day))
    bench.state = UNSYNCHRONISED
    bench.after(10, looks=10)
    assert days == []
    bench.set_clock(1_795_046_300)  # 2026-11-18, 23:58:20
    bench.state = RIGHT
    bench.after(80, looks=80)
    assert days == ["2026-11-18"]
    bench.after(80, looks=80)
    assert days == ["2026-11-18", "2026-11-19"]


# ---------------------------------------------------------------- out of service


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_out_of_service_lasts_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    bench = Bench(monkeypatch)
    bench.after(0)
    engine = bench.pipeline.engine
    engine.out_of_service("pump", bench.time_ns() + 7200 * 10**9, "qa", "cleaning", bench.mono, bench.time_ns())
    bench.after(3000, looks=3)
    bench.set_clock(step)
    bench.after(1)
    (record,) = engine.services()
    assert record.until == pytest.approx((BEGIN + 7200 + step) * 1e9, abs=1000), "told by the clock as it is now"
    assert "@pump" in bench.record.states, "and so after a restart"
    bench.after(7200 - 3001 - 1, looks=5)
    assert engine.is_out_of_service("pump")
    bench.after(2, looks=2)
    assert not engine.is_out_of_service("pump")


def taken_out(monkeypatch: pytest.MonkeyPatch, seconds: float) -> dict[str, bytes]:
    """What the disk holds of a pump that was taken out of service at BEGIN."""
    bench = Bench(monkeypatch)
    now = bench.time_ns()
    bench.pipeline.engine.out_of_service("pump", now + round(seconds * 1e9), "qa", "cleaning", bench.mono, now)
    bench.pipeline.command([])
    return {"@pump": bench.record.states["@pump"]}


def restarted(monkeypatch: pytest.MonkeyPatch, saved: dict[str, bytes], wall: float) -> Bench:
    monkeypatch.setattr(f"{__name__}.BEGIN", wall)
    return Bench(monkeypatch, saved=saved)


def test_a_gateway_that_starts_in_the_past_keeps_nothing_out_of_service_for_years(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved = taken_out(monkeypatch, 7200)
    bench = restarted(monkeypatch, saved, 0.0)
    bench.state = UNSYNCHRONISED
    bench.after(0)
    bench.after(7100, looks=10)
    assert bench.pipeline.engine.is_out_of_service("pump")
    bench.after(200, looks=10)
    assert not bench.pipeline.engine.is_out_of_service("pump")


def test_an_end_from_before_the_start_is_looked_up_again_when_the_clock_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = BEGIN
    saved = taken_out(monkeypatch, 7200)
    bench = restarted(monkeypatch, saved, begin - 3600)  # it has really been an hour
    bench.state = UNSYNCHRONISED
    bench.after(0)
    bench.after(60, looks=6)
    bench.set_clock(7200)
    bench.state = RIGHT
    bench.after(1)
    assert bench.pipeline.engine.is_out_of_service("pump")
    bench.after(3600 - 62, looks=10)
    assert bench.pipeline.engine.is_out_of_service("pump")
    bench.after(2, looks=2)
    assert not bench.pipeline.engine.is_out_of_service("pump")


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_once_it_was_right_a_step_moves_an_end_from_before_the_start_no_more(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    begin = BEGIN
    bench = restarted(monkeypatch, taken_out(monkeypatch, 7200), begin + 600)
    bench.after(0)
    bench.set_clock(step)
    bench.after(1)
    bench.after(6600 - 3, looks=10)
    assert bench.pipeline.engine.is_out_of_service("pump")
    bench.after(3, looks=3)
    assert not bench.pipeline.engine.is_out_of_service("pump")
