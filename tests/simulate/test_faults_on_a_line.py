"""Every fault of a simulated instrument on a line that is polled as in service: each reading says why."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labmon.acquisition.line import Line
from labmon.acquisition.load import load
from labmon.health.line import LineHealth
from labmon.links.opening import make_link
from labmon.model.exchange import Exchange
from labmon.model.reading import reason_code
from labmon.simulate.console import obey
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import PtyLine
from labmon.simulate.made import instruments_of

DRIVER = """\
labmon-driver: 1
maker: Test
models: [T]
title: Test T
class: incubator
manual: {document: none, revision: none, pages: "1"}
framings: [modbus-rtu, modbus-ascii]
serial: {baud: 115200}
address: {default: 1, from: 1, to: 247}
timing: {timeout: 60 ms}
identity:
  requests:
    - {read: holding, at: 9, count: 1, fields: {map: {at: 9, type: u16}}}
  show: [map]
  wrong-when: [{field: map, is-not: 7}]
queries:
  all:
    every: 20 ms
    requests:
      - read: holding
        at: 1
        count: 2
        fields:
          temperature: {at: 1, type: i16, sentinels: [{raw: 0x8000, reason: no-sensor}]}
          door: {at: 2, type: u16}
    channels:
      - {id: temperature, name: Temperature, unit: Cel, scale: 0.01}
      - {id: door, name: Door, unit: "1", states: {0: closed, 1: open}}
examples:
  - identity: true
    origin: {composed: by hand}
    raws: {map: 7}
    exchanges: [{sent: "01 03 00 09 00 01 54 08", got: "01 03 02 00 07 F9 86"}]
    found: map 7
  - query: all
    origin: {composed: by hand}
    raws: {temperature: 3700, door: 0}
    exchanges: [{sent: "01 03 00 01 00 02 95 CB", got: "01 03 04 0E 74 00 00 19 1D"}]
    readings: {temperature: 37.0, door: 0}
"""
SITE = """\
labmon: 1
site: {{id: test, name: Test, timezone: UTC}}
gateway: {{id: gw}}
areas: [{{id: lab, name: Lab}}]
drivers: [{folder}]
lines:
  - id: bus
    name: Bus
    serial: {{port: {port}}}
    framing: {framing}
    devices:
      - id: incubator
        name: Incubator
        driver: test/t
        area: lab
        address: 1
        channels: [{{id: temperature}}, {{id: door}}]
