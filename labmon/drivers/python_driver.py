"""Drivers in Python, for instruments that no driver file can ask: found by the entry points `labmon.drivers`.

A Python driver has the same header as a driver file, with the same channels, units, conditions and examples. Only what
is asked is Python: a request `{call: name, fields: {...}}` names a function, which asks through a `Talk` and gives the
raw values of these fields.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from labmon.config.errors import ConfigError
from labmon.drivers.call_step import Call

GROUP = "labmon.drivers"
"""The group of entry points. An entry's name is the driver's id with a dot for the slash: `memmert.atmoweb`."""
SHIPPED = {"memmert.atmoweb": "labmon.drivers.python.atmoweb:DRIVER"}
"""Those that come with labmon: they are found in a checkout too, where nothing is installed."""


@dataclass(frozen=True, slots=True)
class PythonDriver:
    """What an entry point of the group names."""

    header: str
    """A driver file's text, whose requests are calls."""
    calls: Mapping[str, Call]
    """The functions, by the names under which the header calls them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A Python driver as it was imported, or why it cannot be used."""

    path: Path
    driver: PythonDriver | None = None
    text: str = ""
    """The whole text of its module."""
    error: str = ""

    @property
    def header(self) -> str:
        """The header, with as many empty lines before it as in the module, so that positions are those of the file."""
        if self.driver is None:
            return ""
        return "\n" * self.text.partition(self.driver.header)[0].count("\n") + self.driver.header

    def mistake(self) -> ConfigError:
        """Why it cannot be used."""
        return ConfigError(str(self.path), 1, 1, "", self.error)


def entries() -> dict[str, EntryPoint]:
    """Every Python driver that is installed, by driver id. An entry of somebody else's hides a shipped one."""
    shipped = [EntryPoint(name, value, GROUP) for name, value in SHIPPED.items()]
    found: dict[str, EntryPoint] = {}
    for entry in [*entry_points(group=GROUP), *shipped]:
        found.setdefault(entry.name.replace(".", "/", 1), entry)
    return found


def path_of(entry: EntryPoint) -> Path:
    """The file of a driver's module, without importing the module; the module's name where it has none."""
    try:
        spec = importlib.util.find_spec(entry.module)
    except (ImportError, ValueError):
        spec = None
    return Path(spec.origin if spec is not None and spec.origin else f"{entry.module}.py")


def read(entry: EntryPoint) -> Source:
    """Import a driver. Never raises: a module that cannot be imported costs nothing but its driver."""
    path = path_of(entry)
    try:
        found = entry.load()
        text = inspect.getsource(sys.modules[entry.module])
    except Exception as error:  # noqa: BLE001 - whatever a module does when it is imported
        return Source(path, error=f"{entry.value} cannot be imported: {type(error).__name__}: {error}")
    if not isinstance(found, PythonDriver):
        return Source(path, error=f"{entry.value} is no PythonDriver")
    return Source(path, found, text)
