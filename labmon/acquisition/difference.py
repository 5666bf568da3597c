"""What a site file that was loaded again changes, line by line and rule by rule. Pure, and for any thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from labmon.acquisition.load import Loaded
from labmon.acquisition.plan import DevicePlan, LinePlan, Plan, QueryPlan, Slot
from labmon.alarms.placed import RuleChange, place, rule_change
from labmon.config.site import Site
from labmon.model.reading import Flag

RESTART: Mapping[str, str] = {
    "site.id": "the id of the site",
    "gateway.id": "the id of the gateway",
    "journal.path": "the path of the journal",
    "socket": "the path of the control socket",
}
"""What a running daemon cannot change: its topics, its history and its door hang on it."""
_RESOLVED = frozenset({"labmon", "site", "gateway", "lines", "areas", "profiles", "drivers", "profile_folders"})
"""Sections that count by what they resolve to: the plan, the plant, the rules."""
SECTIONS = ("users", "mqtt", "stores", "notices", "journal")
"""Sections that have a part of the daemon of their own."""
CLOCK = "gateway.clock"
_ELSEWHERE = frozenset({"watch"})
"""Sections of another process."""
_DAY = int(Flag.CALIBRATION_DUE)


@dataclass(frozen=True, slots=True)
class LineChange:
    """The lines by their ids, in the order of the file (those that go: of the old one)."""

    same: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each with what differs, for people."""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.removed)


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be done to get from one configuration to another."""

    lines: LineChange
    rules: RuleChange
    plant: bool
    """Whether names, places, grades, instructions or anything else of the plant differs."""
    devices_gone: frozenset[tuple[str, str]]
    """(area, device) under which a device is no longer shown."""
    sections: frozenset[str]
    """Those of SECTIONS that differ, and CLOCK."""
    texts: bool
    """Whether any text of the configuration differs, be it in a comment."""
    restart: tuple[str, ...]
    """What only a restart can change, for people."""

    def __bool__(self) -> bool:
        return bool(self.lines or self.rules or self.plant or self.sections or self.restart)


def compare(old: Loaded, new: Loaded) -> Difference:
    """The difference between two configurations without errors. Raises ValueError where one has some."""
    if old.site is None or new.site is None or old.plan is None or new.plan is None or old.errors or new.errors:
        raise ValueError("only configurations without errors can be compared")
    before, after = old.plan.plant, new.plan.plant
    shown = {(d.area, d.id) for d in after.devices.values()}
    return Difference(
        _lines(old.plan, new.plan),
        rule_change(place(old.rules, before), place(new.rules, after)),
        before != after,
        frozenset((d.area, d.id) for d in before.devices.values() if (d.area, d.id) not in shown),
        frozenset(_changed_sections(old.site, new.site)),
        fingerprint(old) != fingerprint(new),
        tuple(_restart(old.site, new.site)),
    )


def fingerprint(loaded: Loaded) -> str:
    """SHA-256, in hex, of all texts that make a configuration: site file, profiles and the drivers in use."""
    digest = hashlib.sha256()
    drivers = {f"driver {name}": d.source_text for name, d in (loaded.plan.drivers if loaded.plan else {}).items()}
    for name, text in sorted({"": loaded.text, **loaded.profiles, **drivers}.items()):
        for part in (name, text):
            content = part.encode()
            digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def kept(old: Plan, new: Plan, lines: LineChange) -> list[LinePlan]:
    """The lines of the new plan; one that is the same is the old one's object, so that nothing is held twice."""
    before = {line.id: line for line in old.lines}
    return [before[line.id] if line.id in lines.same else line for line in new.lines]


# ---------------------------------------------------------------- lines


def _lines(old: Plan, new: Plan) -> LineChange:
    before, after = ({line.id: line for line in plan.lines} for plan in (old, new))
    same, changed = [], {}
    for name, line in after.items():
        if name not in before:
            continue
        if differences := tuple(_line(before[name], line)):
            changed[name] = differences
        else:
            same.append(name)
    added = tuple(name for name in after if name not in before)
    removed = tuple(name for name in before if name not in after)
    return LineChange(tuple(same), changed, added, removed)


def _line(old: LinePlan, new: LinePlan) -> Iterator[str]:
    if old.endpoint != new.endpoint:
        yield f"endpoint {new.endpoint}"
    if old.framing != new.framing:
        yield f"framing {new.framing}"
    if old.quiet != new.quiet:
        yield f"quiet {new.quiet:g} s"
    before, after = ({d.id: d for d in line.devices} for line in (old, new))
    yield from (f"without {name}" for name in before if name not in after)
    for name, device in after.items():
        if name not in before:
            yield f"with {name}"
        elif found := list(_device(before[name], device)):
            yield f"{' and '.join(found)} of {name}"
    if list(before) != list(after) and before.keys() == after.keys():
        yield "order of its devices"


def _device(old: DevicePlan, new: DevicePlan) -> Iterator[str]:
    if old.driver.id != new.driver.id:
        yield f"driver {new.driver.id}"
    elif old.driver.source_text != new.driver.source_text:
        yield "text of the driver"
    elif _zone(old) != _zone(new):
        yield "time zone"
    if old.address != new.address:
        yield f"address {new.address}"
    if dict(old.params) != dict(new.params):
        yield "params"
    if old.timeout != new.timeout:
        yield "timeout"
    if old.set_clock != new.set_clock:
        yield "set-clock"
    before, after = ([q.layout.query for q in d.queries] for d in (old, new))
    if before != after:
        yield "queries"
        return
    pairs = list(zip(old.queries, new.queries, strict=True))
    if any(a.every != b.every for a, b in pairs):
        yield "interval"
    if any(not _same_channels(a, b) for a, b in pairs):
        yield "channels"


def _zone(device: DevicePlan) -> str:
    """The site's time zone, where the instrument's clock may show local time."""
    return str(getattr(device.driver, "zone", "")) if "zone" in device.driver.source_text else ""


def _same_channels(old: QueryPlan, new: QueryPlan) -> bool:
    return old.layout == new.layout and [_unmarked(s) for s in old.slots] == [_unmarked(s) for s in new.slots]


def _unmarked(slot: Slot) -> tuple[object, ...]:
    # That a calibration becomes overdue is the calendar's doing, and no reason to disturb a line.
    return slot.index, slot.key, slot.scale, slot.offset, slot.flags & ~_DAY, slot.due


# ---------------------------------------------------------------- sections, and what a restart is needed for


def _changed_sections(old: Site, new: Site) -> Iterator[str]:
    yield from (name for name in SECTIONS if getattr(old, name) != getattr(new, name))
    if old.gateway.clock != new.gateway.clock:
        yield CLOCK


def _restart(old: Site, new: Site) -> Iterator[str]:
    pairs = {
        "site.id": (old.site.id, new.site.id),
        "gateway.id": (old.gateway.id, new.gateway.id),
        "journal.path": (old.journal.path, new.journal.path),
        "socket": (old.socket, new.socket),
    }
    for key, (before, after) in pairs.items():
        if before != after:
            yield f"{RESTART[key]} ({key}: {before} -> {after})"
    known = _RESOLVED | _ELSEWHERE | {*SECTIONS, "socket"}
    for name, info in Site.model_fields.items():
        if name not in known and getattr(old, name) != getattr(new, name):
            yield f"the section {info.alias or name}"
