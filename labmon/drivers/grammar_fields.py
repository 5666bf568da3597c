"""What a driver file says of the replies' contents: where values stand and how they are written, without meaning."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field as Limits

from labmon.config.types import Strict
from labmon.drivers.given import Given, When

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
FORM_NUMBER = re.compile(r"\+?0?\d*(?:\.\d+)?[fe]")
FORM_HEX = re.compile("[xX]")
FORM_TIME = re.compile(r"(?:%[dmyYHMS]|[^%A-Za-z0-9])+")


class Sentinel(Strict):
    """A raw word or text that is not a value."""

    raw: Given[int | float | str]
    """The value as it stands on the wire."""
    reason: ReasonName
    """Why there is no value."""


class Field(Strict):
    """One value in a reply, as it stands on the wire: no units, no meaning."""

    at: Given[int] | None = None
    """Modbus: number of its first register or bit, in the file's convention."""
    object: int | None = None
    """Device identification: the object's id."""
    type: WordType | TextType
    """How the value is written on the wire."""
    order: Given[Order] | None = None
    """Byte and word order, where it differs from the file's."""
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
    """Values that mean that there is none."""
    when: When | None = None
    """Parameters with which the field exists."""
