"""Hostile peers: no value is ever that of another request, and after the hostility the next exchanges succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from benches import BENCHES, EXCEPTION, UNIT, Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from labmon.links import modbus
from labmon.links.errors import Garbled, LinkError, LinkLost, Refused, Silent
from labmon.links.timing import Timing

TIMEOUT = 0.08
PATIENT = 10.0
"""Timeout of what is answered in time, so that a loaded machine fails no test. (Settling lasts as long as twice the
timeout of what failed: what is to fail has a short one.)"""
VALUE = "value"
RTU, RTU_TCP, ASCII, TCP, TEXT, TEXT_TCP = BENCHES
SERIAL_LIKE = {RTU, RTU_TCP, ASCII, TEXT, TEXT_TCP}

# What the hostile exchange itself may come to. A set of bench classes in front: only for these.
OUTCOMES: dict[str, list[tuple[set[type[Bench]], set[object]]]] = {
    "late": [(set(BENCHES), {Silent})],
    "late twice": [(set(BENCHES), {Silent})],
    "late in pieces": [(set(BENCHES), {Silent})],
    "duplicated": [(set(BENCHES), {VALUE})],
    "duplicated late": [(set(BENCHES), {VALUE})],
    "junk before": [({RTU, RTU_TCP, ASCII, TCP}, {VALUE}), ({TEXT, TEXT_TCP}, {Garbled})],
    "junk after": [(set(BENCHES), {VALUE})],
    "junk inside": [(set(BENCHES), {Garbled, Silent})],
    "much junk": [({RTU, RTU_TCP, ASCII, TCP}, {VALUE}), ({TEXT, TEXT_TCP}, {Garbled})],
    "cut": [(set(BENCHES), {Silent})],
    "cut, then whole": [({RTU, RTU_TCP, ASCII}, {VALUE}), ({TCP, TEXT, TEXT_TCP}, {VALUE, Garbled})],
    "wrong check": [(set(BENCHES), {Garbled})],
    "echo": [({RTU, RTU_TCP, ASCII, TCP}, {VALUE}), ({TEXT, TEXT_TCP}, {Garbled})],
    "silent": [(set(BENCHES), {Silent})],
    "closing": [(set(BENCHES), {LinkLost})],
    "closing inside": [(set(BENCHES), {LinkLost})],
    "exception": [(set(BENCHES), {Refused})],
    "byte by byte": [(set(BENCHES), {VALUE})],
    "babble": [(set(BENCHES), {Garbled})],
    "foreign unit": [(set(BENCHES), {Garbled})],
    "foreign unit glued": [(set(BENCHES), {VALUE})],
    "foreign unit behind": [(set(BENCHES), {VALUE})],
    "foreign function": [(set(BENCHES), {Garbled})],
    "foreign function glued": [(set(BENCHES), {VALUE})],
    "foreign function behind": [(set(BENCHES), {VALUE})],
    "foreign length": [(set(BENCHES), {Garbled})],
    "foreign length glued": [(set(BENCHES), {VALUE})],
    "foreign length behind": [(set(BENCHES), {VALUE})],
    # Two replies of one shape at once, one of them not ours: only the transaction id tells which.
    "foreign shape glued": [(SERIAL_LIKE, {Garbled}), ({TCP}, {VALUE})],
    "foreign shape behind": [(SERIAL_LIKE, {Garbled}), ({TCP}, {VALUE})],
}

UNANSWERED = {"only the previous"} | {
    kind for kind, cases in OUTCOMES.items() if any(allowed & {Silent, Garbled, LinkLost} for _, allowed in cases)
}


async def attempt(bench: Bench, number: int, timeout: float | None = None) -> object:
    """The class of the outcome. A value must be the one that was asked for."""
    kind = bench.hostile.get(len(bench.peer.requests), "right")
    timeout = timeout or (bench.timeout if kind in UNANSWERED else PATIENT)
    if not bench.link.is_open:
        if bench.on == "pty":
            bench.peer.plug_in()
        await bench.link.open()
    try:
        payload = await bench.link.exchange(bench.request(number), timeout)
    except LinkError as error:
        if isinstance(error, Refused):
            assert int(error.error) == EXCEPTION
        return type(error)
    assert payload == bench.expected(number), f"request {number} was given another's value: {bench.link.trace}"
    return VALUE


async def suffer(make: type[Bench], kind: str) -> None:
    allowed = next(outcomes for benches, outcomes in OUTCOMES[kind] if make in benches)
    async with make(TIMEOUT) as bench:
        assert await attempt(bench, 0) == VALUE
        bench.hostile[1] = kind
        outcome = await attempt(bench, 1)
        assert outcome in allowed, f"{make.__name__}: {outcome}"
        for number in (2, 3, 4):
            assert await attempt(bench, number) == VALUE, f"{make.__name__}: exchange {number} after the hostility"


async def on_all(body: Callable[[type[Bench]], Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for make in BENCHES:
            group.create_task(body(make))


@pytest.mark.parametrize("kind", OUTCOMES)
async def test_hostility(kind: str) -> None:
    await on_all(lambda make: suffer(make, kind))


@pytest.mark.parametrize("kind", ["late", "duplicated late", "closing", "cut", "byte by byte", "foreign length"])
def test_hostility_on_uvloop(kind: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(on_all(lambda make: suffer(make, kind)))


async def test_a_link_that_does_not_settle_is_caught() -> None:
    """The benches can fail: without settling, the late reply is taken for the next one."""
    async with RTU(TIMEOUT) as bench:
        bench.link._timing = Timing(gap=0.002, identified=True)
        bench.hostile = {1: "late", 2: "silent"}
        assert await attempt(bench, 0) == VALUE
        assert await attempt(bench, 1) == Silent
        with pytest.raises(AssertionError, match="another's value"):
            await attempt(bench, 2)


async def test_always_late() -> None:
    """The instrument that shifted pymodbus' readings for ever: each reply comes after its timeout."""

    async def body(make: type[Bench]) -> None:
        async with make(TIMEOUT) as bench:
            bench.hostile = dict.fromkeys(range(1, 5), "late")
            assert await attempt(bench, 0) == VALUE
            assert [await attempt(bench, number) for number in range(1, 5)] == [Silent] * 4
            assert [await attempt(bench, number) for number in range(5, 8)] == [VALUE] * 3

    await on_all(body)


