"""The embedded store: one SQLite file, for the demonstration and for a laboratory without a database.

Same promise as any other: what `write` returned for is on the disk, writing it again changes nothing. People read the
view `readings` (times in ISO 8601, UTC); the tables below it hold each channel's names once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from labmon.ingest.points import raw_text
from labmon.ingest.store import StoreError, Trouble, Written
from labmon.model.reading import quality_of
from labmon.model.record import ChannelTag, RecordRange

_SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x6C616273
"""`labs`: this is a labmon store and no other SQLite file."""
_BUSY: Final = 2.0
_CACHED_IDS: Final = 100_000

_SCHEMA: Final = (
    """CREATE TABLE channel (
        id INTEGER PRIMARY KEY,
        site TEXT NOT NULL, gateway TEXT NOT NULL, device TEXT NOT NULL, channel TEXT NOT NULL,
        UNIQUE (site, gateway, device, channel)
    ) STRICT""",
    """CREATE TABLE meaning (
        id INTEGER PRIMARY KEY,
        area TEXT NOT NULL, kind TEXT NOT NULL, unit TEXT NOT NULL,
        UNIQUE (area, kind, unit)
    ) STRICT""",
    """CREATE TABLE reading (
        channel INTEGER NOT NULL REFERENCES channel,
        time INTEGER NOT NULL,
        received INTEGER NOT NULL,
        meaning INTEGER NOT NULL REFERENCES meaning,
        value REAL, reason TEXT, quality INTEGER NOT NULL, flags INTEGER NOT NULL, raw TEXT,
        PRIMARY KEY (channel, time)
    ) STRICT, WITHOUT ROWID""",
    """CREATE VIEW readings AS
    SELECT
        strftime('%Y-%m-%dT%H:%M:%S', r.time / 1000000000, 'unixepoch')
            || printf('.%09dZ', r.time % 1000000000) AS time,
        c.site, c.gateway, m.area, c.device, c.channel, m.kind, r.value, m.unit,
        CASE r.quality WHEN 2 THEN 'good' WHEN 1 THEN 'uncertain' ELSE 'bad' END AS quality,
        r.reason, r.raw, r.flags,
        strftime('%Y-%m-%dT%H:%M:%S', r.received / 1000000000, 'unixepoch')
            || printf('.%09dZ', r.received % 1000000000) AS received
    FROM reading AS r JOIN channel AS c ON c.id = r.channel JOIN meaning AS m ON m.id = r.meaning""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
# What is there already and equal is not written again: a range sent twice costs no disk.
_PUT: Final = """
INSERT INTO reading (channel, time, received, meaning, value, reason, quality, flags, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (channel, time) DO UPDATE SET
    received = excluded.received, meaning = excluded.meaning, value = excluded.value, reason = excluded.reason,
    quality = excluded.quality, flags = excluded.flags, raw = excluded.raw
WHERE (received, meaning, value, reason, quality, flags, raw) IS NOT
    (excluded.received, excluded.meaning, excluded.value, excluded.reason, excluded.quality, excluded.flags,
     excluded.raw)
"""


@dataclass(frozen=True, slots=True)
class _Names:
    """A table that holds names once: how to find a row's id, how to add one."""

    find: str
    add: str


_CHANNEL: Final = _Names(
    "SELECT id FROM channel WHERE (site, gateway, device, channel) = (?, ?, ?, ?)",
    "INSERT INTO channel (site, gateway, device, channel) VALUES (?, ?, ?, ?) RETURNING id",
)
_MEANING: Final = _Names(
    "SELECT id FROM meaning WHERE (area, kind, unit) = (?, ?, ?)",
    "INSERT INTO meaning (area, kind, unit) VALUES (?, ?, ?) RETURNING id",
)
# Somebody has to make room, change rights or look at the file; anything else may pass by itself.
_DENIED: Final = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class SqliteStore:
    """One file, opened at the first write and anew after each trouble. Several processes may write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: sqlite3.Connection | None = None
        self._aborted = False
        self._ids: dict[tuple[str, ...], int] = {}

    def write(self, record: RecordRange, site: str, gateway: str) -> Written:
        """Store the range in one transaction. Raises StoreError; then nothing of it is stored."""
        try:
            if self._file is None:
                self._file = _open(self._path)
            with self._file as file:
                file.execute("BEGIN IMMEDIATE")
                if self._aborted:
                    raise sqlite3.OperationalError("stopped")
                ids = [self._channel_ids(file, tag, site, gateway) for tag in record.channels]
                file.executemany(_PUT, _rows(record, ids))
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise _store_error(error, self._path) from error
        return Written(sum(len(entry.columns) for entry in record.entries))

    def _channel_ids(self, file: sqlite3.Connection, tag: ChannelTag, site: str, gateway: str) -> tuple[int, int]:
        channel, meaning = (site, gateway, tag.device, tag.channel), (tag.area, tag.kind, tag.unit)
        return self._id(file, _CHANNEL, channel), self._id(file, _MEANING, meaning)

    def _id(self, file: sqlite3.Connection, names: _Names, key: tuple[str, ...]) -> int:
        # Keys of the two tables differ in length, so one cache serves both.
        if (known := self._ids.get(key)) is not None:
            return known
        row = file.execute(names.find, key).fetchone() or file.execute(names.add, key).fetchone()
        if len(self._ids) >= _CACHED_IDS:
            self._ids.clear()
        found = self._ids[key] = int(row[0])
        return found

    def abort(self) -> None:
        """End a statement under way and refuse later ones."""
        self._aborted = True
        if (file := self._file) is not None:
            file.interrupt()

    def close(self) -> None:
        """Close the file. Forgets the ids, which a transaction undone may have made."""
        self._ids.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def _rows(record: RecordRange, ids: list[tuple[int, int]]) -> Iterator[tuple[object, ...]]:
    for entry in record.entries:
        time, received = entry.time, entry.received
        for column, value, reason, flags, raw in zip(
            entry.columns, entry.values, entry.reasons, entry.flags, entry.raw, strict=True
        ):
            channel, meaning = ids[column]
            text = None if raw is None else raw_text(raw)
            quality = int(quality_of(value, flags))
            yield channel, time, received, meaning, value, reason, quality, flags, text


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
    try:
        # One look in one transaction: another process may be making the file ready at this moment.
        file.execute("BEGIN")
        empty = file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        application = file.execute("PRAGMA application_id").fetchone()[0]
        version = file.execute("PRAGMA user_version").fetchone()[0]
        file.execute("COMMIT")
        if not empty and application != _APPLICATION_ID:
            raise sqlite3.NotSupportedError("is the SQLite file of another program")
        if not empty and version != _SCHEMA_VERSION:
            raise sqlite3.NotSupportedError(f"has schema {version}, this labmon knows {_SCHEMA_VERSION}")
        file.execute("PRAGMA journal_mode = WAL")
        # A confirmation lets the gateway forget: it must outlive a power cut.
        file.execute("PRAGMA synchronous = FULL")
        if empty:
            _create(file)
    except BaseException:
        file.close()
        raise
    return file


def _create(file: sqlite3.Connection) -> None:
    with file:
        file.execute("BEGIN IMMEDIATE")
        if file.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            for statement in _SCHEMA:
                file.execute(statement)


def _store_error(error: Exception, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    by_hand = isinstance(error, OSError | sqlite3.NotSupportedError) or (code is not None and code & 0xFF in _DENIED)
    kind: Trouble = "denied" if by_hand else "unavailable"
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return StoreError(kind, f"{path}: {text}")
