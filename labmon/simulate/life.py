"""How the quantities of one simulated instrument move together: set points, a door, the particles of one sample."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence

from labmon import units
from labmon.drivers import grammar
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import ChannelSpec
from labmon.drivers.query import CompiledQuery
from labmon.links.errors import LinkError
from labmon.model.reading import Raw
from labmon.simulate.quantity import Quantity, Typical, cumulative
from labmon.simulate.usual import LIMIT, LITRES, SETPOINT, expected, sizes, usual

_DOOR = re.compile(r"(^|-)(door|lid)(-|$)")
OPEN_FOR = (10.0, 40.0)
"""Seconds that somebody has a door open."""
_INFINITE = float("inf")


class Life:
    """The quantities of one instrument, by channel. `door_every`: mean seconds between two openings, None for never.

    `exemplary`: the queries whose raw values at the start are those of an example, and not made up.
    """

    def __init__(
        self,
        driver: CompiledDriver,
        queries: Sequence[CompiledQuery],
        start: Mapping[str, Mapping[str, Raw]],
        exemplary: Collection[str],
        chance: random.Random,
    ) -> None:
        self.class_ = driver.file.class_
        self.chance = chance
        self.door_every: float | None = None
        self.quantities: dict[str, Quantity] = {}
        self.computed: set[str] = set()
        """Channels that follow from others."""
        self.clocks: set[str] = set()
        """Channels that tell the instrument's own time."""
        self._typical: dict[str, Typical] = {}
        self._specs: dict[str, ChannelSpec] = {}
        self._sizes: dict[str, dict[str, float]] = {}
        """Query -> its size channels, the smallest size first."""
        self._litres: dict[str, float] = {}
        self._open_for: float | None = None
        for query in queries:
            self._begin(query, driver.file.queries[query.name], start[query.name], query.name in exemplary)
        self.door(False)

    # ------------------------------------------------------------------ where it starts

    def _begin(self, query: CompiledQuery, file: grammar.Query, raws: Mapping[str, Raw], exemplary: bool) -> None:
        declared = {c.id: c for c in file.channels}
        types = {f.name: f.type for one in query.steps for f in one.fields}
        answer = query.answer([raws.get(name) for name in query.fields])
        values = {s.id: o.value for s, o in zip(query.channels, answer.outcomes, strict=True)}
        for spec in query.channels:
            channel = declared[spec.id]
            self._specs[spec.id] = spec
            if channel.compute is not None:
                self.computed.add(spec.id)
                continue
            if any(types.get(source.field) == "time" for source in channel.sources):
                self.clocks.add(spec.id)
                continue
            low, high = channel.range or (-_INFINITE, _INFINITE)
            if spec.kind in ("count", "particle-concentration") and values[spec.id] is not None:
                continue
            known = usual(spec, self.class_, values[spec.id] if exemplary else None, low, high)
            if known is None or not _sayable(query, spec.id, known.target, raws):
                known = None if values[spec.id] is None or spec.states else Typical(values[spec.id] or 0.0, 0.0, 1.0)
            if known is not None:
                self._add(spec.id, known, low, high)
        self._particles(query, declared, values)

    def _add(self, name: str, known: Typical, low: float = -_INFINITE, high: float = _INFINITE) -> None:
        self._typical[name] = known
        self.quantities[name] = Quantity(
            known.target, known.noise, known.tau, known.counts, self.chance, low=low, high=high
        )

    def _particles(
        self, query: CompiledQuery, declared: Mapping[str, grammar.Channel], values: Mapping[str, float | None]
    ) -> None:
        counted = [
            s for s in query.channels
            if s.kind in ("count", "particle-concentration") and s.id not in self.computed and values[s.id] is not None
            and s.id not in self.quantities
        ]  # fmt: skip
        particles = "particle" in self.class_ or "counter" in self.class_
        for kind in ("count", "particle-concentration"):
            group = [s for s in counted if s.kind == kind and (kind != "count" or particles)]
            given = [getattr(declared[s.id], "particle_size", None) for s in group]
            known = [size if isinstance(size, (int, float)) else None for size in given]
            found = sizes([s.name for s in group], [None if size is None else float(size) for size in known])
            order = sorted(zip(found, (s.id for s in group), strict=True))
            self._sizes.setdefault(query.name, {}).update({name: size for size, name in order})
            for spec in group:
                self._litres[spec.id] = _litres(spec.id, declared, values, self._specs)
                self._add(spec.id, Typical(values[spec.id] or 0.0, 0.0, 0.0, None, True))
        for spec in counted:
            if spec.id not in self.quantities:
                self._add(spec.id, Typical(values[spec.id] or 0.0, 0.0, 1.0))

    # ------------------------------------------------------------------ commands

    def room(self, grade: str, state: str) -> None:
        """Count what a room of this grade has. Raises ValueError for a grade without a figure."""
        for group in self._sizes.values():
            for name, size in group.items():
                per_m3 = expected(grade, state, size)
                spec = self._specs[name]
                if spec.kind == "count":
                    mean = per_m3 * self._litres[name] / 1000.0
                else:
                    mean = per_m3 * units.linear("{#}/m3", spec.unit)[0]
                self._typical[name] = Typical(mean, 0.0, 0.0, None, True)
                self.quantities[name].jump(mean)

    def jump(self, channel: str, value: float) -> None:
        """Be there at once; what follows a set point approaches the new one."""
        if channel not in self.quantities:
            self._add(channel, Typical(value, 0.0, 0.0))
        self.quantities[channel].jump(value)
        if SETPOINT.search(channel):
            for name in self._followers(channel):
                self.quantities[name].target = value

    def _followers(self, setpoint: str) -> list[str]:
        """The channels that approach a set point: of its name without that word, else the only ones of its kind."""
        kind = self._specs[setpoint].kind
        same = [n for n in self.quantities if self._specs[n].kind == kind and not SETPOINT.search(n)]
        named = [n for n in same if n == SETPOINT.sub("", setpoint).strip("-")]
        alarm = LIMIT.search(setpoint) is not None
        return [] if alarm else named or same[:1]

    def to_ambient(self, channel: str) -> None:
        """Let a channel drift to what it is in the room."""
        known = self._typical.get(channel)
        if known is not None and known.ambient is not None:
            self.quantities[channel].target = known.ambient

    def to_usual(self) -> None:
        """Let every channel drift back to where it usually is, free of what held it."""
        for channel, quantity in self.quantities.items():
            quantity.held = None
            known = self._typical[channel]
            if known.tau > 0:
                quantity.target = known.target
            else:
                quantity.jump(known.target)

    def door(self, is_open: bool) -> None:
        """Open or close the door."""
        for channel, known in self._typical.items():
            if known.ambient is not None:
                self.quantities[channel].target = known.ambient if is_open else known.target
        for name, spec in self._specs.items():
            if _DOOR.search(name) and spec.kind == "state" and name not in self.computed:
                if name not in self.quantities:
                    self._add(name, Typical(0.0, 0.0, 0.0))
                self.quantities[name].jump(_door_state(spec, is_open))
        self._open_for = None

    def stuck(self, channel: str | None) -> None:
        """Let a channel (None: all) stay as it is. Raises ValueError for one that does not move."""
        if channel is not None and channel not in self.quantities:
            raise ValueError(f"{channel} does not move; what does: {', '.join(self.quantities)}")
        for name, quantity in self.quantities.items():
            if channel in (None, name):
                quantity.held = quantity.value

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        for quantity in self.quantities.values():
            quantity.step(seconds)
        if self._open_for is not None:
            self._open_for -= seconds
            if self._open_for <= 0:
                self.door(False)
        elif self.door_every is not None and self.chance.random() < seconds / self.door_every:
            self.door(True)
            self._open_for = self.chance.uniform(*OPEN_FOR)

    # ------------------------------------------------------------------ now

    def drawn(self, query: CompiledQuery) -> dict[str, float]:
        """The values of a query's channels now; those of its size channels are of one sample."""
        values = {s.id: self.quantities[s.id].value for s in query.channels if s.id in self.quantities}
        group = [n for n in self._sizes.get(query.name, {}) if self.quantities[n].counts]
        free = [n for n in group if self.quantities[n].held is None]
        counts = [self._specs[n].kind == "count" for n in free]
        for kind in (True, False):
            names = [n for n, counted in zip(free, counts, strict=True) if counted is kind]
            factors = [1.0 if kind else self._litres[n] / 1000.0 / self._per_m3(n) for n in names]
            means = [self.quantities[n].level * f for n, f in zip(names, factors, strict=True)]
            for name, factor, count in zip(names, factors, cumulative(means, self.chance), strict=True):
                values[name] = count / factor
        return values

    def _per_m3(self, name: str) -> float:
        return units.linear("{#}/m3", self._specs[name].unit)[0]


