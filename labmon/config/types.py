"""Field types of site and driver files: ids, durations, sizes, secrets by reference."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from labmon.model.ids import ID_PATTERN

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)")
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


def _size(value: object) -> object:
    if isinstance(value, str) and (m := _SIZE.fullmatch(value)):
        return int(float(m[1]) * _BYTES[m[2]])
    raise ValueError("a size is a number with a unit: 500 MB, 8 GB")


def _number(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be longer than zero")
    return value


Id = Annotated[str, Field(pattern=rf"^{ID_PATTERN}$", max_length=64)]
Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, written as `10 s` (zero allowed)."""
Period = Annotated[float, BeforeValidator(_duration), AfterValidator(_positive)]
"""Seconds, more than zero."""
Size = Annotated[int, BeforeValidator(_size)]
"""Bytes, written as `8 GB`."""
Number = Annotated[FiniteFloat, BeforeValidator(_number)]
"""A finite float; an integer in the file is one too."""
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class Secret(Strict):
    """A secret by reference, never in the file itself: a systemd credential or a file of its own."""

    credential: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.credential is None) == (self.file is None):
            raise ValueError("give exactly one of credential and file")
        return self
