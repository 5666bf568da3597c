"""One value in a text reply: what may stand in its place, and reading and writing it."""

from __future__ import annotations

import math
import re
import struct
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass, field

from labmon.drivers.words import RAW_TYPES, ByteField, part_of, with_part
from labmon.model.reading import Raw

_TIME_DIGITS = {"%d": 2, "%m": 2, "%y": 2, "%Y": 4, "%H": 2, "%M": 2, "%S": 2}
_MOST_INTEGER = 1 << 63
_SIGN = "[+-]? {0,8}"
"""Some instruments leave blanks between the sign and the digits."""
_NUMBER = rf"{_SIGN}(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RAW_TYPES = {"number": "d", "integer": "q", "hex": "q", "time": "q", "word": "q"}


@dataclass(frozen=True, slots=True)
class TextField:
    """One value in a text reply."""

    name: str
    type: str
    form: str | None = None
    digits: int | None = None
    codes: Mapping[str, int] = field(default_factory=dict)
    sentinels: Mapping[Raw, str] = field(default_factory=dict)
    """Raw text or number -> reason."""
    comma: bool = False
    """The decimal sign is a comma."""
    word: ByteField | None = None
    """The number that the bytes of hex text are, where they are not a whole number by themselves."""
    part: tuple[int, int] | None = None
    """Lowest and highest bit of the number that are the value."""
    bits: Mapping[str, int] = field(default_factory=dict)
    """Name -> number of single bits."""

    @property
    def raw_type(self) -> str:
        """How the journal packs its raw values (see labmon.model.exchange.Column)."""
        return _RAW_TYPES.get(self.type, "-") if self.word is None else RAW_TYPES[self.word.type]

    @property
    def whole(self) -> bool:
        """Whether its raw values are whole numbers."""
        return self.type in ("integer", "hex", "time", "word") and (self.word is None or self.word.whole)

    @property
    def places(self) -> tuple[int, int] | None:
        """Lowest and highest bit of the number that belong to it; None for all."""
        return self.part

    @property
    def pattern(self) -> str:
        """Regular expression of what may stand in its place; a text that means "no value" may, too."""
        texts = [re.escape(text) for text in self.sentinels if isinstance(text, str)]
        return "|".join([*texts, self._plain()])

    def _plain(self) -> str:
        length = f"{{{self.digits}}}" if self.digits else "+"
        if self.type == "number":
            sign = "," if self.comma else r"\."
            return rf"[0-9eE+\-{sign} ]{length}" if self.digits else _NUMBER.replace(r"\.", sign)
        if self.type == "integer":
            return f"[0-9+ -]{length}" if self.digits else rf"{_SIGN}\d+"
        if self.type == "hex":
            return rf"(?:0[xX])?[0-9A-Fa-f]{length}"
        if self.type == "word":
            # A word begins with a letter: a column too many is not to be taken for one.
            return rf"[A-Za-z][^\s]{{{self.digits - 1}}}" if self.digits else r"[A-Za-z][^\s]*"
        if self.type == "words":
            return r"[A-Za-z][^\s]*(?: +[A-Za-z][^\s]*)*"
        if self.type == "time":
            return re.sub(r"%[dmyYHMS]", lambda m: rf"\d{{{_TIME_DIGITS[m[0]]}}}", re.escape(self.form or ""))
        return f".{{{self.digits}}}" if self.digits else ".*"

    def read(self, text: str) -> Raw:
        """The raw value: a number where the type is one, else text. Raises ValueError where it is none."""
        if text in self.sentinels:
            return text
        if self.codes:
            return self.codes.get(text, text)
        if self.type == "number":
            plain = _signed(text)
            return float(plain.replace(",", ".") if self.comma else plain)
        if self.type in ("integer", "hex"):
            return self._whole(text)
        if self.type == "time":
            return timegm(time.strptime(text, self.form or ""))
        return text

    def _whole(self, text: str) -> Raw:
        if self.word is not None:
            data = bytes.fromhex(text[2:] if text[:2] in ("0x", "0X") else text)
            if len(data) != self.word.registers:
                raise ValueError(f"{self.name}: {text!r} has not {2 * self.word.registers} digits")
            picked = bytes(data[place] for place in self.word.positions(0))
            raw: Raw = struct.unpack(">" + self.word.code, picked)[0]
        else:
            raw = int(_signed(text), 16 if self.type == "hex" else 10)
            if abs(raw) >= _MOST_INTEGER:
                raise ValueError(f"{self.name}: an integer of more than 63 bits")
        return raw if self.part is None else part_of(self.part, False)(raw)

    def write(self, raw: Raw, before: int = 0) -> str:
        """The text that the instrument would write; `before` is the number that a part is put into.

        Raises ValueError for a raw value that it cannot.
        """
        if isinstance(raw, str) and (raw in self.sentinels or self.type in ("word", "words", "text")):
            return raw
        if self.codes:
            texts = [text for text, code in self.codes.items() if code == raw]
            if not texts:
                raise ValueError(f"{self.name}: no text stands for {raw!r}")
            return texts[0]
        if not isinstance(raw, (int, float)):
            raise ValueError(f"{self.name}: {raw!r} is no {self.type}")  # noqa: TRY004
        if isinstance(raw, float) and not math.isfinite(raw) and self.word is None:
            raise ValueError(f"{self.name}: {raw!r} is no {self.type}")
        if self.type == "number":
            plain = format(float(raw), self.form or "g")
            return plain.replace(".", ",") if self.comma else plain
        if self.type == "time":
            return time.strftime(self.form or "", time.gmtime(raw))
        if self.word is not None:
            data = bytearray(self.word.registers)
            self.word.put(data, 0, raw)
            return data.hex() if self.form == "x" else data.hex().upper()
        number = int(raw) if self.part is None else with_part(before, *self.part, raw, self.name)
        if self.type == "integer":
            return f"{number:0{self.digits or 1}d}"
        return f"{number:0{self.digits or 1}{self.form or 'X'}}"


def _signed(text: str) -> str:
    """A number without the blanks behind its sign. Raises ValueError for what only Python takes for a number."""
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return text[0] + text[1:].lstrip(" ") if text[:1] in ("+", "-") else text
