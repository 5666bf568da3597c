"""What a driver file may say (format version 1).

Five layers that know nothing of one another: how bytes are framed (framings, serial, text), what is asked (requests),
where values stand in the reply (fields: wire types only), what they mean (channels: units, validity), and the proof
(examples). Anything that differs between devices of the kind is a parameter, used as `{param: name}` or by `when`.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator
from pydantic import Field as Limits

from labmon.config.types import Duration, Id, Number, Period, Strict, Text
from labmon.drivers.given import Given, Param, ParamValue, When
from labmon.links.checksum import ChecksumName, Encoding
from labmon.model.reading import Reason, reason_code

WordType = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "bit", "ascii"]
TextType = Literal["number", "integer", "hex", "word", "words", "text", "time"]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
ReasonName = Literal[
    "no-sensor",
    "over-range",
    "under-range",
    "not-available",
    "not-ready",
    "not-reliable",
    "implausible",
    "wrong-mode",
    "no-data",
]
"""The reasons of labmon.model.reading that a driver file can know of."""
Framing = Literal["modbus-rtu", "modbus-ascii", "modbus-tcp", "text"]
Sent = Annotated[str, Limits(max_length=1000)]
FORM_NUMBER = re.compile(r"\+?0?\d*(?:\.\d+)?[fe]")
FORM_HEX = re.compile("[xX]")
FORM_TIME = re.compile(r"(?:%[dmyYHMS]|[^%A-Za-z0-9])+")

# ---------------------------------------------------------------- header


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


class Checksum(Strict):
    """Checksum of a text frame, written right before the terminator: over all that stands before it from `start`."""

    name: ChecksumName
    encoding: Encoding = "hex-upper"
    start: Annotated[int, Limits(ge=0)] = 0


class LengthField(Strict):
    """The reply says how long it is: `size` characters (or bytes) at offset `at`."""

    at: Annotated[int, Limits(ge=0)]
    size: Annotated[int, Limits(ge=1, le=8)]
    encoding: Literal["hex", "decimal", "big", "little"]
    plus: Annotated[int, Limits(ge=0)]
    """Bytes of the whole reply beyond those that the field counts, terminator and checksum included."""


class TextFrame(Strict):
    """How requests and replies are delimited on a text line."""

    end: Given[str]
    reply_ends: Annotated[list[Given[str]], Limits(min_length=1)] | None = None
    """What a reply may end with, or the end character itself. Left out: as `end`."""
    reply_length: LengthField | None = None
    checksum: Checksum | None = None
    echo: bool = False
    """Whether the instrument repeats what it was sent."""
    error: Text | None = None
    """Regular expression of the reply by which the instrument refuses; a group named `code` is its code."""
    error_meanings: dict[str, Text] = {}


class AllowedWrite(Strict):
    """A register that requests of this file write, and what that does to the instrument (design: writes are denied)."""

    holding: int
    effect: Text


# ---------------------------------------------------------------- requests and fields


class Sentinel(Strict):
    """A raw word or text that is not a value."""

    raw: Given[int | float | str]
    reason: ReasonName


class Field(Strict):
    """One value in a reply, as it stands on the wire: no units, no meaning."""

    at: Given[int] | None = None
    """Modbus: number of its first register or bit, in the file's convention."""
    object: int | None = None
    """Device identification: the object's id."""
    type: WordType | TextType
    order: Given[Order] | None = None
    byte: Literal["high", "low"] = "low"
    """Which byte of the register holds a u8 or i8."""
    bit: Annotated[int, Limits(ge=0, le=15)] | None = None
    """A single bit of the register."""
    registers: Annotated[int, Limits(ge=1, le=125)] | None = None
    """Length of an ascii field."""
    form: Given[str] | None = None
    """Text: how the instrument writes it: `+06.2f`; `%d.%m.%y` for a time."""
    digits: Annotated[int, Limits(ge=1, le=64)] | None = None
    """Text: exact number of characters."""
    codes: dict[str, int] | None = None
    """Text: numbers for words; a word not listed is no value."""
    sentinels: list[Sentinel] = []
    when: When | None = None


