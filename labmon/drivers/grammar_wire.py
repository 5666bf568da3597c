"""What a driver file says of the wire: how text is framed, what is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.types import Id, Strict, Text
from labmon.drivers.given import Given, When
from labmon.drivers.grammar_fields import Field
from labmon.links.checksum import ChecksumName, Encoding

Sent = Annotated[str, Limits(max_length=1000)]


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
            allowed |= {"read"}
        else:
            allowed |= {"read", "at", "count"}
            if self.at is None or self.count is None:
                raise ValueError("a read gives at and count")
        if extra := sorted(self.model_fields_set - allowed):
            raise ValueError(f"{', '.join(extra)} has no place in this kind of request")
        return self
