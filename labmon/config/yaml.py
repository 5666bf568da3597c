"""Files that people write: read, checked against a model, with every mistake at its position. Nothing here raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from labmon.config.builder import Parsed
from labmon.config.errors import ConfigError, Path, Positions, path_text
from labmon.config.parse import MAX_CHARACTERS, parse
from labmon.config.translate import config_errors

__all__ = ["ConfigError", "Loaded", "Positions", "load_model", "read_text"]

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class Loaded(Generic[M]):
    """What came of a file. `model` is None when there is any error; `data` is what could be read all the same."""

    file: str
    text: str
    data: Any
    positions: Positions
    model: M | None
    errors: list[ConfigError]

    def error(self, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> ConfigError:
        """Make an error of this file, at the value (or key) that `path` leads to, or at what should hold it."""
        mark = self.positions.key(path) if at_key else self.positions.value(path)
        return ConfigError(self.file, mark.line, mark.column, path_text(path, self.data), message, hint)


def load_model(
    path: FilePath,
    model: type[M],
    *,
    text: str | None = None,
    refuse_empty: bool = False,
    prepare: Callable[[Parsed], None] | None = None,
) -> Loaded[M]:
    """Load a file, or its `text` where that is already at hand, into a model.

    All mistakes are in `errors`, in the order of the file: what cannot be read, is no YAML, or does not fit the model.
    With `refuse_empty` a key without a value is one of them, so that a forgotten value is not taken for a left-out key.
    `prepare` may change what was read (data, positions, errors) before it is checked against the model; data of None is
    not checked any more.
    """
    file = str(path)
    if text is None:
        text, unreadable = read_text(path)
        if unreadable is not None:
            return Loaded(file, "", None, Positions(), None, [unreadable])
    parsed = parse(text, file)
    loaded: Loaded[M] = Loaded(file, text, parsed.data, parsed.positions, None, parsed.errors)
    if parsed.data is None:
        if not loaded.errors:
            loaded.errors.append(loaded.error((), "the file is empty"))
        return loaded
    skip = set(parsed.broken)
    if refuse_empty:
        empty = _empty(parsed.data, ())
        skip |= set(empty)
        hint = "give it one, or take the key out"
        loaded.errors += [loaded.error(p, "has no value", hint, at_key=True) for p in empty if p not in parsed.broken]
    if prepare is not None:
        prepare(parsed)
        loaded.data, loaded.positions = parsed.data, parsed.positions
        if parsed.data is None:
            loaded.errors.sort()
            return loaded
    try:
        checked = model.model_validate(parsed.data)
    except ValidationError as error:
        loaded.errors += config_errors(error, model, parsed.data, parsed.positions, file, skip)
    else:
        loaded.model = None if loaded.errors else checked
    loaded.errors.sort()
    return loaded


def read_text(path: FilePath) -> tuple[str, ConfigError | None]:
    """Text of a file, or the error that says why there is none. Never raises."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(4 * MAX_CHARACTERS + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return "", ConfigError(file, 1, 1, "", f"cannot be read: {reason}")
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        return "", ConfigError(file, line, column, "", "is not UTF-8 text", "save the file as UTF-8")


def _empty(data: Any, path: Path) -> list[Path]:
    if data is None:
        return [path]
    if isinstance(data, dict):
        return [found for key, value in data.items() for found in _empty(value, (*path, key))]
    if isinstance(data, list):
        return [found for index, value in enumerate(data) for found in _empty(value, (*path, index))]
    return []
