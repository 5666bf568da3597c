"""The reading side of the journal in the event loop: a read connection in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from labmon.journal.errors import JournalDamaged, JournalUnavailable
from labmon.journal.reader import Reader
from labmon.journal.worker import Worker

T = TypeVar("T")


class Reads:
    """Runs reads one after another, so that they neither wait for a commit nor block the event loop.

    `on_damage(journal, why)` is told what a read found damaged.
    """

    def __init__(self, path: Path, on_damage: Callable[[str, str], None]) -> None:
        self._path = path
        self._on_damage = on_damage
        self._worker: Worker | None = None
        self._reader: Reader | None = None

    def start(self) -> None:
        """Start the thread."""
        self._worker = Worker("labmon-journal-read")

    async def read(self, journal: str, what: Callable[[Reader], T]) -> T:
        """What `what` reads from the journal of this id. Raises JournalUnavailable."""
        if self._worker is None:
            raise JournalUnavailable("the journal is closed")
        try:
            return await self._worker.call(lambda: what(self._current(journal)))
        except JournalDamaged as damage:
            self._on_damage(journal, str(damage))
            raise JournalUnavailable(str(damage)) from damage

    async def look(self, what: Callable[[], T]) -> T:
        """What `what` finds on a disk, a journal or not. Raises JournalUnavailable after stop(), and what it raises."""
        if self._worker is None:
            raise JournalUnavailable("the journal is closed")
        return await self._worker.call(what)

    def _current(self, journal: str) -> Reader:
        if self._reader is not None and self._reader.journal != journal:
            self._close()
        if self._reader is None:
            reader = Reader.at(self._path)
            if reader.journal != journal:
                reader.close()
                raise JournalUnavailable("the journal is being replaced")
            self._reader = reader
        return self._reader

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def stop(self, timeout: float) -> bool:
        """Close the connection and end the thread; say whether that was done in time."""
        worker, self._worker = self._worker, None
        return worker is None or await worker.stop(self._close, timeout)
