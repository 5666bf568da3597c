"""What a driver file may say (format version 1).

Five layers that know nothing of one another: how bytes are framed (framings, serial, text), what is asked (requests),
where values stand in the reply (fields: wire types only), what they mean (channels: units, validity), and the proof
(examples). Anything that differs between devices of the kind is a parameter, used as `{param: name}` or by `when`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field as Limits
from pydantic import PrivateAttr, model_validator

from labmon.config.site import Framing
from labmon.config.types import Duration, Id, Period, Strict, Text
from labmon.drivers.given import Given, Param, When
from labmon.drivers.grammar_channels import (
    BadWhen,
    Channel,
    Compute,
    Condition,
    CountsPerVolume,
    DewPoint,
    MaxAge,
    ScaleBy,
    Scaled,
    Source,
    Table,
    UnitBy,
    pattern_of,
)
from labmon.drivers.grammar_examples import Example, Exchange, Origin
from labmon.drivers.grammar_fields import (
    FORM_HEX,
    FORM_NUMBER,
    FORM_TIME,
    Beside,
    Field,
    Order,
    Repeat,
    Sentinel,
    TextType,
    WordType,
)
from labmon.drivers.grammar_guards import (
    Alive,
    Clock,
    ClockSet,
    Expectation,
    Guard,
    Identity,
    SelfTest,
    Variant,
)
from labmon.drivers.grammar_records import (
    FieldRef,
    Record,
    RecordCheck,
    RecordEntries,
    RecordIndex,
    RecordLogger,
    RecordNumber,
    RecordQueue,
)
from labmon.drivers.grammar_time import TimeParts, TimeSpec
from labmon.drivers.grammar_wire import (
    Action,
    Checksum,
    Columns,
    Escape,
    Frame,
    LengthField,
    Merge,
    Request,
    Retry,
    Sent,
    Session,
    Until,
)

__all__ = [
    "FORM_HEX",
    "FORM_NUMBER",
    "FORM_TIME",
    "Action",
    "Address",
    "Alive",
    "AllowedWrite",
    "BadWhen",
    "Beside",
    "Channel",
    "Checksum",
    "Clock",
    "ClockSet",
    "Columns",
    "Compute",
    "Condition",
    "CountsPerVolume",
    "DewPoint",
    "DriverFile",
    "Escape",
    "Example",
    "Exchange",
    "Expectation",
    "Field",
    "FieldRef",
    "Frame",
    "Guard",
    "Identity",
    "LengthField",
    "Manual",
    "MaxAge",
    "Merge",
    "NoScan",
    "Order",
    "Origin",
    "Query",
    "Record",
    "RecordCheck",
    "RecordEntries",
    "RecordIndex",
    "RecordLogger",
    "RecordNumber",
    "RecordQueue",
    "Request",
    "Retry",
    "ScaleBy",
    "Scaled",
    "SelfTest",
    "Sentinel",
    "Serial",
    "Session",
    "Source",
    "Table",
    "TextType",
    "TimeParts",
    "TimeSpec",
    "Timing",
    "UnitBy",
    "Until",
    "Variant",
    "WordType",
    "pattern_of",
]


class Manual(Strict):
    """Where the facts of the file come from."""

    document: Text
    """Title or number of the document."""
    revision: Text
    """Its revision or date."""
    pages: Text
    """Pages that the file was written from."""
    source: Text | None = None
    """Where it can be found."""


class Serial(Strict):
    """Serial settings as delivered."""

    baud: Annotated[int, Limits(ge=50, le=4_000_000)] | None = None
    """Bits per second. Left out: not known, and the site file has to say it."""
    bits: Literal[7, 8] = 8
    """Data bits."""
    parity: Literal["N", "E", "O"] = "N"
    """None, even or odd."""
    stop: Literal[1, 2] = 1
    """Stop bits."""
    rtscts: bool = False
    """Hardware handshake by RTS and CTS."""


class Address(Strict):
    """What the site file may give as a device's address: a number in a range, or a text of a pattern."""

    default: int | str | None = None
    """The address that a device has when the site file gives none."""
    from_: int | None = None
    """The lowest number."""
    to: int | None = None
    """The highest number."""
    pattern: str | None = None
    """Regular expression that a text must match."""
    doc: Text | None = None
    """What to look for on the instrument."""

    @model_validator(mode="after")
    def _one(self) -> Address:
        if (self.from_ is None) != (self.to is None) or (self.from_ is None) == (self.pattern is None):
            raise ValueError("give either from and to, or pattern")
        return self


