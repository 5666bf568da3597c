"""Where drivers are found: a site's own folders first, then the shipped one. Adding an instrument is adding a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labmon.config.errors import did_you_mean
from labmon.config.shipped import shipped
from labmon.drivers import python_driver
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver


def shipped_folder() -> Path:
    """The driver files that came with labmon: inside the package after an install, beside it in a checkout."""
    return shipped("drivers")


class UnknownDriver(LookupError):
    """No folder has a file for this driver."""


class BrokenDriver(LookupError):
    """The driver's file has faults; the text lists all of them with their positions."""


class Catalogue:
    """Drivers by id (`maker/model`). A file is read when it is first asked for, and again by `refresh`.

    A site's file hides a shipped one of the same id, also when it is broken: nobody is to poll with the wrong map.
    """

    def __init__(self, folders: Sequence[Path] = (), zone: str = "UTC") -> None:
        self.folders = (*folders, shipped_folder())
        self.zone = zone
        """The site's time zone, for instruments whose clock shows local time."""
        self._loaded: dict[str, CompiledDriver] = {}

    def paths(self) -> dict[str, Path]:
        """Every driver that can be found, by id, with the file that is used for it: a Python driver's is its module."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in sorted(folder.glob("*/*.yaml")):
                found.setdefault(f"{path.parent.name}/{path.stem}", path)
        for name, entry in python_driver.entries().items():
            found.setdefault(name, python_driver.path_of(entry))
        return dict(sorted(found.items()))

    def get(self, driver: str) -> CompiledDriver:
        """The driver of that id. Raises UnknownDriver (with the nearest name) or BrokenDriver (with every fault)."""
        if driver in self._loaded:
            return self._loaded[driver]
        paths = self.paths()
        if driver not in paths:
            searched = ", ".join(str(folder) for folder in self.folders)
            hint = did_you_mean(driver, paths)
            raise UnknownDriver(f"no driver {driver}{f'; {hint}' if hint else ''} (searched: {searched})")
        loaded = load_driver(paths[driver], driver, zone=self.zone)
        if loaded.driver is None:
            raise BrokenDriver("\n".join(map(str, loaded.errors)))
        self._loaded[driver] = loaded.driver
        return loaded.driver

    def refresh(self) -> None:
        """Read files anew when they are next asked for."""
        self._loaded.clear()