async def test_one_question_behind_is_seen_by_the_transaction_id() -> None:
    """Nothing but an id can tell the answer to the previous question of the same shape; Modbus TCP has one."""
    async with TCP(TIMEOUT) as bench:
        bench.hostile = dict.fromkeys((1, 2, 3), "only the previous")
        assert await attempt(bench, 0) == VALUE
        for number in (1, 2, 3):
            assert await attempt(bench, number) == Silent
        assert await attempt(bench, 4) == VALUE


@pytest.mark.parametrize("make", [RTU, RTU_TCP, ASCII])
async def test_one_question_behind_of_another_shape_is_seen(make: type[Bench]) -> None:
    """Where there is no id, function and length tell the answer to the previous question when they differ."""
    async with make(TIMEOUT) as bench:
        bench.hostile = dict.fromkeys((1, 2, 3, 4), "only the previous")
        assert await attempt(bench, 0) == VALUE
        for number in (1, 2, 3, 4):
            other = modbus.read(bench.framing, UNIT, 3 + number % 2, 40, 2 + number)
            with pytest.raises(Garbled):
                await bench.link.exchange(other, bench.timeout)
        assert await attempt(bench, 5) == VALUE


async def test_late_is_told_from_dead() -> None:
    async def body(make: type[Bench]) -> None:
        async with make(TIMEOUT) as bench:
            assert await attempt(bench, 0) == VALUE
            assert await bench.link.settle() == 0
            bench.hostile = {1: "late", 2: "silent", 4: "foreign function"}
            assert await attempt(bench, 1) == Silent
            late = await bench.link.settle()
            assert await attempt(bench, 2) == Silent
            late += await bench.link.settle()
            # Modbus TCP does not wait: what came late is counted at the settle after.
            assert late == len(bench.right(bench.peer.requests[1][1]))
            assert await attempt(bench, 3) == VALUE
            assert await attempt(bench, 4) == Garbled
            assert await bench.link.settle() == 0

    await on_all(body)


# "only the previous" is left out: see above.
_KINDS = st.sampled_from(["right", *OUTCOMES])


@settings(derandomize=True, max_examples=12, deadline=None, database=None)
@given(script=st.lists(st.tuples(_KINDS, st.booleans()), min_size=4, max_size=8))
def test_any_sequence_of_hostilities(script: list[tuple[str, bool]]) -> None:
    """Each step a way to misbehave, and whether the caller is cancelled in the middle of it."""

    async def body(make: type[Bench]) -> None:
        async with make(TIMEOUT) as bench:
            for number, (kind, cancel) in enumerate(script):
                bench.hostile[len(bench.peer.requests)] = kind
                await (cancelled(bench, number) if cancel else attempt(bench, number))
            bench.hostile.clear()
            for number in (100, 101):
                assert await attempt(bench, number) == VALUE, make.__name__

    asyncio.run(on_all(body))


async def cancelled(bench: Bench, number: int) -> None:
    before = len(bench.peer.requests)
    waiting = asyncio.create_task(attempt(bench, number, bench.timeout))
    while len(bench.peer.requests) == before and not waiting.done():
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait([waiting])
    if not waiting.cancelled():
        waiting.result()
