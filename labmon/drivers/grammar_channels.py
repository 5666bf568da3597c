"""What a driver file says of the meaning of fields: channels, their units, and when there is no value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.types import Id, Number, Strict, Text
from labmon.drivers.given import Given, ParamValue, When
from labmon.drivers.grammar_fields import ReasonName


class Condition(Strict):
    """A test on a field; exactly one of is, is-not, set, clear, has, below, above."""

    field: Id
    is_: Given[ParamValue] | list[ParamValue] | None = None
    is_not: Given[ParamValue] | list[ParamValue] | None = None
    set: int | list[int] | None = None
    """True when this bit, or any of these, is 1."""
    clear: int | list[int] | None = None
    """True when this bit, or any of these, is 0."""
    has: Text | list[Text] | None = None
    """True when one of these words is among the field's words."""
    below: Number | None = None
    above: Number | None = None
    when: When | None = None

    @model_validator(mode="after")
    def _one_test(self) -> Condition:
        tests = (self.is_, self.is_not, self.set, self.clear, self.has, self.below, self.above)
        if sum(t is not None for t in tests) != 1:
            raise ValueError("a condition is exactly one of is, is-not, set, clear, has, below and above")
        return self


class BadWhen(Condition):
    """Under this condition there is no value, and this is the reason."""

    reason: ReasonName
    detail: Text | None = None


class CountsPerVolume(Strict):
    """Counts over the volume that they were counted in: measured, or measured time by flow. Channels of the query."""

    counts: Id
    volume: Id | None = None
    time: Id | None = None
    flow: Id | None = None

    @model_validator(mode="after")
    def _volume(self) -> CountsPerVolume:
        if (self.volume is None) == (self.time is None) or (self.time is None) != (self.flow is None):
            raise ValueError("give either volume, or time and flow")
        return self


class Scaled(Strict):
    """`of` times `by` plus `plus`."""

    of: Id
    by: Given[Number] = 1.0
    plus: Given[Number] = 0.0


class Compute(Strict):
    """A channel made from others of the same query; without a value when one of them has none."""

    scale: Scaled | None = None
    sum: Annotated[list[Id], Limits(min_length=2)] | None = None
    difference: Annotated[list[Id], Limits(min_length=2, max_length=2)] | None = None
    ratio: Annotated[list[Id], Limits(min_length=2, max_length=2)] | None = None
    counts_per_volume: CountsPerVolume | None = None

    @model_validator(mode="after")
    def _one(self) -> Compute:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one function")
        return self


class Channel(Strict):
    """One quantity: which field (or computation) it is, in which unit, and when it is no value."""

    id: Id
    name: Text
    unit: Given[str]
    """UCUM code; the quantity kind follows from it."""
    from_: Id | None = None
    """The field; the same id when left out."""
    bit: Annotated[int, Limits(ge=0, le=63)] | None = None
    """One bit of the field: 1 means true."""
    true_when: Literal["set", "clear"] = "set"
    scale: Given[Number] = 1.0
    offset: Given[Number] = 0.0
    decimals: Annotated[int, Limits(ge=0, le=9)] = 2
    range: Annotated[list[Number], Limits(min_length=2, max_length=2)] | None = None
    """Lowest and highest physically possible value, in the channel's unit."""
    states: dict[int, Text] | None = None
    otherwise: Literal["keep"] | ReasonName = "implausible"
    """What a number that `states` does not name becomes."""
    bad_when: list[BadWhen] = []
    warn_when: list[Condition] = []
    compute: Compute | None = None
    when: When | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Channel:
        if self.compute is not None and {"from_", "bit", "scale", "offset"} & self.model_fields_set:
            raise ValueError("a computed channel has no from, bit, scale or offset")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("range is lowest, highest")
        return self
