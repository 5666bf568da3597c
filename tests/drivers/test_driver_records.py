"""How stored records are read from a buffer or a queue that fills, wraps, is cleared, and is read by others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from stored_samples import EVERY, START, Queue, Samples, counts

from labmon.drivers import examples
from labmon.drivers.driver import Answer, RecordReader
from labmon.drivers.load import load_driver
from labmon.drivers.query import CompiledQuery
from labmon.links.errors import Garbled, LinkError, Refused, Silent
from labmon.links.link import Request

FOLDER = Path(__file__).parents[1] / "e2e" / "drivers" / "test"


class Wire:
    """A link to one instrument; `broken` says for each request whether its reply comes."""

    def __init__(self, instrument: Samples) -> None:
        self.instrument = instrument
        self.broken: Any = lambda: False

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        body = request.encode(1)[7:]
        lost = self.broken()
        if lost == "request":
            raise Silent("the request was lost")
        answer = self.instrument.answer(body)
        assert answer is not None
        if lost:
            raise Silent("the reply was lost")
        payload = request.match(b"\0\1\0\0" + (len(answer) + 1).to_bytes(2, "big") + b"\1" + answer, 1)
        assert payload is not None
        return payload


def query(name: str, **params: Any) -> CompiledQuery:
    loaded = load_driver(FOLDER / f"{name}.yaml")
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    (found,) = loaded.driver.queries("modbus-tcp", 1, params)
    return found


class Taker:
    """Takes records as the line does; what it took is compared with what was stored."""

    def __init__(self, reader: RecordReader, wire: Wire) -> None:
        self.reader = reader
        self.wire = wire
        self.last: tuple[int, str] | None = None
        self.taken: list[int] = []
        self.lost: list[str] = []
        self.turns = 0

    def take(self, answer: Answer) -> None:
        assert answer.time is not None
        assert answer.key is not None
        k = int(answer.outcomes[0].value or 0) // 7
        assert answer.outcomes[0].value == counts(k)
        assert answer.number == (k + 1) % 65536
        self.taken.append(k)
        self.last = answer.time, answer.key

    async def turn(self) -> bool:
        self.turns += 1
        turn = await self.reader.turn(self.wire, self.last)  # type: ignore[arg-type]
        if turn.lost:
            self.lost.append(turn.lost)
        for answer in turn.records:
            self.take(answer)
        return turn.more

    async def all(self, most: int = 500) -> None:
        for _ in range(most):
            if not await self.turn():
                return
        raise AssertionError("no end of reading")


def indexed(instrument: Samples, **params: Any) -> Taker:
    return Taker(query("indexed", **params).reader(), Wire(instrument))


def queued(instrument: Samples) -> Taker:
    return Taker(query("queued").reader(), Wire(instrument))


@pytest.mark.parametrize("name", ["indexed", "queued"])
def test_the_test_instruments_examples_hold(name: str) -> None:
    loaded = load_driver(FOLDER / f"{name}.yaml")
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    assert [r for r in examples.run(loaded.driver) if r.problems] == []


# ---------------------------------------------------------------- index


async def test_all_that_is_stored_is_read_once_and_in_order() -> None:
    instrument = Samples()
    taker = indexed(instrument)
    await taker.all()
    assert taker.taken == []
    instrument.store(23)
    await taker.all()
    assert taker.taken == list(range(23))
    assert taker.turns == 1 + 5, "five at most per turn"
    instrument.store(1)
    await taker.all()
    instrument.store(3)
    await taker.all()
    assert taker.taken == list(range(27))
    assert taker.lost == []


async def test_a_new_record_costs_two_reads_and_none_costs_one() -> None:
    instrument = Samples()
    taker = indexed(instrument)
    instrument.store(10)
    await taker.all()
    before = instrument.requests
    await taker.all()
    assert instrument.requests - before == 3, "the count, and the newest by its index"
    instrument.store()
    before = instrument.requests
    await taker.all()
    assert instrument.requests - before == 6
    assert taker.taken == list(range(11))


async def test_a_record_that_comes_right_after_the_count_does_not_hide_the_one_before_it() -> None:
    instrument = Samples()
    taker = indexed(instrument)
    instrument.store(10)
    await taker.all()
    instrument.store()
    begun = instrument.requests

    def broken() -> None:
        if instrument.requests == begun + 1:  # counted, and the newest not yet read
            instrument.store()

    taker.wire.broken = broken
    await taker.all()
    await taker.all()
    assert taker.taken == list(range(12))


async def test_records_that_come_faster_than_a_whole_turn_are_read_in_smaller_ones() -> None:
    """In a full buffer each new record moves the others."""
    instrument = Samples(room=12)
    taker = indexed(instrument)
    instrument.store(1)
    await taker.all()
    instrument.store(6)

    def broken() -> None:
        if instrument.requests % 20 == 0:
            instrument.store()

    taker.wire.broken = broken
    for _ in range(60):
        await taker.turn()
    assert len(taker.taken) > 20
    assert taker.taken == sorted(set(taker.taken))


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("missed", [1, 2, 7, 11, 12])
async def test_a_full_buffer_moves_or_overwrites(ring: bool, missed: int) -> None:
    instrument = Samples(room=12, ring=ring)
    taker = indexed(instrument)
    instrument.store(17)
    await taker.all()
    assert taker.taken == list(range(5, 17))
    for _ in range(5):
        instrument.store(missed)
        await taker.all()
    last = 17 + 5 * missed
    if missed < 12:
        assert taker.taken == list(range(5, last))
        assert taker.lost == []
    else:
        # The record taken last was overwritten: what is there is read whole, and the reader says that it cannot know.
        assert taker.taken == list(range(5, last))
        assert len(taker.lost) == 5
        assert "cleared, or has wrapped" in taker.lost[0]


@pytest.mark.parametrize("ring", [False, True])
async def test_a_restart_finds_its_place_again(ring: bool) -> None:
    instrument = Samples(room=50, ring=ring)
    taker = indexed(instrument)
    instrument.store(70)
    await taker.all()
    for missed in (0, 1, 30, 49):
        instrument.store(missed)
        after = indexed(instrument)
        after.last, after.taken = taker.last, taker.taken
        await after.all()
        taker = after
    assert taker.taken == list(range(20, 150))
    assert taker.lost == []


async def test_a_buffer_that_was_cleared_is_read_anew_without_doubling() -> None:
    instrument = Samples()
    taker = indexed(instrument)
    instrument.store(20)
    await taker.all()
    instrument.clear()
    await taker.all()
    instrument.store(8)
    await taker.all()
    instrument.store(1)
    await taker.all()
    assert taker.taken == list(range(29))
    assert len(taker.lost) == 1


async def test_a_clock_that_was_set_back_or_forth_costs_no_record() -> None:
    instrument = Samples()
    taker = indexed(instrument)
    instrument.store(20)
    await taker.all()
    for step in (-3600, 86400 * 365, -86400):
        instrument.step = step
        instrument.store(7)
        restarted = indexed(instrument)
        restarted.last, restarted.taken = taker.last, taker.taken
        await restarted.all()
        taker = restarted
    assert taker.taken == list(range(41))
    assert taker.lost == []


@pytest.mark.parametrize("ring", [False, True])
async def test_records_that_come_while_a_full_buffer_is_read_move_none_past_the_reader(ring: bool) -> None:
    dice = random.Random(20261122)
    for _ in range(30):
        instrument = Samples(room=40, ring=ring)
        taker = indexed(instrument)
        instrument.store(60)
        await taker.all()
        instrument.store(dice.randrange(1, 15))
        now = instrument.requests
        for n in dice.sample(range(now + 1, now + 60), 3):
            instrument.at_request[n] = instrument.store
        await taker.all()
        instrument.at_request.clear()
        await taker.all()
        assert taker.taken == list(range(20, instrument.next))
        assert taker.lost == []


async def test_lost_replies_cost_no_record() -> None:
    dice = random.Random(20261122)
    instrument = Samples()
    taker = indexed(instrument)
    taker.wire.broken = lambda: dice.random() < 0.15
    failures = 0
    for _ in range(400):
        if instrument.next < 300:
            instrument.store(dice.randrange(3))
        try:
            await taker.turn()
        except Silent:
            failures += 1
            if dice.random() < 0.2:
                taker.reader.forget()
    taker.wire.broken = lambda: False
    await taker.all()
    assert failures > 50
    assert taker.taken == list(range(instrument.next))


async def test_another_reader_that_selects_records_in_between_takes_nothing_away() -> None:
    instrument = Samples(room=40)
    taker, other = indexed(instrument), indexed(instrument)
    for _ in range(30):
        instrument.store(3)
        await other.all()
        await taker.all()
    assert taker.taken == other.taken == list(range(90))


async def test_newest_takes_only_the_newest() -> None:
    instrument = Samples()
    taker = indexed(instrument, take="newest")
    instrument.store(5)
    await taker.all()
    await taker.all()
    instrument.store(3)
    await taker.all()
    assert taker.taken == [4, 7]


# ---------------------------------------------------------------- queue


async def test_a_queue_is_popped_behind_what_was_taken_and_never_ahead() -> None:
    instrument = Queue()
    taker = queued(instrument)
    await taker.all()
    instrument.store(4)
    assert await taker.turn()
    assert (taker.taken, instrument.popped) == ([0], [])
    assert await taker.turn()
    assert (taker.taken, instrument.popped) == ([0, 1], [0])
    await taker.all()
    assert (taker.taken, instrument.popped) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert instrument.stored == []


async def test_a_restart_before_and_after_the_pop_doubles_nothing() -> None:
    instrument = Queue()
    taker = queued(instrument)
    instrument.store(30)
    while instrument.stored:
        after = queued(instrument)
        after.last, after.taken = taker.last, taker.taken
        await after.turn()
        taker = after
    assert taker.taken == instrument.popped == list(range(30))


async def test_lost_requests_and_replies_of_pops_cost_no_record() -> None:
    dice = random.Random(20261122)
    instrument = Queue()
    taker = queued(instrument)
    taker.wire.broken = lambda: dice.choice(["request", "reply", *[False] * 10])
    for _ in range(600):
        if instrument.next < 100:
            instrument.store(dice.randrange(2))
        try:
            await taker.turn()
        except Silent:
            taker.reader.forget()
    taker.wire.broken = lambda: False
    await taker.all()
    assert taker.taken == instrument.popped == list(range(instrument.next))


async def test_a_record_that_looks_like_the_one_before_is_another_where_one_less_waits() -> None:
    """A flat battery: every record has the same time and number."""
    instrument = Queue()
    instrument.packed = lambda k, time: Samples.packed(0, START)  # type: ignore[method-assign]
    taker = queued(instrument)
    instrument.store(5)
    await taker.all()
    assert taker.taken == [0] * 5
    assert instrument.popped == list(range(5))


async def test_a_pop_without_effect_is_a_failure_and_not_a_record() -> None:
    instrument = Queue()
    instrument._write = lambda at, value, body: body  # type: ignore[method-assign]
    taker = queued(instrument)
    instrument.store(2)
    await taker.turn()
    with pytest.raises(Garbled):
        await taker.turn()
    assert taker.taken == [0]


async def test_a_refused_pop_is_a_refusal() -> None:
    instrument = Queue()
    instrument._write = lambda at, value, body: bytes([0x86, 4])  # type: ignore[method-assign]
    taker = queued(instrument)
    instrument.store(2)
    await taker.turn()
    with pytest.raises(Refused):
        await taker.turn()


async def test_two_readers_of_one_queue_share_its_records_and_the_gap_shows_by_the_number() -> None:
    instrument = Queue()
    one, other = queued(instrument), queued(instrument)
    for _ in range(20):
        instrument.store(2)
        for taker in (one, other):
            try:
                await taker.turn()
            except LinkError:
                taker.reader.forget()
    assert sorted({*one.taken, *other.taken}) == list(range(max(*one.taken, *other.taken) + 1))


def test_the_interval_is_the_instruments_own() -> None:
    assert EVERY == 60
    record = query("indexed")
    example = next(e for e in load_driver(FOLDER / "indexed.yaml").driver.file.examples)  # type: ignore[union-attr]
    raws = [example.raws[name] for name in record.fields]
    answer = record.answer(raws)
    assert (answer.number, answer.interval) == (3, 60.0)
