"""Records that were stored while nobody asked: told as late, judged by their own time, never over newer ones."""

from __future__ import annotations

from alarm_cases import BEGIN, CHANNEL, PLANT, make_rules

from labmon.alarms.engine import AlarmEngine
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.reading import Flag, Reading

HOUR = 3600.0


def wall(seconds: float) -> int:
    return BEGIN + round(seconds * 1e9)


def engine(saved: dict[str, bytes] | None = None, **rules: dict[str, float]) -> AlarmEngine:
    named = {name.replace("_", "-"): options for name, options in rules.items()}
    return AlarmEngine(make_rules(named), PLANT, saved or {}, mono=0.0, now=BEGIN)


def live(target: AlarmEngine, at: float, value: float) -> list[Event]:
    return target.reading(Reading(CHANNEL, wall(at), wall(at), value, None), at)


def late(target: AlarmEngine, stored: float, value: float, at: float) -> list[Event]:
    """A record of `stored` that comes in at `at`."""
    return target.reading(Reading(CHANNEL, wall(stored), wall(at), value, None, int(Flag.DETECTED_LATE)), at)


def test_a_late_breach_is_raised_and_cleared_with_its_own_times_and_says_so() -> None:
    target = engine(action_high={"limit": 38})
    live(target, 0, 20)
    (raised,) = late(target, 600, 50, HOUR)
    assert (raised.kind, raised.time, raised.detected) == (EventKind.RAISED, wall(600), wall(HOUR))
    assert raised.detail == "detected late"
    (cleared,) = late(target, 1200, 20, HOUR)
    assert (cleared.kind, cleared.time, cleared.detail) == (EventKind.CLEARED, wall(1200), "detected late")
    assert [view.state for view in target.views()] == [AlarmState.RTNUN]


def test_delays_of_late_records_run_by_their_own_time() -> None:
    target = engine(action_high={"limit": 38, "on-delay": 300.0})
    live(target, 0, 20)
    assert late(target, 600, 50, HOUR) == []
    assert late(target, 700, 50, HOUR + 1) == []
    (raised,) = late(target, 950, 50, HOUR + 2)
    assert (raised.kind, raised.since) == (EventKind.RAISED, wall(600))


def test_a_short_breach_of_an_hour_ago_satisfies_no_delay() -> None:
    target = engine(action_high={"limit": 38, "on-delay": 300.0})
    live(target, 0, 20)
    assert late(target, 600, 50, HOUR) == []
    assert late(target, 660, 20, HOUR) == []
    assert live(target, HOUR + 1, 20) == []
    assert target.views() == []


def test_a_late_record_clears_nothing_that_a_newer_reading_raised() -> None:
    target = engine(action_high={"limit": 38})
    (raised,) = live(target, HOUR, 50)
    assert raised.kind is EventKind.RAISED
    assert late(target, 600, 20, HOUR + 1) == []
    assert [view.state for view in target.views()] == [AlarmState.UNACK]
    (cleared,) = live(target, HOUR + 2, 20)
    assert cleared.kind is EventKind.CLEARED


def test_a_late_breach_older_than_a_good_reading_is_told_and_over() -> None:
    target = engine(action_high={"limit": 38})
    live(target, HOUR, 20)
    raised, cleared = late(target, 600, 50, HOUR + 1)
    assert (raised.kind, raised.time, raised.detail) == (EventKind.RAISED, wall(600), "detected late")
    assert (cleared.kind, cleared.time) == (EventKind.CLEARED, wall(HOUR + 1))
    assert cleared.detail == "detected late: a later value is within the limit"
    assert [view.state for view in target.views()] == [AlarmState.RTNUN]


def test_an_older_late_breach_satisfies_no_delay_by_itself() -> None:
    target = engine(action_high={"limit": 38, "on-delay": 300.0})
    live(target, HOUR, 20)
    assert late(target, 600, 50, HOUR + 1) == []
    assert live(target, HOUR + 301, 20) == []
    assert target.views() == []


def test_silence_ends_when_a_late_record_comes_not_when_it_was_stored() -> None:
    target = engine(silence={"after": 60.0})
    live(target, 0, 20)
    (raised,) = target.tick(61, wall(61))
    assert raised.kind is EventKind.RAISED
    (cleared,) = late(target, 30, 20, HOUR)
    assert (cleared.kind, cleared.time) == (EventKind.CLEARED, wall(HOUR))


def test_an_instruments_clock_of_tomorrow_breaks_no_delay() -> None:
    target = engine(action_high={"limit": 38, "on-delay": 300.0})
    live(target, 0, 20)
    assert late(target, 30 * HOUR, 50, HOUR) == []
    assert live(target, HOUR + 299, 50) == []
    assert [event.kind for event in live(target, HOUR + 300, 50)] == [EventKind.RAISED]
