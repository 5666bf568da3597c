"""The disk under a journal: what the journal's files take, and what is left."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BESIDE: Final = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes: of all files of the journal, free for this user, and of the whole file system."""

    used: int
    free: int
    total: int
    read_only: bool


def look_at_disk(path: Path) -> Disk:
    """The disk that the journal at `path` is on, or will be on. May wait for the disk. Raises OSError."""
    used = 0
    for suffix in _BESIDE:
        with suppress(FileNotFoundError):
            used += path.with_name(path.name + suffix).stat().st_size
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    size = found.f_frsize
    return Disk(used, found.f_bavail * size, found.f_blocks * size, bool(found.f_flag & os.ST_RDONLY))
