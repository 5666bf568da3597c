"""Parameters that may be unset, where a device needs their value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from labmon.config.errors import Path
from labmon.drivers import grammar
from labmon.drivers.given import ParamValue, Ref, applies

Report = Callable[..., None]

_NEEDED = ("at", "by", "first", "newest", "offset", "order", "plus", "scale", "take", "unit", "value", "values")
"""Keys without which their part says nothing: no part is left out because one of these is not set."""


def check_unset(file: grammar.DriverFile, params: Mapping[str, ParamValue], report: Report) -> bool:
    """Report each such parameter, for a device with these; whether there is none."""
    sound = True

    def look(part: Any, path: Path, needed: bool) -> None:
        nonlocal sound
        if isinstance(part, Ref):
            if needed and part.param in file.params and part.param not in params:
                sound = False
                report((*path, "param"), f"{part.param} may be unset", _HINT.format(part.param))
        elif isinstance(part, BaseModel):
            if not applies(getattr(part, "when", None) if _conditional(part) else None, params):
                return
            for name, info in type(part).model_fields.items():
                key = info.alias or name
                look(getattr(part, name), (*path, key), key in _NEEDED)
        elif isinstance(part, dict):
            for key, value in part.items():
                look(value, (*path, key), False)
        elif isinstance(part, list):
            for index, value in enumerate(part):
                look(value, (*path, index), needed)

    for key in ("base", "order"):
        look(getattr(file, key), (key,), True)
    for key in ("queries", "identity", "guard", "clock"):
        look(getattr(file, key), (key,), False)
    return sound


_HINT = 'give it a default or `required: true`, or the part `when: {{{}: "*"}}`'


def _conditional(part: BaseModel) -> bool:
    """Whether its `when` is that of parameters; a variant's are conditions of the instrument."""
    return not isinstance(part, grammar.Variant)
