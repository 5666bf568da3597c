"""One simulated instrument: its driver file turned round, with values that move."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from labmon.acquisition.plan import LinePlan
from labmon.drivers import grammar, meaning
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.guards import CompiledClock
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.moment import raws_of_time
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import Step, Write, steps
from labmon.model.reading import Raw
from labmon.simulate.fault import Fault
from labmon.simulate.framing import Ascii, Framing, Rtu, Tcp
from labmon.simulate.framing import Text as TextFraming
from labmon.simulate.life import Life
from labmon.simulate.line import Instruments
from labmon.simulate.manners import Manners
from labmon.simulate.raws import Asked, completed, shown, typed
from labmon.simulate.registers import Registers, Written
from labmon.simulate.stored import Stored
from labmon.simulate.words import Spoken

SAMPLE = 10.0
"""Seconds between two stored samples of an instrument that keeps records."""


class Instrument:
    """An instrument that answers as its driver file says. What it measures moves by itself and by command."""

    def __init__(
        self,
        driver: CompiledDriver,
        framing: str,
        address: int | str | None,
        params: Mapping[str, Any],
        *,
        sample: float = SAMPLE,
        chance: random.Random | None = None,
        grade: str = "A",
        state: str = "at-rest",
    ) -> None:
        self.driver = driver
        self.fault = Fault()
        self.sample = sample
        self.chance = chance or random.Random()
        if driver.file.called:
            raise ValueError(f"{driver.id} is asked in Python: what it answers cannot be made of its header alone")
        setting = driver.setting(framing, address, params)
        self.framing = framing
        self.unit = setting.address
        self.params = setting.params
        self._setting = setting
        self.queries: list[CompiledQuery] = driver.queries(framing, address, params)
        self.identity: CompiledIdentity | None = driver.identity(framing, address, params)
        self.device_clock: CompiledClock | None = driver.clock(framing, address, params)
        beside: dict[str, Asked | None] = {
            "identity": self.identity,
            "guard": driver.guard(framing, address, params),
            "clock": self.device_clock,
        }
        self._start: dict[str, dict[str, Raw]] = {}
        payloads: dict[str, list[bytes]] = {}
        exemplary: set[str] = set()
        for query in self.queries:
            raws, payloads[query.name] = shown(driver, f"query {query.name}", query, params)
            if raws:
                exemplary.add(query.name)
            raws = completed(query.steps, raws)
            self._start[query.name] = query.well(raws)
        self._beside: dict[str, tuple[Sequence[Step], dict[str, Raw]]] = {}
        for what, asked in beside.items():
            if asked is not None:
                told, payloads[what] = shown(driver, what, asked, params)
                self._beside[what] = asked.steps, completed(asked.steps, told)
        records = {q.name: driver.file.queries[q.name].record for q in self.queries if q.way is not None}
        self.stored = {
            q.name: Stored(q.way, record)
            for q in self.queries
            if q.way is not None and (record := records[q.name]) is not None
        }
        """The samples that it keeps, by query."""
        self._pops = {
            name: steps(record.queue.pop, setting)
            for name, record in records.items()
            if record is not None and record.queue is not None
        }
        """What takes the oldest sample of a query away."""
        self._now: dict[str, dict[str, Raw]] = {}
        self._bad: dict[str, str] = {}
        self._since_sample = 0.0
        self._restarts_in = 0.0
        self._order = sorted(self.queries, key=lambda query: query.kind != "record")
        """Where two queries read the same register, the later one says what it holds: the last that was told."""
        self.clock_offset = 0.0
        """Seconds by which the instrument's own clock is ahead."""
        self._modbus = framing.startswith("modbus-")
        self.manners = Manners(driver.file, setting)
        self._registers = Registers(self._sources, self._write)
        self._spoken = Spoken(self._sources, payloads, driver)
        self.life = Life(driver, self.queries, self._start, exemplary, self.chance)
        self.life.room(grade, state)
        self.quantities = self.life.quantities
        self._sampled()

    # ------------------------------------------------------------------ what it measures

    def channels(self) -> dict[str, float]:
        """The present value of every quantity that moves."""
        return {name: quantity.value for name, quantity in self.quantities.items()}

    def jump(self, channel: str, value: float) -> None:
        """Let a channel be at a value at once and stay around it.

        Raises ValueError for a channel that it does not have or computes, and for a value that it cannot say.
        """
        query = self._query_of(channel)
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number")
        if channel in self.life.clocks:
            self.clock_offset = value - time.time()
            self._moved()
            return
        try:
            query.encode(query.raws_of({channel: value}, self._start[query.name]))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{channel} cannot be {value:g}: {error}") from error
        self.life.jump(channel, value)
        self._bad.pop(channel, None)
        self._moved()

    def to_ambient(self, channel: str) -> None:
        """Let a channel drift to what it is in the room: an open door."""
        self.life.to_ambient(channel)

    def to_usual(self) -> None:
        """Let every channel drift back to where it usually is."""
        self.life.to_usual()

    def door(self, is_open: bool) -> None:
        """Open or close its door: what ambient air changes drifts, and a channel that tells of the door does."""
        self.life.door(is_open)
        self._moved()

    def stuck(self, channel: str | None) -> None:
        """Let a channel (None: all) stay at exactly what it is now. Raises ValueError for one that does not move."""
        self.life.stuck(channel)
        self._moved()

    def room(self, grade: str, state: str) -> None:
        """Count what a room of this grade has. Raises ValueError for a grade without a figure."""
        self.life.room(grade, state)
        self._moved()

    def make_bad(self, channel: str, reason: str) -> None:
        """Let a channel have no value, for a reason that the driver file can express. Raises ValueError else."""
        query = self._query_of(channel)
        query.raws_of({channel: reason}, self._start[query.name])
        self._bad[channel] = reason
        self._moved()

    def sentinel(self, channel: str) -> str:
        """Let a channel say the first raw value that is none; the reason that it has. Raises ValueError without one."""
        query = self._query_of(channel)
        declared = next(c for c in self.driver.file.queries[query.name].channels if c.id == channel)
        named = {source.field for source in meaning.sources(declared, self.params)}
        for one in query.steps:
            for field in one.fields:
                if field.name in named and field.sentinels:
                    reason = next(iter(field.sentinels.values()))
                    self.make_bad(channel, reason)
                    return reason
        raise ValueError(f"the driver file knows no raw value that means that {channel} has none")

    def says(self, field: str, raw: str) -> None:
        """Let a field hold another raw value from now on: a setting changed, another serial number.

        Raises ValueError for a field that it does not have, and a value that the field cannot hold.
        """
        found = False
        for told, raws in [*self._beside.values(), *((q.steps, self._start[q.name]) for q in self.queries)]:
            for one in told:
                if any(f.name == field for f in one.fields):
                    changed = {**raws, field: typed(raws.get(field), raw)}
                    one.encode(changed)
                    raws[field] = changed[field]
                    found = True
        if not found:
            raise ValueError(f"no field {field} in any reply")
        self._moved()

    def _query_of(self, channel: str) -> CompiledQuery:
        for query in self.queries:
            if any(spec.id == channel for spec in query.channels):
                self._order.remove(query)
                self._order.append(query)
                return query
        names = ", ".join(spec.id for q in self.queries for spec in q.channels)
        raise ValueError(f"no channel {channel}; there are {names}")

    # ------------------------------------------------------------------ time

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self.life.advance(seconds)
        self.manners.advance(seconds)
        self._restarts_in = max(0.0, self._restarts_in - seconds)
        self._since_sample += seconds
        if self._since_sample >= self.sample:
            self._sampled()
        self._moved()

    @property
    def clock(self) -> float:
        """Unix seconds by its own clock."""
        return time.time() + self.clock_offset

    def reboot(self, seconds: float, *, lose: bool) -> None:
        """Be silent for so long, and then as just switched on: what was written is gone, and records where `lose`."""
        self._restarts_in = seconds
        self._registers.restart()
        self.manners.restart()
        self._since_sample = 0.0
        if lose:
            for stored in self.stored.values():
                stored.lose()
        self._moved()

    def fill(self) -> int:
        """Have stored so many samples that the next drops the oldest; how many. Raises ValueError without memory."""
        if not self.stored:
            raise ValueError("it stores no samples")
        room = max(stored.room for stored in self.stored.values())
        now, self.clock_offset = self.clock_offset, self.clock_offset - room * self.sample
        for _ in range(room):
            self.clock_offset += self.sample
            self._sampled()
        self.clock_offset = now
        self._moved()
        return room

    def _moved(self) -> None:
        self._now.clear()
        self._registers.forget()

    def _sampled(self) -> None:
        """Store a new sample in every query that reads records, with the time now."""
        self._since_sample = 0.0
        for query in self.queries:
            if query.name in self.stored:
                raws = self._measured(query)
                record = self.driver.file.queries[query.name].record
                if record is not None:
                    raws |= self._told_time(record.time)
                self.stored[query.name].add(raws)

    def _measured(self, query: CompiledQuery) -> dict[str, Raw]:
        values: dict[str, float | str] = {}
        drawn = self.life.drawn(query)
        for spec in query.channels:
            if spec.id in self._bad:
                values[spec.id] = self._bad[spec.id]
            elif spec.id in drawn and spec.id not in self.life.computed:
                values[spec.id] = drawn[spec.id]
        return self._stamped(query, query.raws_of(values, self._start[query.name]))

    def _told_time(self, spec: grammar.TimeSpec) -> dict[str, Raw]:
        """The fields that tell its time now."""
        return raws_of_time(spec, int(self.clock) * 1_000_000_000, self._setting)

    def _stamped(self, query: CompiledQuery, raws: dict[str, Raw]) -> dict[str, Raw]:
        """With the clock's time in every text field that is one."""
        for one in query.steps:
            for field in one.fields:
                if field.type == "time" and isinstance(raws.get(field.name), (int, float)):
                    raws[field.name] = int(self.clock)
        return raws

    def _current(self, query: CompiledQuery) -> dict[str, Raw]:
        raws = self._now.get(query.name)
        if raws is None:
            stored = self.stored.get(query.name)
            kept = self._registers.kept("holding")
            raws = self._now[query.name] = self._measured(query) if stored is None else stored.shown(kept)
        return raws

    # ------------------------------------------------------------------ what it says

    def hears(self, unit: int | None, body: bytes) -> bool:
        """Whether a request is for it: by unit on Modbus, by what it understands on a text line."""
        if self._restarts_in > 0:
            return False
        if unit is not None:
            return unit == self.unit
        return self.manners.hears(body, body in self._spoken.known())

    def known(self) -> Set[bytes]:
        """The text requests that it understands, as they stand on the wire."""
        return self._spoken.known() | self.manners.frames.keys()

    @property
    def echoes(self) -> bool:
        """Whether it repeats each character as it comes."""
        return self.manners.characters

    def answer(self, body: bytes) -> bytes | None:
        """The reply's PDU, or its whole frame on a text line."""
        if self._modbus:
            return self._registers.answer(body)
        if (said := self.manners.answer(body)) is not None or body not in self._spoken.known():
            return said
        return self._spoken.answer(body)

    def refusal(self, body: bytes) -> bytes:
        """The reply by which it refuses: a Modbus exception, or an error that the driver file shows."""
        if self._modbus:
            return bytes([body[0] | 0x80, self.fault.exception])
        return self._spoken.refusal(body, self.fault.code)

    def unsummed(self, body: bytes, frame: bytes) -> bytes | None:
        """A text reply with another checksum. Raises ValueError where the instrument has none."""
        return None if self._modbus else self._spoken.unsummed(body, frame)

    def misbehave(self, fault: Fault) -> None:
        """Answer so from now on. Raises ValueError for what an instrument of this kind cannot do wrong."""
        if fault.name == "refuse" and self._modbus:
            fault = replace(fault, code=str(fault.exception))
        elif fault.name == "refuse":
            self._spoken.refusal(b"", fault.code)
        elif fault.name == "wrong-unit" and not self._modbus:
            raise ValueError("replies on a text line carry no unit id")
        elif fault.name == "wrong-checksum" and self.framing == "modbus-tcp":
            raise ValueError("Modbus TCP has no checksum")
        elif fault.name == "wrong-checksum" and not self._modbus and not self._spoken.summed:
            raise ValueError("the replies of this instrument have no checksum")
        self.fault = fault

    def _sources(self) -> Sequence[tuple[Sequence[Step], Mapping[str, Raw]]]:
        found: list[tuple[Sequence[Step], Mapping[str, Raw]]] = []
        if self.driver.file.clock is not None and "clock" in self._beside:
            self._beside["clock"][1].update(self._told_time(self.driver.file.clock.time))
        found += self._beside.values()
        found += [(query.steps, self._current(query)) for query in self._order]
        return found

    def _write(self, table: str, address: int, value: int) -> Written:
        """Whether the file declares this write; what it does is done."""
        self._now.clear()
        for name, pops in self._pops.items():
            if any(isinstance(o, Write) and (o.table, o.address, o.values) == (table, address, (value,)) for o in pops):
                self.stored[name].pop()
                return "done"
        # Not by way of what the registers hold now: that changes with this write.
        asked = [*(told for told, _ in self._beside.values()), *(query.steps for query in self.queries)]
        for one in (one for several in asked for one in several):
            if isinstance(one, Write) and one.table == table and 0 <= address - one.address < len(one.values):
                return "kept"
        return "refused"


@dataclass(frozen=True, slots=True)
class Made:
    """The instruments of one line, together and by device id."""

    line: Instruments
    by_device: dict[str, Instrument]


def framing_of(framing: str, instruments: Sequence[Instrument]) -> Framing:
    """The instrument's side of a framing."""
    if framing == "modbus-rtu":
        return Rtu()
    if framing == "modbus-ascii":
        return Ascii()
    if framing == "modbus-tcp":
        return Tcp()
    echoes = any(one.echoes for one in instruments)
    return TextFraming(lambda: {frame for one in instruments for frame in one.known()}, echoes=echoes)


def instruments_of(plan: LinePlan, sample: float = SAMPLE) -> Made:
    """Instruments for every device of a planned line. Raises TypeError for a driver that is no file."""
    found: dict[str, Instrument] = {}
    for device in plan.devices:
        if not isinstance(device.driver, CompiledDriver):
            raise TypeError(f"{device.driver.id} is no driver file and cannot be simulated")
        found[device.id] = Instrument(device.driver, plan.framing, device.address, device.params, sample=sample)
    made = list(found.values())
    return Made(Instruments(framing_of(plan.framing, made), made), found)
