"""What a line watches of an instrument itself, on virtual time: settings, clock, signs of life, variants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hour import BEGIN, Ask, Clock, Memory, Run, plan_of, play, virtual

from labmon.acquisition.plan import Plan, QueryPlan
from labmon.drivers.driver import Answer, Identified, Outcome, Settings, Sign, WrongInstrument
from labmon.links.errors import Refused, Silent
from labmon.model.event import EventKind
from labmon.model.reading import Flag, Raw

__all__ = ["virtual"]
pytestmark = pytest.mark.usefixtures("virtual")


@dataclass
class Guard:
    """Settings that a test changes."""

    watched: dict[str, Raw] = field(default_factory=lambda: {"hash": 1})
    wrong: str = ""
    every: float = 60.0
    timeout: float = 0.5
    error: Exception | None = None
    asked: int = 0

    async def ask(self, link: Any) -> Settings:
        await link.exchange("d0", self.timeout)
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Settings(dict(self.watched), self.wrong)


@dataclass
class Watch:
    """An instrument's clock, so many seconds ahead."""

    ahead: float = 0.0
    every: float = 60.0
    at_most: float = 30.0
    timeout: float = 0.5
    can_be_set: bool = True
    shows: bool = True
    refuses: bool = False
    sets: list[int] = field(default_factory=list)

    async def ask(self, link: Any) -> int | None:
        await link.exchange("d0", self.timeout)
        return Clock.time_ns() - 10_000_000 + round(self.ahead * 1e9) if self.shows else None

    async def set(self, link: Any, now: int) -> None:
        await link.exchange("d0", self.timeout)
        if self.refuses:
            raise Refused("03", "write protected")
        self.sets.append(now)
        self.ahead, self.shows = 0.0, True


def watched(guard: Guard | None = None, clock: Watch | None = None, **more: Any) -> Plan:
    asks = more.pop("asks", (Ask("d0", every=5.0), Ask("d1", every=5.0)))
    plan = plan_of(*asks, identity=more.pop("identity", None))
    line = plan.lines[0]
    first = replace(line.devices[0], guard=guard, clock=clock, **more)
    # An identity is d0's alone.
    rest = [replace(device, identity=None) for device in line.devices[1:]]
    plan.lines[0] = replace(line, devices=(first, *rest))
    return plan


def reasons(run: Run, device: str, after: float = 0.0) -> set[str | None]:
    return {
        e.readings[0].reason
        for e in run.journal.exchanges
        if e.layout.query.startswith(device + ".") and e.time >= BEGIN + after * 1e9
    }


def events(journal: Memory, kind: EventKind) -> list[str]:
    return [event.detail for event in journal.events if event.kind is kind]


# ---------------------------------------------------------------- settings


def test_a_changed_setting_is_an_event_with_the_old_and_the_new_value() -> None:
    guard = Guard({"hash": 1, "unit": "degC"})
    made = play(watched(guard), 300, {100: lambda run: guard.watched.update(hash=2)})
    assert events(made.journal, EventKind.SETTINGS) == ["hash 1 -> 2"]
    [event] = [e for e in made.journal.events if e.kind is EventKind.SETTINGS]
    assert (event.device, event.area, event.line) == ("d0", "room", "bus")
    assert reasons(made, "d0") == {None}, "a watched setting does not make values bad"
    assert guard.asked == 5


def test_a_setting_that_changed_while_labmon_was_down_is_told() -> None:
    guard = Guard()
    journal = Memory()
    play(watched(guard), 30, journal=journal)
    assert events(journal, EventKind.SETTINGS) == []
    guard.watched["hash"] = 7
    play(watched(guard), 30, journal=journal)
    assert events(journal, EventKind.SETTINGS) == ["hash 1 -> 7"]
    play(watched(guard), 30, journal=journal)
    assert len(events(journal, EventKind.SETTINGS)) == 1


def test_what_the_journal_remembers_late_is_not_taken_for_a_first_look() -> None:
    guard = Guard()
    journal = Memory()
    play(watched(guard), 30, journal=journal)
    kept = dict(journal.settings)
    guard.watched["hash"] = 7
    journal.readable = False
    made = play(watched(guard), 200, {100: lambda run: run.pipeline.remember({}, kept)}, journal=journal)
    assert events(made.journal, EventKind.SETTINGS) == ["hash 1 -> 7"]


def test_a_field_that_is_watched_newly_is_no_change() -> None:
    guard = Guard()
    journal = Memory()
    play(watched(guard), 30, journal=journal)
    guard.watched = {"hash": 1, "mode": float("nan")}
    play(watched(guard), 130, journal=journal)
    assert events(journal, EventKind.SETTINGS) == []
    guard.watched["mode"] = 3
    play(watched(guard), 30, journal=journal)
    assert events(journal, EventKind.SETTINGS) == ["mode nan -> 3"]


