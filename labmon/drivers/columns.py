"""Text replies in columns: between delimiters, or of fixed width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labmon.drivers.text_field import TextField
from labmon.links.pattern import Pattern
from labmon.model.reading import Raw

MOST = 200
"""Columns that a reply may have at most."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Where a column is found by what another one holds."""

    texts: frozenset[str]
    offset: int
    first: int
    step: int

    def find(self, columns: Sequence[str]) -> int | None:
        """The column's number, None where none holds the text. Raises ValueError where more than one does."""
        found = [n for n in range(self.first, len(columns), self.step) if columns[n] in self.texts]
        if len(found) > 1:
            raise ValueError(f"{len(found)} columns hold {columns[found[0]]!r}")
        return found[0] + self.offset if found else None


@dataclass(frozen=True, slots=True)
class Column:
    """One value and where it stands."""

    field: TextField
    at: int | Beside
    optional: bool = False


class DelimitedBlock:
    """A reply whose values stand between delimiters. `least` and `most` are how many columns it has."""

    reversible = True

    def __init__(
        self, columns: Sequence[Column], delimiters: Sequence[str], least: int, most: int, starts: bytes = b""
    ) -> None:
        self.fields = tuple(c.field for c in columns)
        self.prefix = starts
        self._columns = [(c, re.compile(c.field.pattern, re.ASCII | re.DOTALL)) for c in columns]
        self._delimiter = delimiters[0]
        # Atomic: a run of delimiters is divided in one way only, so that no reply makes the search long.
        one = "(?>" + "|".join(" +" if text == " " else re.escape(text) for text in delimiters) + ")"
        self._split = re.compile(one)
        self._least, self._most = least, most
        cell = f"(?:(?!{one}).)*+"
        form = f"[ \t]*+{cell}(?:{one}{cell}){{{least - 1},{most - 1}}}[ \t]*"
        self.expect = Pattern(b"(?=" + re.escape(starts) + b")" + form.encode("latin-1"))
        """What the whole reply must match; what stands in each column is seen by `decode`."""

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields, None for one that is missing. Raises ValueError on another reply."""
        if self.expect.fullmatch(data) is None:
            raise ValueError(f"unexpected reply {data[:40]!r}")
        cells = [cell.strip(" \t") for cell in self._split.split(data.decode("latin-1").strip(" \t"), MOST)]
        if not self._least <= len(cells) <= self._most:
            raise ValueError(f"{len(cells)} columns instead of {self._least} to {self._most}")
        return [self._read(column, form, cells) for column, form in self._columns]

    def _read(self, column: Column, form: re.Pattern[str], cells: Sequence[str]) -> Raw:
        at = column.at.find(cells) if isinstance(column.at, Beside) else column.at
        if at is None:
            return None
        text = cells[at] if 0 <= at < len(cells) else None
        if not text and column.optional:
            return None
        if text is None or form.fullmatch(text) is None:
            raise ValueError(f"{column.field.name}: column {at} is {text!r}")
        return column.field.read(text)

    def encode(self, raws: Mapping[str, Raw], shown: bytes = b"") -> bytes:
        """A reply with these raw values; `shown`: one of this form, of which all other columns are kept.

        Raises ValueError for a field that is missing and not optional.
        """
        known = self._split.split(shown.decode("latin-1").strip(" \t"), MOST) if shown else []
        cells = dict(enumerate(known))
        for column, _ in self._columns:
            raw = raws.get(column.field.name)
            at = column.at.find([cell.strip(" \t") for cell in known]) if isinstance(column.at, Beside) else column.at
            if raw is None and not column.optional and not isinstance(column.at, Beside):
                raise ValueError(f"{column.field.name}: a value is missing")
            if isinstance(column.at, Beside) and (at is None or at >= len(known)):
                if raw is not None:
                    self._beside(column.at, column.field.write(raw), cells)
            elif at is not None and (raw is not None or at in cells):
                cells[at] = "" if raw is None else column.field.write(raw)
        prefix = self.prefix.decode("latin-1")
        if prefix and not cells.get(0, "").startswith(prefix):
            # What the reply begins with may reach over several columns, and be the beginning of the last of them.
            for n, text in enumerate(self._split.split(prefix)):
                if not cells.get(n, "").startswith(text):
                    cells[n] = text
        count = max(self._least, max(cells, default=-1) + 1)
        joined = self._delimiter.join(cells.get(n, "") for n in range(count))
        return joined.encode("latin-1")

    def _beside(self, beside: Beside, text: str, cells: dict[int, str]) -> None:
        taken = {c.at for c, _ in self._columns if isinstance(c.at, int)}
        place = beside.first
        while place in cells or place in taken or place + beside.offset in cells or place + beside.offset in taken:
            place += beside.step
            if place >= MOST:
                raise ValueError("no room for the columns")
        cells[place] = min(beside.texts)
        cells[place + beside.offset] = text


@dataclass(frozen=True, slots=True)
class Slice:
    """One value and the characters where it stands; without `to` it goes to the end."""

    field: TextField
    start: int
    to: int | None
    optional: bool = False


class FixedBlock:
    """A reply whose values stand at fixed characters. `length` is that of the whole reply; None: `to` the end."""

    reversible = True

    def __init__(self, slices: Sequence[Slice], length: int | None, starts: bytes = b"") -> None:
        self.fields = tuple(s.field for s in slices)
        self.prefix = starts
        self._slices = [(s, re.compile(s.field.pattern, re.ASCII | re.DOTALL)) for s in slices]
        self._length = length
        self._least = max((s.start if s.to is None else s.to for s in slices), default=0)
        rest = b".*" if length is None else b"[ \t]*"
        size = b".{%d}" % (self._least if length is None else length)
        self.expect = Pattern(b"(?=" + re.escape(starts) + b")" + size + rest)
        """What the whole reply must match."""

    def decode(self, data: bytes) -> Sequence[Raw]:
        """Raw values in the order of the fields, None for an optional one that is blank. Raises ValueError."""
        if self.expect.fullmatch(data) is None:
            raise ValueError(f"unexpected reply {data[:40]!r}")
        line = data.decode("latin-1")
        values: list[Raw] = []
        for one, form in self._slices:
            text = line[one.start : one.to].strip(" \t")
            if not text and one.optional:
                values.append(None)
                continue
            if form.fullmatch(text) is None:
                raise ValueError(f"{one.field.name}: {text!r}")
            values.append(one.field.read(text))
        return values

    def encode(self, raws: Mapping[str, Raw], shown: bytes = b"") -> bytes:
        """A reply with these raw values, numbers to the right, texts to the left; all else as in `shown`.

        Raises ValueError.
        """
        head = shown or self.prefix
        line = list(head.decode("latin-1").ljust(self._least if self._length is None else self._length))
        for one, _ in self._slices if shown else ():
            end = len(line) if one.to is None else one.to
            line[one.start : end] = " " * (end - one.start)
        for one, _ in sorted(self._slices, key=lambda pair: pair[0].start):
            raw = raws.get(one.field.name)
            if raw is None:
                if not one.optional:
                    raise ValueError(f"{one.field.name}: a value is missing")
                continue
            text = one.field.write(raw)
            if one.to is not None:
                width = one.to - one.start
                if len(text) > width:
                    raise ValueError(f"{one.field.name}: {text!r} is longer than {width} characters")
                text = text.ljust(width) if isinstance(raw, str) else text.rjust(width)
            line[one.start : one.start + len(text)] = text
        return "".join(line).encode("latin-1")
