"""What a driver file says of the meaning of fields: channels, their units, and when there is no value."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.types import Id, Number, Period, Strict, Text
from labmon.drivers.given import Given, ParamValue, When
from labmon.drivers.grammar_fields import BitNumber, ReasonName, Repeat
from labmon.links.pattern import Pattern, PatternError

Bits = BitNumber | Id | Annotated[list[BitNumber | Id], Limits(min_length=1)]
"""Bits of a field by number, 0 the lowest, or by the names that the field gives them."""
_TESTS = ("is", "is-not", "set", "clear", "other-than-set", "has", "matches", "below", "above", "all")


class Condition(Strict):
    """A test on a field; exactly one test. `all` needs no field."""

    field: Id | None = None
    """The field that is tested."""
    is_: Given[ParamValue] | list[ParamValue] | None = None
    """True when it has this value, or one of these."""
    is_not: Given[ParamValue] | list[ParamValue] | None = None
    """True when it has none of these values."""
    set: Bits | None = None
    """True when this bit, or any of these, is 1. Bits go by number or name; named ones are told in the reason."""
    clear: Bits | None = None
    """True when this bit, or any of these, is 0."""
    other_than_set: Bits | Annotated[list[Id], Limits(max_length=0)] | None = None
    """True when any bit but these is 1: an alarm that the manual does not know. `[]`: any bit at all."""
    has: Text | list[Text] | None = None
    """True when one of these words is among the field's words."""
    matches: Text | None = None
    """True when this regular expression matches the whole text."""
    below: Number | None = None
    """True when it is less."""
    above: Number | None = None
    """True when it is more."""
    all: Annotated[list[Condition], Limits(min_length=1)] | None = None
    """True when each of these conditions is."""
    repeat: Repeat | None = None
    """So many conditions of this form: `#` in its texts becomes 1, 2, ...; `[0, 7]` counts from 0 to 7."""
    when: When | None = None
    """Parameters with which the condition applies."""

    @model_validator(mode="after")
    def _one_test(self) -> Condition:
        tests = (self.is_, self.is_not, self.set, self.clear, self.other_than_set, self.has, self.matches,
                 self.below, self.above, self.all)  # fmt: skip
        if sum(t is not None for t in tests) != 1:
            raise ValueError(f"a condition is exactly one of {', '.join(_TESTS[:-1])} and {_TESTS[-1]}")
        if (self.field is None) is (self.all is None):
            raise ValueError("a condition names its field, or holds others under `all`")
        if self.matches is not None:
            pattern_of(self.matches)
        return self


def pattern_of(text: str) -> Pattern:
    """A regular expression of a file. Raises ValueError for what is none."""
    try:
        return Pattern(text.encode("latin-1"))
    except (PatternError, UnicodeEncodeError) as error:
        raise ValueError(f"is no regular expression: {error}") from None


class BadWhen(Condition):
    """Under this condition there is no value, and this is the reason."""

    reason: ReasonName
    """The reason that the reading gets."""
    detail: Text | None = None
    """Words that stand behind it. Left out: the names of the bits that made it true."""


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


class Table(Strict):
    """A curve by points, straight between them; outside of it there is no value."""

    of: Id
    """The channel."""
    points: Annotated[list[Annotated[list[Number], Limits(min_length=2, max_length=2)]], Limits(min_length=2)]
    """`[what the channel says, value]`, the first numbers rising."""

    @model_validator(mode="after")
    def _rising(self) -> Table:
        firsts = [point[0] for point in self.points]
        if any(a >= b for a, b in pairwise(firsts)):
            raise ValueError("the first numbers of the points must rise")
        return self


class DewPoint(Strict):
    """Dew point over water: WMO-No. 8, Guide to Instruments and Methods of Observation, annex 4.B (-45 to 60 Cel)."""

    temperature: Id
    """The channel of the air's temperature."""
    humidity: Id
    """The channel of its relative humidity."""


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
    product: Annotated[list[Id], Limits(min_length=2)] | None = None
    """Channels multiplied; the unit is what the file says."""
    mean: Annotated[list[Id], Limits(min_length=2)] | None = None
    """The mean of channels."""
    table: Table | None = None
    """A curve by points."""
    dew_point: DewPoint | None = None
    """The dew point of temperature and relative humidity."""
    counts_per_volume: CountsPerVolume | None = None
    """Counts per volume."""

    @model_validator(mode="after")
    def _one(self) -> Compute:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one function")
        return self


class Source(Strict):
    """One of several fields that a channel may come from, and under which condition."""

    field: Id
    """The field."""
    scale: Given[Number] | None = None
    """In the place of the channel's scale."""
    offset: Given[Number] | None = None
    """In the place of the channel's offset."""
    if_: Condition | Annotated[list[Condition], Limits(min_length=1)] | None = None
    """When it is this field: all of these conditions hold; one on a field without a value does not."""
    when: When | None = None
    """Parameters with which it is a source at all."""


