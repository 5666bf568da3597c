"""What the checks are given: the site file, what the daemon says of itself, and where on this machine to look."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from labmon.acquisition.load import Loaded
from labmon.acquisition.plan import LinePlan
from labmon.config.site import Site
from labmon.config.types import Secret
from labmon.doctor.account import Account, account_of

T = TypeVar("T", bound=BaseModel)
PATIENCE = 5.0
"""Seconds that a check waits for each far end."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the checks look; tests give folders of their own."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    etc: Path = Path("/etc")
    lib: Path = Path("/lib")
    run: Path = Path("/run")


@dataclass(slots=True)
class Case:
    """One examination. `status` is what the daemon answered, None when it did not (`silence` says why)."""

    loaded: Loaded
    status: Mapping[str, Any] | None
    silence: str = ""
    machine: Machine = field(default_factory=Machine)
    site: Site | None = None
    """The site file with each credential turned into the file where it is found; None where the file has errors."""
    account: Account = field(init=False)

    def __post_init__(self) -> None:
        self.account = account_of(self.status, self.machine.proc)
        if self.loaded.site is not None and not self.loaded.errors:
            self.site = with_secrets(self.loaded.site, lambda secret: Secret(file=str(self.secret_file(secret))))

    @property
    def folder(self) -> Path:
        """That of the site file, from which relative paths count."""
        return self.loaded.path.parent

    @property
    def lines(self) -> list[LinePlan]:
        """The lines of a site file without errors."""
        return self.loaded.plan.lines if self.loaded.plan is not None and not self.loaded.errors else []

    def line_status(self, line: str) -> Mapping[str, Any] | None:
        """What the daemon says of a line; None when it does not run or does not know it."""
        lines = self.status["lines"] if self.status is not None else []
        return next((row for row in lines if row["line"] == line), None)

    def secret_file(self, secret: Secret) -> Path:
        """Where a secret is, or should be: what the services were given first, then where the site keeps it."""
        if secret.file is not None:
            return self.folder / secret.file
        name = secret.credential or ""
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        places = [Path(given)] if given else []
        places.append(self.machine.run / "labmon-credentials/loaded")
        kept = self.folder / "credentials" / name
        return next((place / name for place in places if _is_file(place / name)), kept)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that is closed to us
        return False


def with_secrets(model: T, change: Callable[[Secret], Secret]) -> T:
    """The same model with each secret in it changed."""
    return model.model_copy(update={name: _changed(getattr(model, name), change) for name in type(model).model_fields})


def _changed(value: Any, change: Callable[[Secret], Secret]) -> Any:
    if isinstance(value, Secret):
        return change(value)
    if isinstance(value, BaseModel):
        return with_secrets(value, change)
    return [_changed(item, change) for item in value] if isinstance(value, list) else value


def secrets_in(value: Any, at: str = "") -> list[tuple[str, Secret]]:
    """Every secret that a model refers to, with the keys that lead to it."""
    if isinstance(value, Secret):
        return [(at, value)]
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return [
            found
            for name, info in fields.items()
            for found in secrets_in(getattr(value, name), f"{at}: {info.alias or name}".removeprefix(": "))
        ]
    if isinstance(value, list):
        return [
            found
            for number, item in enumerate(value)
            for found in secrets_in(item, f"{at}: {getattr(item, 'id', number)}")
        ]
    return []
