"""Where a line puts what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from labmon.model.event import EventKind
from labmon.model.exchange import Exchange


class Recorder(Protocol):
    """What a line tells: exchanges, and the technical conditions of its devices and itself."""

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        """Take one exchange, with the key of an instrument's own record; must not block."""
        ...

    def show(self, exchange: Exchange) -> None:
        """What was accepted before is still the latest: a record that is polled again after a failure."""
        ...

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        """A technical condition began (`active`) or ended."""
        ...

    def flags(self, device: str) -> int:
        """Flags that hold for all readings of a device now (clock not synchronised, out of service)."""
        ...

    def last_record(self, query: str) -> tuple[int, str] | None:
        """Time and key of the last record of a query that was journaled."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether it is known what the instruments were set to before; not while the journal cannot be read."""
        ...

    def setting(self, name: str) -> str | None:
        """What an instrument was last known to be set to, in this run or one before."""
        ...

    def told(self, kind: EventKind, device: str, detail: str, settings: Mapping[str, str]) -> None:
        """An event of an instrument, and what is to be remembered of it in the same commit; no detail: no event."""
        ...


class Nobody:
    """The recorder of a line that counts no more."""

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        """Not taken."""

    def show(self, exchange: Exchange) -> None:
        """Not shown."""

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        """Not told."""

    def flags(self, device: str) -> int:
        """None."""
        return 0

    def last_record(self, query: str) -> tuple[int, str] | None:
        """None."""
        return None

    @property
    def remembers(self) -> bool:
        """Nothing."""
        return False

    def setting(self, name: str) -> str | None:
        """None."""
        return None

    def told(self, kind: EventKind, device: str, detail: str, settings: Mapping[str, str]) -> None:
        """Not told."""
