"""Where a line puts what it finds."""

from __future__ import annotations

from typing import Protocol

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
