"""What a driver file may say (format version 1).

Five layers that know nothing of one another: how bytes are framed (framings, serial, text), what is asked (requests),
where values stand in the reply (fields: wire types only), what they mean (channels: units, validity), and the proof
(examples). Anything that differs between devices of the kind is a parameter, used as `{param: name}` or by `when`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.site import Framing
from labmon.config.types import Duration, Id, Period, Strict, Text
from labmon.drivers.given import Given, Param, When
from labmon.drivers.grammar_channels import BadWhen, Channel, Compute, Condition, CountsPerVolume, Scaled
from labmon.drivers.grammar_examples import Example, Exchange, Origin
from labmon.drivers.grammar_fields import (
    FORM_HEX,
    FORM_NUMBER,
    FORM_TIME,
    Field,
    Order,
    Sentinel,
    TextType,
    WordType,
)
from labmon.drivers.grammar_wire import Checksum, Frame, LengthField, Request

__all__ = [
    "FORM_HEX",
    "FORM_NUMBER",
    "FORM_TIME",
    "Address",
    "AllowedWrite",
    "BadWhen",
    "Channel",
    "Checksum",
    "Compute",
    "Condition",
    "CountsPerVolume",
    "DriverFile",
    "Example",
    "Exchange",
    "Field",
    "Frame",
    "Identity",
    "LengthField",
    "Manual",
    "Order",
    "Origin",
    "Query",
    "Record",
    "Request",
    "Scaled",
    "Sentinel",
    "Serial",
    "TextType",
    "Timing",
    "WordType",
]


class Manual(Strict):
    """Where the facts of the file come from."""

    document: Text
    revision: Text
    pages: Text
    source: Text | None = None


class Serial(Strict):
    """Serial settings as delivered."""

    baud: Annotated[int, Limits(ge=50, le=4_000_000)]
    bits: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stop: Literal[1, 2] = 1
    rtscts: bool = False


class Address(Strict):
    """What the site file may give as a device's address: a number in a range, or a text of a pattern."""

    default: int | str | None = None
    from_: int | None = None
    to: int | None = None
    pattern: str | None = None
    doc: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Address:
        if (self.from_ is None) != (self.to is None) or (self.from_ is None) == (self.pattern is None):
            raise ValueError("give either from and to, or pattern")
        return self


class Timing(Strict):
    """How long to wait for a reply, and how long the line must be quiet before the next request."""

    timeout: Period = 1.0
    after_reply: Duration = 0.0
    after_write: Duration = 0.0


class AllowedWrite(Strict):
    """A register that requests of this file write, and what that does to the instrument (design: writes are denied)."""

    holding: int
    effect: Text


class Record(Strict):
    """The reply is a sample that the instrument stored: its own time, and what makes it the same sample again."""

    time: Id
    """A field with Unix seconds, or a text field of type time."""
    key: Annotated[list[Id], Limits(min_length=1)]


class Query(Strict):
    """Requests that belong together, asked in order, and the channels that their replies yield."""

    every: Period
    kind: Literal["live", "record"] = "live"
    doc: Text | None = None
    requests: Annotated[list[Request], Limits(min_length=1)]
    bad_when: list[BadWhen] = []
    record: Record | None = None
    channels: Annotated[list[Channel], Limits(min_length=1)]
    when: When | None = None

    @model_validator(mode="after")
    def _record(self) -> Query:
        if (self.kind == "record") != (self.record is not None):
            raise ValueError("a query of kind record, and only that, says time and key under record")
        return self


class Identity(Strict):
    """Which instrument it is: asked at each connect, told by `show`, refused where it is not as expected."""

    requests: Annotated[list[Request], Limits(min_length=1)]
    show: Annotated[list[Id], Limits(min_length=1)]
    expect: dict[Id, Given[str]] = {}
    """Field -> regular expression that the whole text must match; a parameter not set expects nothing."""
    wrong_when: list[Condition] = []


class DriverFile(Strict):
    """A whole driver file."""

    labmon_driver: Literal[1]
    maker: Text
    models: Annotated[list[Text], Limits(min_length=1)]
    title: Text
    class_: Text
    """What kind of instrument: co2-probe, incubator, particle-counter, ..."""
    manual: Manual
    faults: list[Text] = []
    """Known faults and open questions of instrument and manual."""
    framings: Annotated[list[Framing], Limits(min_length=1)]
    serial: Serial | None = None
    frame: Frame | None = None
    address: Address | None = None
    base: Given[Literal[0, 1, "modicon"]] = 0
    """What number the file gives to the first register: 0, 1, or 30001/40001 by table."""
    order: Given[Order] = "ABCD"
    """Byte and word order of fields that give none."""
    timing: Timing = Timing()
    single_reader: bool = False
    """Whether a second reader takes data away from the first."""
    writes: list[AllowedWrite] = []
    params: dict[Id, Param] = {}
    identity: Identity | None = None
    queries: Annotated[dict[Id, Query], Limits(min_length=1)]
    examples: list[Example] = []

    @model_validator(mode="after")
    def _transport(self) -> DriverFile:
        if {"text", "binary"} & set(self.framings) and self.frame is None:
            raise ValueError("framings text and binary need the frame block")
        if self.serial is None and set(self.framings) != {"modbus-tcp"}:
            raise ValueError("a serial framing needs the serial block")
        return self
