"""What a YAML library's events make: plain data with the position of every key and value.

Keys and values are put together here, because only here can all mistakes be told at once, each with its position. The
language is kept small: no anchors, tags, merge keys or second document. A plain word is null, true, false or a number
by the core schema of YAML 1.2, else text (a date is text, `yes` is text).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from labmon.config.errors import ConfigError, Mark, Path, Positions, path_text

MAX_DEPTH = 40
MAX_DIGITS = 30

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Parsed:
    """Plain data (dict, list, str, int, float, bool, None) of a text. `broken` are paths whose value was refused."""

    data: Any
    positions: Positions
    errors: list[ConfigError]
    broken: set[Path] = field(default_factory=set)


def scalar(text: str) -> Any:
    """The value of a plain word by the core schema of YAML 1.2. Raises ValueError for a number too long to be one."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of more than {MAX_DIGITS} digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def mark_of(mark: Any) -> Mark:
    """A library's mark, which counts from 0."""
    return Mark(mark.line + 1, mark.column + 1)


_NO_KEY = object()
"""Stands for a key that was refused: its value is read over."""


class _Frame:
    """A mapping or list that is being read. `dead`: refused, its content is read over."""

    __slots__ = ("dead", "into", "key", "key_mark", "path")

    def __init__(self, into: dict[Any, Any] | list[Any], path: Path, dead: bool) -> None:
        self.into = into
        self.path = path
        self.dead = dead
        self.key: Any = None
        self.key_mark: Mark | None = None


class Builder:
    """Takes the events of one text in their order. `events` is the library's module of events.

    PyYAML and ruamel.yaml name their events and what these hold alike, so that either can stand before it.
    """

    def __init__(self, file: str, events: ModuleType) -> None:
        self.data: Any = None
        self._file = file
        self._positions = Positions()
        self._reports: list[tuple[Mark, Path, str, str]] = []
        self._broken: set[Path] = set()
        self._stack: list[_Frame] = []
        self._documents = 0
        self._handlers: dict[type, Callable[[Any, Mark], bool]] = {
            events.DocumentStartEvent: self._document,
            events.AliasEvent: self._alias,
            events.ScalarEvent: self._scalar,
            events.MappingStartEvent: self._mapping,
            events.SequenceStartEvent: self._sequence,
            events.MappingEndEvent: self._end,
            events.SequenceEndEvent: self._end,
        }

    @property
    def faultless(self) -> bool:
        """Whether nothing was reported so far."""
        return not self._reports

    def report(self, mark: Mark, path: Path, message: str, hint: str = "") -> None:
        """Note a mistake."""
        self._reports.append((mark, path, message, hint))

    def result(self) -> Parsed:
        """What came of the text."""
        errors = [
            ConfigError(self._file, mark.line, mark.column, path_text(path, self.data), message, hint)
            for mark, path, message, hint in self._reports
        ]
        return Parsed(self.data, self._positions, errors, self._broken)

    def take(self, event: Any) -> bool:
        """Take in one event; False when the rest of the text cannot be read."""
        handler = self._handlers.get(type(event))
        return handler is None or handler(event, mark_of(event.start_mark))

    def _document(self, _: Any, mark: Mark) -> bool:
        self._documents += 1
        if self._documents > 1:
            self.report(mark, (), "a second document begins; one file holds one")
        return self._documents == 1

    def _alias(self, _: Any, mark: Mark) -> bool:
        self._refused(mark, "anchors and aliases (`&`, `*`) are not used here", "give limits by profile, or repeat")
        return True

    def _mapping(self, event: Any, mark: Mark) -> bool:
        return self._open({}, event, mark)

    def _sequence(self, event: Any, mark: Mark) -> bool:
        return self._open([], event, mark)

    def _end(self, _: Any, __: Mark) -> bool:
        self._stack.pop()
        return True

    @property
    def _at_key(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and isinstance(top.into, dict) and top.key_mark is None

    @property
    def _read_over(self) -> bool:
        return bool(self._stack) and (self._stack[-1].dead or self._stack[-1].key is _NO_KEY)

    def _here(self) -> Path:
        """Path of the value that is about to be put in place."""
        if not self._stack:
            return ()
        top = self._stack[-1]
        return (*top.path, top.key if isinstance(top.into, dict) else len(top.into))

    def _scalar(self, event: Any, mark: Mark) -> bool:
        value: Any = event.value
        if event.tag:
            self._refused(mark, "tags (`!`) are not used here", "put text that begins with `!` in quotes")
            return True
        if not event.value.isascii() and _SURROGATE.search(event.value):
            self._refused(mark, "half of a character (a surrogate)", "write the character itself")
            return True
        if event.style in (None, "") and event.implicit[0]:
            try:
                value = scalar(event.value)
            except ValueError as error:
                self._refused(mark, str(error), "put it in quotes if it is a text")
                return True
        if self._at_key:
            self._key(value if isinstance(value, int) and not isinstance(value, bool) else event.value, mark)
        else:
            self._put(value, mark)
        return True

    def _key(self, key: Any, mark: Mark) -> None:
        top = self._stack[-1]
        if isinstance(top.into, dict) and not top.dead and key in top.into:
            first = self._positions.key((*top.path, key))
            self.report(mark, (*top.path, key), f"stands here a second time, first in line {first.line}")
            key = _NO_KEY
        top.key, top.key_mark = key, mark

    def _put(self, value: Any, mark: Mark) -> None:
        if not self._stack:
            self.data = value
            self._positions.add((), None, mark)
            return
        top, path, read_over = self._stack[-1], self._here(), self._read_over
        key, key_mark = top.key, top.key_mark
        top.key = top.key_mark = None
        if read_over:
            return
        self._positions.add(path, key_mark, mark)
        if isinstance(top.into, dict):
            top.into[key] = value
        else:
            top.into.append(value)

    def _open(self, into: dict[Any, Any] | list[Any], event: Any, mark: Mark) -> bool:
        if len(self._stack) >= MAX_DEPTH:
            self.report(mark, (), f"nested more than {MAX_DEPTH} deep")
            self.data = None
            return False
        path, dead = self._here(), self._read_over
        if event.tag or self._at_key:
            what = "tags (`!`) are not used here" if event.tag else "a mapping or list cannot be a key"
            self._refused(mark, what, "put text that begins with `!`, `{` or `[` in quotes")
            dead = True
        else:
            self._put(into, mark)
        self._stack.append(_Frame(into, path, dead))
        return True

    def _refused(self, mark: Mark, message: str, hint: str) -> None:
        """Report what stands here, and go on as if nothing did."""
        if self._at_key:
            top = self._stack[-1]
            if not top.dead:
                self.report(mark, top.path, message, hint)
            top.key, top.key_mark = _NO_KEY, mark
            return
        if not self._read_over:
            self.report(mark, self._here(), message, hint)
            self._broken.add(self._here())
        self._put(None, mark)
