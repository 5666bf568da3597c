"""`repeat` and `#` in a driver file: one text for many fields, channels, requests and conditions of the same form.

Done before the file is checked against the grammar. What comes of it stands, for messages, where its text stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from labmon.config.builder import Parsed
from labmon.config.errors import ConfigError, Path, Positions, path_text

MOST = 256
"""What one `repeat` makes at most."""
MOST_PARTS = 100_000
"""Keys and values that all of them in a file make at most."""
_MARK = re.compile(r"(?<!\{)#|#(?!\})")
"""Every `#` but that of the unit `{#}`."""
_NAMED = ("fields", "queries", "params")
"""Mappings whose entries can be repeated; in lists every mapping can."""
_REGISTERS = {"u32": 2, "i32": 2, "f32": 2, "u24": 2, "i24": 2, "u64": 4, "i64": 4, "f64": 4}
_BYTES = {"u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "f32": 4, "u64": 8, "i64": 8, "f64": 8}


def expand(parsed: Parsed, file: str) -> None:
    """Replace what says `repeat` by what it stands for. Mistakes are added to `parsed.errors`; never raises."""
    if _says_repeat(parsed.data):
        one = _Expansion(parsed)
        data = one.copy(parsed.data, (), (), _same)
        parsed.broken |= one.broken
        parsed.errors += [
            ConfigError(file, *one.old.value(path), path_text(path, parsed.data), message, hint)
            for path, message, hint in one.reports
        ]
        parsed.data, parsed.positions = data, one.new


def _says_repeat(data: Any) -> bool:
    if isinstance(data, dict):
        return (
            "repeat" in data
            or any(isinstance(k, str) and "#" in k for k in data)
            or any(_says_repeat(value) for value in data.values())
        )
    return isinstance(data, list) and any(_says_repeat(value) for value in data)


Text = Callable[[str], str]


def _same(text: str) -> str:
    return text


class _Expansion:
    """One file being expanded. Each part goes with its new and its old path, and what is done to its texts."""

    def __init__(self, parsed: Parsed) -> None:
        self.old = parsed.positions
        self.new = Positions()
        self.reports: list[tuple[Path, str, str]] = []
        self.broken: set[Path] = set()
        self._made = 0
        self._in_bytes = False

    def copy(self, part: Any, to: Path, source: Path, text: Text, *, within: bool = False) -> Any:
        """A part with everything in it expanded; `within` one that is repeated already."""
        self._place(to, source)
        if isinstance(part, dict):
            return self._mapping(part, to, source, text, within)
        if isinstance(part, list):
            return self._list(part, to, source, text, within)
        return text(part) if isinstance(part, str) else part

    def _place(self, to: Path, source: Path) -> None:
        self._made += 1
        self.new.add(to, self.old.key(source), self.old.value(source))

    def _mapping(self, part: dict[Any, Any], to: Path, source: Path, text: Text, within: bool) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        if "fields" in part:
            self._in_bytes = "bytes" in part
        for key, value in part.items():
            at = (*source, key)
            if source[-1:] and source[-1] in _NAMED and isinstance(value, dict) and "repeat" in value:
                for number, changed in self._repeats(value, at, key, within):
                    name = _marked(number)(key) if isinstance(key, str) else key
                    if name in found:
                        self.report(at, f"makes a second {name}")
                        break
                    found[name] = self.copy(changed, (*to, name), at, _marked(number), within=True)
            elif source[-1:] == ("bits",) and isinstance(key, str) and "#" in text(key) and isinstance(value, list):
                self._bits(found, key, value, to, at)
            else:
                name = text(key) if isinstance(key, str) else key
                found[name] = self.copy(value, (*to, name), at, text, within=within)
        return found

    def _bits(self, found: dict[Any, Any], key: str, value: list[Any], to: Path, at: Path) -> None:
        """`valid-#: [0, 7]`: eight bits with names, counted from 1."""
        if len(value) != 2 or not all(type(v) is int for v in value) or not 0 <= value[0] <= value[1] < 64:
            self.report(at, "names of several bits give the first and the last bit", "`name-#: [0, 7]`")
            return
        for number, bit in enumerate(range(value[0], value[1] + 1), 1):
            name = _marked(number)(key)
            self._place((*to, name), at)
            found[name] = bit

    def _list(self, part: list[Any], to: Path, source: Path, text: Text, within: bool) -> list[Any]:
        found: list[Any] = []
        for index, value in enumerate(part):
            at = (*source, index)
            if isinstance(value, dict) and "repeat" in value:
                for number, changed in self._repeats(value, at, value.get("id"), within):
                    found.append(self.copy(changed, (*to, len(found)), at, _marked(number), within=True))
            else:
                found.append(self.copy(value, (*to, len(found)), at, text, within=within))
        return found

    def _repeats(self, value: dict[Any, Any], at: Path, name: Any, within: bool) -> list[tuple[int, dict[Any, Any]]]:
        """Each number that `#` stands for, with the part as it is for that number (positions moved on)."""
        given = value["repeat"]
        numbers = _numbers(given)
        if numbers is None:
            self.report((*at, "repeat"), f"is how many, 1 to {MOST}, or the first and the last number: `[0, 7]`")
        elif within:
            self.report((*at, "repeat"), "stands within another repeat")
        elif isinstance(name, str) and not _MARK.search(name):
            self.report((*at, "repeat"), f"makes {len(numbers)} with one name", "put `#` into the name")
        else:
            parts = _size(value) * len(numbers)
            if self._made + parts > MOST_PARTS:
                self.report((*at, "repeat"), f"makes more than {MOST_PARTS} parts in this file")
                return []
            plain = {key: inner for key, inner in value.items() if key != "repeat"}
            if not {"fields", "requests"} & set(at[-2:]):
                return [(number, plain) for number in numbers]
            return [(number, self._moved(plain, at, n)) for n, number in enumerate(numbers)]
        self.broken.add(at)
        return []

    def _moved(self, value: dict[Any, Any], at: Path, steps: int) -> dict[Any, Any]:
        stride = value.get("stride", _own_length(value, self._in_bytes))
        if type(stride) is not int:
            return value  # which the grammar refuses
        plain = {key: inner for key, inner in value.items() if key != "stride"}
        if not stride or not steps:
            return plain
        if isinstance(plain.get("at"), dict) and steps == 1:
            self.report((*at, "at"), "of what is repeated is a number, not a parameter")
        moved = _shifted(plain, steps * stride)
        if isinstance(plain.get("fields"), dict):
            moved["fields"] = {
                name: _shifted(field, steps * stride) if isinstance(field, dict) else field
                for name, field in plain["fields"].items()
            }
        return moved

    def report(self, path: Path, message: str, hint: str = "") -> None:
        """Note a mistake, once."""
        if (path, message, hint) not in self.reports:
            self.reports.append((path, message, hint))


def _shifted(part: Mapping[Any, Any], by: int) -> dict[Any, Any]:
    places = ("at", "column", "from", "to", "object")
    return {key: v + by if key in places and type(v) is int else v for key, v in part.items()}


def _own_length(field: Mapping[Any, Any], in_bytes: bool) -> int:
    """What one value takes where it stands; nothing for what stands in no numbered place."""
    type_ = str(field.get("type"))
    if "column" in field or "object" in field:
        return 1
    if type(field.get("from")) is int and type(field.get("to")) is int:
        return int(field["to"]) - int(field["from"])
    if "at" not in field or "type" not in field:
        return 0
    for key in ("length", "registers"):
        if type(field.get(key)) is int:
            return int(field[key])
    return (_BYTES if in_bytes else _REGISTERS).get(type_, 1)


def _numbers(given: Any) -> range | None:
    if type(given) is int and 1 <= given <= MOST:
        return range(1, given + 1)
    if isinstance(given, list) and len(given) == 2 and all(type(n) is int for n in given):
        first, last = given
        if 0 <= first <= last < 100_000 and last - first < MOST:
            return range(first, last + 1)
    return None


def _marked(number: int) -> Text:
    return lambda text: _MARK.sub(str(number), text)


def _size(part: Any) -> int:
    if isinstance(part, dict):
        return 1 + sum(_size(value) for value in part.values())
    return 1 + sum(_size(value) for value in part) if isinstance(part, list) else 1
