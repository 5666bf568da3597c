"""Instruments that speak without being asked, on virtual time: a real driver file, the real conversation, a wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hostile.hostile_wire import MemoryWire, WireLoop
from hostile.hostile_wire import run as on_wire

from labmon.acquisition.line import Line
from labmon.acquisition.plan import DevicePlan, LinePlan, QueryPlan, Slot
from labmon.acquisition.recorder import Nobody
from labmon.acquisition.variants import variant_plans
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.health.line import LineHealth
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint
from labmon.links.timing import Timing
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import reason_code

HEADER = """
labmon-driver: 1
maker: Example
models: [S-1]
title: Example S-1
class: incubator
manual: {document: S-1, revision: A, pages: "1"}
framings: [text]
serial: {baud: 9600}
frame: {end: "\\r", reply-ends: ["\\r\\n", "\\r"]}
"""
AIR = """
  air:
    kind: stream
    every: 10 s
    requests:
      - listen: true
        reply: "C1={temperature} C3={co2}"
        fields: {temperature: {type: number}, co2: {type: number}}
    channels:
      - {id: temperature, name: Temperature, unit: Cel}
      - {id: co2, name: CO2, unit: "%"}
"""
STATE = """
  state:
    every: 5 s
    requests:
      - {send: "S", reply: "S {mode}", fields: {mode: {type: integer}}}
    channels:
      - {id: mode, name: Mode, unit: "1"}
