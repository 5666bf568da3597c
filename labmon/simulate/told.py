"""What a simulated instrument says in its replies: the raw values of now, of its queries and of all beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.moment import raws_of_time
from labmon.drivers.query import CompiledQuery
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step, Write
from labmon.model.reading import Raw
from labmon.simulate.clock import Clock
from labmon.simulate.life import Life
from labmon.simulate.memory import Memory
from labmon.simulate.raws import Asked, completed, shown, typed
from labmon.simulate.variant import identified

Sources = Sequence[tuple[Sequence[Step], Mapping[str, Raw]]]


class Told:
    """The raw values of one device: as examples show them, then as its quantities, its clock and its memory are."""

    def __init__(
        self, driver: CompiledDriver, framing: str, address: int | str | None, params: Mapping[str, Any]
    ) -> None:
        self._file = driver.file
        self.payloads: dict[str, list[bytes]] = {}
        """What examples show of each reply, by query; of the others by `identity`, `guard`, `clock`."""
        self._beside: dict[str, tuple[Sequence[Step], dict[str, Raw]]] = {}
        setting = driver.setting(framing, address, params)
        self.identity: CompiledIdentity | None = driver.identity(framing, address, params)
        if self.identity is not None:
            raws, self.payloads["identity"], own = identified(driver, self.identity, setting.params, params)
            self._beside["identity"] = self.identity.steps, raws
            params = {**params, **own}
            setting = driver.setting(framing, address, params)
        self.setting: Setting = setting
        clock = driver.clock(framing, address, params)
        self.clock = Clock(clock)
        beside: dict[str, Asked | None] = {"guard": driver.guard(framing, address, params), "clock": clock}
        for what, asked in beside.items():
            if asked is not None:
                told, self.payloads[what] = shown(driver, what, asked, params)
                self._beside[what] = asked.steps, completed(asked.steps, told)
        self.queries: list[CompiledQuery] = driver.queries(framing, address, params)
        self.start: dict[str, dict[str, Raw]] = {}
        """Raw values of each query, of which its quantities change some."""
        self.exemplary: set[str] = set()
        """The queries whose values at the start are those of an example, and not made up."""
        for query in self.queries:
            raws, self.payloads[query.name] = shown(driver, f"query {query.name}", query, params)
            if raws:
                self.exemplary.add(query.name)
            self.start[query.name] = query.well(completed(query.steps, raws))
        self.memory = Memory(driver.file, self.queries)
        self.bad: dict[str, str] = {}
        """Channels without a value, and why."""
        self._now: dict[str, dict[str, Raw]] = {}
        self._order = sorted(self.queries, key=lambda query: query.kind != "record")
        """Where two queries read the same register, the later one says what it holds: the last that was told."""

    def query_of(self, channel: str) -> CompiledQuery:
        """The query of a channel, which tells last from now on. Raises ValueError for a channel that does not exist."""
        for query in self.queries:
            if any(spec.id == channel for spec in query.channels):
                self._order.remove(query)
                self._order.append(query)
                return query
        names = ", ".join(spec.id for q in self.queries for spec in q.channels)
        raise ValueError(f"no channel {channel}; there are {names}")

    def says(self, field: str, raw: str) -> None:
        """Let a field hold another raw value. Raises ValueError for one that does not exist or cannot hold it."""
        found = False
        for told, raws in [*self._beside.values(), *((q.steps, self.start[q.name]) for q in self.queries)]:
            for one in told:
                if any(f.name == field for f in one.fields):
                    changed = {**raws, field: typed(raws.get(field), raw)}
                    one.encode(changed)
                    raws[field] = changed[field]
                    found = True
        if not found:
            raise ValueError(f"no field {field} in any reply")

    def forget(self) -> None:
        """Values have moved: they are made anew when they are next asked for."""
        self._now.clear()

    def sample(self, life: Life) -> None:
        """Store a new sample in every query that reads records, with the time now."""
        for query in self.queries:
            record = self._file.queries[query.name].record
            if query.name in self.memory.stored and record is not None:
                raws = self.measured(query, life) | self._time(record.time)
                self.memory.stored[query.name].add(raws)

    def measured(self, query: CompiledQuery, life: Life) -> dict[str, Raw]:
        """The raw values of a query with what its quantities are now."""
        values: dict[str, float | str] = {}
        drawn = life.drawn(query)
        for spec in query.channels:
            if spec.id in self.bad:
                values[spec.id] = self.bad[spec.id]
            elif spec.id in drawn and spec.id not in life.computed:
                values[spec.id] = drawn[spec.id]
        raws = query.raws_of(values, self.start[query.name])
        for one in query.steps:
            for field in one.fields:
                if field.type == "time" and isinstance(raws.get(field.name), (int, float)):
                    raws[field.name] = int(self.clock.time)
        return raws

    def _time(self, spec: grammar.TimeSpec) -> dict[str, Raw]:
        """The fields that tell its time now."""
        return raws_of_time(spec, int(self.clock.time) * 1_000_000_000, self.setting)

    def sources(self, life: Life, written: Mapping[int, int]) -> Sources:
        """All steps with their raw values now; `written`: what was written to holding registers."""
        found: list[tuple[Sequence[Step], Mapping[str, Raw]]] = []
        if self._file.clock is not None and "clock" in self._beside:
            self._beside["clock"][1].update(self._time(self._file.clock.time))
        found += self._beside.values()
        for query in self._order:
            stored = self.memory.stored.get(query.name)
            if query.name not in self._now:
                self._now[query.name] = self.measured(query, life) if stored is None else stored.shown(written)
            steps = query.steps if stored is None else self.memory.sources(query.name)
            found.append((steps, self._now[query.name]))
        return found

    def writes(self, table: str, address: int) -> bool:
        """Whether the requests of identity, guard, clock and queries write this register or coil."""
        asked = [*(told for told, _ in self._beside.values()), *(query.steps for query in self.queries)]
        return any(
            isinstance(one, Write) and one.table == table and 0 <= address - one.address < len(one.values)
            for several in asked
            for one in several
        )
