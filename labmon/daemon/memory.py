"""What the journal remembers of the run before: alarm states, the last record of each query, and settings."""

from __future__ import annotations

import asyncio
import logging

from labmon.journal.entries import RecordKey
from labmon.journal.errors import JournalUnavailable
from labmon.journal.writer import JournalWriter

log = logging.getLogger("labmon.daemon")

READ = 2.0
"""Seconds that polling may wait at the start for what the journal remembers; what comes later is taken up late."""
AGAIN = 0.1
"""Seconds between two tries after that."""


class Memory:
    """Reads it. `complete` says whether it could be read at the start."""

    def __init__(self, journal: JournalWriter) -> None:
        self.complete = True
        self._journal = journal

    async def at_start(self) -> tuple[dict[str, bytes], dict[str, RecordKey], dict[str, str] | None]:
        """Alarm states, last records and settings of the run before; none where the journal cannot be read now."""
        journal = self._journal
        try:
            async with asyncio.timeout(READ):
                return await journal.alarm_states(), await journal.latest_records(), await journal.settings()
        except (JournalUnavailable, TimeoutError) as error:
            log.error("daemon: starts without what the journal remembers: %s", str(error) or "the disk is slow")
            self.complete = False
            return {}, {}, None

    async def later(self) -> tuple[dict[str, bytes], dict[str, str], dict[str, RecordKey]]:
        """The alarm states, settings and last records of the run before, as soon as the journal can be read."""
        journal = self._journal
        while True:
            try:
                return await journal.alarm_states(), await journal.settings(), await journal.latest_records()
            except JournalUnavailable:
                await asyncio.sleep(AGAIN)