"""


class Recorder(Nobody):
    """What the line told, with the time of the virtual clock."""

    def __init__(self) -> None:
        self.exchanges: list[tuple[float, Exchange]] = []
        self.conditions: list[tuple[str, bool]] = []

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        self.exchanges.append((asyncio.get_running_loop().time(), exchange))

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        self.conditions.append((alarm, active))

    def flags(self, device: str) -> int:
        return 0

    def values(self, query: str = "air") -> list[float]:
        return [e.readings[0].value for _, e in self._of(query) if e.readings[0].value is not None]

    def reasons(self, query: str = "air") -> list[str]:
        return [reason_code(e.readings[0].reason) for _, e in self._of(query) if e.readings[0].reason is not None]

    def times(self, query: str = "air") -> list[float]:
        return [at for at, e in self._of(query) if e.readings[0].value is not None]

    def _of(self, query: str) -> list[tuple[float, Exchange]]:
        return [(at, e) for at, e in self.exchanges if e.layout.query.endswith(f".{query}")]


class Room:
    """A line with one device on a wire in memory, whose peer answers `S`."""

    def __init__(self, loop: WireLoop, driver: CompiledDriver) -> None:
        self.loop = loop
        self.wire = MemoryWire(loop)
        self.wire.far_end, self.wire.hand_over = self._asked, lambda piece, at: piece
        self.answer: Callable[[bytes], bytes] = lambda sent: b"S 1\r\n"
        self.asked = 0
        self.recorder = Recorder()
        self.health = LineHealth("serial-1")
        queries = tuple(self._plan(query) for query in driver.queries("text", None, {}))
        given = driver.identity("text", None, {}), queries, None, None, {}, driver.guard("text", None, {})
        device = DevicePlan("incubator", driver, *given)
        device = replace(device, variants=variant_plans(device, "text"))
        plan = LinePlan("serial-1", SerialEndpoint("/dev/null"), "text", 0.0, (device,))
        self.link = Conversation(self.wire, Timing(0.01, 0.001))
        self.line = Line(plan, self.link, self.recorder, self.health, loop.time)
        self.device = self.health.device("incubator")

    @staticmethod
    def _plan(query: Any) -> QueryPlan:
        columns = [Column(f"incubator.{c.id}", "room", "incubator", c.id, c.kind, c.unit) for c in query.channels]
        slots = tuple(Slot(n, c.key, 1.0, 0.0, 0) for n, c in enumerate(columns))
        return QueryPlan(query, query.every, Layout(f"incubator.{query.name}", tuple(columns)), slots)

    def _asked(self, sent: bytes) -> None:
        self.asked += 1
        if reply := self.answer(sent):
            self.wire.arrive(reply, self.loop.now + 0.05)

    def says(self, after: float, *texts: bytes) -> None:
        for text in texts:
            self.wire.arrive(text, self.loop.now + after)

    def every(self, seconds: float, count: int, start: float = 1.0) -> None:
        for n in range(count):
            self.says(start + n * seconds, b"C1=%d.5 C3=5.0\r\n" % n)

    async def running(self, seconds: float) -> None:
        task = asyncio.create_task(self.line.run())
        await asyncio.sleep(seconds)
        assert not task.done() or task.result() is None
        task.cancel()
        await asyncio.wait([task])


def driver_of(tmp_path: Path, queries: str) -> CompiledDriver:
    path = tmp_path / "example" / "s-1.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER + "queries:" + queries)
    loaded = load_driver(path)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver


def play(driver: CompiledDriver, body: Callable[[Room], Coroutine[Any, Any, None]]) -> Room:
    rooms: list[Room] = []

    async def whole(loop: WireLoop) -> None:
        rooms.append(Room(loop, driver))
        await body(rooms[0])

    on_wire(whole)
    return rooms[0]


def test_each_frame_is_a_reading_as_soon_as_it_is_there(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.every(10.0, 5)
        await room.running(45.0)

    room = play(driver_of(tmp_path, AIR), body)
    assert room.recorder.values() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert [round(at - 1000) for at in room.recorder.times()] == [1, 11, 21, 31, 41]
    assert room.recorder.reasons() == []
    assert room.asked == 0
    assert ("line.serial-1.lost", False) in room.recorder.conditions
    assert ("incubator.dead", False) in room.recorder.conditions
    assert (room.device.frames, room.device.frames_passed_over) == (5, 0)


def test_of_frames_that_come_too_often_the_last_is_kept_and_the_rest_counted(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.every(1.0, 40)
        await room.running(45.0)

    room = play(driver_of(tmp_path, AIR), body)
    values = room.recorder.values()
    assert 4 <= len(values) <= 7
    assert values[0] == 0.5 and values[-1] == 39.5
    assert room.device.frames == 40
    assert room.device.frames_passed_over == 40 - len(values)


def test_silence_is_told_and_ends(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.every(10.0, 3)
        room.every(10.0, 3, start=200.0)
        await room.running(100.0)
        assert ("incubator.dead", True) in room.recorder.conditions
        assert room.device.state.value == "resting" or room.device.state.value == "dead"
        await asyncio.sleep(0)

    room = play(driver_of(tmp_path, AIR), body)
    assert room.recorder.values() == [0.5, 1.5, 2.5]
    assert set(room.recorder.reasons()) == {"silent"}
    first = next(at for at, e in room.recorder.exchanges if e.readings[0].reason)
    assert first == pytest.approx(1000 + 21 + 30, abs=1.1)
    assert 3 <= len(room.recorder.reasons()) <= 6, "a silent instrument does not fill the journal"
    assert [c for c in room.recorder.conditions if c[0] == "incubator.dead"] == [
        ("incubator.dead", False), ("incubator.dead", True),
    ]  # fmt: skip


def test_who_was_silent_is_heard_again(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.every(10.0, 2, start=100.0)
        await room.running(115.0)

    room = play(driver_of(tmp_path, AIR), body)
    assert room.recorder.values() == [0.5, 1.5]
    dead = [c for c in room.recorder.conditions if c[0] == "incubator.dead"]
    assert dead == [("incubator.dead", True), ("incubator.dead", False)]


def test_junk_between_frames_costs_no_reading(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.says(0.5, b"\xff\x00junk")
        room.says(5.0, b"ERROR 7\r\n")
        room.every(10.0, 3)
        await room.running(25.0)

    room = play(driver_of(tmp_path, AIR), body)
    assert room.recorder.values() == [1.5, 2.5], "junk without an end is part of the line after it"
    assert room.recorder.reasons() == []


def test_a_lost_line_is_opened_again_and_heard(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.every(10.0, 9)
        room.loop.call_later(25.0, room.wire.hang_up)
        await room.running(85.0)

    room = play(driver_of(tmp_path, AIR), body)
    assert "link-lost" in room.recorder.reasons()
    assert room.recorder.values()[-3:] == [6.5, 7.5, 8.5]
    lost = [c[1] for c in room.recorder.conditions if c[0] == "line.serial-1.lost"]
    assert lost == [False, True, False]


def test_a_far_end_that_only_takes_connections_is_a_lost_line(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        for n in range(100):
            room.loop.call_later(0.5 + n, room.wire.hang_up)
        await room.running(90.0)

    room = play(driver_of(tmp_path, AIR), body)
    assert set(room.recorder.reasons()) == {"link-lost"}
    assert [c[1] for c in room.recorder.conditions if c[0] == "line.serial-1.lost"] == [True]
    assert len(room.recorder.exchanges) < 12


def test_replies_and_frames_share_a_port(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        # A frame right before, in the middle of and right behind a reply's own time.
        room.every(0.5, 300)
        await room.running(100.0)

    room = play(driver_of(tmp_path, AIR + STATE), body)
    assert len(room.recorder.values("state")) >= 18
    assert set(room.recorder.values("state")) == {1.0}
    assert room.recorder.reasons("state") == [] and room.recorder.reasons() == []
    assert len(room.recorder.values()) >= 9


def test_a_frame_never_answers_a_question_and_a_reply_is_no_frame(tmp_path: Path) -> None:
    """Who answers with a line of the stream does not answer; a line like a reply is no reading of the stream."""

    async def body(room: Room) -> None:
        room.answer = lambda sent: b"C1=1.0 C3=2.0\r\n"
        room.says(0.1, b"S 7\r\n")
        await room.running(40.0)

    room = play(driver_of(tmp_path, AIR + STATE), body)
    assert room.recorder.values("state") == []
    assert set(room.recorder.reasons("state")) <= {"silent", "garbled", "resting"}
    assert set(room.recorder.values()) <= {1.0}


def test_a_device_that_is_asked_and_rests_is_still_heard(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.answer = lambda sent: b""
        room.every(10.0, 10)
        await room.running(95.0)

    room = play(driver_of(tmp_path, AIR + STATE), body)
    assert room.recorder.values() == [n + 0.5 for n in range(10)]
    assert "resting" in room.recorder.reasons("state")
    assert room.recorder.reasons() == []


IDENTITY = """
identity:
  requests: [{send: "I", reply: "I {serial}", fields: {serial: {type: word}}}]
  show: [serial]
  expect: {serial: "A.*"}