class Request(Strict):
    """One request and where its reply holds values."""

    read: Literal["coils", "discrete", "holding", "input", "identification"] | None = None
    write: Literal["holding"] | None = None
    at: Given[int] | None = None
    count: Annotated[int, Limits(ge=1, le=2000)] | None = None
    value: Given[int] | None = None
    level: Literal["basic", "regular", "extended"] = "basic"
    """Device identification: which objects are asked for."""
    send: Sent | None = None
    """Text: what is sent, without terminator and checksum; `{address}` and `{<param>}` are filled in."""
    reply: Sent | None = None
    """Text: the reply as a template; `{field}`, `[optional]`, a space stands for one or more."""
    pattern: Sent | None = None
    """Text: the reply as a regular expression with one named group per field (hyphens become underscores)."""
    fields: dict[Id, Field] = {}
    effect: Text | None = None
    """What asking does to the instrument, where reading is not free of effects."""
    when: When | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Request:
        if sum(x is not None for x in (self.read, self.write, self.send)) != 1:
            raise ValueError("a request is exactly one of read, write and send")
        allowed = {"fields", "effect", "when"}
        if self.send is not None:
            allowed |= {"send", "reply", "pattern"}
            if (self.reply is None) == (self.pattern is None):
                raise ValueError("a text request gives exactly one of reply and pattern")
        elif self.write is not None:
            allowed = {"write", "at", "value", "when"}
            if self.at is None or self.value is None:
                raise ValueError("a write gives at and value")
        elif self.read == "identification":
            allowed |= {"read", "level"}
        else:
            allowed |= {"read", "at", "count"}
            if self.at is None or self.count is None:
                raise ValueError("a read gives at and count")
        if extra := sorted(self.model_fields_set - allowed):
            raise ValueError(f"{', '.join(extra)} has no place in this kind of request")
        return self


# ---------------------------------------------------------------- meaning


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


# ---------------------------------------------------------------- examples


class Exchange(Strict):
    """Bytes of one request and its reply: hex for modbus-rtu and modbus-tcp, characters for the others."""

    sent: str
    got: str


class Origin(Strict):
    """Where the bytes come from: printed in a manual (page), recorded (unit, date), or composed by the tests."""

    printed: Text | None = None
    recorded: Text | None = None
    composed: Text | None = None

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
    """One asking of a query (or of the identity): bytes and what they mean."""

    query: Id | None = None
    identity: Literal[True] | None = None
    origin: Origin
    doc: Text | None = None
    framing: Framing | None = None
    address: int | str | None = None
    params: dict[Id, ParamValue] = {}
    raws: dict[Id, int | float | str] = {}
    """Composed: raw values of the fields, from which the independent encoder makes `got`; others are 0 or empty."""
    exchanges: Annotated[list[Exchange], Limits(min_length=1)]
    readings: dict[Id, Expected] | None = None
    """Channel -> value, or the reason why there is none (with its detail, or without)."""
    warned: list[Id] = []
    """Channels whose value carries the instrument's own warning."""
    time: int | None = None
    """Record: its time in Unix seconds."""
    key: str | None = None
    found: str | None = None
    """Identity: what it says of itself."""
    fails: Literal["garbled", "refused", "wrong-instrument"] | None = None
    """The asking as a whole fails so."""

    @model_validator(mode="after")
    def _one(self) -> Example:
        if (self.query is None) == (self.identity is None):
            raise ValueError("an example is of exactly one of query and identity")
        outcome = self.found if self.identity else self.readings
        if (outcome is None) == (self.fails is None):
            wanted = "found" if self.identity else "readings"
            raise ValueError(f"give exactly one of {wanted} and fails")
        return self


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
    text: TextFrame | None = None
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
        if "text" in self.framings and self.text is None:
            raise ValueError("framing text needs the text block")
        if self.serial is None and set(self.framings) != {"modbus-tcp"}:
            raise ValueError("a serial framing needs the serial block")
        return self
