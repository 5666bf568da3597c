"""The journal's file: one writer, one transaction for everything of one moment."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from labmon.journal.encoding import encode_configuration, encode_gap, seal, unseal
from labmon.journal.entries import Committed, Configuration, EntryKind, Group
from labmon.journal.errors import JournalDamaged, JournalGone, JournalInUse
from labmon.journal.layouts import decode_layout
from labmon.journal.packing import Packer
from labmon.journal.reader import Reader
from labmon.journal.schema import check, connect, prepare, salvage, set_aside, transaction, translated
from labmon.model.event import Event

_WHY: Final = 500
_MAGIC: Final = b"SQLite format 3\0"


class Store(Reader):
    """The one writer of a journal. Every method raises JournalUnavailable or JournalDamaged; nothing is half-written.

    A process holds its journal by a lock beside the file, for two writers would give the same seq twice.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: int) -> None:
        super().__init__(connection, path)
        self._lock = lock
        self._inode = path.stat().st_ino
        self._layouts: dict[bytes, int] = {}
        self._layout_of: dict[Packer, int] = {}
        self._session: int | None = None
        """Number of this run, until it is written down."""
        self.trouble: str | None = None
        """What was wrong with the file that stood here before, and where it lies now; None when all was well."""

    @classmethod
    def open(cls, path: str | Path, *, condemned: str | None = None) -> Self:
        """Open the journal at `path`, making, migrating or replacing it as needed.

        A damaged or foreign file (or one that was `condemned`, with the reason) is renamed aside and a new journal with
        a new id begun; `trouble` of the store then says so. Alarm states, record keys and settings are taken over where
        they are sound. Raises NewerJournal (left untouched), JournalInUse, JournalUnavailable.
        """
        path = Path(path)
        lock = _take_lock(path)
        try:
            if condemned is None:
                existed = path.exists()
                empty = existed and not path.stat().st_size
                try:
                    store = cls._open(path, lock)
                except JournalDamaged as damage:
                    condemned = str(damage)
                else:
                    if empty:
                        store.trouble = f"{path} was empty; a new journal was begun"
                    return store
            return cls._replace(path, lock, condemned)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _open(cls, path: Path, lock: int) -> Self:
        with translated(f"{path}: open"):
            connection = connect(path, writable=True)
            try:
                prepare(connection)
                check(connection, path)
                store = cls(connection, path, lock)
                store._identify()
                store._learn_layouts()
            except BaseException:
                connection.close()
                raise
        return store

    @classmethod
    def _replace(cls, path: Path, lock: int, why: str) -> Self:
        mark = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        with translated(f"{path}: set aside"):
            aside = set_aside(path, mark)
        rows = salvage(aside)
        store = cls._open(path, lock)
        try:
            with translated(f"{path}: take over"), transaction(store._db):
                store._db.executemany("INSERT INTO alarm_state VALUES (?, ?)", rows.get("alarm_state", []))
                store._db.executemany("INSERT INTO record_key VALUES (?, ?, ?)", rows.get("record_key", []))
                store._db.executemany("INSERT INTO setting VALUES (?, ?)", rows.get("setting", []))
        except BaseException:
            store._db.close()
            raise
        kept = "" if "alarm_state" in rows else "; the alarm states could not be taken over"
        store.trouble = f"{why}; set aside as {aside.name}, a new journal was begun{kept}"
        return store

    def _learn_layouts(self) -> None:
        for row in self._db.execute(
            "SELECT seq, kind, time, layout, body FROM entry INDEXED BY entry_seldom WHERE kind <> 1 AND kind = 2"
        ):
            try:
                body = unseal(*row)
                decode_layout(body)
            except (ValueError, TypeError, KeyError):
                continue  # of another packing, or damaged: never written under again
            self._layouts[body] = row[0]

    def close(self) -> None:
        """Close the file and give the lock back."""
        try:
            super().close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def commit(self, group: Group, removed: Sequence[int] = ()) -> Committed:
        """Write everything of one moment, and delete the entries `removed`, in one transaction.

        It is on the disk when this returns. A seq is never given twice, also when the highest entry is deleted.
        """
        with translated(f"{self._path}: write"):
            self._still_there()
            learnt: dict[Packer, int] = {}
            with transaction(self._db):
                last = self.last_seq()
                rows, events = self._entries(group, last + 1, learnt)
                self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", rows)
                self._states(group)
                if self._session is not None:
                    self._db.execute("INSERT OR REPLACE INTO meta VALUES ('session', ?)", (str(self._session),))
                if removed:
                    self._remove(removed, last)
        self._session = None
        self._layout_of.update(learnt)
        self._layouts.update((packer.body, seq) for packer, seq in learnt.items())
        return Committed(last + 1, last + len(rows), events) if rows else Committed(None, None, [])

    def _remove(self, removed: Sequence[int], last: int) -> None:
        self._db.executemany("DELETE FROM entry WHERE seq = ?", [(seq,) for seq in removed])
        self._db.executemany("DELETE FROM quarantine WHERE seq = ?", [(seq,) for seq in removed])
        if last in removed:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('floor', ?)", (str(last),))

    def _still_there(self) -> None:
        # A journal that was deleted or replaced would take commits that nobody will ever find.
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            raise JournalGone(f"{self._path} was removed or replaced while in use")
        # SQLite itself would go on writing behind a log that it holds in memory, until somebody reads.
        with self._path.open("rb") as file:
            header = file.read(len(_MAGIC))
        if header and header != _MAGIC:
            raise JournalDamaged(f"{self._path} was overwritten while in use")

    def _entries(self, group: Group, seq: int, learnt: dict[Packer, int]) -> tuple[list[Any], list[tuple[int, Event]]]:
        rows: list[tuple[int, int, int, int | None, bytes]] = []
        events: list[tuple[int, Event]] = []

        def add(kind: EntryKind, time: int, body: bytes, layout: int | None = None) -> int:
            number = seq + len(rows)
            rows.append((number, kind, time, layout, seal(number, kind, time, layout, body)))
            return number

        for time, configuration in group.configurations:
            add(EntryKind.CONFIGURATION, time, self._configuration(configuration))
        for now, gap in group.gaps:
            event = gap.event(now)
            events.append((add(EntryKind.GAP, gap.first, encode_gap(gap, event)), event))
        known = self._layout_of
        for packed in group.readings:
            packer = packed.packer
            layout = known.get(packer) or learnt.get(packer)
            if layout is None:
                layout = self._layouts.get(packer.body) or add(EntryKind.LAYOUT, packed.time, packer.body)
                learnt[packer] = layout
            add(EntryKind.READINGS, packed.time, packed.body, layout)
        events += [(add(EntryKind.EVENT, event.time, body), event) for event, body in group.events]
        return rows, events

    def _configuration(self, configuration: Configuration) -> bytes:
        body, texts = encode_configuration(configuration)
        self._db.executemany("INSERT OR IGNORE INTO document VALUES (?, ?)", texts.items())
        return body

    def _states(self, group: Group) -> None:
        write = self._db.executemany
        write("INSERT OR REPLACE INTO alarm_state VALUES (?, ?)", [row for row in group.alarm_states.items() if row[1]])
        write("DELETE FROM alarm_state WHERE alarm = ?", [(name,) for name, s in group.alarm_states.items() if not s])
        write(
            "INSERT OR REPLACE INTO record_key VALUES (?, ?, ?)",
            [(query, key.time, key.key) for query, key in group.record_keys.items()],
        )
        write("INSERT OR REPLACE INTO setting VALUES (?, ?)", group.settings.items())
        write(
            "INSERT INTO cursor VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq WHERE seq < excluded.seq",
            group.cursors.items(),
        )
        write("DELETE FROM cursor WHERE name = ?", [(name,) for name in group.dropped])
        write(
            "INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?)",
            [(store, seq, why[:_WHY], time) for store, seq, why, time in group.quarantined],
        )

    def begin_session(self, now: int) -> int:
        """A number that is higher than at every earlier start on this journal, also when the clock was set back.

        That of the millisecond (`now` in UTC ns), or the last one and one more. The next commit writes it down.
        """
        row = self.query("SELECT value FROM meta WHERE name = 'session'")
        self._session = max(now // 10**6, int(row[0][0]) + 1 if row and row[0][0].isdigit() else 0)
        return self._session

    def advance(self, name: str, seq: int) -> None:
        """Move a cursor to `seq`; it never goes back. Raises ValueError beyond the last entry."""
        if seq > self.last_seq():
            raise ValueError(f"cursor {name} cannot move to {seq}: the last entry is {self.last_seq()}")
        self.commit(Group(cursors={name: seq}))

    def drop_cursor(self, name: str) -> None:
        """Forget a consumer; what only it had not read counts as delivered from now on."""
        with translated(f"{self._path}: write"), transaction(self._db):
            self._db.execute("DELETE FROM cursor WHERE name = ?", (name,))

    def quarantine(self, store: str, refused: Mapping[int, str], now: int) -> None:
        """Remember what a store refused, and why; these entries stay until the disk has no other room."""
        self.commit(Group(quarantined=[(store, seq, why, now) for seq, why in refused.items()]))

    def release(self, store: str, seqs: Iterable[int]) -> None:
        """Take entries out of quarantine: somebody has dealt with them."""
        with translated(f"{self._path}: write"), transaction(self._db):
            self._db.executemany("DELETE FROM quarantine WHERE store = ? AND seq = ?", [(store, s) for s in seqs])

    @property
    def used(self) -> int:
        """Bytes of the database file that hold something; freed pages are used again before the file grows."""
        pages, free, page = (
            int(self.query(f"PRAGMA {name}")[0][0]) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Nobody opens the journal at `path` meanwhile. Raises JournalInUse, JournalUnavailable."""
    lock = _take_lock(path)
    try:
        yield
    finally:
        os.close(lock)


def _take_lock(path: Path) -> int:
    """Hold `<path>.lock` until the process ends or the store is closed. Raises JournalInUse, JournalUnavailable."""
    with translated(f"{path}: lock"):
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise JournalInUse(f"{path} is in use by process {holder or 'unknown'}") from None
        except BaseException:
            os.close(fd)
            raise
        with suppress(OSError):  # a full disk: the lock holds without the name
            os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
        return fd
