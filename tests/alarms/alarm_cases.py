"""Runs an alarm case: rules, what comes in and when, and the events that must come out (the way of promtool).

Times in a case are true seconds from its beginning. The wall clock can be stepped, a restart gives a new monotonic
clock. `read` gives one token each `every` seconds: a number, `37.1?` uncertain, `bad` (no-sensor), `silent`, `_` for
no reading at all, each with `x3` for three times. An expected event reads `time kind alarm state key=value...`; the
list of expected events is complete and in order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from labmon.alarms.engine import AlarmEngine
from labmon.alarms.errors import CommandRefused
from labmon.alarms.placed import place, rule_change
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.model.event import AlarmClass, AlarmState, Event
from labmon.model.plant import Area, Channel, Device, LineInfo, Plant
from labmon.model.reading import Flag, Reading

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
DEVICE = "incubator-1"
CHANNEL = f"{DEVICE}.temperature"
BEGIN = 1_790_000_000 * 10**9
PLANT = Plant(
    site="north",
    site_name="North",
    gateway="gw-1",
    timezone="UTC",
    areas={"suite-1": Area("suite-1", "Suite 1", "B", "in-operation")},
    lines={"serial-1": LineInfo("serial-1", "Serial 1", "/dev/ttyS0", (DEVICE,))},
    devices={DEVICE: Device(DEVICE, "Incubator 1", "suite-1", "serial-1", "x/y", "A-1", (CHANNEL,))},
    channels={CHANNEL: Channel(CHANNEL, "temperature", DEVICE, "suite-1", "Temperature", "temperature", "Cel")},
)
CONDITIONS = {
    "dead": {"alarm": f"{DEVICE}.dead", "device": DEVICE, "inhibits": True},
    "wrong-instrument": {"alarm": f"{DEVICE}.wrong-instrument", "device": DEVICE},
    "lost": {"alarm": "line.serial-1.lost", "line": "serial-1", "inhibits": True},
    "journal": {"alarm": "gateway.journal"},
}


def alarm_id(short: str) -> str:
    return CONDITIONS[short]["alarm"] if short in CONDITIONS else f"{CHANNEL}.{short}"


SHORT = {alarm_id(name): name for name in CONDITIONS}


def make_rules(described: Mapping[str, Mapping[str, Any]]) -> list[Rule]:
    rules: list[Rule] = []
    for name, given in described.items():
        options: dict[str, Any] = {key.replace("-", "_"): float(value) for key, value in given.items()}
        if name == "silence":
            rules.append(SilenceRule(alarm=alarm_id(name), channel=CHANNEL, **options))
        elif name == "quality":
            rules.append(QualityRule(alarm=alarm_id(name), channel=CHANNEL, **options))
        elif name in CONDITIONS:
            rules.append(ConditionRule(**CONDITIONS[name], **options))
        else:
            level, direction = name.split("-")
            assert level in ("alert", "action") and direction in ("high", "low")
            rules.append(
                LimitRule(
                    alarm=alarm_id(name),
                    channel=CHANNEL,
                    device=DEVICE,
                    level=level,  # type: ignore[arg-type]
                    direction=direction,  # type: ignore[arg-type]
                    unit="Cel",
                    cls=AlarmClass(level),
                    **options,
                )
            )
    return rules


def tokens(series: str) -> Iterator[str]:
    for token in series.split():
        if match := re.fullmatch(r"(.+?)x(\d+)", token):
            yield from [match[1]] * int(match[2])
        else:
            yield token


def actions(case: Mapping[str, Any]) -> list[tuple[float, str, Any, Mapping[str, Any]]]:
    """All moments of the script in order: (time, verb, argument, the whole step)."""
    found: list[tuple[float, str, Any, Mapping[str, Any]]] = []
    for entry in case["script"]:
        at = float(entry["at"])
        verb = next(key for key in entry if key != "at")
        if verb == "read":
            for index, token in enumerate(tokens(str(entry["read"]))):
                found.append((at + index * case.get("every", 10), "read", token, entry))
        else:
            found.append((at, verb, entry[verb], entry))
    if "end" in case:
        found.append((float(case["end"]), "wait", None, {}))
    return sorted(found, key=lambda a: a[0])


class Run:
    """One run of a case through an engine on clocks of its own."""

    def __init__(self, case: Mapping[str, Any], *, every_second: bool = False, restart_always: bool = False) -> None:
        self.case = case
        self.every_second = every_second
        self.restart_always = restart_always
        self.rules = case["rules"]
        self.true = 0.0
        self.clock = 0.0
        self.boot = -5_000.0
        self.saved: dict[str, bytes] = {}
        self.told: dict[str, tuple[bool, str]] = {}
        self.events: list[tuple[float, Event]] = []
        self.occurrences: dict[str, list[str]] = {}
        self.engine = self.start()

    @property
    def mono(self) -> float:
        return self.true - self.boot

    @property
    def now(self) -> int:
        return BEGIN + round((self.true + self.clock) * 1e9)

    def start(self) -> AlarmEngine:
        return AlarmEngine(make_rules(self.rules), PLANT, self.saved, mono=self.mono, now=self.now)

    def take(self, events: list[Event]) -> None:
        """One commit: events and states together."""
        for event in events:
            assert Event.from_dict(event.to_dict()) == event
            self.events.append((self.true, event))
            if event.occurrence:
                seen = self.occurrences.setdefault(event.alarm, [])
                if event.occurrence not in seen:
                    seen.append(event.occurrence)
        for key, state in self.engine.take_changes().items():
            if state:
                self.saved[key] = state
            else:
                self.saved.pop(key, None)

    def restart(self, away: float = 0.0) -> None:
        """Kill -9: only what was taken for the last commit survives."""
        self.true += away
        self.boot = self.true - 17.25
        self.engine = self.start()
        self.take(self.engine.tick(self.mono, self.now))

    def reload(self, rules: Mapping[str, Mapping[str, Any]], user: str) -> None:
        """Other rules for the running engine."""
        change = rule_change(place(make_rules(self.rules), PLANT), place(make_rules(rules), PLANT))
        self.rules = rules
        self.told = {name: told for name, told in self.told.items() if name in rules}
        self.take(self.engine.reconfigure(change, PLANT, user, self.mono, self.now))

    def run_clock(self, until: float) -> None:
        """Let the clock run, calling tick when the engine asks for it."""
        while True:
            due = self.engine.next_due()
            moments = [until] if due is None else [until, max(self.true, due + self.boot)]
            if self.every_second:
                moments.append(math.floor(self.true) + 1.0)
            moment = min(moments)
            if moment >= until:
                self.true = until
                self.take(self.engine.tick(self.mono, self.now))
                return
            assert moment > self.true or due is None or due <= self.mono, "the engine asks for a tick without end"
            before = self.true
            self.true = moment
            self.take(self.engine.tick(self.mono, self.now))
            again = self.engine.next_due()
            assert again is None or again > self.mono, f"due at {again} still after the tick at {self.mono}"
            assert self.true >= before

    def read(self, token: str) -> None:
        if token == "_":
            return
        value, reason, flags = None, None, 0
        if token in ("bad", "silent"):
            reason = "no-sensor" if token == "bad" else "silent (0.5 s)"
        else:
            value = float(token.rstrip("?"))
            flags = Flag.CLOCK if token.endswith("?") else 0
        self.take(self.engine.reading(Reading(CHANNEL, self.now, self.now, value, reason, flags), self.mono))

    def command(self, verb: str, argument: Any, entry: Mapping[str, Any]) -> list[Event]:
        user, reason = entry.get("by", "duty"), entry.get("reason", "a reason")
        if verb == "ack":
            seen = self.occurrences.get(alarm_id(argument), ["none"])
            occurrence = seen[entry.get("occurrence", -1)]
            return self.engine.acknowledge(alarm_id(argument), occurrence, user, reason, self.mono, self.now)
        if verb == "out-of-service":
            until = None if argument is None else self.now + round(argument * 1e9)
            return self.engine.out_of_service(DEVICE, until, user, reason, self.mono, self.now)
        return self.engine.in_service(DEVICE, user, reason, self.mono, self.now)

    def step(self, verb: str, argument: Any, entry: Mapping[str, Any]) -> None:
        if verb == "read":
            self.read(argument)
        elif verb == "clock":
            self.clock += argument
        elif verb == "restart":
            self.rules = entry.get("rules", self.rules)
            self.told = {}
            self.restart(argument)
        elif verb == "reload":
            self.reload(argument, entry.get("by", "engineer-1"))
        elif verb in ("set", "unset"):
            self.told[argument] = (verb == "set", entry.get("detail", ""))
            self.tell(argument)
        elif verb in ("ack", "out-of-service", "in-service"):
            try:
                self.take(self.command(verb, argument, entry))
            except CommandRefused as refused:
                assert re.search(entry.get("refused", "(not to be refused)"), str(refused)), str(refused)
            else:
                assert "refused" not in entry, f"{entry} was not refused"
        else:
            assert verb == "wait", verb

    def tell(self, name: str) -> None:
        active, detail = self.told[name]
        self.take(self.engine.condition(alarm_id(name), active, self.mono, self.now, detail))

    def run(self) -> Run:
        for at, verb, argument, entry in actions(self.case):
            self.run_clock(at)
            self.step(verb, argument, entry)
            if self.restart_always:
                self.restart()
                for name in self.told:
                    self.tell(name)
        return self

    def lines(self) -> list[str]:
        """What happened, as a case would say it, without further keys."""
        return [line(true, event) for true, event in self.events]

    def standing(self) -> dict[str, str]:
        """The alarms that are not normal."""
        return {short(v.alarm): v.state.value + ("" if v.measured else " unmeasured") for v in self.engine.views()}


def short(alarm: str) -> str:
    return SHORT.get(alarm, alarm.removeprefix(f"{CHANNEL}."))


def line(true: float, event: Event) -> str:
    state = event.state.value if isinstance(event.state, AlarmState) else "-"
    return f"{true:g} {event.kind.value} {short(event.alarm) or event.device or '-'} {state}"


def shown(event: Event, key: str) -> str:
    """One attribute of an event as a case writes it: times in seconds on the wall clock of the case."""
    value = getattr(event, key)
    if key in ("since", "time", "detected"):
        return f"{(value - BEGIN) / 1e9:g}"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def check(run: Run) -> None:
    """Compare a run with what its case expects."""
    expected = [str(entry) for entry in run.case["expect"]]
    assert run.lines() == [" ".join(entry.split()[:4]) for entry in expected]
    for entry, (_, event) in zip(expected, run.events, strict=True):
        for pair in re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", entry):
            assert shown(event, pair[0]) == pair[1].strip('"'), f"{pair[0]} in: {entry}"
    assert run.standing() == run.case["finally"]
    if "occurrences" in run.case:
        assert sum(map(len, run.occurrences.values())) == run.case["occurrences"]


def load(path: Path) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load(path.read_text())["cases"])