"""


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labmon.acquisition.polled.RESTS", (0.1,))
    monkeypatch.setattr("labmon.acquisition.resting.PROBE_SHARE", 0.9)


@dataclass
class Recorder:
    exchanges: list[Exchange] = field(default_factory=list)
    conditions: list[tuple[str, bool]] = field(default_factory=list)

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        self.exchanges.append(exchange)

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        self.conditions.append((alarm, active))

    def flags(self, device: str) -> int:
        return 0

    def last_record(self, query: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    def outcomes(self) -> list[tuple[float | None, str | None]]:
        return [(e.readings[0].value, e.readings[0].reason) for e in self.exchanges]


@dataclass
class Plant:
    instrument: Instrument
    recorder: Recorder
    health: LineHealth
    line: PtyLine


@asynccontextmanager
async def polled(folder: Path, framing: str = "modbus-rtu") -> AsyncIterator[Plant]:
    (folder / "test").mkdir()
    (folder / "test" / "t.yaml").write_text(DRIVER)
    port = folder / "port"
    site = folder / "site.yaml"
    site.write_text(SITE.format(folder=folder, port=port, framing=framing))
    loaded = load(site)
    assert loaded.plan is not None, "\n".join(map(str, loaded.errors))
    (plan,) = loaded.plan.lines
    made = instruments_of(plan)
    serial = PtyLine(made.line, port)
    recorder, health = Recorder(), LineHealth("bus")
    await serial.start()
    link = make_link(plan.endpoint, plan.framing, quiet=plan.quiet, least_quiet=0.01)
    task = asyncio.create_task(Line(plan, link, recorder, health).run())
    try:
        yield Plant(made.by_device["incubator"], recorder, health, serial)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await serial.stop()


REASONS = [
    ("silent", {"silent", "resting"}),
    ("late 2", {"silent", "resting"}),
    ("garbled", {"garbled", "resting"}),
    ("junk inside", {"garbled", "resting"}),
    ("cut", {"silent", "resting"}),
    ("wrong-unit", {"garbled", "resting"}),
    ("wrong-checksum", {"garbled", "resting"}),
    ("refuse 2", {"refused"}),
    ("sentinel temperature", {"no-sensor"}),
    ("junk before", set()),
    ("junk after", set()),
    ("twice", set()),
]


@pytest.mark.parametrize("framing", ["modbus-rtu", "modbus-ascii"])
@pytest.mark.parametrize(("fault", "reasons"), REASONS)
async def test_a_fault_is_the_reason_of_readings_and_no_reading_is_wrong(
    tmp_path: Path, framing: str, fault: str, reasons: set[str], eventually: Any
) -> None:
    async with polled(tmp_path, framing) as plant:
        plant.instrument.quantities["temperature"].noise = 0.0
        plant.instrument.jump("temperature", 36.5)
        recorder = plant.recorder
        await eventually(lambda: len(recorder.exchanges) >= 3)
        obey(plant.instrument, fault)
        begun = len(recorder.exchanges) + 1  # what is on its way
        await eventually(lambda: len(recorder.exchanges) >= begun + 4, 20.0)
        told = recorder.outcomes()[begun:]
        assert {value for value, _ in told} == ({None} if reasons else {36.5})
        assert {reason_code(str(reason)) for _, reason in told if reason is not None} <= reasons, told
        if reasons:
            assert reason_code(str(told[0][1])) in reasons - {"resting"}
        obey(plant.instrument, "ok")
        plant.instrument.jump("temperature", 33.25)
        count = len(recorder.exchanges)
        await eventually(lambda: recorder.outcomes()[-1] == (33.25, None), 20.0)
        under_way = 0 if reasons else 1
        after = {value for value, _ in recorder.outcomes()[count + under_way :] if value is not None}
        assert after <= {33.25}, "the value before is never told again"


async def test_a_value_that_is_stuck_and_a_door_that_is_open(tmp_path: Path, eventually: Any) -> None:
    async with polled(tmp_path) as plant:
        recorder = plant.recorder
        await eventually(lambda: len(recorder.exchanges) >= 3)
        obey(plant.instrument, "door open")
        await eventually(lambda: recorder.exchanges[-1].readings[1].value == 1.0)
        plant.instrument.advance(20.0)
        await eventually(lambda: (recorder.exchanges[-1].readings[0].value or 99) < 34.0)
        obey(plant.instrument, "stuck temperature")
        plant.instrument.advance(1.0)
        count = len(recorder.exchanges) + 1
        for _ in range(4):
            plant.instrument.advance(100.0)
            now = len(recorder.exchanges)
            await eventually(lambda now=now: len(recorder.exchanges) > now)
        assert len({e.readings[0].value for e in recorder.exchanges[count:]}) == 1


async def test_a_restart_is_silence_and_the_instrument_is_found_again(tmp_path: Path, eventually: Any) -> None:
    async with polled(tmp_path) as plant:
        recorder = plant.recorder
        await eventually(lambda: recorder.outcomes() and recorder.outcomes()[-1][0] is not None)
        obey(plant.instrument, "reboot 60 lose")
        await eventually(lambda: ("incubator.dead", True) in recorder.conditions, 20.0)
        obey(plant.instrument, "says map 8")
        plant.instrument.advance(60.0)
        # It may be another one that was put in its place: it is asked again who it is.
        await eventually(
            lambda: recorder.conditions and ("incubator.wrong-instrument", True) in recorder.conditions, 30.0
        )
        assert recorder.outcomes()[-1][0] is None
        obey(plant.instrument, "says map 7")
        await eventually(lambda: recorder.outcomes()[-1][0] is not None, 30.0)


async def test_the_wrong_instrument_gives_no_value(tmp_path: Path, eventually: Any) -> None:
    async with polled(tmp_path) as plant:
        obey(plant.instrument, "says map 8")
        recorder = plant.recorder
        await plant.line.stop()
        await plant.line.start()
        await eventually(lambda: ("incubator.wrong-instrument", True) in recorder.conditions, 20.0)
        count = len(recorder.exchanges)
        await eventually(lambda: len(recorder.exchanges) > count + 2, 20.0)
        assert {value for value, _ in recorder.outcomes()[count:]} == {None}