"""


@pytest.mark.parametrize(("said", "fine"), [(b"I A7\r\n", True), (b"I B7\r\n", False)])
def test_frames_count_only_from_the_instrument_that_is_expected(tmp_path: Path, said: bytes, fine: bool) -> None:
    async def body(room: Room) -> None:
        room.answer = lambda sent: said
        room.every(10.0, 5)
        await room.running(45.0)

    room = play(driver_of(tmp_path, AIR + IDENTITY), body)
    assert room.recorder.values() == ([n + 0.5 for n in range(5)] if fine else [])
    assert room.recorder.reasons() == [] if fine else set(room.recorder.reasons()) == {"wrong-instrument"}
    assert ("incubator.wrong-instrument", not fine) in room.recorder.conditions


def test_a_fault_in_taking_a_frame_costs_that_frame(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        room.every(10.0, 5)
        with mock.patch.object(room.line.taking, "good", side_effect=[RuntimeError("broken"), None]):
            await room.running(15.0)
        await room.running(30.0)

    room = play(driver_of(tmp_path, AIR), body)
    assert room.recorder.values() == [2.5, 3.5, 4.5]
    assert room.device.failures == {"internal": 1}


def test_readings_have_the_time_at_which_the_frame_came(tmp_path: Path) -> None:
    async def body(room: Room) -> None:
        before = time.time_ns()
        room.every(10.0, 1)
        await room.running(5.0)
        [(_, exchange)] = room.recorder.exchanges
        assert before <= exchange.received <= time.time_ns()
        assert exchange.time == exchange.received

    play(driver_of(tmp_path, AIR), body)


@pytest.mark.parametrize(
    "spoken_to",
    [
        IDENTITY,
        IDENTITY
        + """
