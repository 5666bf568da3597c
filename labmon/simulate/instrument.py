"""One simulated instrument: its driver file turned round, with values that move."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labmon.acquisition.plan import LinePlan
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.examples import payloads_of, target_of, typical
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import Identification, Step, Words, Write
from labmon.drivers.text_step import Text
from labmon.model.reading import Raw
from labmon.simulate.fault import Fault
from labmon.simulate.framing import Ascii, Framing, Rtu, Tcp
from labmon.simulate.framing import Text as TextFraming
from labmon.simulate.line import Instruments
from labmon.simulate.quantity import TYPICAL, Quantity, Typical
from labmon.simulate.stored import Stored

SAMPLE = 10.0
"""Seconds between two stored samples of an instrument that keeps records."""
_TABLES = {1: "coils", 2: "discrete", 3: "holding", 4: "input"}


class Instrument:
    """An instrument that answers as its driver file says. `set` and `fault` change what it says and how."""

    def __init__(
        self,
        driver: CompiledDriver,
        framing: str,
        address: int | str | None,
        params: Mapping[str, Any],
        *,
        sample: float = SAMPLE,
        chance: random.Random | None = None,
    ) -> None:
        self.driver = driver
        self.fault = Fault()
        self.sample = sample
        self.chance = chance or random.Random()
        self.unit = driver.setting(framing, address, params).address
        self.queries: list[CompiledQuery] = driver.queries(framing, address, params)
        self.identity: CompiledIdentity | None = driver.identity(framing, address, params)
        self._raws: dict[str, dict[str, Raw]] = {q.name: typical(driver, q, framing, params) for q in self.queries}
        self._identity_raws = _identity_raws(driver)
        self.stored = {q.name: Stored(q.way) for q in self.queries if q.way is not None}
        """The samples that it keeps, by query."""
        self._bad: dict[str, str] = {}
        self._written: dict[int, int] = {}
        self._since_sample = 0.0
        self._lines: dict[bytes, tuple[Text, str | None]] = {}
        self._texts()
        self.quantities: dict[str, Quantity] = {}
        for query in self.queries:
            self._begin(query)
        self._sampled()

    # ------------------------------------------------------------------ what it measures

    def _begin(self, query: CompiledQuery) -> None:
        class_ = self.driver.file.class_
        start = query.answer([self._raws[query.name].get(name) for name in query.fields])
        for spec, outcome in zip(query.channels, start.outcomes, strict=True):
            known = TYPICAL.get((class_, spec.id))
            if known is None:
                if outcome.value is None or spec.states:
                    continue
                known = Typical(outcome.value, 0.0, 1.0)
            self.quantities[spec.id] = Quantity(known.target, known.noise, known.tau, known.counts, self.chance)

    def channels(self) -> dict[str, float]:
        """The present value of every quantity that moves."""
        return {name: quantity.value for name, quantity in self.quantities.items()}

    def jump(self, channel: str, value: float) -> None:
        """Let a channel be at a value at once and stay around it.

        Raises ValueError for a channel that it does not have or computes, and for a value that it cannot say.
        """
        query = next((q for q in self.queries if any(spec.id == channel for spec in q.channels)), None)
        if query is None:
            names = ", ".join(spec.id for q in self.queries for spec in q.channels)
            raise ValueError(f"no channel {channel}; there are {names}")
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number")
        try:
            query.encode(query.raws_of({channel: value}, self._raws[query.name]))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{channel} cannot be {value:g}: {error}") from error
        if channel not in self.quantities:
            self.quantities[channel] = Quantity(value, 0.0, 0.0)
        self.quantities[channel].jump(value)
        self._bad.pop(channel, None)

    def to_ambient(self, channel: str) -> None:
        """Let a channel drift to what it is in the room: an open door."""
        known = TYPICAL.get((self.driver.file.class_, channel))
        if known is not None and known.ambient is not None:
            self.quantities[channel].target = known.ambient

    def to_usual(self) -> None:
        """Let every channel drift back to where it usually is."""
        for channel, quantity in self.quantities.items():
            known = TYPICAL.get((self.driver.file.class_, channel))
            if known is not None:
                quantity.target = known.target

    def make_bad(self, channel: str, reason: str) -> None:
        """Let a channel have no value, for a reason that the driver file can express. Raises ValueError else."""
        for query in self.queries:
            if any(spec.id == channel for spec in query.channels):
                query.raws_of({channel: reason}, self._raws[query.name])
                self._bad[channel] = reason
                return
        raise ValueError(f"no channel {channel}")

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        for quantity in self.quantities.values():
            quantity.step(seconds)
        self._since_sample += seconds
        if self._since_sample >= self.sample:
            self._sampled()

    def _sampled(self) -> None:
        """Store a new sample in every query that reads records, with the time now."""
        self._since_sample = 0.0
        for query in self.queries:
            if query.kind == "record":
                raws = self._now(query)
                record = self.driver.file.queries[query.name].record
                if record is not None:
                    raws[record.time] = int(time.time())
                self._raws[query.name] = raws
                if query.name in self.stored:
                    self.stored[query.name].add(raws)

    def _now(self, query: CompiledQuery) -> dict[str, Raw]:
        values: dict[str, float | str] = {}
        for spec in query.channels:
            if spec.id in self._bad:
                values[spec.id] = self._bad[spec.id]
            elif spec.id in self.quantities and not _computed(self.driver, query.name, spec.id):
                values[spec.id] = self.quantities[spec.id].value
        return query.raws_of(values, self._raws[query.name])

    def _current(self, query: CompiledQuery) -> dict[str, Raw]:
        stored = self.stored.get(query.name)
        return self._now(query) if stored is None else stored.shown(self._written)

    # ------------------------------------------------------------------ what it says

    def hears(self, unit: int | None, body: bytes) -> bool:
        """Whether a request is for it: by unit on Modbus, by what it understands on a text line."""
        if unit is not None:
            return unit == self.unit
        return body in self._lines

    def answer(self, body: bytes) -> bytes | None:
        """The reply's PDU or line."""
        if self._lines:
            return self._line(body)
        return self._pdu(body)

    def refusal(self, body: bytes) -> bytes:
        """The reply by which it refuses: a Modbus exception, or the first error that the driver file shows."""
        if not self._lines:
            return bytes([body[0] | 0x80, self.fault.code & 0xFF])
        for example in self.driver.file.examples:
            if example.fails == "refused":
                return example.exchanges[-1].got.encode("latin-1")
        return b""

    def _texts(self) -> None:
        for query in self.queries:
            for one in query.steps:
                if isinstance(one, Text):
                    self._lines[_body(one)] = one, query.name
        for one in self.identity.steps if self.identity is not None else ():
            if isinstance(one, Text):
                self._lines.setdefault(_body(one), (one, None))

    def _line(self, body: bytes) -> bytes | None:
        found = self._lines.get(body)
        if found is None:
            return None
        one, name = found
        query = next((q for q in self.queries if q.name == name), None)
        raws = self._identity_raws if query is None else self._current(query)
        return one.framed(one.encode(raws))

    def _pdu(self, body: bytes) -> bytes:
        function = body[0]
        if function in _TABLES and len(body) == 5:
            start, count = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return self._read(function, start, count)
        if function == 6 and len(body) == 5:
            address = int.from_bytes(body[1:3], "big")
            if any(
                isinstance(s, Write) and s.address == address and s.table == "holding"
                for q in self.queries
                for s in q.steps
            ):
                self._written[address] = int.from_bytes(body[3:5], "big")
                return body
            return bytes([0x86, 2])
        if function == 0x2B and len(body) >= 4:
            return self._identification(body)
        return bytes([function | 0x80, 1])

    def _read(self, function: int, start: int, count: int) -> bytes:
        """What the declared blocks hold; an address outside of them is an illegal data address."""
        memory = self._memory(_TABLES[function])
        if not count or any(address not in memory for address in range(start, start + count)):
            return bytes([function | 0x80, 2])
        values = [memory[address] for address in range(start, start + count)]
        if function in (1, 2):
            word = sum(bool(value) << n for n, value in enumerate(values))
            data = word.to_bytes((count + 7) // 8, "little")
        else:
            data = b"".join(value.to_bytes(2, "big") for value in values)
        return bytes([function, len(data)]) + data

    def _memory(self, table: str) -> dict[int, int]:
        memory: dict[int, int] = {}
        if self.identity is not None:
            _fill(memory, table, self.identity.steps, self._identity_raws)
        for query in self.queries:
            _fill(memory, table, query.steps, self._current(query))
        if table == "holding":
            memory |= self._written
        return memory

    def _identification(self, body: bytes) -> bytes:
        if self.identity is not None:
            for one in self.identity.steps:
                if isinstance(one, Identification):
                    return body[:3] + one.encode(self._identity_raws)
        return bytes([0xAB, 1])


def _fill(memory: dict[int, int], table: str, steps: Sequence[Step], raws: Mapping[str, Raw]) -> None:
    for one in steps:
        if not isinstance(one, Words) or one.table != table:
            continue
        data = one.encode(raws)
        for n in range(one.count):
            if table in ("coils", "discrete"):
                memory[one.address + n] = data[n // 8] >> n % 8 & 1
            else:
                memory[one.address + n] = int.from_bytes(data[2 * n : 2 * n + 2], "big")


def _identity_raws(driver: CompiledDriver) -> dict[str, Raw]:
    """What an instrument says of itself in the first example in which it says it."""
    for example in driver.file.examples:
        if example.found is None:
            continue
        target = target_of(driver, example)
        if isinstance(target, CompiledIdentity):
            payloads = payloads_of(target.steps, example, example.framing or driver.framings[0])
            return dict(zip(target.fields, target.raws(payloads), strict=True))
    return {}


def _computed(driver: CompiledDriver, query: str, channel: str) -> bool:
    return any(c.id == channel and c.compute is not None for c in driver.file.queries[query].channels)


def _body(one: Text) -> bytes:
    """The request as it is heard: without its terminator."""
    return one.request.encode(0).rstrip(b"\r\n")


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
    return TextFraming((b"\r", b"\n"))


def instruments_of(plan: LinePlan, sample: float = SAMPLE) -> Made:
    """Instruments for every device of a planned line. Raises TypeError for a driver that is no file."""
    found: dict[str, Instrument] = {}
    for device in plan.devices:
        if not isinstance(device.driver, CompiledDriver):
            raise TypeError(f"{device.driver.id} is no driver file and cannot be simulated")
        found[device.id] = Instrument(device.driver, plan.framing, device.address, device.params, sample=sample)
    made = list(found.values())
    return Made(Instruments(framing_of(plan.framing, made), made), found)
