"""A data logger that is read by commands for the first, the next and the last block again."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from labmon.drivers import examples
from labmon.drivers.driver import Answer
from labmon.drivers.load import load_driver
from labmon.drivers.query import CompiledQuery
from labmon.drivers.records import GONE
from labmon.links.errors import Garbled, Silent
from labmon.links.link import Request

FILE = Path(__file__).parents[1] / "e2e" / "drivers" / "test" / "logged.yaml"
START = 1_700_000_000
BLOCK = 7


def entry(k: int, step: int = 0) -> str:
    return f"01{START + 60 * k + step:08x}{(k + 1) % 65536:04x}{k % 500:04x}{50:04x}{'0' * 10}"


def framed(body: str) -> bytes:
    check = 0
    for byte in body.encode():
        check ^= byte
    return f"{body}{~check & 0xFF:02x}\r".encode()


class Logger:
    """The instrument: entries, a pointer behind the block sent last, and that block."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.entries: list[str] = []
        self.next = 0
        self.pointer = 0
        self.last: list[str] = []
        self.asked: list[str] = []
        self.broken: Any = lambda: False

    def store(self, count: int = 1, step: int = 0) -> None:
        for _ in range(count):
            self.entries.append(entry(self.next, step))
            self.next += 1
            if len(self.entries) > self.room:
                self.entries.pop(0)
                self.pointer = max(0, self.pointer - 1)

    def clear(self) -> None:
        self.entries, self.pointer, self.last = [], 0, []

    def power_cut(self) -> None:
        self.pointer, self.last = 0, []

    def answer(self, sent: bytes) -> bytes:
        address = sent[2:6].decode()
        self.asked.append(address)
        if address == "2400":
            self.pointer = 0
        if address in ("2400", "2401"):
            self.last = self.entries[self.pointer : self.pointer + BLOCK]
            self.pointer += len(self.last)
        text = "".join(self.last)
        return framed(f"!:{address}:{len(text):02x}:{text}:")

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        lost = self.broken()
        if lost == "request":
            raise Silent("the request was lost")
        reply = self.answer(request.encode(1))
        if lost == "garbled":
            reply = reply[:-3] + b"zz\r"
        elif lost:
            raise Silent("the reply was lost")
        payload = request.match(reply, 1)
        if payload is None:
            raise Silent("incomplete")
        return payload


def query() -> CompiledQuery:
    loaded = load_driver(FILE)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    (found,) = loaded.driver.queries("text", None, {})
    return found


class Taker:
    """Takes records as the line does."""

    def __init__(self, instrument: Logger, before: Taker | None = None) -> None:
        self.instrument = instrument
        self.reader = query().reader()
        self.last = None if before is None else before.last
        self.taken: list[int] = [] if before is None else before.taken
        self.lost: list[str] = [] if before is None else before.lost

    def take(self, answer: Answer) -> None:
        assert answer.time is not None and answer.key is not None
        k = int(answer.key.split("/")[0]) - 1
        assert answer.outcomes[0].value == pytest.approx(k % 500 / 10)
        self.taken.append(k)
        self.last = answer.time, answer.key

    async def turn(self) -> bool:
        turn = await self.reader.turn(self.instrument, self.last)  # type: ignore[arg-type]
        if turn.lost:
            self.lost.append(turn.lost)
        for answer in turn.records:
            self.take(answer)
        return turn.more

    async def all(self) -> None:
        for _ in range(300):
            if not await self.turn():
                return
        raise AssertionError("no end of reading")


def test_its_example_holds() -> None:
    loaded = load_driver(FILE)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    assert [r for r in examples.run(loaded.driver) if r.problems] == []


async def test_all_entries_are_read_once_and_then_only_the_new_ones() -> None:
    instrument = Logger()
    taker = Taker(instrument)
    await taker.all()
    instrument.store(24)
    await taker.all()
    assert taker.taken == list(range(24))
    for _ in range(5):
        instrument.store(3)
        await taker.all()
    assert taker.taken == list(range(39))
    assert instrument.asked.count("2400") == 1


async def test_after_a_restart_it_passes_over_what_was_taken() -> None:
    instrument = Logger()
    instrument.store(50)
    taker = Taker(instrument)
    await taker.all()
    instrument.store(20)
    after = Taker(instrument, taker)
    await after.all()
    assert after.taken == list(range(70))
    assert after.lost == []


async def test_a_block_that_did_not_come_through_is_asked_for_again() -> None:
    instrument = Logger()
    instrument.store(30)
    taker = Taker(instrument)
    await taker.turn()
    for broken in ("reply", "request", "garbled"):
        instrument.broken = lambda broken=broken: broken
        with pytest.raises((Silent, Garbled)):
            await taker.turn()
        instrument.broken = lambda: False
        await taker.turn()
    assert "2402" in instrument.asked
    await taker.all()
    assert taker.taken == list(range(30))


async def test_lost_requests_replies_restarts_and_power_cuts_cost_no_entry() -> None:
    dice = random.Random(20261122)
    instrument = Logger()
    taker = Taker(instrument)
    instrument.broken = lambda: dice.choice(["request", "reply", "garbled", *[False] * 10])
    for _ in range(1500):
        if instrument.next < 300:
            instrument.store(dice.randrange(2))
        deed = dice.random()
        if deed < 0.02:
            taker = Taker(instrument, taker)
        elif deed < 0.04:
            instrument.power_cut()
            if deed < 0.03:
                taker.reader.forget()
        with suppress(Silent, Garbled):
            await taker.turn()
    instrument.broken = lambda: False
    await taker.all()
    assert taker.taken == list(range(instrument.next))
    assert taker.lost == []


async def test_a_log_that_was_cleared_or_wrapped_is_read_anew() -> None:
    instrument = Logger(room=40)
    instrument.store(20)
    taker = Taker(instrument)
    await taker.all()
    instrument.clear()
    instrument.store(9)
    taker.reader.forget()
    await taker.all()
    await taker.all()
    assert (taker.taken, taker.lost) == (list(range(29)), [GONE])
    instrument.store(60)
    after = Taker(instrument, taker)
    await after.all()
    await after.all()
    assert after.taken == [*range(29), *range(49, 89)]
    assert after.lost == [GONE, GONE]


async def test_a_short_power_cut_that_nobody_saw_doubles_nothing() -> None:
    instrument = Logger()
    instrument.store(20)
    taker = Taker(instrument)
    await taker.all()
    instrument.power_cut()
    instrument.store(2)
    await taker.all()
    assert taker.taken == list(range(22))


async def test_a_clock_that_was_set_back_between_two_blocks_costs_no_entry() -> None:
    instrument = Logger()
    instrument.store(21)
    taker = Taker(instrument)
    await taker.all()
    instrument.store(21, step=-36000)
    await taker.all()
    await taker.all()
    assert taker.taken == list(range(42))


async def test_a_clock_that_was_set_back_costs_no_entry() -> None:
    instrument = Logger()
    instrument.store(20)
    taker = Taker(instrument)
    await taker.all()
    instrument.store(20, step=-3600)
    after = Taker(instrument, taker)
    await after.all()
    assert after.taken == list(range(40))


async def test_a_block_of_another_length_is_garbled() -> None:
    instrument = Logger()
    instrument.store(3)
    instrument.entries[1] = instrument.entries[1][:-1]
    with pytest.raises(Garbled, match="95 characters"):
        await Taker(instrument).turn()
