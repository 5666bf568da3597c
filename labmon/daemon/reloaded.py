"""What became of a reload, for whoever asked for it, for the log and for the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from labmon import units
from labmon.acquisition.difference import CLOCK, Difference
from labmon.acquisition.load import Loaded
from labmon.alarms.rule import LimitRule, Rule
from labmon.config.site import Site
from labmon.model.event import Event
from labmon.notices.words import duration

NAMED = 10
"""So many of one kind are named; the rest is counted."""
ERRORS = 20
"""So many errors stand in the journal's event; all of them are in the answer and in the log."""
LONGEST = 4000
"""Characters of an event's detail."""

State = Literal["applied", "unchanged", "invalid", "refused", "failed"]


@dataclass(slots=True)
class Outcome:
    """What became of it.

    `applied`; `unchanged`: there was nothing to apply; `invalid`: the files have `errors`; `refused`: for another
    reason, which `rows` give; `failed`: a fault in labmon, and `rows` say what holds now. After each but the first the
    configuration of before goes on, unless `rows` of a failure say otherwise.
    """

    state: State
    rows: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    configuration: str = ""
    """Hash of the site file that is in force now."""

    @property
    def detail(self) -> str:
        """All of it in one text, for an event."""
        rows = self.rows
        if self.errors:
            rows = [*rows, *self.errors[:ERRORS]]
            if len(self.errors) > ERRORS:
                rows.append(f"and {len(self.errors) - ERRORS} more errors")
        text = f"{self.state}: " + "; ".join(rows)
        return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "outcome": self.state,
            "done": self.rows,
            "errors": self.errors,
            "warnings": self.warnings,
            "lines": self.lines,
            "configuration": self.configuration,
        }


def rows_of(change: Difference, old: Loaded, new: Loaded, behind: Mapping[str, int]) -> list[str]:
    """What a change does, a row for each thing. `behind`: entries of the journal that a store has not confirmed."""
    lines = change.lines
    rows = [f"line {name}: changed ({'; '.join(why)}), restarted" for name, why in lines.changed.items()]
    rows += [f"line {name}: added" for name in lines.added]
    rows += [f"line {name}: removed" for name in lines.removed]
    rows.append(f"{_count(lines.same, 'line')} untouched")
    rows += _rules(change, {rule.alarm: rule for rule in old.rules})
    if old.site is not None and new.site is not None:
        rows += _sections(change, old.site, new.site, behind)
    if not change:
        rows.append("nothing in operation changes; the files as they are now are recorded")
    return rows


def lines_of(change: Difference) -> dict[str, list[str]]:
    """The lines by what becomes of them, JSON-ready."""
    lines = change.lines
    return {
        "untouched": list(lines.same),
        "changed": list(lines.changed),
        "added": list(lines.added),
        "removed": list(lines.removed),
    }


def ended(events: Iterable[Event]) -> list[str]:
    """Alarms, and devices out of service, that ended because they left the configuration."""
    return [f"{event.alarm or event.device} {event.detail}" for event in events]


def _rules(change: Difference, before: Mapping[str, Rule]) -> list[str]:
    limits, others = [], []
    for name, placed in change.rules.changed.items():
        old, rule = before[name], placed.rule
        if isinstance(rule, LimitRule) and isinstance(old, LimitRule):
            if (old.limit, old.unit) != (rule.limit, rule.unit):
                limits.append(f"{name} {_figure(old)} -> {_figure(rule)}")
                continue
            if (old.dead_band, old.on_delay, old.off_delay) != (rule.dead_band, rule.on_delay, rule.off_delay):
                limits.append(f"{name} (dead-band or delay)")
                continue
        others.append(name)
    rows = [f"{_count(limits, 'limit')} changed: {_named(limits)}"] if limits else []
    for names, what in ((change.rules.added, "added"), (change.rules.removed, "removed"), (others, "changed")):
        if names:
            rows.append(f"{_count(names, 'alarm')} {what}: {_named(sorted(names))}")
    return rows


def _figure(rule: LimitRule) -> str:
    try:
        symbol = units.unit(rule.unit).symbol
    except units.UnknownUnit:
        symbol = rule.unit
    return f"{rule.limit:g} {symbol}".rstrip()


def _sections(change: Difference, old: Site, new: Site, behind: Mapping[str, int]) -> list[str]:
    rows = []
    if change.plant:
        rows.append("names, places, grades or instructions changed")
    if CLOCK in change.sections:
        rows.append("whether the clock is trusted without asking changed")
    if "users" in change.sections:
        rows.append("users changed")
    if "mqtt" in change.sections:
        rows.append("broker settings changed" if new.mqtt is not None else "no broker any more")
    if "stores" in change.sections:
        before, after = ({store.id for store in site.stores} for site in (old, new))
        rows += [f"store {name}: added, gets what the journal still holds" for name in sorted(after - before)]
        rows += [f"store {name}: removed{_behind(behind.get(name, 0))}" for name in sorted(before - after)]
        if before == after:
            rows.append("how stores are written changed: ingest takes that by itself (SIGHUP or restart)")
    if "notices" in change.sections:
        rows.append("notices changed")
    if "journal" in change.sections:
        journal = new.journal
        rows.append(
            f"journal: readings are kept for {duration(journal.keep_readings)} within {journal.size / 1e9:g} GB, "
            f"committed every {journal.commit_every:g} s"
        )
    return rows


def _behind(entries: int) -> str:
    return f"; {entries} entries that it had not confirmed count as delivered" if entries else ""


def _count(things: Sequence[str] | Iterable[str], what: str) -> str:
    number = len(list(things))
    return f"{number} {what}{'' if number == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
