"""One driver file on top of another (`extends: maker/model`): a model of a family says only what differs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from labmon.config.builder import Parsed
from labmon.config.errors import ConfigError, Path, did_you_mean, path_text
from labmon.config.parse import parse
from labmon.config.shipped import shipped
from labmon.config.yaml import read_text

MOST = 4
"""Files that can stand on top of one another."""
OWN = ("labmon-driver", "extends", "leave-out")


class Inheritance:
    """Puts the files below a driver file under it. `texts` are theirs, the nearest first, by id.

    Mappings are merged key by key, everything else (lists too) is replaced; `leave-out` names what is not taken over.
    What is taken over stands, for messages, where `extends` stands.
    """

    def __init__(self, path: FilePath) -> None:
        self.path = path
        self.texts: dict[str, str] = {}

    def __call__(self, parsed: Parsed) -> None:
        """Merge. Mistakes are added to `parsed.errors`; never raises."""
        if not isinstance(parsed.data, dict):
            return
        own = parsed.data
        wanted, without = own.get("extends"), own.get("leave-out")
        if wanted is None:
            if without is not None:
                self._report(parsed, ("leave-out",), "there is nothing to leave out without `extends`")
            return
        if isinstance(wanted, str):
            below = self._read(wanted, parsed)
            if below is None:
                parsed.data = None  # what is missing then would all be told as missing here
                return
            for index, name in enumerate(without if isinstance(without, list) else []):
                if not (isinstance(name, str) and _remove(below, name.split("."))):
                    self._report(
                        parsed, ("leave-out", index), f"{wanted} has no {name}", did_you_mean(str(name), _paths(below))
                    )
            parsed.data = _merged(below, own)
            if "examples" not in own:
                _drop_examples(parsed.data)
            mark = parsed.positions.key(("extends",))
            for key in parsed.data:
                if not parsed.positions.known((key,)):
                    parsed.positions.add((key,), mark, mark)

    def _read(self, wanted: str, parsed: Parsed) -> dict[str, Any] | None:
        """The file of that id with everything below it."""
        data: dict[str, Any] | None = None
        chain: list[dict[str, Any]] = []
        while wanted:
            if wanted in self.texts or len(chain) == MOST:
                self._report(parsed, ("extends",), f"{wanted} stands on itself, or on more than {MOST} others")
                return None
            path = self._find(wanted)
            if path is None:
                self._report(parsed, ("extends",), f"no driver {wanted}")
                return None
            text, unreadable = read_text(path)
            below = parse(text, str(path))
            if unreadable is not None or below.errors or not isinstance(below.data, dict):
                self._report(parsed, ("extends",), f"{wanted} has mistakes of its own", f"`labmon driver check {path}`")
                return None
            self.texts[wanted] = text
            chain.append(below.data)
            following = below.data.get("extends")
            wanted = following if isinstance(following, str) else ""
        for one in reversed(chain):
            if data is not None:
                for name in one.get("leave-out") or []:
                    _remove(data, str(name).split("."))
            data = one if data is None else _merged(data, one)
        return data

    def _find(self, wanted: str) -> FilePath | None:
        """Beside the file that says it, else among the shipped ones."""
        maker, _, model = wanted.partition("/")
        for folder in (self.path.parent.parent, shipped("drivers")):
            path = folder / maker / f"{model}.yaml"
            if maker and model and ".." not in wanted and path.is_file():
                return path
        return None

    def _report(self, parsed: Parsed, place: Path, message: str, hint: str = "") -> None:
        mark = parsed.positions.value(place)
        told = path_text(place, parsed.data)
        parsed.errors.append(ConfigError(str(self.path), mark.line, mark.column, told, message, hint))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in below.items() if key not in OWN}
    for key, value in above.items():
        under = found.get(key)
        found[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return found


def _drop_examples(data: dict[str, Any]) -> None:
    """Examples that were taken over go with the query or identity that was left out."""
    examples, queries = data.get("examples"), data.get("queries")
    if isinstance(examples, list) and isinstance(queries, dict):
        examples[:] = [
            one
            for one in examples
            if not isinstance(one, dict) or ("identity" in data if one.get("identity") else one.get("query") in queries)
        ]


def _remove(data: dict[str, Any], names: list[str]) -> bool:
    """Take out what stands at a path; an item of a list goes by its id."""
    part: Any = data
    for name in names[:-1]:
        part = _inner(part, name)
    last = names[-1]
    if isinstance(part, dict) and last in part:
        del part[last]
        return True
    if isinstance(part, list):
        kept = [item for item in part if not (isinstance(item, dict) and item.get("id") == last)]
        found = len(kept) < len(part)
        part[:] = kept
        return found
    return False


def _inner(part: Any, name: str) -> Any:
    if isinstance(part, dict):
        return part.get(name)
    if isinstance(part, list):
        return next((item for item in part if isinstance(item, dict) and item.get("id") == name), None)
    return None


def _paths(data: Any, before: str = "") -> list[str]:
    """What `leave-out` can name, two levels deep."""
    found = []
    for key, value in data.items():
        found.append(f"{before}{key}")
        if not before and isinstance(value, dict):
            found += _paths(value, f"{key}.")
    return found