def _sayable(query: CompiledQuery, channel: str, value: float, raws: Mapping[str, Raw]) -> bool:
    """Whether the instrument can say this value, and is understood."""
    try:
        made = query.raws_of({channel: value}, raws)
        answer = query.decode(query.encode(made))
    except (ValueError, OverflowError, LinkError):
        return False
    return any(s.id == channel and o.value is not None for s, o in zip(query.channels, answer.outcomes, strict=True))


def _litres(
    counts: str,
    declared: Mapping[str, grammar.Channel],
    values: Mapping[str, float | None],
    specs: Mapping[str, ChannelSpec],
) -> float:
    """The volume of air that these counts are from, as a computed channel takes it; else the common one."""

    def told(name: str | None, unit: str) -> float | None:
        value = values.get(name or "")
        return None if name is None or value is None else value * units.linear(specs[name].unit, unit)[0]

    for channel in declared.values():
        per = channel.compute.counts_per_volume if channel.compute is not None else None
        if per is None or per.counts != counts:
            continue
        litres, minutes, flow = told(per.volume, "L"), told(per.time, "min"), told(per.flow, "L/min")
        if litres:
            return litres
        if minutes and flow:
            return minutes * flow
    return LITRES


def _door_state(spec: ChannelSpec, is_open: bool) -> float:
    for number, text in spec.states.items():
        if ("open" in text or text == "yes") is is_open:
            return float(number)
    return float(is_open)
