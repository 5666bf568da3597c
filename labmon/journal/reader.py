"""Reading the journal: entries, events, cursors and states as of one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

from labmon.journal.encoding import (
    configuration_hashes,
    decode_configuration,
    decode_event,
    decode_gap,
    unseal,
)
from labmon.journal.entries import Content, Damaged, Entry, EntryKind, Quarantined, RecordKey
from labmon.journal.errors import JournalDamaged
from labmon.journal.layouts import decode_layout
from labmon.journal.packing import Packer
from labmon.journal.schema import connect, translated
from labmon.model.event import Event, EventKind

_Row = tuple[int, int, int, int | None, bytes]
_BATCH: Final = 200


class Reader:
    """A read connection. Sees what was committed before each call; used from one thread at a time.

    Every method raises JournalUnavailable when the file cannot be read now, JournalDamaged when it is damaged.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        self._packers: dict[int, Packer] = {}
        self.journal: str = ""
        """The journal's random id."""

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open a read connection to a journal that a Store holds open."""
        with translated(f"{path}: open for reading"):
            reader = cls(connect(path, writable=False), path)
            try:
                reader._identify()
            except BaseException:
                reader.close()
                raise
        return reader

    def _identify(self) -> None:
        row = self._db.execute("SELECT value FROM meta WHERE name = 'journal'").fetchone()
        if row is None:
            raise JournalDamaged(f"{self._path}: no journal id")
        self.journal = str(row[0])

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def copy_into(self, target: sqlite3.Connection) -> None:
        """Copy the whole database, as of one moment."""
        self._db.backup(target)

    def query(self, query: str, *arguments: Any) -> list[Any]:
        """The rows that a query of the journal's tables gives."""
        with translated(f"{self._path}: read"):
            return self._db.execute(query, arguments).fetchall()

    def entries_after(self, seq: int, limit: int, max_bytes: int) -> list[Entry]:
        """Entries of every kind after `seq`, in order: at most `limit`, and `max_bytes` of bodies, but at least one."""
        entries: list[Entry] = []
        size = 0
        while len(entries) < limit:
            rows = self.query(
                "SELECT seq, kind, time, layout, body FROM entry WHERE seq > ? ORDER BY seq LIMIT ?",
                seq,
                min(_BATCH, limit - len(entries)),
            )
            for row in rows:
                entry = self.entry(row)
                size += entry.size
                if entries and size > max_bytes:
                    return entries
                entries.append(entry)
                seq = row[0]
            if not rows:
                break
        return entries

    def events_after(self, seq: int, limit: int) -> list[tuple[int, Event]]:
        """Events after `seq`, in order, each with its seq; a gap is one of them.

        Where an event's bytes are damaged, an event says so in its place: it may have been an alarm.
        """
        rows: list[_Row] = []
        for kind in (EntryKind.EVENT, EntryKind.GAP):
            rows += self.query(
                "SELECT seq, kind, time, layout, body FROM entry INDEXED BY entry_seldom"
                " WHERE kind <> 1 AND kind = ? AND seq > ? ORDER BY seq LIMIT ?",
                int(kind),
                seq,
                limit,
            )
        return [(row[0], self._event(row)) for row in sorted(rows)[:limit]]

    def _event(self, row: _Row) -> Event:
        try:
            body = unseal(*row)
            return decode_event(body) if row[1] == EntryKind.EVENT else decode_gap(body)[1]
        except (ValueError, TypeError, KeyError) as error:
            time = row[2] if isinstance(row[2], int) else 0
            detail = f"the event of entry {row[0]} cannot be read: {error}"
            return Event(EventKind.JOURNAL, time, time, detail, uid=f"damaged-{self.journal}-{row[0]}")

    def entry(self, row: _Row) -> Entry:
        """The entry of a row (seq, kind, time, layout, body)."""
        try:
            content = self._content(row)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            # Damage can change the type of a column too.
            kind, time = (number if isinstance(number, int) else 0 for number in (row[1], row[2]))
            return Entry(row[0], kind, time, Damaged(str(error)), 0)
        return Entry(row[0], row[1], row[2], content, len(row[4]))

    def _content(self, row: _Row) -> Content:
        _, kind, time, layout, _ = row
        body = unseal(*row)
        if kind == EntryKind.READINGS:
            return self._packer(layout).unpack(time, body)
        if kind == EntryKind.LAYOUT:
            return decode_layout(body)
        if kind == EntryKind.EVENT:
            return decode_event(body)
        if kind == EntryKind.GAP:
            return decode_gap(body)[0]
        if kind == EntryKind.CONFIGURATION:
            return decode_configuration(body, self._texts(configuration_hashes(body)))
        raise ValueError(f"entry of unknown kind {kind}")

    def columns_of(self, layout: int | None) -> int:
        """How many channels a layout has; 0 where it is missing or damaged."""
        try:
            return self._packer(layout).size
        except (ValueError, TypeError, KeyError):
            return 0

    def _packer(self, layout: int | None) -> Packer:
        if layout is None:
            raise ValueError("readings without a layout")
        packer = self._packers.get(layout)
        if packer is None:
            rows = self.query("SELECT seq, kind, time, layout, body FROM entry WHERE seq = ? AND kind = 2", layout)
            if not rows:
                raise ValueError(f"layout {layout} is missing")
            packer = self._packers[layout] = Packer(decode_layout(unseal(*rows[0])))
        return packer

    def _texts(self, hashes: Iterable[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for name in hashes:
            found.update(self.query("SELECT hash, body FROM document WHERE hash = ?", name))
        return found

    def last_seq(self) -> int:
        """The highest seq ever given (0 in a new journal), also when its entry was deleted since."""
        top = self.query("SELECT max(seq) FROM entry")[0][0] or 0
        floor = self.query("SELECT value FROM meta WHERE name = 'floor'")
        return max(top, int(floor[0][0]) if floor else 0)

    def cursor(self, name: str) -> int:
        """Where a consumer stands: the seq of the last entry it is done with; 0 for one that never advanced."""
        rows = self.query("SELECT seq FROM cursor WHERE name = ?", name)
        return rows[0][0] if rows else 0

    def cursors(self) -> dict[str, int]:
        """All cursors by name."""
        return dict(self.query("SELECT name, seq FROM cursor"))

    def alarm_states(self) -> dict[str, bytes]:
        """The saved state of each alarm, by its id."""
        return dict(self.query("SELECT alarm, state FROM alarm_state"))

    def latest_record(self, query: str) -> RecordKey | None:
        """The last record taken from a query."""
        rows = self.query("SELECT time, key FROM record_key WHERE query = ?", query)
        return RecordKey(*rows[0]) if rows else None

    def latest_records(self) -> dict[str, RecordKey]:
        """The last record taken, by query."""
        return {
            query: RecordKey(time, key) for query, time, key in self.query("SELECT query, time, key FROM record_key")
        }

    def settings(self) -> dict[str, str]:
        """What instruments were last known to be set to, by name."""
        return dict(self.query("SELECT name, value FROM setting"))

    def quarantined(self, store: str | None = None) -> list[Quarantined]:
        """What stores (or one store) refused, in order."""
        rows = self.query(
            "SELECT q.store, q.why, q.time, q.seq, e.kind, e.time, e.layout, e.body FROM quarantine q"
            " LEFT JOIN entry e ON e.seq = q.seq WHERE ?1 IS NULL OR q.store = ?1 ORDER BY q.seq, q.store",
            store,
        )
        return [
            Quarantined(seq, name, why, time, None if entry[0] is None else self.entry((seq, *entry)))
            for name, why, time, seq, *entry in rows
        ]

    def quarantine_counts(self) -> dict[str, int]:
        """How many entries each store has refused; stores that refused none are left out."""
        return dict(self.query("SELECT store, count(*) FROM quarantine GROUP BY store"))

    def oldest_after(self, seq: int) -> int | None:
        """Time (UTC ns) of the first entry after `seq`; None when there is none."""
        rows = self.query("SELECT time FROM entry WHERE seq > ? ORDER BY seq LIMIT 1", seq)
        return rows[0][0] if rows else None

    def events_waiting(self, seq: int) -> tuple[int, int | None]:
        """How many events, gaps among them, stand after `seq`, and the time (UTC ns) of the first."""
        count, first = 0, None
        for kind in (EntryKind.EVENT, EntryKind.GAP):
            [(found, oldest)] = self.query(
                "SELECT count(*), min(seq) FROM entry INDEXED BY entry_seldom WHERE kind <> 1 AND kind = ? AND seq > ?",
                int(kind),
                seq,
            )
            count += found
            first = oldest if first is None or (oldest is not None and oldest < first) else first
        return count, None if first is None else self.oldest_after(first - 1)

    def configurations(self) -> list[Entry]:
        """All configuration entries, oldest first, with the full texts."""
        rows = self.query(
            "SELECT seq, kind, time, layout, body FROM entry INDEXED BY entry_seldom"
            " WHERE kind <> 1 AND kind = 4 ORDER BY seq"
        )
        return [self.entry(row) for row in rows]
