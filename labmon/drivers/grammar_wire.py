"""What a driver file says of the wire: how text is framed, what is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.types import Id, Strict, Text
from labmon.drivers.given import Given, When
from labmon.drivers.grammar_fields import Field, Repeat
from labmon.links.checksum import ChecksumName, Encoding

Sent = Annotated[str, Limits(max_length=1000)]
Delimiter = Annotated[str, Limits(min_length=1, max_length=8)]


class Checksum(Strict):
    """Checksum of a text frame, written right before the terminator: over all that stands before it from `start`."""

    name: ChecksumName
    """The algorithm."""
    encoding: Encoding = "hex-upper"
    """How it is written."""
    start: Annotated[int, Limits(ge=0)] = 0
    """Offset of the first character that it covers."""


class LengthField(Strict):
    """The reply says how long it is: `size` characters (or bytes) at offset `at`."""

    at: Annotated[int, Limits(ge=0)]
    """Offset of the field in the reply."""
    size: Annotated[int, Limits(ge=1, le=8)]
    """Its characters or bytes."""
    encoding: Literal["hex", "decimal", "big", "little"]
    """How the number is written: digits, or binary with the high or the low byte first."""
    plus: Annotated[int, Limits(ge=0)]
    """Bytes of the whole reply beyond those that the field counts, terminator and checksum included."""


class Frame(Strict):
    """How requests and replies are delimited on a text line."""

    end: Given[str]
    """What ends a request."""
    reply_ends: Annotated[list[Given[str]], Limits(min_length=1)] | None = None
    """What a reply may end with, or the end character itself. Left out: as `end`."""
    reply_length: LengthField | None = None
    """A field of the reply that says how long it is."""
    checksum: Checksum | None = None
    """The checksum of requests and replies."""
    echo: bool = False
    """Whether the instrument repeats what it was sent."""
    error: Text | None = None
    """Regular expression of the reply by which the instrument refuses; a group named `code` is its code."""
    error_meanings: dict[str, Text] = {}
    """Code -> what it means."""


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
    """One request and where its reply holds values."""

    read: Literal["coils", "discrete", "holding", "input", "identification"] | None = None
    """The table that is read, or the device identification."""
    write: Literal["holding"] | None = None
    """The table that is written."""
    at: Given[int] | None = None
    """Number of the first register or bit."""
    count: Annotated[int, Limits(ge=1, le=2000)] | None = None
    """How many are read."""
    value: Given[int] | None = None
    """What is written."""
    send: Sent | None = None
    """Text: what is sent, without terminator and checksum; `{address}` and `{<param>}` are filled in."""
    reply: Sent | None = None
    """Text: the reply as a template; `{field}`, `[optional]`, a space stands for one or more."""
    pattern: Sent | None = None
    """Text: the reply as a regular expression with one named group per field (hyphens become underscores)."""
    columns: Literal["fixed"] | Columns | None = None
    """Text: the reply in columns: between delimiters (`{delimiter: ","}`, fields by `column` or `beside`), or of fixed
    width (`fixed`, fields by `from` and `to`)."""
    bytes: Literal[True] | Annotated[int, Limits(ge=1, le=4096)] | None = None
    """Binary: fields stand at byte offsets (`at`) of what is left of the frame without header, checksum and end; a
    number is its exact length."""
    starts: Sent | None = None
    """Columns and bytes: what the reply begins with, so that no other is taken for it. Binary: hex."""
    repeat: Repeat | None = None
    """So many requests of this form: `#` in its texts becomes 1, 2, ...; `[0, 7]` counts from 0 to 7."""
    stride: Annotated[int, Limits(ge=-1000, le=1000)] | None = None
    """Repeat: registers from one to the next, for the request and its fields. Left out: none."""
    fields: dict[Id, Field] = {}
    """Where values stand in the reply."""
    effect: Text | None = None
    """What asking does to the instrument, where reading is not free of effects."""
    when: When | None = None
    """Parameters with which the request is asked."""

    @model_validator(mode="after")
    def _one_kind(self) -> Request:
        if sum(x is not None for x in (self.read, self.write, self.send)) != 1:
            raise ValueError("a request is exactly one of read, write and send")
        allowed = {"fields", "effect", "when", "repeat", "stride"}
        if self.send is not None:
            allowed |= {"send", "reply", "pattern", "columns", "bytes", "starts"}
            if sum(x is not None for x in (self.reply, self.pattern, self.columns, self.bytes)) != 1:
                raise ValueError("a text request gives exactly one of reply, pattern, columns and bytes")
            if self.starts is not None and self.columns is None and self.bytes is None:
                raise ValueError("starts belongs to columns and bytes")
        elif self.write is not None:
            allowed = {"write", "at", "value", "when"}
            if self.at is None or self.value is None:
                raise ValueError("a write gives at and value")
        elif self.read == "identification":
            allowed |= {"read"}
        else:
            allowed |= {"read", "at", "count"}
            if self.at is None or self.count is None:
                raise ValueError("a read gives at and count")
        if extra := sorted(self.model_fields_set - allowed):
            raise ValueError(f"{', '.join(extra)} has no place in this kind of request")
        return self
