"""Make a backup while the daemon goes on: the journal as of one moment, and every file that the site file refers to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import labmon
from labmon.acquisition.load import Loaded
from labmon.archive.manifest import JOURNAL, MANIFEST, SITE, BackupError, Manifest, digest
from labmon.config.load import secrets_of
from labmon.config.site import Site
from labmon.config.types import Secret
from labmon.journal.copying import copy_journal
from labmon.journal.errors import JournalError
from labmon.journal.schema import to_disk

MARGIN = 20 * 10**6
"""Bytes that stay free on the disk of the backup, at least."""


def make_backup(loaded: Loaded, folder: Path) -> tuple[Path, Manifest]:
    """Write a backup into a new folder in `folder`, all of it on the disk when this returns.

    Until then the new folder's name ends in `.partial`; one that fails is taken away again. Raises BackupError.
    """
    site = loaded.site
    if site is None or loaded.errors:
        raise BackupError(f"{loaded.path}: has errors: labmon check tells them")
    journal = loaded.path.parent / site.journal.path
    if not journal.is_file():
        raise BackupError(f"{journal}: no journal there: has the daemon of {loaded.path} ever run?")
    made = datetime.now(UTC)
    backup = folder / f"labmon-{site.site.id}-{site.gateway.id}-{made:%Y%m%dT%H%M%SZ}"
    partial = backup.with_name(backup.name + ".partial")
    try:
        _has_room(folder, journal)
        partial.mkdir(mode=0o750)
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}") from None
    try:
        manifest = _fill(partial, loaded, site, journal, made)
        partial.rename(backup)
        to_disk(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise BackupError(f"{error.filename or folder}: {error.strerror}") from None
        if isinstance(error, JournalError):
            raise BackupError(str(error)) from None
        raise
    return backup, manifest


def _has_room(folder: Path, journal: Path) -> None:
    size = sum(part.stat().st_size for part in (journal, _log(journal)) if part.exists())
    free = shutil.disk_usage(folder).free
    if free < size + MARGIN:
        raise BackupError(
            f"{folder}: {free / 1e6:.0f} MB are free, and the journal has {size / 1e6:.0f} MB: make room, or give "
            "another disk"
        )


def _log(journal: Path) -> Path:
    return journal.with_name(journal.name + "-wal")


def _fill(partial: Path, loaded: Loaded, site: Site, journal: Path, made: datetime) -> Manifest:
    copied = copy_journal(journal, partial / JOURNAL)
    files = [_entry(partial, JOURNAL, site.journal.path)]
    (partial / SITE).write_bytes(loaded.text.encode())
    files.append(_entry(partial, SITE, loaded.path.name))
    folder = loaded.path.parent
    for number, origin in enumerate(dict.fromkeys(_referred(site, folder))):
        name = f"files/{number:03}{Path(origin).suffix}"
        (partial / "files").mkdir(exist_ok=True)
        shutil.copyfile(folder / origin, partial / name)
        files.append(_entry(partial, name, origin))
    manifest = Manifest.model_validate(
        {
            "v": 1, "labmon": labmon.__version__, "site": site.site.id, "gateway": site.gateway.id,
            "made": made.isoformat(timespec="seconds"), "journal": copied.journal, "last": copied.last,
            "cursors": copied.cursors, "secrets": sorted({_name(s) for _, s in secrets_of(site)}), "files": files,
        }
    )  # fmt: skip
    (partial / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True))
    for path in [*partial.rglob("*"), partial]:
        to_disk(path)
    return manifest


def _entry(partial: Path, name: str, origin: str) -> dict[str, Any]:
    size, sha = digest(partial / name)
    return {"name": name, "origin": origin, "size": size, "sha256": sha}


def _referred(site: Site, folder: Path) -> Iterator[str]:
    """Drivers, profiles and certificates of the site's own, as the site file names them. Never a secret."""
    for named in (*site.drivers, *site.profile_folders):
        for path in sorted((folder / named).rglob("*.yaml")):
            yield os.path.relpath(path, folder) if not Path(named).is_absolute() else str(path)
    tls = site.mqtt.tls if site.mqtt else None
    certificates = [tls.ca, tls.certificate] if tls else []
    certificates += [way.ca for channel in site.notices.channels if (way := channel.email or channel.webhook)]
    for name in certificates:
        if name and (folder / name).is_file():
            yield name


def _name(secret: Secret) -> str:
    return f"credential {secret.credential}" if secret.file is None else f"file {secret.file}"
