"""One simulated instrument: its driver file turned round, with values that move."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from labmon.drivers import meaning
from labmon.drivers.compile import CompiledDriver
from labmon.simulate.fault import Fault
from labmon.simulate.life import Life
from labmon.simulate.manners import Manners
from labmon.simulate.registers import Registers, Written
from labmon.simulate.streaming import Say, Streaming
from labmon.simulate.told import Sources, Told
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
        if driver.file.called:
            raise ValueError(f"{driver.id} is asked in Python: what it answers cannot be made of its header alone")
        self.driver = driver
        self.framing = framing
        self.fault = Fault()
        self.sample = sample
        self.chance = chance or random.Random()
        self._told = Told(driver, framing, address, params)
        setting = self._told.setting
        self.unit = setting.address
        self.params = setting.params
        """Its parameters, those of its variant included."""
        self.queries = self._told.queries
        self.identity = self._told.identity
        self.stored = self._told.memory.stored
        """The samples that it keeps, by query."""
        self.clock = self._told.clock
        """Its own clock."""
        self._since_sample = 0.0
        self._restarts_in = 0.0
        self._modbus = framing.startswith("modbus-")
        self.manners = Manners(driver.file, setting)
        self.streaming = Streaming(self.queries)
        self._say: Say | None = None
        self._registers = Registers(self._sources, self._write)
        self._spoken = Spoken(self._sources, self._told.payloads, driver)
        self.life = Life(driver, self.queries, self._told.start, self._told.exemplary, self.chance)
        self.life.room(grade, state)
        self.quantities = self.life.quantities
        self._told.sample(self.life)

    # ------------------------------------------------------------------ what it measures

    def channels(self) -> dict[str, float]:
        """The present value of every quantity that moves."""
        return {name: quantity.value for name, quantity in self.quantities.items()}

    def jump(self, channel: str, value: float) -> None:
        """Let a channel be at a value at once and stay around it.

        Raises ValueError for a channel that it does not have or computes, and for a value that it cannot say.
        """
        query = self._told.query_of(channel)
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number")
        if channel in self.life.clocks:
            self.clock.ahead = value - time.time()
            self._moved()
            return
        try:
            query.encode(query.raws_of({channel: value}, self._told.start[query.name]))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{channel} cannot be {value:g}: {error}") from error
        self.life.jump(channel, value)
        self._told.bad.pop(channel, None)
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
        query = self._told.query_of(channel)
        query.raws_of({channel: reason}, self._told.start[query.name])
        self._told.bad[channel] = reason
        self._moved()

    def sentinel(self, channel: str) -> str:
        """Let a channel say the first raw value that is none; the reason that it has. Raises ValueError without one."""
        query = self._told.query_of(channel)
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
        self._told.says(field, raw)
        self._moved()

    # ------------------------------------------------------------------ time

    def advance(self, seconds: float) -> None:
        """Let so much time pass; what it says unasked meanwhile goes out at its end."""
        self.life.advance(seconds)
        self.manners.advance(seconds)
        self.clock.advance(seconds)
        off = min(seconds, self._restarts_in)
        self._restarts_in -= off
        self._since_sample += seconds
        if self._since_sample >= self.sample:
            self._sampled()
        self._moved()
        if not self._restarts_in:
            self._speak(seconds - off)

    def reboot(self, seconds: float, *, lose: bool) -> None:
        """Be silent for so long, and then as just switched on: what was written is gone, and records where `lose`."""
        self._restarts_in = seconds
        self._registers.restart()
        self.manners.restart()
        self.streaming.restart()
        self._since_sample = 0.0
        self._told.memory.restart(lose=lose)
        self._moved()

    def fill(self) -> int:
        """Have stored so many samples that the next drops the oldest; how many. Raises ValueError without memory."""
        if not self.stored:
            raise ValueError("it stores no samples")
        room = max(stored.room for stored in self.stored.values())
        now, self.clock.ahead = self.clock.ahead, self.clock.ahead - room * self.sample
        for _ in range(room):
            self.clock.ahead += self.sample
            self._sampled()
        self.clock.ahead = now
        self._moved()
        return room

    def _moved(self) -> None:
        self._told.forget()
        self._registers.forget()

    def _sampled(self) -> None:
        self._since_sample = 0.0
        self._told.sample(self.life)

    # ------------------------------------------------------------------ what it says

    def speak_through(self, say: Say | None) -> None:
        """Put what it says unasked on a line (see labmon.simulate.line.Speaking)."""
        self._say = say

    def _speak(self, seconds: float) -> None:
        for query in self.streaming.due(seconds):
            if self._say is not None:
                self._say(self._spoken.unasked(query))

    def hears(self, unit: int | None, body: bytes) -> bool:
        """Whether a request is for it: by unit on Modbus, by what it understands on a text line."""
        if self._restarts_in > 0:
            return False
        if unit is not None:
            return unit == self.unit
        return self.manners.hears(body, body in self._understood())

    def known(self) -> Set[bytes]:
        """The text requests that it understands, as they stand on the wire."""
        return self._understood() | self.manners.frames.keys()

    def _understood(self) -> Set[bytes]:
        return self._spoken.known() | self.clock.known()

    @property
    def echoes(self) -> bool:
        """Whether it repeats each character as it comes."""
        return self.manners.characters

    def answer(self, body: bytes) -> bytes | None:
        """The reply's PDU, or its whole frame on a text line."""
        if self._modbus:
            if self._told.memory.asked(body):
                self._moved()
            return self._registers.answer(body)
        if (said := self.manners.answer(body)) is not None or body not in self._understood():
            return said
        if body not in self._spoken.known():
            said = self.clock.told(body)
            self._moved()
            return said
        if self._told.memory.asked(body):
            self._moved()
        return self._spoken.answer(body)

    def refusal(self, body: bytes) -> bytes:
        """The reply by which it refuses: a Modbus exception, or an error that the driver file shows."""
        if self._modbus:
            return bytes([body[0] | 0x80, self.fault.exception])
        return self._spoken.refusal(body, self.fault.code)

    def unsummed(self, body: bytes, frame: bytes) -> bytes | None:
        """A text reply, or what it says unasked, with another checksum. Raises ValueError where it has none."""
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

    def _sources(self) -> Sources:
        return self._told.sources(self.life, self._registers.kept("holding"))

    def _write(self, table: str, address: int, value: int) -> Written:
        """Whether the file declares this write; what it does is done."""
        self._told.forget()
        if self._told.memory.popped(table, address, value) or self.clock.written(table, address, value):
            return "done"
        return "kept" if self._told.writes(table, address) else "refused"
