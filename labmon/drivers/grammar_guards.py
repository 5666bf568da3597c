"""What a driver file says of the instrument itself: which one it is, how it is set, its clock, and whether it lives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.types import Id, Number, Period, Strict, Text
from labmon.drivers.given import Given, ParamValue, When
from labmon.drivers.grammar_channels import Condition
from labmon.drivers.grammar_time import TimeSpec
from labmon.drivers.grammar_wire import Request


class SelfTest(Strict):
    """A test register: a value that is known beforehand, so that a wrong byte or word order shows at connect."""

    field: Id
    """A field of the identity's requests."""
    is_: int | str | None = None
    """Exactly this value."""
    near: Number | None = None
    """This value to one part in a million: a 32-bit float is never exact."""

    @model_validator(mode="after")
    def _one(self) -> SelfTest:
        if (self.is_ is None) == (self.near is None):
            raise ValueError("give exactly one of is and near")
        return self


class Variant(Strict):
    """Parameters that the instrument itself decides, by what it says of itself."""

    name: Annotated[str, Limits(min_length=1, max_length=64)]
    """What the variant is called, for people; shown in the status."""
    when: list[Condition] = []
    """Conditions that all hold for this variant. Left out: it fits every instrument, so it stands last."""
    params: dict[Id, ParamValue] = {}
    """Parameters and their values for this variant; channels and units are the same with all of them."""


class Identity(Strict):
    """Which instrument it is: asked at each connect, told by `show`, refused where it is not as expected."""

    requests: Annotated[list[Request], Limits(min_length=1)]
    """What is asked, in order."""
    show: Annotated[list[Id], Limits(min_length=1)]
    """Fields that are told to people."""
    expect: dict[Id, Given[str]] = {}
    """Field -> regular expression that the whole text must match; a parameter not set expects nothing."""
    wrong_when: list[Condition] = []
    """Conditions under which it is another instrument."""
    self_test: list[SelfTest] = []
    """Values that are known beforehand; one that differs is a wrong byte order, and nothing is used."""
    variants: list[Variant] = []
    """The first that fits decides parameters; where none fits it is another instrument."""


class Expectation(Condition):
    """A test that a setting must pass for the values to be used."""

    detail: Text | None = None
    """Words for the reason of the readings that are not used. Left out: the field and what it is."""


class Guard(Strict):
    """Settings of the instrument, asked at each connect and from time to time."""

    every: Period
    """How often it is asked."""
    requests: Annotated[list[Request], Limits(min_length=1)]
    """What is asked, in order."""
    watch: list[Id] = []
    """Fields whose change is an event with the old and the new value, also when they changed while labmon was away."""
    expect: list[Expectation] = []
    """What must hold. Otherwise no channel has a value (wrong-mode), and an alarm says why."""
    when: When | None = None
    """Parameters with which there is a guard."""

    @model_validator(mode="after")
    def _something(self) -> Guard:
        if not self.watch and not self.expect:
            raise ValueError("a guard names fields to watch, or what to expect")
        return self


class ClockSet(Strict):
    """Requests that set the instrument's clock. Sent only where the site file says `set-clock: true`.

    They may use the moment as parameters: now-unix, now-unix-high, now-unix-low, now-year, now-month, now-day,
    now-hour, now-minute, now-second, now-month-day and now-minute-second (the first in the high byte of a word, the
    second in the low one), in the zone of the clock's time.
    """

    requests: Annotated[list[Request], Limits(min_length=1)]
    """What is sent, in order."""


class Clock(Strict):
    """The instrument's own clock, compared with the gateway's at the middle of the request."""

    every: Period
    """How often it is compared; the first time at connect."""
    requests: Annotated[list[Request], Limits(min_length=1)]
    """What is asked, in order."""
    time: TimeSpec
    """Its time: a field with Unix seconds or a text field of type time (UTC), or what it is made of, with its zone."""
    at_most: Period
    """How far off it may be; beyond it an alarm tells so."""
    set_: ClockSet | None = None
    """How it is set. Left out: it cannot be set from here."""
    when: When | None = None
    """Parameters with which the clock is compared."""


class Alive(Strict):
    """A field that changes as long as the instrument measures."""

    field: Id
    """A field of the query."""
    within: Period
    """Unchanged for so long, the channels of the query have no value (not-reliable)."""
