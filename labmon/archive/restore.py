"""Put a backup in place on a gateway: its files, and its journal under a new id."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from labmon.acquisition.load import load
from labmon.archive.manifest import JOURNAL, SITE, BackupError, Manifest, digest
from labmon.archive.verify import sound
from labmon.config.site import Site
from labmon.journal.copying import rename_journal
from labmon.journal.encoding import encode_event
from labmon.journal.entries import Group
from labmon.journal.errors import JournalError
from labmon.journal.schema import set_aside
from labmon.journal.store import Store, held
from labmon.model.event import Event, EventKind


@dataclass(slots=True)
class Restored:
    """What was put in place. `journal` is the new journal's id; `secrets` have to be given to this gateway again."""

    manifest: Manifest
    site: Path
    journal_path: Path
    journal: str
    placed: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Files that were there already, with the same content."""
    aside: Path | None = None
    """Where the journal lies that stood here before."""
    last: int = 0
    """Time of the last entry of the backup, UTC ns."""


def restore(backup: Path, target: Path, *, aside: bool, site_too: bool, who: str) -> Restored:
    """Verify a backup, then put it in place: the site file at `target`, its files beside it, the journal where it says.

    Nothing that is there is overwritten: a file that differs is refused, and the journal that stands there too, unless
    `aside` (it is renamed then). With `site_too` False the files of this gateway are kept, and only the journal is
    restored. The journal gets a new id, and an event that says what it came from and what it cannot hold. Alarms,
    cursors and record keys go on from the backup. Raises BackupError; the daemon must not run.
    """
    found = sound(backup)
    files = {entry.name: (entry.origin, entry.sha256) for entry in found.manifest.files if entry.name != JOURNAL}
    if not site_too:
        files = {}
    places = {name: _place(name, origin, target) for name, (origin, _) in files.items()}
    clash = [str(place) for name, place in places.items() if place.exists() and digest(place)[1] != files[name][1]]
    if clash:
        raise BackupError(
            f"{', '.join(clash)}: is there and differs from the backup: move it away, or restore the journal only "
            "(--journal-only)"
        )
    restored = Restored(found.manifest, target, target, "", last=found.last)
    try:
        for name, place in places.items():
            if place.exists():
                restored.kept.append(place)
                continue
            _folder(place.parent)
            shutil.copyfile(backup / name, place)
            _as_beside(place, 0o640)
            restored.placed.append(place)
        _journal(backup, _site(target), restored, aside, who)
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror}") from None
    except JournalError as error:
        raise BackupError(str(error)) from None
    return restored


def _place(name: str, origin: str, target: Path) -> Path:
    return target if name == SITE else target.parent / origin


def _site(target: Path) -> Site:
    loaded = load(target)
    if loaded.site is None or loaded.errors:
        raise BackupError("\n".join(map(str, loaded.errors)))
    return loaded.site


def _journal(backup: Path, site: Site, restored: Restored, aside: bool, who: str) -> None:
    manifest = restored.manifest
    if (site.site.id, site.gateway.id) != (manifest.site, manifest.gateway):
        raise BackupError(
            f"{restored.site} is of gateway {site.site.id}/{site.gateway.id}, the backup of "
            f"{manifest.site}/{manifest.gateway}"
        )
    path = restored.journal_path = restored.site.parent / site.journal.path
    _folder(path.parent)
    with held(path):
        if path.exists() and not aside:
            raise BackupError(
                f"{path}: a journal is there: --set-aside renames it and restores the backup in its place"
            )
        copy = path.with_name(path.name + ".restoring")
        try:
            shutil.copyfile(backup / JOURNAL, copy)
            old, restored.journal = rename_journal(copy)
        except BaseException:
            copy.unlink(missing_ok=True)  # a disk that is full is not to stay so
            raise
        if path.exists():
            restored.aside = set_aside(path, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", "before-restore")
        copy.rename(path)
    store = Store.open(path)
    try:
        event = _told(manifest, old, restored, who)
        store.commit(Group(events=[(event, encode_event(event))]))
    finally:
        store.close()
    for part in path.parent.glob(f"{path.name}*"):
        _as_beside(part, 0o640)


def _told(manifest: Manifest, old: str, restored: Restored, who: str) -> Event:
    now = time.time_ns()
    until = datetime.fromtimestamp(restored.last / 1e9, UTC).isoformat(timespec="seconds") if restored.last else "-"
    detail = (
        f"restored from the backup of {manifest.made} (journal {old}, {manifest.last} entries given, the last of "
        f"{until}) as journal {restored.journal}; what was recorded after that stands in the stores only"
    )
    return Event(EventKind.JOURNAL, now, now, detail, user=who)


def _folder(path: Path) -> None:
    """Make a folder that whoever reads the one around it can read too."""
    if not path.exists():
        _folder(path.parent)
        path.mkdir()
        _as_beside(path, path.parent.stat().st_mode & 0o777)


def _as_beside(path: Path, mode: int) -> None:
    """Owner and group of the folder: the daemon's user has to write what root restores."""
    path.chmod(mode)
    if os.geteuid() == 0:
        beside = path.parent.stat()
        os.chown(path, beside.st_uid, beside.st_gid)
