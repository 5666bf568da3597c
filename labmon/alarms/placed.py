"""Rules with their places in a plant, and what differs between two sets of them. Pure: of any size, in any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from labmon.alarms.rule import ConditionRule, LimitRule, Rule, SilenceRule
from labmon.model.plant import Plant


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule, complete, with the area and the line that it belongs to (empty for the gateway's own)."""

    rule: Rule
    area: str
    line: str


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What makes one set of rules another. A rule that became one of another kind is removed and added."""

    added: Mapping[str, Placed]
    changed: Mapping[str, Placed]
    """Rules that watch the same by another measure, or stand in another area or on another line."""
    removed: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def place(rules: Iterable[Rule], plant: Plant) -> dict[str, Placed]:
    """Each rule by its alarm id. Raises ValueError for a rule that does not fit the plant, or an id given twice."""
    rules = list(rules)
    silences = {r.channel: r.after for r in rules if isinstance(r, SilenceRule)}
    placed: dict[str, Placed] = {}
    for rule in rules:
        if rule.alarm in placed:
            raise ValueError(f"two rules for alarm {rule.alarm}")
        if isinstance(rule, LimitRule) and rule.unmeasured_after is None:
            rule = replace(rule, unmeasured_after=silences.get(rule.channel))
        placed[rule.alarm] = Placed(rule, *_place(rule, plant))
    return placed


def rule_change(before: Mapping[str, Placed], after: Mapping[str, Placed]) -> RuleChange:
    """What has to be done to get from `before` to `after`."""
    added: dict[str, Placed] = {}
    changed: dict[str, Placed] = {}
    removed = set(before.keys() - after.keys())
    for name, new in after.items():
        old = before.get(name)
        if old is None:
            added[name] = new
        elif type(old.rule) is not type(new.rule):
            removed.add(name)
            added[name] = new
        elif old != new:
            changed[name] = new
    return RuleChange(added, changed, frozenset(removed))


def _place(rule: Rule, plant: Plant) -> tuple[str, str]:
    """Area and line of a rule."""
    if rule.channel and rule.channel not in plant.channels:
        raise ValueError(f"alarm {rule.alarm}: no channel {rule.channel} in the plant")
    if rule.device and rule.device not in plant.devices:
        raise ValueError(f"alarm {rule.alarm}: no device {rule.device} in the plant")
    if isinstance(rule, ConditionRule) and not rule.device:
        if rule.line and rule.line not in plant.lines:
            raise ValueError(f"alarm {rule.alarm}: no line {rule.line} in the plant")
        return "", rule.line
    device = plant.devices[rule.device]
    return (plant.channels[rule.channel].area if rule.channel else device.area), device.line
