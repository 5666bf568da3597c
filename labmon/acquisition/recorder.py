"""Where a line puts what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from labmon.model.event import EventKind
from labmon.model.exchange import Exchange, Layout


class Unstored(NamedTuple):
    """Exchanges with records that are not known to be on the disk, and what was there before them."""

    first: int
    """Number of the first of these exchanges."""
    last: int
    before: tuple[int, str] | None
    """Time and key of the record before the first."""


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

    def unstored(self, query: str) -> Unstored | None:
        """Records of a query that were accepted and may not be on the disk, also by a line that is no more."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether it is known what the instruments were set to before; not while the journal cannot be read."""
        ...

    def setting(self, name: str) -> str | None:
        """What an instrument was last known to be set to, in this run or one before."""
        ...

    def forget_record(self, query: str, last: tuple[int, str] | None) -> None:
        """Records of a query were lost on their way to the disk: this was the last one before."""
        ...

    @property
    def taken(self) -> int:
        """Number of the exchange that was accepted last."""
        ...

    def stored(self, first: int, last: int) -> bool | None:
        """Whether these accepted exchanges are on the disk; None while some of them wait, False for a loss."""
        ...

    def flush(self) -> None:
        """Bring what was accepted to the disk at once."""
        ...

    def lost(self, layout: Layout, why: str, missing: int, first: int, last: int) -> None:
        """Records of an instrument are missing between two times (UTC ns); 0 where nobody knows how many."""
        ...

    def told(
        self, device: str, detail: str, kind: EventKind = EventKind.DEVICE, settings: Mapping[str, str] | None = None
    ) -> None:
        """An event of an instrument, with what is to be remembered of it in the same commit; no detail: no event."""
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

    def unstored(self, query: str) -> Unstored | None:
        """None."""
        return None

    @property
    def remembers(self) -> bool:
        """Nothing."""
        return False

    def setting(self, name: str) -> str | None:
        """None."""
        return None

    def forget_record(self, query: str, last: tuple[int, str] | None) -> None:
        """Not told."""

    @property
    def taken(self) -> int:
        """None."""
        return 0

    def stored(self, first: int, last: int) -> bool | None:
        """Never."""
        return None

    def flush(self) -> None:
        """Nothing waits."""

    def lost(self, layout: Layout, why: str, missing: int, first: int, last: int) -> None:
        """Not told."""

    def told(
        self, device: str, detail: str, kind: EventKind = EventKind.DEVICE, settings: Mapping[str, str] | None = None
    ) -> None:
        """Not told."""
