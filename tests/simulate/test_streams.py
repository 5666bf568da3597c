"""Simulated instruments that speak unasked: through the real link and its listener, on a socket and on a pty."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.opening import make_link
from labmon.links.stream import Listener
from labmon.simulate.console import obey
from labmon.simulate.fault import FAULTS
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import Instruments, PtyLine, TcpLine
from labmon.simulate.made import framing_of
from labmon.simulate.proof import prove

HEAD = """\
labmon-driver: 1
maker: Test
models: [X]
title: Test X
class: incubator
manual: {document: none, revision: none, pages: "1"}
framings: [FRAMING]
serial: {baud: 115200}
timing: {timeout: 1 s}
"""
LINES = (
    HEAD.replace("FRAMING", "text")
    + """\
frame:
  end: "\\r"
  reply-ends: ["\\r\\n"]
  checksum: {name: sum8, encoding: hex-upper, uncovered: "*", of: reply}
queries:
  air:
    kind: stream
    every: 2 s
    requests:
      - listen: true
        reply: "T {temperature}"
        fields:
          temperature: {type: number, form: "06.2f", sentinels: [{raw: 999.0, reason: no-sensor}]}
    channels: [{id: temperature, name: Temperature, unit: Cel}]
  gas:
    kind: stream
    every: 6 s
    requests:
      - {listen: true, reply: "C {co2}", fields: {co2: {type: number, form: ".1f"}}}
    channels: [{id: co2, name: CO2, unit: "%"}]
  door:
    every: 10 s
    requests: [{send: "D", reply: "D {door}", fields: {door: {type: integer}}}]
    channels: [{id: door, name: Door, unit: "1", states: {0: closed, 1: open}}]
"""
)
FRAMES = (
    HEAD.replace("FRAMING", "binary")
    + """\
frame:
  reply-starts: "42 4D"
  reply-length: {at: 2, size: 2, encoding: big, plus: 4}
  checksum: {name: sum16, encoding: raw}
queries:
  air:
    kind: stream
    every: 2 s
    requests:
      - listen: true
        bytes: 8
        fields:
          temperature: {at: 4, type: i16, sentinels: [{raw: 0x7FFF, reason: no-sensor}]}
          spare: {at: 6, type: u16}
    channels: [{id: temperature, name: Temperature, unit: Cel, scale: 0.01}]