def test_an_expectation_that_does_not_hold_costs_all_values_and_is_an_alarm() -> None:
    guard = Guard(wrong="mode is 3")
    made = play(watched(guard), 300, {100: lambda run: setattr(guard, "wrong", "")})
    assert reasons(made, "d0") == {"wrong-mode (mode is 3)", None}
    assert reasons(made, "d0", after=125) == {None}
    values = [
        e.time for e in made.journal.exchanges if e.layout.query == "d0.values" and e.readings[0].value is not None
    ]
    assert min(values) > BEGIN + 100 * 10**9
    assert made.journal.told() == ["d0.wrong-settings"]
    assert made.journal.told(EventKind.CLEARED) == ["d0.wrong-settings"]
    assert reasons(made, "d1") == {None}


def test_no_value_is_used_before_the_settings_are_known() -> None:
    guard = Guard(error=Refused(2, "illegal data address"))
    made = play(watched(guard), 120, {60: lambda run: setattr(guard, "error", None)})
    assert reasons(made, "d0", after=70) == {None}
    first = reasons(made, "d0") - {None}
    assert {reason and reason.split(" ")[0] for reason in first} == {"refused"}
    values = [
        e.time for e in made.journal.exchanges if e.layout.query == "d0.values" and e.readings[0].value is not None
    ]
    assert min(values) > BEGIN + 60 * 10**9
    assert "d0.dead" not in made.journal.told(), "it answers"


def test_settings_are_asked_again_when_the_instrument_comes_back() -> None:
    guard = Guard(every=3600.0)

    def back(run: Run) -> None:
        guard.wrong = "mode is 3"
        run.wire.silent.clear()

    made = play(watched(guard), 300, {20: lambda run: run.wire.silent.add("d0"), 100: back})
    assert "wrong-mode (mode is 3)" in reasons(made, "d0", after=100)
    assert None not in reasons(made, "d0", after=30)


def test_a_guard_that_is_silent_for_once_changes_nothing() -> None:
    guard = Guard(wrong="")

    def silent(run: Run) -> None:
        guard.error = Silent()

    made = play(watched(guard), 200, {30: silent, 70: lambda run: setattr(guard, "error", None)})
    assert reasons(made, "d0") == {None}
    assert made.journal.told() == []


def test_a_fault_in_a_guard_costs_its_device_only() -> None:
    guard = Guard(error=RuntimeError("nonsense"))
    made = play(watched(guard), 60)
    assert {reason and reason.split(" ")[0] for reason in reasons(made, "d0")} <= {
        "internal",
        "resting",
        "RuntimeError",
    }
    assert reasons(made, "d1") == {None}


# ---------------------------------------------------------------- the clock


def test_drift_is_measured_at_the_middle_of_the_request_and_told() -> None:
    clock = Watch(ahead=12.0)
    made = play(watched(clock=clock), 30)
    # The reply is made 10 ms before it arrives, 20 ms after it was asked: the middle.
    assert made.line.health.device("d0").clock_drift == pytest.approx(12.0, abs=1e-6)
    assert made.journal.told() == []
    assert clock.sets == []


def test_a_clock_beyond_its_bound_is_an_alarm_and_values_are_used() -> None:
    clock = Watch(ahead=-75.0)
    made = play(watched(clock=clock), 200, {100: lambda run: setattr(clock, "ahead", 0.0)})
    assert made.journal.told() == ["d0.clock-drift"]
    [raised] = [e for e in made.journal.events if e.kind is EventKind.RAISED]
    assert raised.detail == "75 s behind, 30 s at most"
    assert made.journal.told(EventKind.CLEARED) == ["d0.clock-drift"]
    assert reasons(made, "d0") == {None}
    assert clock.sets == [], "the site file does not say that it may be set"


def test_a_clock_is_set_where_the_site_file_says_so_and_that_is_recorded() -> None:
    clock = Watch(ahead=75.0)
    made = play(watched(clock=clock, set_clock=True), 200)
    [moment] = clock.sets
    assert moment == pytest.approx(BEGIN, abs=10**9)
    assert events(made.journal, EventKind.DEVICE_CLOCK) == ["the clock was 75 s ahead, and was set"]
    assert made.journal.told() == []
    assert made.line.health.device("d0").clock_drift == pytest.approx(0.0, abs=1e-6)


def test_a_clock_that_cannot_be_set_is_told() -> None:
    clock = Watch(ahead=75.0, refuses=True)
    made = play(watched(clock=clock, set_clock=True), 100)
    told = events(made.journal, EventKind.DEVICE_CLOCK)
    assert told == ["the clock was 75 s ahead; setting it: refused (03 write protected)"], "once, though tried again"
    assert made.journal.told() == ["d0.clock-drift"]
    assert reasons(made, "d0") == {None}


def test_a_clock_that_shows_no_time_is_an_alarm() -> None:
    clock = Watch(shows=False)
    made = play(watched(clock=clock), 30)
    assert made.journal.told() == ["d0.clock-drift"]
    assert made.line.health.device("d0").clock_drift is None


