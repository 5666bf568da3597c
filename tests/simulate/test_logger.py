"""A simulated data logger, read by the reader of service over a pty: first, next and repeat, as its file says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from test_instruments import CATALOGUE, connected
from test_stored import Clock, read

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.drivers.records import GONE
from labmon.links.errors import LinkError
from labmon.simulate.console import obey
from labmon.simulate.instrument import Instrument

FILE = Path(__file__).parents[1] / "e2e" / "drivers" / "test" / "logged.yaml"


def logger() -> Instrument:
    loaded = load_driver(FILE)
    assert loaded.driver is not None
    return made_of(loaded.driver)


def made_of(driver: CompiledDriver) -> Instrument:
    return Instrument(driver, "text", None, {}, sample=60.0, chance=random.Random(1))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_each_entry_is_read_once_with_what_was_set(tmp_path: Path, clock: Clock) -> None:
    made = logger()
    (query,) = made.queries
    async with connected(tmp_path, "text", made) as link:
        reader, last, numbers = query.reader(), None, []
        for count, temperature in ((0, 37.0), (3, 36.5), (20, 35.0), (1, 34.5)):
            made.jump("temperature", temperature)
            made.quantities["temperature"].noise = 0.0
            before = clock.now
            clock.sample(made, count)
            found = await read(made, reader, link, last)
            assert [r.time for r in found if r.time is not None] == [
                int(before + 60 * n) * 10**9 for n in ((0,) if last is None else range(1, count + 1))
            ]
            if last is not None:
                assert {r.outcomes[0].value for r in found} == {temperature}
            numbers += [r.number for r in found]
            last = found[-1].time, found[-1].key
        assert numbers == list(range(25))


@pytest.mark.parametrize("fault", ["garbled", "cut", "silent"])
async def test_a_block_that_did_not_come_through_is_sent_again(tmp_path: Path, clock: Clock, fault: str) -> None:
    made = logger()
    (query,) = made.queries
    async with connected(tmp_path, "text", made) as link:
        reader = query.reader()
        (begun,) = await read(made, reader, link, None)
        last = begun.time, begun.key
        clock.sample(made, 10)
        obey(made, fault)
        with pytest.raises(LinkError):
            await reader.turn(link, last)
        obey(made, "ok")
        await link.settle()
        # A request that was not heard is found out at one poll, and what it asked for comes at the next.
        found = await read(made, reader, link, last) or await read(made, reader, link, last)
        assert [r.number for r in found] == list(range(1, 11))


async def test_a_restart_keeps_the_log_and_a_full_one_drops_its_oldest(tmp_path: Path, clock: Clock) -> None:
    made = logger()
    (query,) = made.queries
    stored = made.stored["log"]
    async with connected(tmp_path, "text", made) as link:
        reader = query.reader()
        clock.sample(made, 15)
        found = await read(made, reader, link, None)
        assert len(found) == 16
        last = found[-1].time, found[-1].key
        obey(made, "reboot 0 keep")
        clock.sample(made, 2)
        assert [r.number for r in await read(made, reader, link, last)] == [16, 17]
        assert obey(made, "full") == f"holds {stored.room} samples"
        clock.sample(made, 2)
        reader.forget()
        looked = await reader.turn(link, last)
        while looked.more and not looked.lost:
            looked = await reader.turn(link, last)
        assert looked.lost == GONE, "the one read last was dropped"
        obey(made, "reboot 0 lose")
        assert (await query.reader().turn(link, None)).absent, "nothing is stored"


# ---------------------------------------------------------------- the clock


@pytest.mark.parametrize("ahead", [-3600.0, 86400.0])
async def test_a_clock_that_is_set_is_right_and_drifts_on(tmp_path: Path, clock: Clock, ahead: float) -> None:
    driver = CATALOGUE.get("lighthouse/remote")
    params = {n: p.choices[0] for n, p in driver.file.params.items() if p.required and p.choices}
    made = Instrument(driver, "modbus-tcp", 1, params | {"flow-scale": 0.01})
    compiled = driver.clock("modbus-tcp", 1, made.params)
    assert compiled is not None and compiled.can_be_set
    obey(made, f"clock {ahead}")
    obey(made, "drift 864")
    async with connected(tmp_path, "modbus-tcp", made) as link:
        assert await compiled.ask(link) == int(clock.now + ahead) * 10**9
        await compiled.set(link, int(clock.now) * 10**9)
        assert await compiled.ask(link) == int(clock.now) * 10**9
        made.advance(1000.0)
        assert await compiled.ask(link) == int(clock.now + 10) * 10**9, "10 s in 1000 s"
        with pytest.raises(LinkError):
            await compiled.set(link, int(clock.now + 600) * 10**9)


TIMED = """\
labmon-driver: 1
maker: Test
models: [X]
title: Test X
class: incubator
manual: {document: none, revision: none, pages: "1"}
framings: [text]
serial: {baud: 115200}
frame: {end: "\\r"}
timing: {timeout: 300 ms}
writes:
  - {send: "SD{now-year:04d}{now-month:02d}{now-day:02d}", effect: sets the date}
  - {send: "ST{now-hour:02d}{now-minute:02d}{now-second:02d}", effect: sets the time}
clock:
  every: 1 h
  requests: [{send: T, reply: "T {at}", fields: {at: {type: time, form: "%Y-%m-%d %H:%M:%S"}}}]
  time: {text: at, zone: Europe/Berlin}
  at-most: 10 s
  set:
    requests:
      - {send: "SD{now-year:04d}{now-month:02d}{now-day:02d}", reply: OK}
      - {send: "ST{now-hour:02d}{now-minute:02d}{now-second:02d}", answer: none}
queries:
  weight:
    every: 10 s
    requests: [{send: "W", reply: "W {weight}", fields: {weight: {type: number, form: ".2f"}}}]
    channels: [{id: weight, name: Weight, unit: g}]
"""


async def test_a_clock_that_is_set_by_text_in_its_own_zone(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "test" / "x.yaml"
    path.parent.mkdir()
    path.write_text(TIMED)
    loaded = load_driver(path)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    made = made_of(loaded.driver)
    compiled = loaded.driver.clock("text", None, {})
    assert compiled is not None
    obey(made, "clock -5000")
    async with connected(tmp_path, "text", made) as link:
        assert await compiled.ask(link) == int(clock.now - 5000) * 10**9
        await compiled.set(link, int(clock.now + 2) * 10**9)
        assert await compiled.ask(link) == int(clock.now + 2) * 10**9
        assert (await made.queries[0].ask(link)).outcomes[0].value is not None
