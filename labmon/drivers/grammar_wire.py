"""What a driver file says of the wire: how frames are delimited and checked, what is asked, in which order and pace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator
from pydantic import Field as Limits

from labmon.config.types import Id, Period, Strict, Text
from labmon.drivers.given import Given, When
from labmon.drivers.grammar_channels import Condition
from labmon.drivers.grammar_fields import Field, Order, Repeat
from labmon.links.checksum import ChecksumName, Encoding

Sent = Annotated[str, Limits(max_length=1000)]
Delimiter = Annotated[str, Limits(min_length=1, max_length=8)]
Byte = Annotated[int, Limits(ge=0, le=0xFF)]
Ends = Annotated[list[Given[str]], Limits(min_length=1)]
_LONGEST = 60.0
Pause = Annotated[Period, Limits(le=60.0)]


class Checksum(Strict):
    """One checksum of a frame. It stands behind what it covers: at the frame's end, or at offset `stop`."""

    name: ChecksumName
    """The algorithm."""
    encoding: Encoding = "hex-upper"
    """How it is written; `raw` is binary with the high byte first, `raw-little` with the low one first, `six-bits` one
    character for each six bits, the highest first."""
    plus: Annotated[int, Limits(ge=0x20, le=0x40)] | None = None
    """Of six-bits: what is added to each six bits to make a character of them: 0x20, 0x40."""
    start: Annotated[int, Limits(ge=0)] = 0
    """Offset of the first byte that it covers, counted in the frame as it stands on the wire."""
    stop: Annotated[int, Limits(ge=-64, le=1000)] | None = None
    """Offset at which its cover ends and itself stands (a header's own checksum). Negative: it stands at the end and
    leaves so many bytes before it uncovered. Left out: it covers all up to itself."""
    poly: Annotated[int, Limits(ge=1, le=0xFFFF)] | None = None
    """Polynomial of a CRC, written unreflected; left out, that of the name."""
    init: Annotated[int, Limits(ge=0, le=0xFFFF)] | None = None
    """What a CRC starts from; left out, that of the name."""
    xor_out: Annotated[int, Limits(ge=0, le=0xFFFF)] | None = None
    """What a CRC is xor'ed with at the end; left out, that of the name."""
    reflected: bool | None = None
    """Whether a CRC takes the lowest bit first; left out, as the name does."""
    inverted: bool = False
    """Whether all its bits are turned round."""
    high_bit: bool = False
    """Whether bit 7 of each of its bytes is set on the wire."""
    uncovered: str = ""
    """What stands between the covered bytes and the checksum, such as `*`; it is neither covered nor payload."""
    place: Literal["before-end", "after-end"] = "before-end"
    """Whether it stands before or behind the terminator (then it covers the terminator, unless `stop` leaves it)."""
    of: Literal["both", "request", "reply"] = "both"
    """Which frames have it."""
    when: When | None = None
    """Parameters with which it is used: variants of an instrument with another checksum."""


class LengthField(Strict):
    """The reply says how long it is: `size` characters (or bytes) at offset `at`."""

    at: Annotated[int, Limits(ge=0)]
    """Offset of the field in the reply, its `reply-starts` included."""
    size: Annotated[int, Limits(ge=1, le=8)]
    """Its characters or bytes."""
    encoding: Literal["hex", "decimal", "big", "little", "high-nibble", "low-nibble"]
    """How the number is written: digits, binary with the high or the low byte first, or half of one byte."""
    plus: Annotated[int, Limits(ge=0)]
    """Bytes of the whole reply beyond those that the field counts, terminator and checksum included."""

    @model_validator(mode="after")
    def _nibble(self) -> LengthField:
        if self.encoding.endswith("nibble") and self.size != 1:
            raise ValueError("a nibble is half of one byte: size is 1")
        return self


class Escape(Strict):
    """Byte stuffing: a byte that must not stand in the frame goes as `escape`, then itself xor `xor`."""

    escape: Byte
    """The byte that announces a stuffed one; it is stuffed itself."""
    xor: Byte
    """What a stuffed byte is xor'ed with."""
    of: Annotated[list[Byte], Limits(min_length=1, max_length=32)]
    """The bytes that are stuffed when sent. When received, whatever follows `escape` is taken back."""


