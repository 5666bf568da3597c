"""What a backup says of itself, in `manifest.json` beside its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from labmon.config.types import Strict

MANIFEST = "manifest.json"
JOURNAL = "journal.db"
SITE = "site.yaml"
LONGEST = 4_000_000
"""Bytes that a manifest may have."""
_CHUNK = 1 << 20


class BackupError(Exception):
    """Why a backup cannot be made, is not sound, or cannot be restored: one line, with what to do."""


class BackedUp(Strict):
    """One file: its name in the backup, where it was (relative to the site file, or absolute), bytes and SHA-256."""

    name: Annotated[str, Field(pattern=r"\A[a-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?\z")]
    origin: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


class Manifest(Strict):
    """A backup of one gateway. `secrets` names what has to be given to a new gateway again: no secret is in here."""

    v: Literal[1]
    labmon: str
    site: str
    gateway: str
    made: str
    journal: str
    last: Annotated[int, Field(ge=0)]
    cursors: dict[str, int]
    secrets: list[str]
    files: list[BackedUp]


def read_manifest(backup: Path) -> Manifest:
    """Raises BackupError."""
    path = backup / MANIFEST
    try:
        with path.open("rb") as stream:
            text = stream.read(LONGEST + 1)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}: is this the folder of a backup?") from None
    if len(text) > LONGEST:
        raise BackupError(f"{path}: is longer than {LONGEST} bytes")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BackupError(f"{path}: {place + ': ' if place else ''}{first['msg']}") from None


def digest(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file. Raises OSError."""
    size, sha = 0, hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            sha.update(chunk)
    return size, sha.hexdigest()
