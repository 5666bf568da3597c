"""Hostile peers: no value is ever that of another request, and after the hostility the next exchanges succeed."""

from __future__ import annotations

import asyncio

import pytest
from benches import BENCHES, EXCEPTION, Bench

from labmon.links.conversation import Timing
from labmon.links.errors import Garbled, LinkError, LinkLost, Refused, Silent

TIMEOUT = 0.08
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


async def attempt(bench: Bench, number: int) -> object:
    """The class of the outcome. A value must be the one that was asked for."""
    if not bench.link.is_open:
        if bench.on == "pty":
            bench.peer.plug_in()
        await bench.link.open()
    try:
        payload = await bench.link.exchange(bench.request(number), bench.timeout)
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


@pytest.mark.parametrize("kind", OUTCOMES)
async def test_hostility(kind: str) -> None:
    async with asyncio.TaskGroup() as group:
        for make in BENCHES:
            group.create_task(suffer(make, kind))


async def test_a_link_that_does_not_settle_is_caught() -> None:
    """The benches can fail: without settling, the late reply is taken for the next one."""
    async with RTU(TIMEOUT) as bench:
        bench.link._timing = Timing(gap=0.002, identified=True)
        bench.hostile = {1: "late", 2: "silent"}
        assert await attempt(bench, 0) == VALUE
        assert await attempt(bench, 1) == Silent
        with pytest.raises(AssertionError, match="another's value"):
            await attempt(bench, 2)


@pytest.mark.parametrize("make", BENCHES, ids=lambda b: b.__name__)
async def test_always_late(make: type[Bench]) -> None:
    """The instrument that shifted pymodbus' readings for ever: each reply comes after its timeout."""
    async with make(TIMEOUT) as bench:
        bench.hostile = dict.fromkeys(range(1, 5), "late")
        assert await attempt(bench, 0) == VALUE
        assert [await attempt(bench, number) for number in range(1, 5)] == [Silent] * 4
        assert [await attempt(bench, number) for number in range(5, 8)] == [VALUE] * 3


async def test_one_question_behind_is_seen_by_the_transaction_id() -> None:
    """Nothing but an id can tell the answer to the previous question of the same shape; Modbus TCP has one."""
    async with TCP(TIMEOUT) as bench:
        bench.hostile = dict.fromkeys((1, 2, 3), "only the previous")
        assert await attempt(bench, 0) == VALUE
        for number in (1, 2, 3):
            assert await attempt(bench, number) == Silent
        assert await attempt(bench, 4) == VALUE


@pytest.mark.parametrize("make", BENCHES, ids=lambda b: b.__name__)
async def test_late_is_told_from_dead(make: type[Bench]) -> None:
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
