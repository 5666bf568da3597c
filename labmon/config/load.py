"""A site file with its profiles, loaded and checked. Connects to nothing and needs no driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel

from labmon.config.checks import check_site
from labmon.config.delivery_checks import check_delivery
from labmon.config.errors import ConfigError, Path, Positions
from labmon.config.profiles import Library, named, valid
from labmon.config.secrets import secret_warning
from labmon.config.shipped import shipped
from labmon.config.site import Profile, Site
from labmon.config.types import Secret
from labmon.config.watch_checks import check_watch
from labmon.config.yaml import Loaded, load_model

__all__ = ["SiteLoad", "load_site", "secrets_of"]


@dataclass(slots=True)
class SiteLoad:
    """What came of a site file.

    `site` is there whenever the file has the right form, even when its parts contradict each other; only without
    `errors` may it go into service. `profiles` holds what channels may refer to: the file's own, those of its profile
    folders, the shipped ones, in this order. `texts` holds each profile file that was read, for the record of what was
    in force.
    """

    path: FilePath
    text: str
    site: Site | None
    profiles: dict[str, Profile]
    positions: Positions
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    _loaded: Loaded[Site] | None = None

    def error(self, path: Path, message: str, hint: str = "") -> None:
        """Add a mistake found by someone who knows more (the drivers), at the place that `path` leads to.

        `path` consists of keys as in the file and list indexes: `("lines", 0, "devices", 2, "driver")`.
        """
        self._add(self.errors, path, message, hint)

    def warning(self, path: Path, message: str, hint: str = "") -> None:
        """Add something that works but should not stay so."""
        self._add(self.warnings, path, message, hint)

    def _add(self, to: list[ConfigError], path: Path, message: str, hint: str) -> None:
        if self._loaded is None:
            raise ValueError("a site that was not loaded has no positions")
        made = self._loaded.error(path, message, hint)
        # The model and a check may find the same; it is told once.
        if made not in to:
            to.append(made)
            to.sort(key=self._order)

    def _order(self, error: ConfigError) -> tuple[bool, ConfigError]:
        return error.file != str(self.path), error


def load_site(path: FilePath, *, text: str | None = None) -> SiteLoad:
    """Load a site file (or its `text`) and everything it refers to among the profiles. Never raises for what it holds.

    The checks between parts run also when the form is wrong, on whatever of the file makes sense.
    """
    loaded = load_model(path, Site, text=text, refuse_empty=True)
    site = SiteLoad(path, loaded.text, loaded.model, {}, loaded.positions, list(loaded.errors), _loaded=loaded)
    if not isinstance(loaded.data, dict):
        return site
    library = _library(loaded.data, path.parent)
    own = dict(named(loaded.data))
    declared = loaded.data.get("profiles")
    known = library.names | {str(name) for name in (declared if isinstance(declared, dict) else ())}
    check_site(loaded.data, path.parent, {**library.plain, **own}, known, site)
    check_delivery(loaded.data, site)
    check_watch(loaded.data, path.parent, site)
    site.profiles = {name: p for name, p in library.profiles.items() if name not in own}
    site.profiles |= {name: p for name, plain in own.items() if (p := valid(plain)) is not None}
    site.texts = library.texts
    for place, secret in secrets_of(loaded.model):
        if warning := secret_warning(secret, path.parent):
            site.warning(place, warning, "chmod 600, or a systemd credential")
    site.errors = sorted({*site.errors, *library.errors}, key=site._order)
    return site


def _library(data: dict[str, Any], folder: FilePath) -> Library:
    library = Library()
    entries = data.get("profile-folders")
    for name in entries if isinstance(entries, list) else []:
        if isinstance(name, str) and (folder / name).is_dir():
            library.add_folder(folder / name)
    library.add_folder(shipped("config") / "profiles")
    return library


def secrets_of(part: object, path: Path = ()) -> Iterator[tuple[Path, Secret]]:
    """Every secret that a site (or a part of one) refers to, with the path to its place in the file."""
    if isinstance(part, (str, float, int)) or part is None:
        return  # most of what a large site holds
    if isinstance(part, Secret):
        yield path, part
    elif isinstance(part, BaseModel):
        for name, info in type(part).model_fields.items():
            yield from secrets_of(getattr(part, name), (*path, info.alias or name))
    elif isinstance(part, list):
        for index, item in enumerate(part):
            yield from secrets_of(item, (*path, index))
