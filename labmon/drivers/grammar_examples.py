"""What a driver file shows: bytes sent, bytes got, and what they mean."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator
from pydantic import Field as Limits

from labmon.config.site import Framing
from labmon.config.types import Id, Strict, Text
from labmon.drivers.given import ParamValue
from labmon.model.reading import Reason, reason_code


class Exchange(Strict):
    """Bytes of one request and its reply: hex for modbus-rtu and modbus-tcp, characters for the others."""

    sent: str
    """What labmon sends."""
    got: str
    """What comes back."""


class Origin(Strict):
    """Where the bytes come from: printed in a manual (page), recorded (unit, date), or composed by the tests."""

    printed: Text | None = None
    """In a manual: document and page."""
    recorded: Text | None = None
    """From a unit: which one, and when."""
    composed: Text | None = None
    """From the independent encoder: what they show."""

    @model_validator(mode="after")
    def _one(self) -> Origin:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one of printed, recorded and composed")
        return self


def _expected(value: object) -> float | str:
    if isinstance(value, str) and reason_code(value) in set(Reason):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("an expected reading is a number or a reason: " + ", ".join(Reason))


Expected = Annotated[float | str, BeforeValidator(_expected)]


class Example(Strict):
    """One asking of a query (or of the identity, the guard, the clock): bytes and what they mean."""

    query: Id | None = None
    """The query that is asked."""
    identity: Literal[True] | None = None
    """The identity is asked."""
    guard: Literal[True] | None = None
    """The guard is asked."""
    clock: Literal[True] | None = None
    """The clock is asked."""
    set_clock: int | None = None
    """The clock is set to this time, in Unix seconds."""
    origin: Origin
    """Where the bytes come from."""
    doc: Text | None = None
    """What the example shows."""
    framing: Framing | None = None
    """The framing of its bytes. Left out: the file's first."""
    address: int | str | None = None
    """The address that is asked. Left out: the file's default."""
    params: dict[Id, ParamValue] = {}
    """Parameters of the device that answers."""
    raws: dict[Id, int | float | str] = {}
    """Composed: raw values of the fields, from which the independent encoder makes `got`; others are 0 or empty."""
    exchanges: Annotated[list[Exchange], Limits(min_length=1)]
    """Bytes of each request and its reply, in order."""
    readings: dict[Id, Expected] | None = None
    """Channel -> value, or the reason why there is none (with its detail, or without)."""
    warned: list[Id] = []
    """Channels whose value carries the instrument's own warning."""
    time: int | None = None
    """Record: its time in Unix seconds. Clock: the time that it shows."""
    key: str | None = None
    """Record: its key."""
    no_record: Literal[True] | None = None
    """Record: there is none in this reply, and nothing is read as a sample."""
    found: str | None = None
    """Identity: what it says of itself."""
    variant: str | None = None
    """Identity: the variant that it chooses."""
    settings: dict[Id, int | float | str] | None = None
    """Guard: the values that are watched."""
    wrong_mode: Text | None = None
    """Guard: what the reason of the readings says, where the instrument is not set as expected."""
    fails: Literal["garbled", "silent", "refused", "wrong-instrument"] | None = None
    """The asking as a whole fails so: silent where nothing comes (`got` is empty) or a reply is cut short, garbled
    where another reply comes or a checksum is wrong, refused where the instrument says no, wrong-instrument where it is
    not the expected one."""

    @model_validator(mode="after")
    def _one(self) -> Example:
        kinds = {
            "query": (self.query, "readings", self.readings),
            "identity": (self.identity, "found", self.found),
            "guard": (self.guard, "settings", self.settings),
            "clock": (self.clock, "time", self.time),
            "set-clock": (self.set_clock, "", None),
        }
        given = [(key, outcome) for kind, key, outcome in kinds.values() if kind is not None]
        if len(given) != 1:
            raise ValueError("an example is of exactly one of query, identity, guard, clock and set-clock")
        [(key, outcome)] = given
        if key and sum(told is not None for told in (outcome, self.no_record, self.fails)) != 1:
            raise ValueError(f"give exactly one of {key}{', no-record' if self.query else ''} and fails")
        return self
