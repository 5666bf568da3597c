"""The connection of a line: opened, of use, lost, and opened again, each told once."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from labmon.acquisition.polled import PolledQuery
from labmon.links.errors import LinkLost
from labmon.model.reading import Reason, reason_text

if TYPE_CHECKING:
    from labmon.acquisition.line import Line

OPENING = 0.1
"""Seconds after which a line that is still being opened for the first time gives readings that say so."""
REOPEN = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)

log = logging.getLogger("labmon.line")


class Connection:
    """The connection of one line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lost_since: float | None = None
        self._holds = False
        """Whether an exchange has shown that the open link is of use."""
        self._reopens = 0
        self._reopen_at = 0.0
        self._told_opening = False

    async def open(self) -> bool:
        """Open it where it is time to; whether it is open."""
        wait = self._reopen_at - self._line.clock()
        if wait > 0:
            await asyncio.sleep(min(wait, 1.0))
            return False
        slow = asyncio.get_running_loop().call_later(OPENING, self._still_opening)
        try:
            await self._line.link.open()
        except LinkLost as error:
            self.lost(error)
            return False
        finally:
            slow.cancel()
        if self._line.over:  # abandoned meanwhile: the port is another's
            await self._line.link.close()
            return False
        self._told_opening = True
        now = self._line.clock()
        for device in self._line.devices:
            device.forget_identity(now)
            if self._reopens:
                device.probe_at = now
                for poll in device.polls:
                    poll.at_once(now)
        if self._line.listening is not None:
            self._line.listening.opened(now)
        return True

    def answered(self) -> None:
        """An exchange came to an end of its own: the line is open.

        Not before: a converter that is held by somebody else takes every connection, and closes it.
        """
        if self._holds or not self._line.link.is_open:
            return
        self._holds = True
        if self._lost_since is not None:
            log.info("line %s: open again after %.0f s", self._line.plan.id, self._line.clock() - self._lost_since)
            self._lost_since = None
        else:
            log.info("line %s: open (%s)", self._line.plan.id, self._line.plan.endpoint)
        self._reopens = 0
        self._line.recorder.condition(f"line.{self._line.plan.id}.lost", False, "open")
        self._line.health.opened(self._line.clock())

    def _still_opening(self) -> None:
        """At start, where the far end says neither yes nor no: a reading now, not when the attempt is over.

        What is due stays due, so that it is polled as soon as the line is open.
        """
        if not self._told_opening and self._lost_since is None:
            for device in self._line.devices:
                for poll in device.queries:
                    self._line.taking.fail(poll, reason_text(Reason.LINK_LOST, "still opening"))
        self._told_opening = True

    def lost(self, error: LinkLost, skip: PolledQuery | None = None) -> None:
        """The link is gone: say so once, tell every channel, plan the next attempt."""
        now = self._line.clock()
        self._holds = False
        if self._lost_since is None:
            self._lost_since = now
            self._line.health.lost(now, error.detail)
            log.warning("line %s: lost: %s", self._line.plan.id, error.detail or "no detail")
            self._line.recorder.condition(f"line.{self._line.plan.id}.lost", True, error.detail)
        if self._line.listening is not None:
            self._line.listening.closed()
        self._reopen_at = now + REOPEN[min(self._reopens, len(REOPEN) - 1)]
        self._reopens += 1
        for device in self._line.devices:
            device.forget_identity(now)
            for poll in device.queries:
                if poll is not skip:
                    poll.pass_over(now)
                self._line.taking.fail(poll, error.reason)
