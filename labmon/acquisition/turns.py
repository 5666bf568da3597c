"""Whose turn it is on a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labmon.acquisition.guards import Errand
from labmon.acquisition.polled import PolledDevice, PolledQuery

PROBE_WAITS = 1.0
"""Seconds that a probe that is due lets polls go first."""
ERRAND_WAITS = 5.0
"""On a full line, settings and clocks of instruments are asked so many seconds after queries of the same time."""

Turn = tuple[PolledDevice, PolledQuery | Errand | None, float]
"""Device, what is asked of it (None: a probe), and when that is due in monotonic seconds."""


def next_turn(devices: Sequence[PolledDevice], now: float, probe_free: float) -> Turn:
    """The poll that is due and has waited longest for its priority, else the next; or the earliest probe.

    `probe_free` is the moment from which on a probe may take the line's time. Raises ValueError without any device.
    """
    best: Turn | None = None
    first = (True, math.inf)
    for device in devices:
        for poll in device.streams:
            if (rank := (poll.due > now, poll.due)) < first:
                first, best = rank, (device, poll, poll.due)
        if device.resting:
            due = max(device.probe_at, probe_free)
            rank = (True, due) if due > now else (False, due + PROBE_WAITS)
            if rank < first:
                first, best = rank, (device, None, due)
            continue
        for poll in device.polls:
            rank = (True, poll.due) if poll.due > now else (False, poll.due + poll.plan.waits)
            if rank < first:
                first, best = rank, (device, poll, poll.due)
        for errand in device.errands:
            rank = (True, errand.due) if errand.due > now else (False, errand.due + ERRAND_WAITS)
            if rank < first:
                first, best = rank, (device, errand, errand.due)
    if best is None:
        raise ValueError("nothing to poll")
    return best
