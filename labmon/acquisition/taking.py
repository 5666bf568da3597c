"""From answers, records and failures of a line to readings, which its recorder takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from labmon.acquisition.guards import without_records, without_values
from labmon.acquisition.normalise import failed, readings_of
from labmon.acquisition.polled import PolledQuery
from labmon.drivers.driver import Answer, Turn
from labmon.model.reading import Reason

if TYPE_CHECKING:
    from labmon.acquisition.line import Line


class Taking:
    """What becomes of that which one line hears."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def good(self, poll: PolledQuery, answer: Answer, received: int | None = None) -> None:
        """Make readings of an answer; `received` (UTC ns): when it came, if not now."""
        flags = self._line.recorder.flags(poll.device.plan.id)
        try:
            if (guard := poll.device.guard) is not None and guard.wrong:
                answer = without_values(answer, Reason.WRONG_MODE, guard.wrong)
            elif answer.signs and (still := poll.signs.still(answer.signs, self._line.clock())):
                answer = without_values(answer, Reason.NOT_RELIABLE, still)
            exchange = readings_of(poll.plan, answer, received or time.time_ns(), flags)
            exchange.skipped = poll.skipped
            self._line.recorder.accept(exchange)
        except Exception as error:  # noqa: BLE001 - what one device says must not stop its line
            self.fail(poll, self._line.internal(poll.device, poll.plan.query.name, error).reason)
            return
        poll.skipped, poll.failed = 0, False

    def records(self, poll: PolledQuery, turn: Turn, started: float) -> None:
        """Take what a turn of reading records brought; where there is more, the next one is due after who waits."""
        records = poll.records
        if records is None:
            raise TypeError(f"query {poll.plan.query.name} reads no records")
        flags, received = self._line.recorder.flags(poll.device.plan.id), time.time_ns()
        if (guard := poll.device.guard) is not None and guard.wrong:
            turn = without_records(turn, Reason.WRONG_MODE, guard.wrong)
        try:
            more = records.take(turn, self._line.recorder, started, received, flags, poll.skipped)
            if poll.failed and turn.shown is not None:
                self._line.recorder.show(readings_of(poll.plan, turn.shown, received, flags))
            elif turn.absent and (poll.failed or not records.told):
                self._line.recorder.accept(records.nothing(received, flags, poll.skipped))
                poll.skipped = 0
            records.told = True
        except Exception as error:  # noqa: BLE001 - as in good
            self.fail(poll, self._line.internal(poll.device, poll.plan.query.name, error).reason)
            return
        if turn.records:
            poll.skipped = 0
        poll.failed = False
        if more:
            poll.due = self._line.clock()

    def fail(self, poll: PolledQuery, reason: str) -> None:
        """Make readings without a value, for this reason."""
        flags = self._line.recorder.flags(poll.device.plan.id)
        self._line.recorder.accept(failed(poll.plan, reason, time.time_ns(), flags, poll.skipped))
        poll.skipped, poll.failed = 0, True