class Timing(Strict):
    """How long to wait for a reply, and how long the line must be quiet before the next request."""

    timeout: Period = 1.0
    """How long to wait for a reply."""
    after_reply: Duration = 0.0
    """Quiet time after a reply."""
    after_write: Duration = 0.0
    """Quiet time after a write, and after what changes the instrument."""
    after_connect: Annotated[Duration, Limits(le=60.0)] = 0.0
    """Quiet time between the opening of the line and the first request."""
    between_characters: Annotated[Duration, Limits(le=10.0)] = 0.0
    """Longest pause within a reply; after a longer one it is incomplete. 0: only the timeout counts."""


class AllowedWrite(Strict):
    """What requests of this file write, and what that does to the instrument (writes are denied unless listed)."""

    holding: int | None = None
    """The register, in the file's convention."""
    coil: int | None = None
    """The coil, in the file's convention."""
    count: Annotated[int, Limits(ge=1, le=1968)] = 1
    """So many registers or coils from there on."""
    send: Sent | None = None
    """The text or hex, exactly as the request has it under `send`."""
    effect: Text
    """What writing it does to the instrument."""

    @model_validator(mode="after")
    def _one(self) -> AllowedWrite:
        if sum(x is not None for x in (self.holding, self.coil, self.send)) != 1:
            raise ValueError("a write that is allowed is exactly one of holding, coil and send")
        if self.send is not None and "count" in self.model_fields_set:
            raise ValueError("count belongs to holding and coil")
        return self


class NoScan(Strict):
    """Registers that must not be looked through one by one, because reading them does something."""

    table: Literal["coils", "discrete", "holding", "input"]
    """Which of the four tables."""
    from_: int
    """The first one, in the file's convention."""
    to: int
    """The last one."""
    effect: Text
    """What reading them does to the instrument."""

    @model_validator(mode="after")
    def _order(self) -> NoScan:
        if self.to < self.from_:
            raise ValueError("ends before it begins")
        return self


class Query(Strict):
    """Requests that belong together, asked in order, and the channels that their replies yield."""

    every: Period
    """How often it is asked, unless the site file says otherwise."""
    priority: Literal["high", "normal", "low"] = "normal"
    """Who waits where several queries of a line are due: normal gives way to high for a second, low to all for ten."""
    kind: Literal["live", "record", "stream"] = "live"
    """Whether the reply is of now (live), a sample that the instrument stored (record), or comes by itself (stream)."""
    silence: Period | None = None
    """Stream: seconds without a frame after which its channels are silent. Left out: three times `every`. Of frames
    that come more often than `every` the last one in each interval is a reading; the others are counted."""
    doc: Text | None = None
    """Words for people."""
    requests: Annotated[list[Request], Limits(min_length=1)]
    """What is asked, in order, with nothing in between on the line."""
    bad_when: list[BadWhen] = []
    """Conditions under which none of its channels has a value."""
    record: Record | None = None
    """What makes the reply a stored sample."""
    alive: list[Alive] = []
    """Fields that must change from time to time; one that does not is an instrument that measures no more."""
    channels: Annotated[list[Channel], Limits(min_length=1)]
    """What the replies mean."""
    repeat: Repeat | None = None
    """So many queries of this form: `#` in its name and texts becomes 1, 2, ...; `[0, 7]` counts from 0 to 7."""
    when: When | None = None
    """Parameters with which the query is asked."""

    @model_validator(mode="after")
    def _record(self) -> Query:
        if (self.kind == "record") != (self.record is not None):
            raise ValueError("a query of kind record, and only that, says time and key under record")
        if any((self.kind == "stream") != (r.listen is not None) for r in self.requests):
            raise ValueError("a query of kind stream, and only that, has a request with `listen: true`")
        if self.kind == "stream" and len({str(r.when) for r in self.requests}) < len(self.requests):
            raise ValueError("a query of kind stream has one request; another kind of line is another query")
        if self.silence is not None and self.kind != "stream":
            raise ValueError("only a query of kind stream says after what it is silent")
        return self


