"""Prove that a backup can be restored: every byte, every entry, the site file."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from labmon.acquisition.load import load
from labmon.archive.manifest import JOURNAL, MANIFEST, SITE, BackedUp, BackupError, Manifest, digest, read_manifest
from labmon.journal.copying import integrity
from labmon.journal.entries import Damaged, EntryKind
from labmon.journal.errors import JournalError
from labmon.journal.reader import Reader
from labmon.model.exchange import Exchange

_ENTRIES = 2000
_BYTES = 1 << 22
TOLD = 20
"""Faults of one kind that are told one by one; the rest are counted."""


@dataclass(slots=True)
class Verified:
    """What was found. Sound when `faults` is empty. Times are UTC ns, 0 where there is no entry."""

    manifest: Manifest
    entries: int = 0
    readings: int = 0
    events: int = 0
    damaged: int = 0
    first: int = 0
    last: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(backup: Path) -> Verified:
    """Look at all of a backup; changes nothing. Raises BackupError when it is none."""
    found = Verified(read_manifest(backup))
    _files(backup, found)
    _journal(backup, found)
    _site(backup, found)
    return found


def _files(backup: Path, found: Verified) -> None:
    named = {entry.name for entry in found.manifest.files}
    if len(named) < len(found.manifest.files) or not {JOURNAL, SITE} <= named:
        found.faults.append(f"{MANIFEST}: a file is named twice, or journal or site file are missing")
    for entry in found.manifest.files:
        if fault := _differs(backup, entry):
            found.faults.append(f"{entry.name}: {fault}")
    there = {str(path.relative_to(backup)) for path in backup.rglob("*") if not path.is_dir()}
    found.faults += [f"{name}: is not in the manifest" for name in sorted(there - named - {MANIFEST})[:TOLD]]


def _differs(backup: Path, entry: BackedUp) -> str:
    path = backup / entry.name
    if path.is_symlink():
        return "is a link"
    try:
        size, sha = digest(path)
    except OSError as error:
        return error.strerror or "cannot be read"
    if size != entry.size:
        return f"has {size} bytes, {entry.size} were written"
    return "" if sha == entry.sha256 else "is not what was written (SHA-256)"


def _journal(backup: Path, found: Verified) -> None:
    path = backup / JOURNAL
    if not path.is_file():
        return
    try:
        found.faults += [f"{JOURNAL}: {fault}" for fault in integrity(path)]
        reader = Reader.at(path)
        try:
            _entries(reader, found)
        finally:
            reader.close()
    except JournalError as error:
        found.faults.append(f"{JOURNAL}: {error}")


def _entries(reader: Reader, found: Verified) -> None:
    manifest = found.manifest
    if reader.journal != manifest.journal or reader.last_seq() != manifest.last:
        found.faults.append(f"{JOURNAL}: is not the journal that the manifest tells of")
    seq = 0
    while entries := reader.entries_after(seq, _ENTRIES, _BYTES):
        seq = entries[-1].seq
        for entry in entries:
            found.entries += 1
            if isinstance(entry.content, Damaged):
                found.damaged += 1
                if found.damaged <= TOLD:
                    found.faults.append(f"{JOURNAL}: entry {entry.seq}: {entry.content.why}")
                continue
            found.first = found.first or entry.time
            found.last = entry.time
            found.events += entry.kind == EntryKind.EVENT
            if isinstance(entry.content, Exchange):
                found.readings += len(entry.content.readings)
    if found.damaged > TOLD:
        found.faults.append(f"{JOURNAL}: {found.damaged - TOLD} more entries are damaged")


def _site(backup: Path, found: Verified) -> None:
    """Lay out the site's files as they were, in a folder of their own, and check them as `labmon check` does."""
    files = {entry.name: entry.origin for entry in found.manifest.files if entry.name != JOURNAL}
    if SITE not in files or not all((backup / name).is_file() for name in files):
        return  # told already
    if not all(_below(origin) for origin in files.values()):
        found.notes.append("files from outside the site's folder: the site file is checked when it is restored")
        return
    with tempfile.TemporaryDirectory() as name:
        trial = Path(name)
        for kept, origin in files.items():
            (trial / origin).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(backup / kept, trial / origin)
        loaded = load(trial / files[SITE])
    found.faults += [str(error).removeprefix(f"{trial}/") for error in loaded.errors]
    site = loaded.site
    if site is not None and (site.site.id, site.gateway.id) != (found.manifest.site, found.manifest.gateway):
        found.faults.append(f"{SITE}: is of another site or gateway than the manifest tells")


def _below(origin: str) -> bool:
    return not Path(origin).is_absolute() and ".." not in Path(origin).parts


def sound(backup: Path) -> Verified:
    """As `verify`; raises BackupError with every fault when it is not sound."""
    found = verify(backup)
    if found.faults:
        raise BackupError("\n".join(found.faults))
    return found
