"""The journal as delivery sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from labmon.journal.entries import Entry, Quarantined
from labmon.model.event import Event

EVENT_CURSOR = "event"
"""Cursor over the events that were published."""
COMMAND_CURSOR = "command"
"""Cursor before which no used command id needs to be looked for."""


def cursor_name(store: str) -> str:
    """Name of the cursor that a store's confirmations move."""
    return f"record.{store}"


class Journal(Protocol):
    """What delivery needs of the journal (journal.writer.JournalWriter has it)."""

    @property
    def journal(self) -> str | None:
        """Id of the open journal; None while none is open."""
        ...

    @property
    def last_seq(self) -> int:
        """Seq of the last entry on the disk."""
        ...

    async def read_entries(self, after: int, limit: int, max_bytes: int) -> list[Entry]:
        """Entries after a seq."""
        ...

    async def events_after(self, seq: int, limit: int) -> list[tuple[int, Event]]:
        """Events after a seq, each with its own."""
        ...

    async def cursor(self, name: str) -> int:
        """Where a consumer stands."""
        ...

    async def advance(self, cursor: str, seq: int) -> None:
        """Move a cursor; returns when that is on the disk."""
        ...

    async def quarantine(self, store: str, refused: Mapping[int, str]) -> None:
        """Remember what a store refused; returns when that is on the disk."""
        ...

    async def quarantined(self, store: str | None = None) -> list[Quarantined]:
        """What stores refused."""
        ...
