"""Rest for a device that does not answer: one short probe per rest period, all of them bounded in the line's time."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from labmon.acquisition.polled import PolledDevice, PolledQuery
from labmon.drivers.driver import Turn
from labmon.links.errors import UNREACHED, LinkError, LinkLost, Refused
from labmon.model.reading import Reason, reason_code, reason_text

if TYPE_CHECKING:
    from labmon.acquisition.line import Line

PROBE_SHARE = 0.1
"""Of the line's time, that all probes together may take."""

log = logging.getLogger("labmon.line")


class Resting:
    """The devices of one line that rest."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.free_at = 0.0
        """From this monotonic time on a probe may take the line's time."""

    def begin(self, device: PolledDevice, poll: PolledQuery | None) -> None:
        """Begin to rest: the condition is told once, and each other query's channels hear why they get nothing."""
        device.lie_down(self._line.clock())
        device.health.resting(self._line.clock())
        last = reason_code(device.health.last_failure or Reason.SILENT)
        log.warning("line %s: device %s: rests (%s)", self._line.plan.id, device.plan.id, last)
        self._line.recorder.condition(f"{device.plan.id}.dead", True, last)
        # Who speaks by itself goes on doing so, and is believed where nobody needs to ask who it is.
        for other in device.polls if device.known else device.queries:
            if other is not poll:
                self._line.taking.fail(other, reason_text(Reason.RESTING, last))

    async def probe(self, device: PolledDevice) -> None:
        """One short question: identity or settings where they are not known, else the first query.

        Every third is of full length.
        """
        started = self._line.clock()
        device.link.cap = device.next_probe()
        device.health.probed()
        try:
            if device.known and device.polls:
                await self._probe_query(device, started)
            else:
                await self._probe_beside(device, started)
        finally:
            device.link.cap = math.inf

    async def _probe_beside(self, device: PolledDevice, started: float) -> None:
        """Ask what is asked besides queries. When it is answered the device's polls are due."""
        if not device.identified:
            await self._line.identify(device)
        else:
            await self._line.errand(device, device.errands[0 if not device.known else -1])
        if device.resting and self._line.link.is_open:
            if device.failures:
                self._rest_on(device, started)
            else:
                self._line.success(device, self._line.clock() - started)  # it is alive and said no

    async def _probe_query(self, device: PolledDevice, started: float) -> None:
        """Ask a query; of a device that has only records in a turn like any other: reading may take one away."""
        poll = next((p for p in device.polls if p.records is None), device.polls[0])
        if poll.records is not None and (wait := poll.records.wait(self._line.recorder, started)):
            device.probe_at = started + wait
            return
        outcome = await self._line.ask(device, poll, poll.records)
        if isinstance(outcome, LinkLost):
            self._line.connection.lost(outcome)
        elif isinstance(outcome, Refused) and outcome.error not in UNREACHED:
            self._line.success(device, self._line.clock() - started)
            self._line.taking.fail(poll, outcome.reason)
        elif isinstance(outcome, LinkError):
            self._rest_on(device, started)
        elif isinstance(outcome, Turn):
            self._line.taking.records(poll, outcome, started)
        else:
            self._line.taking.good(poll, outcome)

    def _rest_on(self, device: PolledDevice, started: float) -> None:
        """A probe failed: one entry with the ticks not tried, and the next probe no sooner than its share allows."""
        now = self._line.clock()
        device.rest_on(now)
        self.free_at = now + (now - started) * (1 / PROBE_SHARE - 1)
        reason = reason_text(Reason.RESTING, reason_code(device.health.last_failure or Reason.SILENT))
        for poll in device.polls:
            poll.pass_over(now)
        for poll in device.polls if device.known else device.queries:
            self._line.taking.fail(poll, reason)
