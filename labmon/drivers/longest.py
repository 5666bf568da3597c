"""How long one asking can take on the wire, for who has to tell a slow line from a stuck one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from labmon.drivers import grammar
from labmon.drivers.course import Leg


class Longest(NamedTuple):
    """What one asking does at most on the wire."""

    answered: int = 0
    """Exchanges beyond one of each request: all but the last of them are answered."""
    failed: int = 0
    """Exchanges beyond one of each request after which the line has to settle: retries, steps of the session."""
    timeout: float = 0.0
    """The longest timeout of a request, in seconds."""
    pauses: float = 0.0
    """Seconds in which it deliberately waits."""


def longest(legs: Sequence[Leg], file: grammar.DriverFile, rest: float) -> Longest:
    """The longest course of these legs; `rest` is the quiet time that follows, in seconds."""
    timing = file.timing
    answered = failed = 0
    pauses = rest + (timing.after_connect or 0.0)
    for leg in legs:
        until = leg.request.until
        tries = 1 if until is None else until.at_most
        asked = tries * len(leg.steps)
        answered += asked - len(leg.steps)
        pauses += tries * (sum(leg.gaps) + (0.0 if until is None else until.every))
        for rule in file.retry:
            again = asked * rule.at_most
            pauses += again * (rule.pause or 0.0)
            if rule.on == "refused":
                answered += again
            else:
                failed += again
    for act in [*file.session.open, *file.session.wake] if file.session is not None else []:
        failed += 1
        pauses += (act.break_ or 0.0) + (act.wait or 0.0) + (act.every or 0.0) * (act.at_most or 0)
        pauses += act.timeout or 0.0
    slowest = max([timing.timeout, *(leg.timeout or 0.0 for leg in legs)])
    return Longest(answered, failed, slowest, pauses)