def test_an_unsynchronised_gateway_judges_no_clock_and_sets_none() -> None:
    clock = Watch(ahead=75.0)
    plan = watched(clock=clock, set_clock=True)
    made = play(plan, 30, {0: lambda run: setattr(run.pipeline, "clock_flag", int(Flag.CLOCK))})
    assert made.journal.told() == []
    assert clock.sets == []
    assert made.line.health.device("d0").clock_drift == pytest.approx(75.0, abs=1e-6)


# ---------------------------------------------------------------- signs of life


def test_a_value_that_stands_still_makes_the_others_bad() -> None:
    counter = [0]

    def answer() -> Answer:
        return Answer([Outcome(1.0, None, 0, 10)], signs=[Sign("uptime", counter[0], 20.0)])

    def tick(run: Run) -> None:
        counter[0] += 1

    ask = Ask("d0", every=5.0, answer=answer)
    made = play(watched(asks=(ask,)), 100, dict.fromkeys((*range(1, 40, 3), *range(80, 100, 3)), tick))
    times = {(e.time - BEGIN) / 1e9: e.readings[0] for e in made.journal.exchanges}
    assert all(r.value == 1.0 for t, r in times.items() if t < 55 or t > 86)
    still = [r for t, r in times.items() if 66 < t < 80]
    assert still
    assert all((r.reason or "").startswith("not-reliable (uptime not updated for ") and r.raw == 10 for r in still)


# ---------------------------------------------------------------- identity and variants


@dataclass
class Who:
    """An identity that a test changes."""

    found: Identified | Exception = field(default_factory=lambda: Identified("serial 1", "new"))
    variants: dict[str, Any] = field(default_factory=dict)
    timeout: float = 0.5

    async def check(self, link: Any) -> Identified:
        await link.exchange("d0", self.timeout)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def with_variants(who: Who) -> Plan:
    """`new` reads 2.0 where the plain device and `old` read 1.0."""
    plan = watched(asks=(Ask("d0", every=5.0),), identity=who)
    line = plan.lines[0]
    device = line.devices[0]
    query: QueryPlan = device.queries[0]
    other = Ask("d0", every=5.0, answer=lambda: Answer([Outcome(2.0, None)]))
    new = replace(device, queries=(replace(query, query=other),))  # type: ignore[arg-type]
    plan.lines[0] = replace(line, devices=(replace(device, variants={"new": new, "old": device}),))
    return plan


def test_the_variant_decides_how_values_are_read_and_is_shown() -> None:
    who = Who()

    def swap(run: Run) -> None:
        who.found = Identified("serial 2", "old")
        run.wire.is_open = False

    journal = Memory()
    made = play(with_variants(who), 100, {50: swap}, journal=journal)
    values = [((e.time - BEGIN) / 1e9, e.readings[0].value) for e in journal.exchanges]
    assert {value for t, value in values if t < 50} == {2.0}
    assert {value for t, value in values if t > 56} == {1.0}
    assert made.line.health.device("d0").variant == "old"
    assert events(journal, EventKind.IDENTITY) == ["serial 1 (variant new) -> serial 2 (variant old)"]


def test_an_instrument_that_was_exchanged_while_labmon_was_down_is_told() -> None:
    who = Who(Identified("serial 1"))
    journal = Memory()
    play(watched(identity=who), 20, journal=journal)
    who.found = Identified("serial 2")
    play(watched(identity=who), 20, journal=journal)
    assert events(journal, EventKind.IDENTITY) == ["serial 1 -> serial 2"]


@pytest.mark.parametrize("error", [Silent(), Refused(4, "device failure")])
def test_an_identity_that_cannot_be_read_is_not_the_wrong_instrument(error: Exception) -> None:
    who = Who(error)
    made = play(watched(identity=who), 60)
    assert "d0.wrong-instrument" not in made.journal.told()
    assert None not in reasons(made, "d0"), "and nothing of it is used"
    assert {(r or "").split(" ")[0] for r in reasons(made, "d0")} <= {"silent", "refused", "resting"}


def test_an_instrument_that_was_swapped_while_it_was_silent_is_asked_who_it_is() -> None:
    who = Who(Identified("right"))

    def swap(run: Run) -> None:
        who.found = WrongInstrument("another", "right")
        run.wire.silent.clear()

    made = play(watched(identity=who), 200, {20: lambda run: run.wire.silent.add("d0"), 100: swap})
    assert "wrong-instrument (found another)" in reasons(made, "d0", after=100)
    assert None not in reasons(made, "d0", after=25)
    assert "d0.wrong-instrument" in made.journal.told()


def test_an_instrument_that_refuses_to_say_who_it_is_after_a_silence_rests_no_more() -> None:
    who = Who(Identified("right"))

    def back(run: Run) -> None:
        who.found = Refused(4, "device failure")
        run.wire.silent.clear()

    made = play(watched(identity=who), 200, {20: lambda run: run.wire.silent.add("d0"), 100: back})
    assert made.journal.told(EventKind.CLEARED) == ["d0.dead"]
    assert {(r or "").split(" ")[0] for r in reasons(made, "d0", after=150)} == {"refused"}