Transform = Literal["strip-bit-7", "set-bit-7", "hex-text"] | Escape


class Frame(Strict):
    """How requests and replies of framings text and binary are delimited. In a binary file all bytes are hex."""

    starts: Given[str] | None = None
    """What every request begins with, ahead of what `send` says. It is covered by checksums from offset 0, and is
    outside of `hex-text` and stuffing."""
    end: Given[str] | None = None
    """What ends a request. Left out: nothing."""
    reply_starts: Sent | None = None
    """What every reply begins with; bytes ahead of it are skipped. `{address}` and parameters are filled in. It is
    part of the reply that offsets count, and outside of `hex-text` and stuffing."""
    reply_alone: Annotated[list[Given[str]], Limits(max_length=8)] = []
    """Whole replies that stand alone, without `reply-starts`, end and checksum: the EOT, NAK or ACK that comes in the
    place of a frame. Needs `reply-starts`, which tells the frames from them."""
    reply_ends: Ends | None = None
    """What a reply may end with, or the end character itself. Left out: as `end`."""
    reply_length: LengthField | None = None
    """A field of the reply that says how long it is; the first of `reply-ends` must then end it."""
    reply_size: Annotated[int, Limits(ge=1, le=4096)] | None = None
    """Bytes of every reply on the wire, all included."""
    reply_idle: Pause | None = None
    """A pause that ends a reply, for an instrument that marks its end by nothing else."""
    checksum: Annotated[
        list[Checksum], Limits(min_length=1), BeforeValidator(lambda c: [c] if isinstance(c, dict) else c)
    ] = []
    """The checksum of requests and replies, or a list of several. In a list, later ones cover earlier ones."""
    echo: Annotated[
        Literal["none", "line", "characters"],
        BeforeValidator(lambda e: {True: "line", False: "none"}.get(e, e) if isinstance(e, bool) else e),
    ] = "none"
    """Whether the instrument repeats what it was sent: as a `line` (also `true`), or each of the `characters`, then
    the next is sent when the one before has come back. The repetition is checked and removed."""
    transforms: Annotated[list[Transform], Limits(max_length=4)] = []
    """What is done to the bytes of a frame after its checksum was put in (and undone before it is verified), in this
    order: `hex-text` writes each byte as two hex digits, stuffing, `set-bit-7` for what is sent; `strip-bit-7` clears
    bit 7 of all that is received."""
    error: Text | None = None
    """Regular expression of the reply by which the instrument refuses; a group named `code` is its code."""
    error_meanings: dict[str, Text] = {}
    """Code -> what it means."""

    @model_validator(mode="after")
    def _ends(self) -> Frame:
        ways = [k for k in ("reply_length", "reply_size", "reply_idle") if getattr(self, k) is not None]
        if len(ways) > 1:
            raise ValueError("a reply ends in one way: give one of reply-ends, reply-length, reply-size and reply-idle")
        if self.reply_idle is not None and self.reply_ends:
            raise ValueError("a reply that ends by a pause has no reply-ends")
        return self


