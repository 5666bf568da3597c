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
    """The field that is tested."""
    is_: Given[ParamValue] | list[ParamValue] | None = None
    """True when it has this value, or one of these."""
    is_not: Given[ParamValue] | list[ParamValue] | None = None
    """True when it has none of these values."""
    set: int | list[int] | None = None
    """True when this bit, or any of these, is 1."""
    clear: int | list[int] | None = None
    """True when this bit, or any of these, is 0."""
    has: Text | list[Text] | None = None
    """True when one of these words is among the field's words."""
    below: Number | None = None
    """True when it is less."""
    above: Number | None = None
    """True when it is more."""
    when: When | None = None
    """Parameters with which the condition applies."""

    @model_validator(mode="after")
    def _one_test(self) -> Condition:
        tests = (self.is_, self.is_not, self.set, self.clear, self.has, self.below, self.above)
        if sum(t is not None for t in tests) != 1:
            raise ValueError("a condition is exactly one of is, is-not, set, clear, has, below and above")
        return self


class BadWhen(Condition):
    """Under this condition there is no value, and this is the reason."""

    reason: ReasonName
    """The reason that the reading gets."""
    detail: Text | None = None
    """Words that stand behind it."""


class CountsPerVolume(Strict):
    """Counts over the volume that they were counted in: measured, or measured time by flow. Channels of the query."""

    counts: Id
    """The channel of counts."""
    volume: Id | None = None
    """The channel of the volume that they were counted in."""
    time: Id | None = None
    """The channel of the sample time."""
    flow: Id | None = None
    """The channel of the flow."""

    @model_validator(mode="after")
    def _volume(self) -> CountsPerVolume:
        if (self.volume is None) == (self.time is None) or (self.time is None) != (self.flow is None):
            raise ValueError("give either volume, or time and flow")
        return self


class Scaled(Strict):
    """`of` times `by` plus `plus`."""

    of: Id
    """The channel."""
    by: Given[Number] = 1.0
    """Factor."""
    plus: Given[Number] = 0.0
    """What is added."""


class Compute(Strict):
    """A channel made from others of the same query; without a value when one of them has none."""

    scale: Scaled | None = None
    """One channel, scaled."""
    sum: Annotated[list[Id], Limits(min_length=2)] | None = None
    """Channels added up."""
    difference: Annotated[list[Id], Limits(min_length=2, max_length=2)] | None = None
    """The first less the second."""
    ratio: Annotated[list[Id], Limits(min_length=2, max_length=2)] | None = None
    """The first over the second."""
    counts_per_volume: CountsPerVolume | None = None
    """Counts per volume."""

    @model_validator(mode="after")
    def _one(self) -> Compute:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one function")
        return self


class Channel(Strict):
    """One quantity: which field (or computation) it is, in which unit, and when it is no value."""

    id: Id
    """Its id within the device."""
    name: Text
    """Its name for people."""
    unit: Given[str]
    """UCUM code; the quantity kind follows from it."""
    from_: Id | None = None
    """The field; the same id when left out."""
    bit: Annotated[int, Limits(ge=0, le=63)] | None = None
    """One bit of the field: 1 means true."""
    true_when: Literal["set", "clear"] = "set"
    """Whether the bit is true when set or when clear."""
    scale: Given[Number] = 1.0
    """value = raw * scale + offset."""
    offset: Given[Number] = 0.0
    """See `scale`."""
    decimals: Annotated[int, Limits(ge=0, le=9)] = 2
    """Decimals that are shown."""
    range: Annotated[list[Number], Limits(min_length=2, max_length=2)] | None = None
    """Lowest and highest physically possible value, in the channel's unit."""
    states: dict[int, Text] | None = None
    """Names of the numbers, where it is a state."""
    otherwise: Literal["keep"] | ReasonName = "implausible"
    """What a number that `states` does not name becomes."""
    bad_when: list[BadWhen] = []
    """Conditions under which there is no value."""
    warn_when: list[Condition] = []
    """Conditions under which the value is uncertain."""
    compute: Compute | None = None
    """A function of channels that stand before it."""
    when: When | None = None
    """Parameters with which the channel exists."""

    @model_validator(mode="after")
    def _one_source(self) -> Channel:
        if self.compute is not None and {"from_", "bit", "scale", "offset"} & self.model_fields_set:
            raise ValueError("a computed channel has no from, bit, scale or offset")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("range is lowest, highest")
        return self
