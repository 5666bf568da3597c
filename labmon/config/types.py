"""Field types of site and driver files: ids, durations, sizes, secrets by reference."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from labmon.model.ids import ID_PATTERN

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|s|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(B|kB|MB|GB|TB)")
_HOST = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(?:%[A-Za-z0-9]+)?"
)
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Strict(BaseModel):
    """Base of everything that a file may hold: strict types, unknown keys refused, keys written with hyphens."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.rstrip("_").replace("_", "-"),
        populate_by_name=False,
        hide_input_in_errors=True,
    )


def _duration(value: object) -> object:
    if isinstance(value, str) and (m := _DURATION.fullmatch(value)):
        return float(m[1]) * _SECONDS[m[2]]
    raise ValueError("a duration is a number with a unit: 500 ms, 10 s, 5 min, 2 h or 30 d")


def parse_duration(text: str) -> float:
    """Seconds of a duration as files write it. Raises ValueError."""
    return float(str(_duration(text)))


def _size(value: object) -> object:
    if isinstance(value, str) and (m := _SIZE.fullmatch(value)):
        return int(float(m[1]) * _BYTES[m[2]])
    raise ValueError("a size is a number with a unit: 500 MB, 8 GB")


def _number(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**300 else value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


def _date(value: str) -> str:
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a date, written 2026-01-31") from None
    if len(value) != len("2026-01-31"):
        raise ValueError("must be a date, written 2026-01-31")
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("must be a host name or an address, without scheme, port or path")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("is not a URL") from None  # urlsplit quotes the URL, which may hold a password
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password")
    return value


Id = Annotated[str, Field(pattern=rf"^{ID_PATTERN}$", max_length=64)]
Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, written as `10 s` (zero allowed)."""
Period = Annotated[float, BeforeValidator(_duration), AfterValidator(_positive)]
"""Seconds, more than zero."""
Size = Annotated[int, BeforeValidator(_size), AfterValidator(_positive)]
"""Bytes, written as `8 GB`, more than zero."""
Number = Annotated[FiniteFloat, BeforeValidator(_number)]
"""A finite float; an integer in the file is one too."""
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Date = Annotated[str, AfterValidator(_date)]
"""A calendar day, as text: `2026-01-31`."""
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Url = Annotated[str, AfterValidator(_url)]
"""An http or https URL without credentials: those are secrets, by reference."""


class Secret(Strict):
    """A secret by reference, never in the file itself: a systemd credential or a file of its own."""

    credential: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.credential is None) == (self.file is None):
            raise ValueError("give exactly one of credential and file")
        return self
