"""The journal's tables: how a file is made, brought up to date, and told apart from a damaged or foreign one."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from labmon.journal.errors import JournalDamaged, JournalUnavailable, NewerJournal

APPLICATION: Final = 0x6C61626D  # "labm", so that no other database is taken for a journal
CHECKPOINT_PAGES: Final = 4000
PAGE: Final = 1024  # a commit writes whole pages: a third fewer bytes than 4096 with a dozen devices

# One item per schema version; a released item is never changed, the next version appends. A new file runs all of them,
# so every migration runs with every new journal. The texts are compared with those in the file: no comments inside.
STEPS: Final[list[tuple[str, ...]]] = [
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE entry (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, time INTEGER NOT NULL, layout INTEGER,"
        " body BLOB NOT NULL)",
        "CREATE INDEX entry_seldom ON entry (kind) WHERE kind <> 1",
        "CREATE TABLE document (hash BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
        "CREATE TABLE cursor (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE alarm_state (alarm TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE record_key (query TEXT PRIMARY KEY, time INTEGER NOT NULL, key TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE quarantine (store TEXT NOT NULL, seq INTEGER NOT NULL, why TEXT NOT NULL, time INTEGER NOT NULL,"
        " PRIMARY KEY (store, seq)) WITHOUT ROWID",
    ),
    ("CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",),
]
SMALL_TABLES: Final = ("meta", "cursor", "alarm_state", "record_key", "quarantine", "document", "setting")

_ALARM_STATES: Final = "SELECT alarm, state FROM alarm_state"
_RECORD_KEYS: Final = "SELECT query, time, key FROM record_key"
_SETTINGS: Final = "SELECT name, value FROM setting"
_CHECKED_WHOLE: Final = 16 * 2**20


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """A connection in autocommit mode. Raises sqlite3.Error."""
    mode = "rwc" if writable else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=1.0, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; after a failure the connection is usable again."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into the journal's: JournalDamaged or JournalUnavailable."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        text = f"{doing}: {error}"
        # The module's own errors have no code: a text in the file is not UTF-8.
        if code is None or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise JournalDamaged(text) from error
        raise JournalUnavailable(text) from error
    except UnicodeDecodeError as error:
        raise JournalDamaged(f"{doing}: {error}") from error
    except OSError as error:
        raise JournalUnavailable(f"{doing}: {error}") from error


def prepare(connection: sqlite3.Connection, steps: list[tuple[str, ...]] | None = None) -> None:
    """Make an empty file a journal, or bring an older one up to date, in one transaction.

    Raises NewerJournal for a file of a later schema, JournalDamaged for one that is not a journal.
    """
    steps = STEPS if steps is None else steps
    version = _number(connection, "user_version")
    application = _number(connection, "application_id")
    fresh = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not fresh and application != APPLICATION:
        raise JournalDamaged("the file is a database, but no journal of labmon")
    if not fresh and version > len(steps):
        raise NewerJournal(
            f"the journal has schema {version}, this labmon knows up to {len(steps)}: use a later labmon"
        )
    if fresh:
        version = 0
        connection.execute(f"PRAGMA page_size = {PAGE}")
    # Debian's SQLite overwrites deleted rows with zeros, which doubles the bytes written by retention.
    connection.execute("PRAGMA secure_delete = OFF")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise JournalUnavailable("the file system offers no shared memory for a write-ahead log")
    # NORMAL may lose the last commits at a power loss.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * PAGE}")
    if version == len(steps):
        return
    with transaction(connection):
        for step in steps[version:]:
            for statement in step:
                connection.execute(statement)
        if fresh:
            connection.execute("INSERT INTO meta VALUES ('journal', ?)", (secrets.token_hex(8),))
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def check(connection: sqlite3.Connection, path: Path, steps: list[tuple[str, ...]] | None = None) -> None:
    """Look for damage, in a time that does not grow with the file. Raises JournalDamaged, sqlite3.Error.

    A small file is checked whole; of a large one the tables and indexes other than that of the entries, since an
    SD card reads it for minutes. Damage in an entry itself shows by its checksum when it is read.
    """
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    pages, page = _number(connection, "page_count"), _number(connection, "page_size")
    size = path.stat().st_size
    if size < pages * page:
        raise JournalDamaged(f"the file is cut: {size} of {pages * page} bytes")
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if found != _expected(STEPS if steps is None else steps):
        raise JournalDamaged("the tables are not those of a journal")
    small = [f"quick_check('{name}')" for name in SMALL_TABLES]
    for pragma in ["integrity_check"] if size <= _CHECKED_WHOLE else small:
        answer = [row[0] for row in connection.execute(f"PRAGMA {pragma}")]
        if answer != ["ok"]:
            raise JournalDamaged("; ".join(map(str, answer))[:200])
    connection.execute("SELECT seq, kind, time, layout, length(body) FROM entry ORDER BY seq DESC LIMIT 100").fetchall()


def _expected(steps: list[tuple[str, ...]]) -> dict[str, str]:
    model = sqlite3.connect(":memory:")
    try:
        for step in steps:
            for statement in step:
                model.execute(statement)
        return dict(model.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    finally:
        model.close()


def set_aside(path: Path, mark: str, word: str = "damaged") -> Path:
    """Rename a journal with its log, so that nothing of it is lost. Raises OSError."""
    aside = path.with_name(f"{path.name}.{word}-{mark}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{word}-{mark}-{number}")
    # The log first: a new journal must never begin with an old one's log beside it.
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    to_disk(path.parent)
    return aside


def to_disk(path: Path) -> None:
    """Return when what a file holds, or the names in a folder, are on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def salvage(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Alarm states, record keys and settings of a damaged journal, where these tables are still sound.

    Without them an acknowledged alarm would be raised anew after the next start, and a changed setting not be told.
    """
    rows: dict[str, list[tuple[object, ...]]] = {}
    try:
        connection = connect(path, writable=True)
    except sqlite3.Error:
        return rows
    try:
        for table, query in (("alarm_state", _ALARM_STATES), ("record_key", _RECORD_KEYS), ("setting", _SETTINGS)):
            try:
                if connection.execute(f"PRAGMA quick_check('{table}')").fetchall() == [("ok",)]:
                    rows[table] = connection.execute(query).fetchall()
            except (sqlite3.Error, UnicodeDecodeError):
                continue
    finally:
        connection.close()
    return rows


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
