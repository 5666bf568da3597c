"""How long readings are kept: by age and by size. Alarms, events, commands and configuration are never deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from labmon.journal.entries import Committed, Gap, Group
from labmon.journal.packing import received_of
from labmon.journal.schema import CHECKPOINT_PAGES, PAGE
from labmon.journal.store import Store
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag

# The write-ahead log and its shared memory stand beside the file and count too; between two looks the log can grow
# past the checkpoint by one commit.
BESIDE: Final = 2 * CHECKPOINT_PAGES * PAGE


@dataclass(frozen=True, slots=True)
class Retention:
    """Keep readings `keep` seconds and all files of the journal together under `size` bytes.

    By age only readings go that every store in `stores` (names of cursors) is done with and that none refused; without
    an entry there, all. By size first those, then the undelivered and the refused, counted in a gap. Raises ValueError
    for a size in which the write-ahead log alone would not fit.
    """

    keep: float
    size: int
    stores: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keep <= 0:
            raise ValueError("readings must be kept longer than zero seconds")
        if self.size < 2 * BESIDE:
            raise ValueError(f"a journal needs at least {2 * BESIDE} bytes, {self.size} are given")

    @property
    def usable(self) -> int:
        """Bytes that the database file itself may grow to."""
        return self.size - BESIDE

    @property
    def target(self) -> int:
        """Bytes in use down to which a journal that is full is trimmed, so that it is not trimmed again at once."""
        return self.usable - self.usable // 50


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one step did: exchanges deleted, the gap entry written for those that no store had, whether to go on."""

    exchanges: int
    gap: Committed
    more: bool


class Trimmer:
    """Applies a retention to a store in steps of one transaction each, so that commits are never held up for long."""

    STEP: Final = 1000

    def __init__(self, store: Store, retention: Retention) -> None:
        self.store = store
        self._retention = retention
        self._oldest = 0
        """No reading that may go by age stands at or before this seq; saves a walk over years of events."""
        self._full = False

    def step(self, now: int, *, clock_trusted: bool = True) -> Trimmed:
        """Delete at most a thousand exchanges (`now` in UTC ns). Raises JournalUnavailable, JournalDamaged.

        While the system time is not to be trusted nothing goes by its age.
        """
        store, retention = self.store, self._retention
        delivered = min((store.cursor(name) for name in retention.stores), default=store.last_seq())
        self._full = store.used > (retention.target if self._full else retention.usable)
        rows = self._delivered(delivered)
        if not self._full:
            rows = self._expired(rows, now - int(retention.keep * 1e9)) if clock_trusted else []
        if rows:
            self._oldest = rows[-1][0]
            gap = store.commit(Group(), [row[0] for row in rows])
            return Trimmed(len(rows), gap, self._full or len(rows) == self.STEP)
        if self._full and (lost := self._undelivered()):
            group = Group(gaps=[(now, self._gap(lost))])
            return Trimmed(len(lost), store.commit(group, [row[0] for row in lost]), True)
        return Trimmed(0, Committed(None, None, []), False)

    def _delivered(self, delivered: int) -> list[Any]:
        return self.store.query(
            "SELECT seq, kind, time, layout, body FROM entry WHERE kind = 1 AND seq > ? AND seq <= ?"
            " AND seq NOT IN (SELECT seq FROM quarantine) ORDER BY seq LIMIT ?",
            self._oldest,
            delivered,
            self.STEP,
        )

    def _undelivered(self) -> list[Any]:
        return self.store.query(
            "SELECT seq, kind, time, layout, body FROM entry WHERE kind = 1 ORDER BY seq LIMIT ?", self.STEP
        )

    def _expired(self, rows: list[Any], before: int) -> list[Any]:
        """Those rows that stand at or before one whose reception is long past.

        A reading made while the clock was doubtful (a gateway without battery starts in the past) says nothing of its
        age; it goes with the next one that does.
        """
        if not rows:
            return []
        if self._received(rows[-1]) is None:
            later = self._next_sure(rows[-1][0])
            if later is not None and later < before:
                return rows
        for count in range(len(rows), 0, -1):
            row = rows[count - 1]
            if _claimed(row) < before and self._received(row) is not None:
                return rows[:count]
        return []

    def _next_sure(self, seq: int) -> int | None:
        """Reception of some later reading whose clock was right; looks ever further ahead, and last at the newest."""
        ahead = 1
        while True:
            row = self._reading("seq > ? ORDER BY seq", seq + ahead) or self._reading("seq > ? ORDER BY seq DESC", seq)
            received = self._received(row[0]) if row else None
            if received is not None or not row or row[0][0] < seq + ahead:
                return received
            ahead *= 2

    def _reading(self, which: str, seq: int) -> list[Any]:
        query = f"SELECT seq, kind, time, layout, body FROM entry WHERE kind = 1 AND {which} LIMIT 1"  # noqa: S608
        return self.store.query(query, seq)

    def _received(self, row: Any) -> int | None:
        """When an exchange was received, None where its clock was doubtful or its bytes are damaged."""
        entry = self.store.entry(row)
        exchange = entry.content
        if not isinstance(exchange, Exchange) or all(reading.flags & Flag.CLOCK for reading in exchange.readings):
            return None
        return exchange.received

    def _gap(self, rows: list[Any]) -> Gap:
        readings = sum(self.store.columns_of(row[3]) for row in rows)
        times = [self.store.entry(row).time for row in rows]
        return Gap("the disk was full before a store had taken them", len(rows), readings, min(times), max(times))


def _claimed(row: Any) -> int:
    """When an exchange says that it was received, without unpacking it all; 0 where its bytes are damaged."""
    try:
        return received_of(row[2], row[4])
    except (ValueError, TypeError):
        return 0
