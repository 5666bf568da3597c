"""What a check found: one line each, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be looked at; the remedy says how it could."""
    WARNING = "warning"
    """It works, and will not for long, or not as well as it could."""
    FAULT = "fault"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `what` and `remedy` are one line each and hold no secret; `check` is set by whoever ran it."""

    level: Level
    what: str
    remedy: str = ""
    check: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "level": self.level.value}


def ok(what: str) -> Finding:
    """It is well."""
    return Finding(Level.OK, what)


def unknown(what: str, remedy: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(Level.UNKNOWN, what, remedy)


def warning(what: str, remedy: str) -> Finding:
    """It should be seen to."""
    return Finding(Level.WARNING, what, remedy)


def fault(what: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAULT, what, remedy)
