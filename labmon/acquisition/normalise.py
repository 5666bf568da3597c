"""From a query's outcomes to readings: convert once, calibrate after, keep the raw value."""

from __future__ import annotations

import math

from labmon.acquisition.plan import QueryPlan
from labmon.drivers.driver import Answer
from labmon.drivers.records import possible
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag, Reading, Reason, reason_text


def readings_of(plan: QueryPlan, answer: Answer, received: int, flags: int) -> Exchange:
    """One reading per recorded channel of an answer. `flags` holds for all of them (clock, out of service).

    A record whose own time cannot be one has that of its reception, and the flag `clock`: a count is never dropped
    because a battery is flat.
    """
    time = received if answer.time is None else answer.time
    if not possible(time):
        time, flags = received, flags | Flag.CLOCK
    outcomes = answer.outcomes
    readings = []
    for slot in plan.slots:
        value, reason, own, raw = outcomes[slot.index]
        if value is not None:
            value = value * slot.scale + slot.offset
            if not math.isfinite(value):
                value, reason = None, reason_text(Reason.IMPLAUSIBLE, "not a finite number")
        readings.append(Reading(slot.key, time, received, value, reason, own | slot.flags | flags, raw))
    return Exchange(plan.layout, time, received, readings)


def failed(plan: QueryPlan, reason: str, received: int, flags: int, skipped: int = 0) -> Exchange:
    """One bad reading per recorded channel: an exchange that yielded nothing, or was not tried."""
    readings = [Reading(slot.key, received, received, None, reason, flags) for slot in plan.slots]
    return Exchange(plan.layout, received, received, readings, skipped)