class Action(Strict):
    """One step of opening, waking or closing: exactly one of break, wait, flush and send."""

    break_: Annotated[Period, Limits(le=5.0)] | None = None
    """Hold the line in BREAK for so long (serial ports only)."""
    wait: Pause | None = None
    """Send nothing for so long."""
    flush: Literal[True] | None = None
    """Wait until the line is quiet, and drop what came (written as the word `flush`)."""
    send: Sent | None = None
    """What is sent, framed like any request. With `until` it goes as it stands, without end and checksum."""
    reply: Sent | None = None
    """The whole reply that must come, as a template without fields. Neither reply nor until: nothing is awaited."""
    until: Text | None = None
    """Prompt: what comes must end with it (in a binary file, hex); the bytes are sent again until it does."""
    every: Pause | None = None
    """With `until`: how often it is sent."""
    at_most: Annotated[int, Limits(ge=1, le=100)] | None = None
    """With `until`: how many times it is sent at most."""
    timeout: Pause | None = None
    """How long to wait for the reply; left out, as the file's timing says."""
    changes: bool = False
    """Whether it changes the instrument rather than the conversation: `writes` must then allow this `send`."""
    when: When | None = None
    """Parameters with which it is done."""

    @model_validator(mode="after")
    def _one(self) -> Action:
        kinds = [k for k in ("break_", "wait", "flush", "send") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError("a step of a session is exactly one of break, wait, flush and send")
        extra = self.model_fields_set - {kinds[0], "when"}
        if self.send is None and extra:
            raise ValueError(f"{', '.join(sorted(_key(e) for e in extra))} has no place beside {_key(kinds[0])}")
        if self.until is not None and (self.every is None or self.at_most is None or self.reply is not None):
            raise ValueError("until is given with every and at-most, and without reply")
        if self.until is None and (self.every is not None or self.at_most is not None):
            raise ValueError("every and at-most belong to until")
        _bounded(self.every, self.at_most)
        return self


Actions = list[Annotated[Action, BeforeValidator(lambda a: {"flush": True} if a == "flush" else a)]]


class Session(Strict):
    """What is done before the first question of a connection, before each asking, and at the end."""

    open: Actions = []
    """Done at each connect, before the first request."""
    wake: Actions = []
    """Done before each asking, for an instrument that sleeps."""
    close: Actions = []
    """Done when labmon leaves the line in good order."""
    after_error: bool = False
    """Whether one failed exchange ends the session, so that the next asking opens it again. Three in a row always do:
    the instrument may have had no power."""


class Retry(Strict):
    """What is asked again at once, within the same asking, and how often. Without a rule nothing is."""

    on: Literal["refused", "garbled", "silent"]
    """What happened: the instrument answered with its error, with bytes that are no reply, or not at all."""
    code: str | None = None
    """Of refused: only this code (as `frame.error` finds it, or the number of a Modbus exception)."""
    at_most: Annotated[int, Limits(ge=1, le=20)] = 1
    """How often one request is asked again."""
    pause: Annotated[Period, Limits(le=5.0)] | None = None
    """Quiet time before it is asked again; left out, none beyond what the line needs."""

    @model_validator(mode="after")
    def _code(self) -> Retry:
        if self.code is not None and self.on != "refused":
            raise ValueError("only a refusal has a code")
        _bounded(self.pause, self.at_most)
        return self


class Until(Strict):
    """Ask again until the reply says that it is ready; if it never does, the readings are bad: not-ready."""

    conditions: Annotated[list[Condition], Limits(min_length=1)]
    """All of these must hold, on fields of this request."""
    every: Pause
    """Pause between two tries."""
    at_most: Annotated[int, Limits(ge=1, le=100)]
    """How often it is asked at most."""

    @model_validator(mode="after")
    def _short(self) -> Until:
        _bounded(self.every, self.at_most)
        return self


class Merge(Strict):
    """The blocks that are read follow from the fields; each is read whole."""

    gap: Annotated[int, Limits(ge=0, le=124)] = 0
    """Registers or bits between two fields that may be read along: 0 where the manual does not say that they can be."""
    most: Annotated[int, Limits(ge=1, le=2000)] = 125
    """Registers or bits of one block at most."""


class Columns(Strict):
    """A text reply in columns. Blanks around a column are no part of it."""

    delimiter: Delimiter | Annotated[list[Delimiter], Limits(min_length=1)] | None = None
    """What stands between two columns: a text, or any of several. One blank stands for one or more."""
    count: Annotated[int, Limits(ge=1, le=200)] | list[int] | None = None
    """How many columns a reply has, or the least and the most. Left out: as many as the fields tell of."""
    fixed: Annotated[int, Limits(ge=1, le=4000)] | None = None
    """Columns of fixed width: length of the whole reply in characters."""

    @model_validator(mode="after")
    def _one(self) -> Columns:
        if (self.delimiter is None) is (self.fixed is None):
            raise ValueError("give either delimiter or fixed")
        if self.count is not None and self.fixed is not None:
            raise ValueError("columns of fixed width have no count")
        if isinstance(self.count, list) and not (len(self.count) == 2 and 1 <= self.count[0] <= self.count[1] <= 200):
            raise ValueError("count is a number, or the least and the most: 1 to 200")
        return self


class Request(Strict):
    """One request and where its reply holds values. Exactly one of read, write, send, listen, wait and call."""

    read: Literal["coils", "discrete", "holding", "input", "identification"] | None = None
    """The table that is read (function codes 1 to 4), or the device identification (0x2B/0x0E)."""
    write: Literal["coil", "coils", "holding", "holdings"] | None = None
    """What is written: one coil (function code 5) or register (6), several coils (15) or registers (16). `writes` must
    allow it. A 32-bit `type` with `holding` is written by one function code 6 per register."""
    at: Given[int] | None = None
    """Number of the first register or bit."""
    count: Annotated[int, Limits(ge=1, le=2000)] | None = None
    """How many are read."""
    merge: Merge | None = None
    """In the place of at and count: labmon forms the blocks from the fields."""
    value: Given[int | float] | None = None
    """What is written: to a coil 0 or 1."""
    values: Annotated[list[Given[int | float]], Limits(min_length=1, max_length=123)] | None = None
    """What is written to several coils or registers, from `at` on."""
    type: Literal["u16", "i16", "u32", "i32", "f32"] = "u16"
    """Type of each value that is written to registers."""
    order: Given[Order] | None = None
    """Byte and word order of what is written; left out, that of the file."""
    send: Sent | None = None
    """Text or binary: what is sent, without what `frame` adds. A placeholder `{name}`, `{name:format}` or
    `{name+5:format}` is the address or a parameter; formats are d, 02d, x, 02X, and byte, word, word-little for binary
    numbers."""
    reply: Sent | None = None
    """Text: the reply as a template; `{field}`, `[optional]`, a space stands for one or more. Binary: the whole reply
    as hex, `..` for any byte, `{field}` for a field. `{address}` and parameters are filled in."""
    pattern: Given[Sent] | None = None
    """Text: the reply as a regular expression with one named group per field (hyphens become underscores)."""
    columns: Literal["fixed"] | Columns | None = None
    """Text: the reply in columns: between delimiters (`{delimiter: ","}`, fields by `column` or `beside`), or of fixed
    width (`fixed`, fields by `from` and `to`)."""
    bytes: Literal[True] | Annotated[int, Limits(ge=1, le=4096)] | None = None
    """Binary: fields stand at byte offsets (`at`) of the frame from its first byte, `reply-starts` included; a number
    is its exact length without terminator and checksums at the end."""
    starts: Sent | None = None
    """Columns and bytes: what the reply begins with, so that no other is taken for it. Binary: hex."""
    repeat: Repeat | None = None
    """So many requests of this form: `#` in its texts becomes 1, 2, ...; `[0, 7]` counts from 0 to 7."""
    stride: Annotated[int, Limits(ge=-1000, le=1000)] | None = None
    """Repeat: registers from one to the next, for the request and its fields. Left out: none."""
    answer: Literal["none"] | None = None
    """The instrument answers nothing to this request: none is awaited, and what comes all the same is dropped."""
    call: Annotated[str, Limits(min_length=1, max_length=64)] | None = None
    """Python drivers only: the function that asks, and gives the raw values of the fields."""
    wait: Pause | None = None
    """Nothing is asked, for so long: an instrument needs its time before the next request."""
    listen: Literal[True] | None = None
    """Text or binary, in a query of kind stream: nothing is asked. Each frame that comes by itself, is delimited as
    `frame` says of replies and fits the form given here is one set of values."""
    ends: Ends | None = None
    """Listen: what such a frame may end with, where replies on the same port end otherwise. Left out: as `frame` says
    of replies."""
    fields: dict[Id, Field] = {}
    """Where values stand in the reply."""
    changes: bool | None = None
    """Text or binary: whether it changes the instrument (its state, settings or stored data) rather than asks it. Left
    out: yes, when no field is read from its reply. One that changes must be allowed by `writes`."""
    timeout: Pause | None = None
    """How long to wait for this reply; left out, as the file's timing says."""
    after: Pause | None = None
    """Quiet time after this request's reply, where it is longer than the file's timing says."""
    until: Until | None = None
    """Ask again until the reply fulfils conditions."""
    once: bool = False
    """Asked at connect only; what it said is remembered until the next connect or failed exchange."""
    effect: Text | None = None
    """What asking does to the instrument, where reading is not free of effects."""
    when: When | None = None
    """Parameters with which the request is asked."""

    @model_validator(mode="after")
    def _one_kind(self) -> Request:
        kinds = [k for k in ("read", "write", "send", "wait", "listen", "call") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError("a request is exactly one of read, write, send, listen, wait and call")
        kind = "identification" if self.read == "identification" else kinds[0]
        if extra := sorted(_key(e) for e in self.model_fields_set - _ALLOWED[kind]):
            raise ValueError(f"{', '.join(extra)} has no place in this kind of request")
        if kind in _CHECKS:
            _CHECKS[kind](self)
        return self


_ASKED = {"repeat", "stride", "timeout", "after", "once", "until", "effect", "when"}
_ALLOWED = {
    "read": _ASKED | {"read", "at", "count", "merge", "fields"},
    "identification": _ASKED | {"read", "fields"},
    "write": {"repeat", "stride", "write", "at", "value", "values", "type", "order", "timeout", "after", "when"},
    "send": _ASKED | {"send", "reply", "pattern", "columns", "bytes", "starts", "answer", "fields", "changes"},
    "wait": {"wait", "when"},
    "listen": {"listen", "reply", "pattern", "columns", "bytes", "starts", "ends", "fields", "when"},
    "call": {"call", "fields", "timeout", "after", "effect", "when"},
}
"""Kind of request -> the keys that it may have."""
REPLIES = ["reply", "pattern", "columns", "bytes"]
"""The ways to say what the reply to a `send` holds."""


def _read(request: Request) -> None:
    block = request.at is not None and request.count is not None
    if request.merge is None and not block:
        raise ValueError("a read gives at and count")
    if request.merge is not None and (request.at is not None or request.count is not None):
        raise ValueError("a read gives either at and count, or merge")
    if request.merge is not None and not request.fields:
        raise ValueError("merge needs fields: the blocks are formed from them")


def _write(request: Request) -> None:
    several = request.write in ("coils", "holdings")
    if request.at is None or (request.values if several else request.value) is None:
        raise ValueError(f"a write gives at and {'values' if several else 'value'}")
    if (request.value if several else request.values) is not None:
        raise ValueError(f"a write of {request.write} gives {'values' if several else 'value'}")
    if request.write in ("coil", "coils") and request.model_fields_set & {"type", "order"}:
        raise ValueError("a coil has neither type nor order")


def _send(request: Request) -> None:
    given = [name for name in REPLIES if getattr(request, name) is not None]
    if request.answer is not None:
        if given or request.fields or request.until is not None or request.once:
            raise ValueError("a request without an answer has no reply, fields, until or once")
    elif len(given) != 1:
        raise ValueError(f"a text request gives exactly one of {', '.join(REPLIES[:-1])} and {REPLIES[-1]}")
    if request.starts is not None and request.columns is None and request.bytes is None:
        raise ValueError("starts belongs to columns and bytes")


def _listen(request: Request) -> None:
    if sum(getattr(request, name) is not None for name in REPLIES) != 1:
        raise ValueError(f"a request that listens gives exactly one of {', '.join(REPLIES[:-1])} and {REPLIES[-1]}")
    if not request.fields:
        raise ValueError("a request that listens has fields")


_CHECKS: dict[str, Callable[[Request], None]] = {"read": _read, "write": _write, "send": _send, "listen": _listen}


def _bounded(every: float | None, times: int | None) -> None:
    """The line belongs to others, too."""
    if (every or 0.0) * (times or 0) > _LONGEST:
        raise ValueError(f"takes longer than {_LONGEST:g} s in all, in which no other device of the line is asked")


def _key(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
