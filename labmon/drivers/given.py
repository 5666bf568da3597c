"""Values that a driver file gives outright or leaves to a parameter of the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from labmon.config.types import Id, Number, Strict, Text

ParamValue = bool | int | float | str
T = TypeVar("T")


class Ref(Strict):
    """`{param: name}`: the value that the device's parameter has."""

    param: Id


def _is_ref(value: object) -> str:
    return "param" if isinstance(value, (dict, Ref)) else "value"


Given = Annotated[Annotated[T, Tag("value")] | Annotated[Ref, Tag("param")], Discriminator(_is_ref)]
"""A T, or `{param: name}`. One error, not one per member, for a value that is neither."""

When = dict[Id, bool | int | float | str | list[bool | int | float | str]]
"""Parameter -> the value, or one of the values, that it must have for this part of the file to apply; `*` is any."""
ANY = "*"


class Param(Strict):
    """One thing that differs between devices of the kind and cannot be asked of them.

    Without a default it is optional (whatever refers to it is left out), or required when it says so.
    """

    type: Literal["number", "integer", "text", "switch"]
    """What its values are."""
    doc: Text
    """What it is, for whoever writes the site file."""
    default: ParamValue | None = None
    """Its value when the site file gives none."""
    choices: Annotated[list[ParamValue], Field(min_length=1)] | None = None
    """The values that it may have."""
    required: bool = False
    """Whether the site file must give it."""
    example: ParamValue | None = None
    """A value as a site might give it, with which the file is checked where there is neither default nor choices."""
    repeat: Annotated[int, Field(ge=1, le=256)] | list[int] | None = None
    """So many parameters of this form: `#` in its name and doc becomes 1, 2, ...; `[0, 7]` counts from 0 to 7."""

    @model_validator(mode="after")
    def _consistent(self) -> Param:
        if self.required and self.default is not None:
            raise ValueError("a required parameter has no default")
        if self.required and self.choices is None and self.example is None:
            raise ValueError("a required parameter names its choices, or an example, to check the file with")
        if self.example is not None and (self.choices is not None or self.default is not None):
            raise ValueError("an example is for a parameter with neither choices nor default")
        for value in [*(self.choices or []), *(v for v in (self.default, self.example) if v is not None)]:
            if not self._typed(value):
                raise ValueError(f"{value!r} is not of type {self.type}")
        if self.choices is not None and self.default is not None and self.default not in self.choices:
            raise ValueError(f"the default {self.default!r} is not among the choices")
        return self

    def _typed(self, value: ParamValue) -> bool:
        if isinstance(value, bool):
            return self.type == "switch"
        if isinstance(value, int):
            return self.type in ("integer", "number")
        if isinstance(value, float):
            return self.type == "number"
        return self.type == "text"

    def accept(self, name: str, value: object) -> ParamValue:
        """Check a value from a site file. Raises ValueError with the name and what it may be."""
        if not isinstance(value, (bool, int, float, str)) or not self._typed(value):
            raise ValueError(f"parameter {name}: {value!r} is not of type {self.type}")
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"parameter {name}: {value!r} is none of {', '.join(map(str, self.choices))}")
        return value


def settle(declared: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Parameters of one device: what the site file gives over the defaults.

    Optional ones without a value are left out. Raises ValueError for an unknown, mistyped or missing parameter.
    """
    for name in given:
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise ValueError(f"unknown parameter {name!r}; the driver has: {known}")
    values: dict[str, ParamValue] = {}
    for name, param in declared.items():
        if name in given:
            values[name] = param.accept(name, given[name])
        elif param.default is not None:
            values[name] = param.default
        elif param.required:
            like = ", ".join(map(str, param.choices)) if param.choices else f"for example {param.example}"
            raise ValueError(f"parameter {name} is required ({like})")
    return values


def applies(when: Mapping[str, Any] | None, params: Mapping[str, ParamValue]) -> bool:
    """Whether a part of the file applies to a device with these parameters."""
    for name, wanted in (when or {}).items():
        if name not in params:
            return False
        if wanted != ANY and params[name] not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def value_of(given: Any, params: Mapping[str, ParamValue]) -> Any:
    """The value itself; None for a parameter that is optional and not set."""
    return params.get(given.param) if isinstance(given, Ref) else given


__all__ = ["Given", "Number", "Param", "ParamValue", "Ref", "When", "applies", "settle", "value_of"]
