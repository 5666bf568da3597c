"""Limit profiles: where they are found, and what must be true of one beyond its form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from labmon.config.errors import ConfigError, Path
from labmon.config.site import Profile, ProfileFile
from labmon.config.yaml import Loaded, load_model
from labmon.units import UnknownUnit, unit

Report = Callable[[Path, str, str], None]
"""Takes one mistake: path, message, hint."""


@dataclass(slots=True)
class Library:
    """Profiles of folders by name. `names` holds also those that are there but wrong."""

    profiles: dict[str, Profile] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    plain: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """Text of each file that was read."""
    errors: list[ConfigError] = field(default_factory=list)

    def add_folder(self, folder: FilePath) -> None:
        """Read a folder's `*.yaml`. A name that an earlier folder has keeps the earlier profile."""
        here: set[str] = set()
        for path in sorted(folder.glob("*.yaml")):
            loaded = load_model(path, ProfileFile, refuse_empty=True)
            self.texts[str(path)] = loaded.text
            self.errors += loaded.errors
            for name, plain in named(loaded.data):
                place: Path = ("profiles", name)
                if name in here:
                    first = self.origins[name]
                    self.errors.append(loaded.error(place, f"is defined in {first} already", at_key=True))
                    continue
                here.add(name)
                check_profile(plain, place, self._reporter(loaded))
                if name not in self.names:
                    self.names.add(name)
                    self.plain[name] = plain
                    self.origins[name] = str(path)
                    if (profile := valid(plain)) is not None:
                        self.profiles[name] = profile

    def _reporter(self, loaded: Loaded[ProfileFile]) -> Report:
        def report(path: Path, message: str, hint: str) -> None:
            self.errors.append(loaded.error(path, message, hint))

        return report


def named(data: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The profiles of plain data, by name, as far as they have the form of one."""
    profiles = data.get("profiles") if isinstance(data, dict) else None
    if isinstance(profiles, dict):
        yield from ((str(name), plain) for name, plain in profiles.items() if isinstance(plain, dict))


def valid(plain: Mapping[str, Any]) -> Profile | None:
    """The profile, when its form is right."""
    try:
        return Profile.model_validate(plain)
    except ValidationError:
        return None


def check_profile(plain: Mapping[str, Any], path: Path, report: Report) -> None:
    """Report what contradicts itself in a profile. Takes plain data, of which any part may be missing or wrong."""
    if isinstance(code := plain.get("unit"), str):
        check_unit(code, (*path, "unit"), report)
    limits = plain.get("limits")
    if limits is None and "silence" not in plain and "bad-quality" not in plain:
        report(path, "has neither limits nor silence nor bad-quality: it says nothing", "")
    found: dict[tuple[str, str], float] = {}
    for index, limit in enumerate(limits if isinstance(limits, list) else []):
        if isinstance(limit, dict):
            _limit(limit, (*path, "limits", index), found, report)


def check_unit(code: str, path: Path, report: Report) -> bool:
    """Report a code that the units table does not hold; True when it does."""
    try:
        unit(code)
    except UnknownUnit as error:
        hint = f"did you mean `{'` or `'.join(error.suggestions)}`?" if error.suggestions else ""
        report(path, f"unknown unit `{code}`", hint)
        return False
    return True


def _limit(limit: Mapping[str, Any], path: Path, found: dict[tuple[str, str], float], report: Report) -> None:
    level = limit.get("level")
    high, low, band = (_number(limit.get(key)) for key in ("high", "low", "dead-band"))
    if "high" not in limit and "low" not in limit:
        report(path, "has neither high nor low", "")
    if high is not None and low is not None:
        if low >= high:
            report((*path, "low"), f"low {low:g} is not below high {high:g}", "")
        elif band is not None and band >= high - low:
            report((*path, "dead-band"), f"as wide as the band from {low:g} to {high:g}: the alarm could not clear", "")
    if level not in ("alert", "action"):
        return
    for direction, bound in (("high", high), ("low", low)):
        if bound is None:
            continue
        if (level, direction) in found:
            report((*path, direction), f"a second {level} {direction} in one profile", "")
            continue
        found[level, direction] = bound
        _outside(direction, found, (*path, direction), report)


def _outside(direction: str, found: Mapping[tuple[str, str], float], path: Path, report: Report) -> None:
    alert, action = found.get(("alert", direction)), found.get(("action", direction))
    if alert is None or action is None:
        return
    if alert > action if direction == "high" else alert < action:
        report(
            path, f"alert {direction} {alert:g} lies outside action {direction} {action:g}: it could not warn first", ""
        )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def no_default(name: str) -> str:
    """Why there is no profile for grade D in operation, when that is what `name` asks for."""
    if name.startswith("annex-1-grade-d-in-operation"):
        return "Annex 1 sets no limit for grade D in operation: the site sets its own, in `profiles`, with its reason"
    return ""