"""
)


def driver(folder: Path, text: str) -> CompiledDriver:
    path = folder / "test" / "x.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    found = load_driver(path)
    assert found.driver is not None, "\n".join(map(str, found.errors))
    return found.driver


class Bench:
    """An instrument on a line, and what a listener at its other end heard: query and value, in order."""

    def __init__(self, made: Instrument, line: PtyLine | TcpLine, link: Conversation) -> None:
        self.made, self.line, self.link = made, line, link
        self.heard: list[tuple[str, float | str | None]] = []
        kinds = [(q.stream, self._hearer(q)) for q in made.queries if q.stream is not None]
        link.listen(Listener(kinds))

    def _hearer(self, query: Any) -> Callable[[bytes, float], None]:
        def hear(payload: bytes, _now: float) -> None:
            (outcome,) = query.decode([payload]).outcomes
            self.heard.append((query.name, outcome.reason if outcome.value is None else outcome.value))

        return hear

    def values(self, query: str = "air") -> list[float | str | None]:
        return [value for name, value in self.heard if name == query]


@asynccontextmanager
async def bench(folder: Path, text: str, *, tcp: bool) -> AsyncIterator[Bench]:
    made = Instrument(driver(folder, text), "binary" if text is FRAMES else "text", None, {}, chance=random.Random(1))
    made.jump("temperature", 36.5)
    for quantity in made.quantities.values():
        quantity.noise = 0.0
    instruments = Instruments(framing_of(made.framing, [made]), [made], random.Random(2))
    line = TcpLine(instruments) if tcp else PtyLine(instruments, folder / "port")
    await line.start()
    where = TcpEndpoint("127.0.0.1", line.port) if isinstance(line, TcpLine) else SerialEndpoint(str(line.link), 115200)
    link = make_link(where, made.framing, least_quiet=0.02)  # type: ignore[arg-type]
    try:
        await link.open()
        found = Bench(made, line, link)
        while not isinstance(line, PtyLine) and not line._open:
            await asyncio.sleep(0.001)  # the far end hears of the connection a moment later
        yield found
    finally:
        await link.close()
        await line.stop()


WAYS = [(LINES, True), (LINES, False), (FRAMES, True), (FRAMES, False)]
NAMES = ["text-tcp", "text-pty", "binary-tcp", "binary-pty"]
COUNTS = {
    # Of three frames so many are heard: of lines, and of frames that begin with a header.
    "ok": (3, 3),
    "silent": (0, 0),
    "late 0.05": (3, 3),
    "garbled": (0, 0),
    "junk before": (0, 3),
    "junk inside": (0, 0),
    "junk after": (1, 3),
    "cut": (0, 0),
    "twice": (6, 6),
    "wrong-checksum": (0, 0),
}


def test_every_fault_is_tried_or_no_fault_of_a_stream() -> None:
    assert {fault.split()[0] for fault in COUNTS} == set(FAULTS) - {"wrong-unit", "refuse"}


@pytest.mark.parametrize(("text", "tcp"), WAYS, ids=NAMES)
async def test_every_fault_of_a_frame_costs_frames_and_no_value_is_another(
    tmp_path: Path, text: str, tcp: bool, eventually: Any
) -> None:
    async with bench(tmp_path, text, tcp=tcp) as one:
        for fault, counts in COUNTS.items():
            one.made.jump("temperature", 36.5)
            obey(one.made, fault)
            one.heard.clear()
            for _ in range(3):
                one.made.advance(2.0)
            await eventually(lambda counts=counts: len(one.values()) >= counts[text is FRAMES], 5.0, fault)
            obey(one.made, "ok")
            one.made.jump("temperature", 12.25)

            def well() -> bool:
                one.made.advance(2.0)
                return one.values()[-2:] == [12.25, 12.25]

            await eventually(well, 5.0, fault)
            told = one.values()
            assert told.count(36.5) == counts[text is FRAMES], (fault, told)
            assert set(told) <= {36.5, 12.25}, (fault, told)


@pytest.mark.parametrize(("text", "tcp"), WAYS[1:3], ids=NAMES[1:3])
async def test_values_without_a_value_and_values_that_stay(
    tmp_path: Path, text: str, tcp: bool, eventually: Any
) -> None:
    async with bench(tmp_path, text, tcp=tcp) as one:
        assert obey(one.made, "sentinel temperature") == "temperature is no-sensor"
        one.made.advance(2.0)
        await eventually(lambda: one.values() == ["no-sensor"])
        one.made.jump("temperature", 20.0)
        obey(one.made, "stuck temperature")
        obey(one.made, "door open")
        for _ in range(3):
            one.made.advance(100.0)
        await eventually(lambda: one.values()[1:] == [20.0] * 3)
        with pytest.raises(ValueError, match="no unit id"):
            obey(one.made, "wrong-unit")
        with pytest.raises(ValueError, match="no example"):
            obey(one.made, "refuse")


async def test_lines_of_several_types_and_replies_on_one_port(tmp_path: Path, eventually: Any) -> None:
    async with bench(tmp_path, LINES, tcp=False) as one:
        one.made.jump("co2", 5.0)
        (asked,) = (q for q in one.made.queries if q.stream is None)
        for door in (0, 1, 0):
            one.made.jump("door", door)
            one.made.advance(2.0)
            assert (await asked.ask(one.link)).outcomes[0].value == door
        await eventually(lambda: len(one.heard) >= 5)
        assert one.values("air") == [36.5] * 3
        assert one.values("gas") == [5.0, 5.0], "when it was switched on, and six seconds later"


async def test_nothing_is_said_while_it_starts_again_and_not_on_a_line_that_is_gone(
    tmp_path: Path, eventually: Any
) -> None:
    async with bench(tmp_path, FRAMES, tcp=True) as one:
        one.made.advance(1.0)
        obey(one.made, "reboot 10")
        for _ in range(9):
            one.made.advance(1.0)
        one.made.jump("temperature", 12.25)
        one.made.advance(1.5)
        await eventually(lambda: one.values()[-1:] == [12.25])
        assert one.values() == [36.5, 12.25], "at once when it has started"
        obey(one.made, "every 0.5")
        for _ in range(3):
            one.made.advance(0.5)
        await eventually(lambda: len(one.heard) == 5)
        await one.line.stop()
        one.made.advance(5.0)
        for wrong in ("every 0", "every nan", "every x"):
            with pytest.raises(ValueError):
                obey(one.made, wrong)


def test_only_who_speaks_can_be_told_how_often() -> None:
    from labmon.drivers.catalogue import Catalogue

    with pytest.raises(ValueError, match="nothing unasked"):
        obey(Instrument(Catalogue().get("delta-ohm/hd402st"), "modbus-rtu", 1, {}), "every 1")


PROMPTED = (
    LINES[: LINES.index("frame:")]
    + """\
frame: {end: "\\r", reply-ends: ["\\r\\n*"]}
queries:
  air:
    kind: stream
    every: 2 s
    requests:
      - listen: true
        reply: "[*]T {temperature}"
        ends: ["\\r\\n"]
        fields: {temperature: {type: number, form: ".2f"}}
    channels: [{id: temperature, name: Temperature, unit: Cel}]
  door:
    every: 10 s
    requests: [{send: "D", reply: "D {door}", fields: {door: {type: integer}}}]
    channels: [{id: door, name: Door, unit: "1", states: {0: closed, 1: open}}]
examples:
  - query: air
    origin: {printed: by hand}
    exchanges: [{sent: "", got: "T 36.50\\r\\n"}]
    readings: {temperature: 36.5}
"""
)


async def test_lines_that_end_otherwise_than_replies_do(tmp_path: Path, eventually: Any) -> None:
    (trial,) = await prove(driver(tmp_path, PROMPTED))
    assert not trial.problems, trial
    async with bench(tmp_path, PROMPTED, tcp=False) as one:
        (asked,) = (q for q in one.made.queries if q.stream is None)
        for door, temperature in ((0, 20.0), (1, 21.0), (0, 22.0), (1, 23.0)):
            one.made.jump("door", door)
            one.made.jump("temperature", temperature)
            one.made.quantities["temperature"].noise = 0.0
            one.made.advance(2.0)
            await eventually(lambda temperature=temperature: one.values()[-1:] in ([temperature], []))
            assert (await asked.ask(one.link)).outcomes[0].value == door
        assert one.values() in ([20.0, 21.0, 22.0, 23.0], [21.0, 22.0, 23.0]), "the first may have been under way"
