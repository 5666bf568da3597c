"""One sequence over a journal and the one that took its place."""

from __future__ import annotations

from labmon.model.event import Event
from labmon.notices.mailbox import Journal


class LastingJournal:
    """A journal whose numbers go on where those of a damaged one ended that was set aside while in use.

    Without it a consumer that stood at the end of the old one would take the events of the new one for read. Numbers
    up to the end of the old one are not stored: the new journal knows nothing of them.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._before = 0
        self._last = 0

    def committed(self, last: int) -> None:
        """The journal's last entry has this number of its own."""
        self._last = self._before + last

    def replaced(self) -> None:
        """From here on the journal is a new one that begins at 1."""
        self._before = self._last

    async def events_after(self, seq: int, limit: int) -> list[tuple[int, Event]]:
        """At most `limit` events after `seq`, in order, with their numbers."""
        before = self._before
        found = await self._journal.events_after(max(0, seq - before), limit)
        return [(before + number, event) for number, event in found]

    async def cursor(self, name: str) -> int:
        """How far this consumer has come; 0 when it was never moved."""
        before = self._before
        found = await self._journal.cursor(name)
        return before + found if found else 0

    async def advance(self, name: str, seq: int) -> None:
        """Move a cursor, durably."""
        if seq > self._before:
            await self._journal.advance(name, seq - self._before)