class ScaleBy(Strict):
    """A factor that the instrument itself says: its capacity, an exponent, the factor of the mode that is set."""

    field: Id
    """The field that holds it."""
    as_: Literal["factor", "divisor", "power-of-ten"] | None = None
    """What the field's number is."""
    codes: dict[int | str, Number] | None = None
    """Or the factor for each of its codes; another code is wrong-mode."""
    when: When | None = None
    """Parameters with which it applies."""

    @model_validator(mode="after")
    def _one(self) -> ScaleBy:
        if (self.as_ is None) is (self.codes is None):
            raise ValueError("give exactly one of as and codes")
        return self


class UnitBy(Strict):
    """The unit that the instrument says that its value is in; labmon converts it to the channel's `unit`."""

    field: Id
    """The field that says it."""
    codes: Annotated[dict[int | str, str], Limits(min_length=1)]
    """Code or word -> UCUM code of the same quantity kind; another code is wrong-mode."""


class MaxAge(Strict):
    """How old the instrument itself says that its value is; an older one is not-reliable."""

    field: Id
    """The field that holds the age."""
    at_most: Period
    """The oldest that is used."""
    unit: Literal["ms", "s", "min", "h"] = "s"
    """Unit of the field."""


class Channel(Strict):
    """One quantity: which field (or computation) it is, in which unit, and when it is no value."""

    id: Id
    """Its id within the device."""
    name: Text
    """Its name for people."""
    unit: Given[str]
    """UCUM code; the quantity kind follows from it."""
    from_: Id | Annotated[list[Source], Limits(min_length=1)] | None = None
    """The field; the same id when left out. Or several, of which the first counts whose condition holds; none of them:
    wrong-mode."""
    bit: BitNumber | Id | None = None
    """One bit of the field, by number or name: 1 means true."""
    true_when: Literal["set", "clear"] = "set"
    """Whether the bit is true when set or when clear."""
    scale: Given[Number] = 1.0
    """value = raw * scale + offset."""
    offset: Given[Number] = 0.0
    """See `scale`."""
    scale_by: list[ScaleBy] = []
    """Factors that the instrument says: value = (raw * scale + offset) * factor. One without a value: no value."""
    unit_by: UnitBy | None = None
    """The unit that the instrument says."""
    decimals: Annotated[int, Limits(ge=0, le=9)] = 2
    """Decimals that are shown."""
    range: Annotated[list[Number], Limits(min_length=2, max_length=2)] | None = None
    """Lowest and highest physically possible value, in the channel's unit."""
    states: dict[int, Text] | None = None
    """Names of the numbers, where it is a state."""
    otherwise: Literal["keep"] | ReasonName | int = "implausible"
    """What a number that `states` does not name, or a word that `codes` does not, becomes: a reason, or the state that
    stands for all others. `keep` keeps the number."""
    particle_size: Annotated[Number, Limits(gt=0, le=1000)] | None = None
    """Size in um; the counts are of particles of this size and above."""
    max_age: MaxAge | None = None
    """How old the value may be by the instrument's own word."""
    bad_when: list[BadWhen] = []
    """Conditions under which there is no value."""
    warn_when: list[Condition] = []
    """Conditions under which the value is uncertain."""
    compute: Compute | None = None
    """A function of channels that stand before it."""
    repeat: Repeat | None = None
    """So many channels of this form: `#` in its id and texts becomes 1, 2, ...; `[0, 7]` counts from 0 to 7. The `#` of
    the unit `{#}` stays."""
    when: When | None = None
    """Parameters with which the channel exists."""

    @model_validator(mode="after")
    def _one_source(self) -> Channel:
        measured = {"from_", "bit", "scale", "offset", "scale_by", "unit_by"}
        if self.compute is not None and measured & self.model_fields_set:
            raise ValueError("a computed channel has no from, bit, scale, offset, scale-by or unit-by")
        if self.bit is not None and (isinstance(self.from_, list) or self.scale_by or self.unit_by):
            raise ValueError("a channel that is one bit has one field, without scale-by or unit-by")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("range is lowest, highest")
        if isinstance(self.otherwise, int) and self.otherwise not in (self.states or {}):
            raise ValueError(f"otherwise is {self.otherwise}, which `states` does not name")
        return self

    @property
    def sources(self) -> list[Source]:
        """The fields that it may come from; none for a computed one."""
        if self.compute is not None:
            return []
        if isinstance(self.from_, list):
            return self.from_
        return [Source.model_construct(field=self.from_ or self.id)]
