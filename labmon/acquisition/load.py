"""From a site file to what the daemon, the check and ingest need; every error of file and drivers at once."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from labmon.acquisition.plan import Plan, make_plan
from labmon.acquisition.rules import make_rules
from labmon.alarms.rule import Rule
from labmon.config.capacity import capacity
from labmon.config.errors import ConfigError
from labmon.config.load import SiteLoad, load_site
from labmon.config.site import Site
from labmon.drivers.catalogue import Catalogue


@dataclass(slots=True)
class Loaded:
    """A site file with everything resolved; `plan` and `rules` are complete only without errors."""

    path: Path
    site: Site | None
    text: str
    plan: Plan | None = None
    rules: list[Rule] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    profiles: dict[str, str] = field(default_factory=dict)
    """The text of each file of limit profiles that was read, by its path."""


def load(path: Path) -> Loaded:
    """Load and resolve. Never raises for what stands in the file."""
    found: SiteLoad = load_site(path)
    loaded = Loaded(path, found.site, found.text, errors=found.errors, warnings=found.warnings, profiles=found.texts)
    if found.site is None:
        return loaded
    catalogue = Catalogue([path.parent / folder for folder in found.site.drivers], found.site.site.timezone)
    loaded.plan = make_plan(found.site, found.profiles, catalogue, found.error, dt.datetime.now(dt.UTC).date())
    queries = [(len(q.slots), q.every) for line in loaded.plan.lines for d in line.devices for q in d.queries]
    if refusal := capacity(queries, found.site.journal).refusal:
        found.error(("journal", "keep-readings"), refusal)
    loaded.errors, loaded.warnings = found.errors, found.warnings
    if not loaded.errors:
        loaded.rules = make_rules(found.site, loaded.plan)
    return loaded
