"""Strict reading of JSON that came from elsewhere: every field checked, every size bounded, errors that say where."""

from __future__ import annotations

import math
from typing import Any, Final

import orjson

VERSION: Final = 1
MAX_TIME: Final = 2**63 - 1
"""UTC nanoseconds; the last moment of InfluxDB's time too."""
MAX_SEQ: Final = 2**63 - 1
MAX_SMALL_BYTES: Final = 64 * 1024
MAX_TEXT: Final = 2000


class MessageError(ValueError):
    """A message that is not what it should be; `path` says where in it, such as `record.entries[3].values`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def dumps(message: dict[str, Any], path: str) -> bytes:
    """JSON bytes. Raises MessageError for what JSON cannot hold (integers over 64 bits, broken text)."""
    try:
        return orjson.dumps(message)
    except (TypeError, ValueError) as error:
        raise MessageError(path, f"cannot be written as JSON: {error}") from None


def loads(payload: bytes, path: str, limit: int) -> Fields:
    """The JSON object in `payload`, its version checked. Raises MessageError, also for more than `limit` bytes."""
    if len(payload) > limit:
        raise MessageError(path, f"{len(payload)} bytes, at most {limit} are read")
    try:
        data = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MessageError(path, f"no JSON: {error}") from None
    fields = Fields(data, path)
    if (version := fields.integer("v", 0, MAX_SEQ)) != VERSION:
        raise MessageError(f"{path}.v", f"version {version} is not known, only {VERSION}")
    return fields


class Fields:
    """The members of one JSON object: each is taken by name and checked; `done` refuses those nobody took."""

    __slots__ = ("_data", "_taken", "path")

    def __init__(self, data: object, path: str) -> None:
        if not isinstance(data, dict):
            raise MessageError(path, f"an object is expected, not {_kind(data)}")
        self._data = data
        self._taken: set[str] = set()
        self.path = path

    def take(self, name: str) -> object:
        """The member as it is, which must be there."""
        self._taken.add(name)
        try:
            return self._data[name]
        except KeyError:
            raise MessageError(f"{self.path}.{name}", "is missing") from None

    def get(self, name: str) -> object:
        """The member as it is; None where it is missing."""
        self._taken.add(name)
        return self._data.get(name)

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        if self._data.get(name) is None:
            self._taken.add(name)
            return False
        return True

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer from `low` to `high`."""
        value = self.take(name)
        if type(value) is not int:
            raise MessageError(f"{self.path}.{name}", f"an integer is expected, not {_kind(value)}")
        if not low <= value <= high:
            raise MessageError(f"{self.path}.{name}", f"{value} is not between {low} and {high}")
        return value

    def seq(self, name: str) -> int:
        """A sequence number of the journal."""
        return self.integer(name, 1, MAX_SEQ)

    def time(self, name: str) -> int:
        """UTC nanoseconds."""
        return self.integer(name, 0, MAX_TIME)

    def number(self, name: str) -> float:
        """A finite number, as a float."""
        value = self.take(name)
        if type(value) not in (int, float) or not isinstance(value, int | float) or not math.isfinite(value):
            raise MessageError(f"{self.path}.{name}", f"a number is expected, not {_kind(value)}")
        return float(value)

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise MessageError(f"{self.path}.{name}", f"true or false is expected, not {_kind(value)}")
        return value

    def text(self, name: str, limit: int, *, empty: bool = False) -> str:
        """A string of at most `limit` characters."""
        return checked_text(self.take(name), f"{self.path}.{name}", limit, empty=empty)

    def optional_text(self, name: str, limit: int) -> str:
        """A string that may be missing or empty."""
        return self.text(name, limit, empty=True) if self.has(name) else ""

    def items(self, name: str, limit: int) -> list[Any]:
        """An array of at most `limit` items."""
        value = self.take(name)
        if not isinstance(value, list):
            raise MessageError(f"{self.path}.{name}", f"an array is expected, not {_kind(value)}")
        if len(value) > limit:
            raise MessageError(f"{self.path}.{name}", f"{len(value)} items, at most {limit} are read")
        return value

    def members(self, name: str, limit: int) -> dict[str, Any]:
        """An object of at most `limit` members whose names are not fixed."""
        value = self.take(name)
        if not isinstance(value, dict):
            raise MessageError(f"{self.path}.{name}", f"an object is expected, not {_kind(value)}")
        if len(value) > limit:
            raise MessageError(f"{self.path}.{name}", f"{len(value)} members, at most {limit} are read")
        return value

    def done(self) -> None:
        """Refuse members that nobody took."""
        if unknown := self._data.keys() - self._taken:
            raise MessageError(self.path, f"unknown {', '.join(sorted(name[:60] for name in unknown)[:5])}")


def checked_text(value: object, path: str, limit: int, *, empty: bool = False) -> str:
    """`value` if it is a string of at most `limit` characters. Raises MessageError."""
    if not isinstance(value, str):
        raise MessageError(path, f"a string is expected, not {_kind(value)}")
    if len(value) > limit or not (value or empty):
        raise MessageError(path, f"{len(value)} characters, {0 if empty else 1} to {limit} are read")
    return value


def _kind(value: object) -> str:
    return {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "true or false",
        int: "an integer",
        float: "a number",
        type(None): "null",
    }.get(type(value), type(value).__name__)
