"""A copy of a journal in use, and a copy that lives on as a journal of its own."""

from __future__ import annotations

import os
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from labmon.journal.errors import JournalDamaged
from labmon.journal.reader import Reader
from labmon.journal.schema import connect, to_disk, transaction, translated


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: the journal's id, its last seq, and the cursors of its consumers."""

    journal: str
    last: int
    cursors: dict[str, int]


def copy_journal(source: Path, target: Path) -> Copied:
    """Copy a journal as of one moment into one file, on the disk when this returns. The daemon may go on writing.

    All in one read transaction: in steps, SQLite begins anew with each commit in between, and a busy gateway commits
    every second. Until it is done the source's write-ahead log grows. Raises JournalUnavailable, JournalDamaged;
    FileExistsError when the target is there.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    with translated(f"{source}: copy"):
        reader = Reader.at(source)
        try:
            to = connect(target, writable=True)
            try:
                reader.copy_into(to)
                # Without a log beside it the copy can be read where nothing can be written.
                to.execute("PRAGMA journal_mode = DELETE").fetchone()
            finally:
                to.close()
        finally:
            reader.close()
        to_disk(target)
        to_disk(target.parent)
        copy = Reader.at(target)
        try:
            return Copied(copy.journal, copy.last_seq(), copy.cursors())
        finally:
            copy.close()


def rename_journal(path: Path) -> tuple[str, str]:
    """Give a copied journal an id of its own; returns the old one and the new one.

    A copy must not go on under the old id: what the original wrote after it was copied has the same seqs.
    Raises JournalUnavailable, JournalDamaged.
    """
    new = secrets.token_hex(8)
    with translated(f"{path}: new id"):
        db = connect(path, writable=True)
        try:
            row = db.execute("SELECT value FROM meta WHERE name = 'journal'").fetchone()
            if row is None:
                raise JournalDamaged(f"{path}: no journal id")
            with transaction(db):
                db.execute("UPDATE meta SET value = ? WHERE name = 'journal'", (new,))
        finally:
            db.close()
        to_disk(path)
        to_disk(path.parent)
    return str(row[0]), new


def integrity(path: Path) -> list[str]:
    """What SQLite finds wrong in a whole file, entries included; nothing for a sound one. Takes minutes for a large
    one. Raises JournalUnavailable, JournalDamaged.
    """
    with translated(f"{path}: check"):
        db = connect(path, writable=False)
        try:
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        finally:
            db.close()
    return [] if found == ["ok"] else found
