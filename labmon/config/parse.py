"""YAML 1.2 text to plain data, with the position of every key and value.

ruamel.yaml reads the syntax; keys and values are put together here, because only here can all mistakes be told at once,
each with its position. The language is kept small: no anchors, tags, merge keys or second document. A plain word is
null, true, false or a number by the core schema of YAML 1.2, else text (a date is text, `yes` is text).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from labmon.config.errors import ConfigError, Mark, Path, Positions, path_text

MAX_CHARACTERS = 4_000_000
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
# What the parser says -> what the writer of the file can do about it. The parser's own words quote the file, which may
# hold what should have been a secret: only these texts are passed on.
_SYNTAX = (
    (r"found character '\\t'", "a tab stands where only blanks may", "indent with blanks"),
    (r"mapping values are not allowed", "`: ` is not expected here", "indent differently, or put the text in quotes"),
    (r"expected <block end>", "this does not line up with what stands above", "check the indentation"),
    (r"could not find expected ':'", "a `:` is missing after a key", ""),
    (r"found unexpected end of stream", "a quote is not closed", ""),
    (r"expected the node content, but found '<stream end>'|expected ',' or '[]}]'", "a bracket is not closed", ""),
    (
        r"found character '.+' that cannot start",
        "a text that begins with this character must be put in quotes",
        "or a quote further up is not closed",
    ),
    (r"unknown escape", "unknown escape after `\\`", "use single quotes for text with backslashes"),
    (r"undefined tag handle|found duplicate", "tags are not used in labmon's files", "put the text in quotes"),
)


@dataclass(slots=True)
class Parsed:
    """Plain data (dict, list, str, int, float, bool, None) of a text. `broken` are paths whose value was refused."""

    data: Any
    positions: Positions
    errors: list[ConfigError]
    broken: set[Path] = field(default_factory=set)


def parse(text: str, file: str) -> Parsed:
    """Read a text. Every mistake is in `errors`; never raises."""
    builder = _Builder(file)
    if len(text) > MAX_CHARACTERS:
        builder.report(Mark(1, 1), (), f"the file is longer than {MAX_CHARACTERS} characters")
        return builder.result()
    try:
        for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
            if not builder.take(event):
                break
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        builder.report(mark, (), "a control character, which may not stand in a YAML file")
        builder.data = None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.report(_mark(mark) if mark else Mark(1, 1), (), *_syntax(error))
        builder.data = None
    except YAMLError:
        builder.report(Mark(1, 1), (), "is not YAML")
        builder.data = None
    return builder.result()


def _syntax(error: MarkedYAMLError) -> tuple[str, str]:
    said = f"{error.context or ''}: {error.problem or ''}"
    for pattern, message, hint in _SYNTAX:
        if re.search(pattern, said):
            return message, hint
    return "is not valid YAML here", "put text with special characters in quotes"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


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


class _Builder:
    def __init__(self, file: str) -> None:
        self.data: Any = None
        self._file = file
        self._positions = Positions()
        self._reports: list[tuple[Mark, Path, str, str]] = []
        self._broken: set[Path] = set()
        self._stack: list[_Frame] = []
        self._documents = 0

    def report(self, mark: Mark, path: Path, message: str, hint: str = "") -> None:
        self._reports.append((mark, path, message, hint))

    def result(self) -> Parsed:
        errors = [
            ConfigError(self._file, mark.line, mark.column, path_text(path, self.data), message, hint)
            for mark, path, message, hint in self._reports
        ]
        return Parsed(self.data, self._positions, errors, self._broken)

    def take(self, event: Any) -> bool:
        """Take in one event; False when the rest of the text cannot be read."""
        mark = _mark(event.start_mark)
        if isinstance(event, ev.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self.report(mark, (), "a second document begins; one file holds one")
                return False
        elif isinstance(event, ev.AliasEvent):
            self._refused(mark, "anchors and aliases (`&`, `*`) are not used here", "give limits by profile, or repeat")
        elif isinstance(event, ev.ScalarEvent):
            self._scalar(event, mark)
        elif isinstance(event, (ev.MappingStartEvent, ev.SequenceStartEvent)):
            return self._open({} if isinstance(event, ev.MappingStartEvent) else [], event, mark)
        elif isinstance(event, (ev.MappingEndEvent, ev.SequenceEndEvent)):
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

    def _scalar(self, event: Any, mark: Mark) -> None:
        if event.tag:
            self._refused(mark, "tags (`!`) are not used here", "put text that begins with `!` in quotes")
            return
        value: Any = event.value
        if not event.value.isascii() and _SURROGATE.search(event.value):
            self._refused(mark, "half of a character (a surrogate)", "write the character itself")
            return
        if event.style in (None, "") and event.implicit[0]:
            try:
                value = scalar(event.value)
            except ValueError as error:
                self._refused(mark, str(error), "put it in quotes if it is a text")
                return
        if self._at_key:
            self._key(value if isinstance(value, int) and not isinstance(value, bool) else event.value, mark)
        else:
            self._put(value, mark)

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
