"""What a driver file says of the replies' contents: where values stand and how they are written, without meaning."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field as Limits
from pydantic import model_validator

from labmon.config.types import Id, Strict, Text
from labmon.drivers.given import Given, When

WordType = Literal[
    "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f32", "f64", "bit", "bool", "bcd", "ascii"
]
TextType = Literal["number", "integer", "hex", "word", "words", "text", "time"]
HexNumber = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
"""What the bytes that hex text stands for may be."""
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
Repeat = Annotated[int, Limits(ge=1, le=256)] | Annotated[list[int], Limits(min_length=2, max_length=2)]
BitNumber = Annotated[int, Limits(ge=0, le=63)]
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


class Beside(Strict):
    """A column that another column's text points at: the count that stands beside its particle size."""

    text: Text | Annotated[list[Text], Limits(min_length=1)]
    """What stands in the other column: this text, or one of these. Two columns that hold it are a broken reply."""
    offset: int = 1
    """Columns from the one with the text to the one with the value."""
    first: Annotated[int, Limits(ge=0, le=199)] = 0
    """Column, from 0, from which on the text is looked for."""
    step: Annotated[int, Limits(ge=1, le=100)] = 1
    """Columns from one place where the text may stand to the next: 2 where sizes and counts alternate."""

    @model_validator(mode="after")
    def _points(self) -> Beside:
        if self.offset == 0 or not -100 <= self.offset <= 100:
            raise ValueError("offset leads to another column: -100 to 100, not 0")
        return self


class Field(Strict):
    """One value in a reply, as it stands on the wire: no units, no meaning."""

    at: Given[int] | None = None
    """Modbus: number of its first register or bit, in the file's convention. Binary: offset of its first byte."""
    object: int | None = None
    """Device identification: the object's id."""
    type: WordType | TextType
    """How the value is written on the wire."""
    order: Given[Order] | None = None
    """Byte and word order, where it differs from the file's."""
    byte: Literal["high", "low"] = "low"
    """Which byte of the register holds a u8 or i8."""
    bit: Annotated[int, Limits(ge=0, le=15)] | None = None
    """A single bit of the register, or of the byte in a binary reply (0 to 7). 0 is the lowest."""
    part: Annotated[list[BitNumber], Limits(min_length=2, max_length=2)] | None = None
    """The lowest and the highest bit of a whole number that make the value: `[8, 15]` is the high byte of a u16, or of
    a bcd of one register: its two digits."""
    bits: dict[Id, BitNumber] | None = None
    """Names of single bits, 0 the lowest, for conditions and channels. `name-#: [0, 7]` names eight."""
    registers: Annotated[int, Limits(ge=1, le=125)] | None = None
    """Length of an ascii or bcd field in registers."""
    length: Annotated[int, Limits(ge=1, le=250)] | None = None
    """Binary: length of an ascii or bcd field in bytes."""
    chars: Literal["two", "high", "low"] = "two"
    """Modbus: characters of an ascii field in each register: two (the high byte first), or one in the byte named."""
    form: Given[str] | None = None
    """Text: how the instrument writes it: `+06.2f`; `%d.%m.%y` for a time."""
    digits: Annotated[int, Limits(ge=1, le=64)] | None = None
    """Text: exact number of characters."""
    comma: bool = False
    """Text: the decimal sign of a number is a comma."""
    as_: HexNumber | None = None
    """Text: the number whose bytes the hex digits are, `order` as in a register; left out, they are a whole number."""
    codes: dict[str, int] | None = None
    """Text: numbers for words; a word not listed is no value."""
    column: Annotated[int, Limits(ge=0, le=199)] | None = None
    """Text in columns: which one, from 0."""
    from_: Annotated[int, Limits(ge=0, le=4000)] | None = None
    """Text in fixed columns: offset of its first character, from 0."""
    to: Annotated[int, Limits(ge=1, le=4000)] | None = None
    """Text in fixed columns: offset behind its last character, so that `to` less `from` is its width."""
    beside: Beside | None = None
    """Text in columns: the column is the one beside a text."""
    optional: bool = False
    """Text in columns: whether the column may be missing or empty. With `bytes: true`: whether the reply may end before
    it. The field is then not available."""
    sentinels: list[Sentinel] = []
    """Values that mean that there is none."""
    repeat: Repeat | None = None
    """So many fields of this form: `#` in its name and texts becomes 1, 2, ...; `[0, 7]` counts from 0 to 7."""
    stride: Annotated[int, Limits(ge=-1000, le=1000)] | None = None
    """Repeat: registers, bits, bytes, columns or characters from one to the next. Left out: the value's own length."""
    when: When | None = None
    """Parameters with which the field exists."""
