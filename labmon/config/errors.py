"""What is wrong in a file, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labmon.model.ids import is_id

Path = tuple[str | int, ...]
"""Keys and list indexes that lead from the top of a file to one place in it."""


class Mark(NamedTuple):
    """A place in a text; line and column count from 1."""

    line: int
    column: int


TOP = Mark(1, 1)


@dataclass(frozen=True, slots=True, order=True)
class ConfigError:
    """One mistake (or warning) in a file. `path` is for people: `lines.bus-1.devices.incubator-1.area`.

    As text it is one line: `file:line:column: path: what is wrong; did you mean ...`. Neither message nor hint ever
    holds the value of a secret.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        row = f"{self.file}:{self.line}:{self.column}: {path}{self.message}{hint}"
        return row if row.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in row)


class Positions:
    """Where each key and each value of a file stands."""

    def __init__(self) -> None:
        self._keys: dict[Path, Mark] = {}
        self._values: dict[Path, Mark] = {(): TOP}

    def add(self, path: Path, key: Mark | None, value: Mark) -> None:
        """Note where the value at `path` stands, and its key unless it is an item of a list."""
        if key is not None:
            self._keys[path] = key
        self._values[path] = value

    def key(self, path: Path) -> Mark:
        """Where the key stands; for an item of a list its value; for what is not in the file what should hold it."""
        while path not in self._values:
            path = path[:-1]
        return self._keys.get(path, self._values[path])

    def value(self, path: Path) -> Mark:
        """Where the value stands; for what is not in the file the key of what should hold it."""
        return self._values[path] if path in self._values else self.key(path)

    def known(self, path: Path) -> bool:
        """Whether something stands at `path` in the file itself."""
        return path in self._values


def path_text(path: Path, data: object) -> str:
    """A path for people: an item of a list goes by its id where it has one, else by its index."""
    parts: list[str] = []
    for part in path:
        item: object = None
        if isinstance(data, Mapping):
            item = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            item = data[part]
        name = item.get("id") if isinstance(data, list) and isinstance(item, Mapping) else None
        parts.append(name if isinstance(name, str) and is_id(name) else str(part))
        data = item
    return ".".join(parts)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the known word nearest to `word`, or nothing."""
    words = list(known)
    folded = {w.lower().replace("_", "-"): w for w in words}
    plain = word.lower().replace("_", "-")
    near = difflib.get_close_matches(plain, folded, n=1, cutoff=0.6)
    return f"did you mean `{folded[near[0]]}`?" if near else ""


def one_of(words: Sequence[str]) -> str:
    """Known words as a hint, the first six of them."""
    if not words:
        return ""
    more = f" and {len(words) - 6} more" if len(words) > 6 else ""
    return f"known: {', '.join(words[:6])}{more}"