guard:
  every: 60 s
  requests: [{send: "G", reply: "G {mode}", fields: {mode: {type: integer}}}]
  watch: [mode]
""",
    ],
)
def test_who_only_speaks_and_does_not_say_who_it_is_rests_until_it_does(tmp_path: Path, spoken_to: str) -> None:
    async def body(room: Room) -> None:
        room.answer = lambda sent: b""
        room.every(10.0, 40)
        await asyncio.sleep(0)
        task = asyncio.create_task(room.line.run())
        await asyncio.sleep(200.0)
        assert not task.done()
        assert room.recorder.values() == []
        dead = [active for alarm, active in room.recorder.conditions if alarm == "incubator.dead"]
        assert dead == [False, True], "it speaks, and stays dead as long as it does not answer"
        assert room.recorder.reasons().count("resting") >= 5, "each probe says why there is nothing"
        room.answer = lambda sent: b"I A7\r\n" if sent.startswith(b"I") else b"G 1\r\n"
        await asyncio.sleep(190.0)
        task.cancel()
        await asyncio.wait([task])

    room = play(driver_of(tmp_path, AIR + spoken_to), body)
    assert len(room.recorder.values()) >= 10
    assert [c for c in room.recorder.conditions if c[0] == "incubator.dead"][-1] == ("incubator.dead", False)


def test_what_is_not_known_of_a_resting_device_is_said_although_it_speaks(tmp_path: Path) -> None:
    """Its settings are not known: its frames count for nothing, and no channel goes on showing its last value."""
    guard = """
guard:
  every: 5 s
  requests: [{send: "G", reply: "G {mode}", fields: {mode: {type: integer}}}]
  watch: [mode]
"""

    async def body(room: Room) -> None:
        room.answer = lambda sent: b"G 1\r\n"
        room.every(10.0, 40)
        room.loop.call_later(50.0, lambda: setattr(room, "answer", lambda sent: b""))
        await room.running(300.0)

    room = play(driver_of(tmp_path, AIR + guard), body)
    assert room.recorder.values()[-1] < 20.0
    assert room.recorder.reasons().count("resting") >= 5


def test_a_variant_is_listened_for_in_its_own_form(tmp_path: Path) -> None:
    driver = driver_of(
        tmp_path,
        AIR.replace('reply: "C1={temperature} C3={co2}"', 'reply: "{mark}={temperature} C3={co2}"')
        + """
params:
  mark: {type: text, default: C1, doc: What its lines begin with}
identity:
  requests: [{send: "I", reply: "I {serial}", fields: {serial: {type: word}}}]
  show: [serial]
  variants:
    - {name: old, when: [{field: serial, matches: "A.*"}], params: {}}
    - {name: new, when: [{field: serial, matches: "B.*"}], params: {mark: T1}}
""",
    )

    async def body(room: Room) -> None:
        room.answer = lambda sent: b"I B7\r\n"
        for n in range(5):
            room.says(10.0 * n + 1.0, b"T1=%d.5 C3=5.0\r\n" % n)
        await room.running(45.0)

    room = play(driver, body)
    assert room.recorder.values() == [0.5, 1.5, 2.5, 3.5, 4.5]
