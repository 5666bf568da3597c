"""What keeps commands from being played twice."""

from __future__ import annotations

from labmon.delivery.log import COMMAND_CURSOR, Journal
from labmon.model.event import EventKind

_PAGE = 500
_REMEMBERED = 20_000
_DAY = 86400 * 10**9


class UsedIds:
    """Ids of commands whose proof was right. They are in the journal's command events, and found there at the start."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._ids: dict[str, None] = {}
        self.complete = False
        """Whether those from before the start are known."""

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def add(self, name: str) -> None:
        """This id is used now."""
        self._ids[name] = None
        while len(self._ids) > _REMEMBERED:
            del self._ids[next(iter(self._ids))]

    async def load(self, now: int) -> None:
        """Read those that the journal knows. Raises JournalUnavailable.

        A command is taken within a minute of its time, so a day is more than enough, also for a clock that steps.
        """
        position = await self._journal.cursor(COMMAND_CURSOR)
        done = 0
        while events := await self._journal.events_after(position, _PAGE):
            for seq, event in events:
                if event.kind is EventKind.COMMAND and event.command_id:
                    self.add(event.command_id)
                if event.time < now - _DAY:
                    done = seq
            position = events[-1][0]
        self.complete = True
        if done:
            await self._journal.advance(COMMAND_CURSOR, done)