class DriverFile(Strict):
    """A whole driver file."""

    labmon_driver: Literal[1]
    """Version of this format."""
    extends: Text | None = None
    """Another driver file (`maker/model`) that this one stands on: mappings are merged, all else is replaced."""
    leave_out: list[Text] = []
    """What is not taken over from it, by path: `queries.flow`, `identity`, `queries.air.channels.humidity`."""
    maker: Text
    """Who makes the instrument."""
    models: Annotated[list[Text], Limits(min_length=1)]
    """Names of the models that the file is for."""
    title: Text
    """Maker and models in a line, for people."""
    class_: Text
    """What kind of instrument: co2-probe, incubator, particle-counter, ..."""
    manual: Manual
    """Where the facts come from."""
    faults: list[Text] = []
    """Known faults and open questions of instrument and manual."""
    framings: Annotated[list[Framing], Limits(min_length=1)]
    """What the instrument speaks, the preferred first."""
    serial: Serial | None = None
    """Serial settings as delivered; needed for every framing but modbus-tcp."""
    frame: Frame | None = None
    """How requests and replies are delimited; needed for text and binary."""
    address: Address | None = None
    """What may stand as a device's address. Left out: 1 to 247 on Modbus, none otherwise."""
    base: Given[Literal[0, 1, "modicon"]] = 0
    """What number the file gives to the first register: 0, 1, or 30001/40001 by table."""
    order: Given[Order] = "ABCD"
    """Byte and word order of fields that give none."""
    timing: Timing = Timing()
    """How long to wait, and how long to be quiet."""
    session: Session | None = None
    """What is sent to open, wake and close the conversation (framings text and binary)."""
    select: Sent | None = None
    """Framings text and binary: what is sent ahead of the requests when another unit was spoken to last on this line;
    it is sent as it stands, and nothing answers it. Placeholders as in `send`: `{address+0x80:byte}`."""
    retry: Annotated[list[Retry], Limits(max_length=8)] = []
    """What is asked again at once, and how often; without a rule nothing is. Retries are counted in the health."""
    generic: bool = False
    """For a unit whose map the site file gives as parameters. Loads although a query has no example, and every reading
    carries the flag `map not proven`. Left out: false."""
    single_reader: bool = False
    """Whether a second reader takes data away from the first."""
    writes: list[AllowedWrite] = []
    """What requests of this file write to the instrument; anything else is refused."""
    no_scan: list[NoScan] = []
    """Registers that `labmon driver probe --scan` leaves alone, as it does those of a request with an `effect`."""
    params: dict[Id, Param] = {}
    """What differs between instruments of the kind and cannot be asked of them."""
    identity: Identity | None = None
    """Which instrument it is, asked at each connect."""
    guard: Guard | None = None
    """Settings of the instrument that are watched."""
    clock: Clock | None = None
    """The instrument's own clock, which is compared with the gateway's."""
    queries: Annotated[dict[Id, Query], Limits(min_length=1)]
    """What is asked, by name."""
    examples: list[Example] = []
    """Exchanges that prove the file."""

    _calls: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def calls(self) -> dict[str, Any]:
        """Functions that requests may call, of a Python driver (labmon.drivers.call_step.Call)."""
        return self._calls

    @property
    def called(self) -> bool:
        """Whether all that its queries ask is asked by functions."""
        return all(request.call is not None for query in self.queries.values() for request in query.requests)

    @model_validator(mode="after")
    def _transport(self) -> DriverFile:
        if self.called:
            return self
        if {"text", "binary"} & set(self.framings) and self.frame is None:
            raise ValueError("framings text and binary need the frame block")
        if self.serial is None and set(self.framings) != {"modbus-tcp"}:
            raise ValueError("a serial framing needs the serial block")
        return self
