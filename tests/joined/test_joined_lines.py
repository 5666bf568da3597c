"""A line and the alarms over it: what is lost is told once, and told at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hour import BEGIN, Ask, Memory, Run, Wire, plan_of, play, virtual

from labmon.drivers.driver import Answer, Identified, Outcome, WrongInstrument
from labmon.model.event import EventKind
from labmon.model.reading import Flag

__all__ = ["virtual"]
pytestmark = pytest.mark.usefixtures("virtual")

LOST = "line.bus.lost"


def far_end(state: str) -> Callable[[Run], None]:
    def deed(run: Run) -> None:
        run.wire.far_end = state

    return deed


def forty() -> Any:
    return plan_of(*(Ask(f"d{n}", every=2.0) for n in range(40)))


def test_forty_devices_on_a_lost_line_are_one_alarm_and_nothing_when_they_are_back() -> None:
    made = play(forty(), 900, {60: far_end("gone"), 600: far_end("there")})
    assert made.journal.told() == [LOST]
    assert made.journal.told(EventKind.CLEARED) == [LOST]
    assert made.alarms == {LOST: "RTNUN"}


def test_a_far_end_that_takes_every_connection_and_closes_it_is_a_lost_line() -> None:
    """A converter that somebody else holds does so; opening alone says nothing."""
    made = play(forty(), 600, {60: far_end("busy"), 500: far_end("there")})
    assert made.journal.told() == [LOST]
    raised = next(e for e in made.journal.events if e.kind is EventKind.RAISED)
    assert raised.time - BEGIN < 70e9
    assert made.wire.opened < 60, "the attempts back off"


def test_a_far_end_that_is_busy_from_the_start_is_a_lost_line() -> None:
    wire = Wire()
    wire.far_end = "busy"
    assert play(forty(), 60, wire=wire).journal.told() == [LOST]


def test_a_line_that_flaps_is_one_alarm() -> None:
    deeds = {}
    for n in range(20):
        deeds |= {60 + 25 * n: far_end("gone"), 75 + 25 * n: far_end("there")}
    assert play(forty(), 700, deeds).journal.told() == [LOST]


def test_a_device_that_comes_and_goes_is_one_alarm() -> None:
    deeds: dict[float, Callable[[Run], object]] = {}
    for n in range(20):
        deeds |= {
            60 + 30 * n: lambda run: run.wire.silent.add("d1"),
            76 + 30 * n: lambda run: run.wire.silent.discard("d1"),
        }
    assert play(plan_of(Ask("d0"), Ask("d1")), 800, deeds).journal.told() == ["d1.dead"]


def test_a_line_that_is_lost_again_and_again_makes_no_device_dead() -> None:
    """One poll in vain after two losses is one failure of the device, not three."""
    deeds: dict[float, Callable[[Run], object]] = {}
    for n in range(3):
        deeds |= {10 + n * 3: far_end("busy"), 11.8 + n * 3: far_end("there")}
        deeds |= {12 + n * 3: lambda run: run.wire.silent.add("d0"), 12.9 + n * 3: lambda run: run.wire.silent.clear()}
    assert "d0.dead" not in play(plan_of(Ask("d0")), 60, deeds).journal.told()


def test_a_resting_device_is_asked_at_once_when_its_line_is_back() -> None:
    made = play(
        plan_of(Ask("d0"), Ask("d1")),
        400,
        {
            10: lambda run: run.wire.silent.add("d1"),
            200: far_end("gone"),
            260: lambda run: (run.wire.silent.clear(), far_end("there")(run)),
        },
    )
    back = [e.time for e in made.journal.exchanges if e.layout.query == "d1.values" and e.readings[0].value is not None]
    assert (
        min(t for t in back if t > BEGIN + 260 * 10**9)
        <= min(
            t
            for t in (e.time for e in made.journal.exchanges if e.layout.query == "d0.values" and e.readings[0].value)
            if t > BEGIN + 260 * 10**9
        )
        + 10**9
    )
    assert sorted(made.journal.told()) == ["d1.dead", LOST]


def test_a_restart_while_a_line_is_lost_and_a_device_dead_tells_nothing_again_and_forgets_nothing() -> None:
    plan, journal, wire = plan_of(Ask("d0"), Ask("d1")), Memory(), Wire()
    play(plan, 60, {10: lambda run: run.wire.silent.add("d1"), 30: far_end("gone")}, wire=wire, journal=journal)
    assert sorted(journal.told()) == ["d1.dead", LOST]
    wire.is_open = False
    again = play(
        plan, 120, {60: lambda run: (run.wire.silent.clear(), far_end("there")(run))}, wire=wire, journal=journal
    )
    assert sorted(journal.told()) == ["d1.dead", LOST]
    assert sorted(journal.told(EventKind.CLEARED)) == ["d1.dead", LOST]
    assert again.alarms == {"d1.dead": "RTNUN", LOST: "RTNUN"}


def test_an_instrument_that_was_swapped_while_its_connection_was_away_is_asked_who_it_is() -> None:
    class Identity:
        found = "right"

        async def check(self, link: Any) -> Identified:
            await link.exchange("d0", 1.0)
            if self.found != "right":
                raise WrongInstrument("right", self.found)
            return Identified(self.found)

    identity = Identity()

    def swap(run: Run) -> None:
        identity.found = "another"
        run.wire.is_open = False  # closed by the peer between two polls: nobody waited for a reply

    made = play(plan_of(Ask("d0", every=5.0), identity=identity), 60, {22: swap})
    values = [e for e in made.journal.exchanges if e.readings[0].value is not None]
    assert max(e.time for e in values) < BEGIN + 22 * 10**9
    assert made.journal.told() == ["d0.wrong-instrument"]


def test_a_driver_that_says_nonsense_costs_its_own_device_only() -> None:
    broken = Ask("d0", answer=lambda: Answer([]))
    made = play(plan_of(broken, Ask("d1")), 60)
    good = [e for e in made.journal.exchanges if e.layout.query == "d1.values" and e.readings[0].value is not None]
    assert len(good) >= 59
    assert made.journal.told() == ["d0.x.quality"]


def record(time: int, key: str = "k") -> Callable[[], Answer]:
    return lambda: Answer([Outcome(5.0, None)], time, key)


def test_a_record_polled_twice_is_one_reading_also_after_a_new_line_and_after_a_restart() -> None:
    plan, journal = plan_of(Ask("d0", kind="record", answer=record(BEGIN))), Memory()
    first = play(plan, 10, journal=journal)
    assert len(journal.exchanges) == 1
    assert first.pipeline.last_record("d0.values") == (BEGIN, "k"), "what a line that is started anew goes by"
    play(plan, 10, journal=journal)
    assert len(journal.exchanges) == 1


def test_the_last_record_is_shown_again_when_the_counter_answers_again() -> None:
    plan = plan_of(Ask("d0", kind="record", answer=record(BEGIN)))
    made = play(
        plan,
        120,
        {10: lambda run: run.wire.silent.add("d0"), 60: lambda run: run.wire.silent.clear()},
    )
    assert made.shown[-1].readings[0].value == 5.0
    assert [e.time for e in made.journal.exchanges if e.readings[0].value is not None] == [BEGIN]


@pytest.mark.parametrize("time", [-86400 * 10**9, 2**63, 2**80])
def test_a_record_whose_time_cannot_be_one_is_kept_with_the_time_of_its_reception(time: int) -> None:
    plan, journal = plan_of(Ask("d0", kind="record", answer=record(time))), Memory()
    play(plan, 10, journal=journal)
    play(plan, 10, journal=journal)
    assert [e.readings[0].value for e in journal.exchanges] == [5.0]
    assert journal.exchanges[0].time == journal.exchanges[0].received
    assert journal.exchanges[0].readings[0].flags & Flag.CLOCK


def test_an_alarm_found_in_readings_that_the_journal_cannot_hold_is_told_all_the_same() -> None:
    outcomes = [Outcome(1.0, None)]
    plan = plan_of(Ask("d0", answer=lambda: Answer(outcomes[-1:])))

    def raised(run: Run) -> None:
        run.journal.refuses = False

    def spoil(run: Run) -> None:
        outcomes.append(Outcome(None, "no-sensor"))

    def value_again(run: Run) -> None:
        outcomes.append(Outcome(1.0, None))
        run.journal.refuses = True

    made = play(plan, 90, {5: spoil, 40: value_again, 45: raised})
    assert made.journal.told() == ["d0.x.quality"]
    assert made.journal.told(EventKind.CLEARED) == ["d0.x.quality"], "its state had changed: the event must not be lost"


def test_a_line_whose_link_cannot_be_opened_for_a_moment_is_open_again_without_an_alarm() -> None:
    made = play(forty(), 120, {60: far_end("gone"), 62: far_end("there")})
    assert made.journal.told() == []
