"""One junk byte costs at most one exchange, for every unit id: before, in, after the reply, and between exchanges."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from hostile_kinds import KINDS, Form, Kind, Text
from hostile_steps import Act, Step
from hostile_wire import MemoryWire, WireLoop, run
from hostile_world import World

from labmon.links.timing import Timing

UNITS = range(1, 248)
COUNT = 3


RIGHT = Act("right", 0.01)


def bytes_that_hurt(form: Form) -> list[int]:
    """Silence broken and lines pulled; what begins or ends a frame; what a reply of this unit begins with."""
    own = [form[0], form[1], form[1] | 0x80] if isinstance(form[0], int) else [*form[1], 0x2A, 0x2B]
    return [0x00, 0xFF, 0x3A, 0x0D, 0x0A, *own]


async def _one(world: World, form: Form, first: tuple[Act, ...], number: int, idle: int | None) -> int:
    """How many of four exchanges fail, the first of them with the junk byte."""
    world.forms = [form]
    if idle is not None:
        world.wire.arrive(_Idle(bytes([idle])), world.loop.time() + 0.01)
        await asyncio.sleep(0.02)
    failed = 0
    for n in range(4):
        acts = first if n == 0 else (RIGHT,)
        failed += not isinstance(await world.play(Step(number + n, 0, 0.3, acts)), bytes)
    return failed


class _Idle:
    """A piece that belongs to no frame."""

    def __init__(self, data: bytes) -> None:
        self.data, self.last = data, False
        self.frame = self
        self.began = self.asked = None


@pytest.mark.parametrize("name", KINDS)
def test_one_junk_byte_costs_at_most_one_exchange(name: str, hostile_seed: str, hostile_exchanges: int) -> None:
    kind = KINDS[name]
    thorough = hostile_exchanges >= 100_000
    rng = random.Random(hostile_seed)

    async def body(loop: WireLoop) -> tuple[int, int]:
        world = World(MemoryWire(loop), kind, rng, timing=Timing(0.004, 0.0005, kind.identified))
        number = lost = 0
        for form in _forms(kind):
            end = kind.first_data(kind.right(form, 0, b"\0\1"))
            places = range(end) if thorough else sorted({0, 1, 2, end - 2, end - 1, rng.randrange(end)})
            for byte in bytes_that_hurt(form) if thorough else rng.sample(bytes_that_hurt(form), 2):
                within = [(replace(RIGHT, damage="inserted", where=(at + 0.5) / end, byte=byte),) for at in places]
                after = (RIGHT, Act("junk", RIGHT.after, junk=bytes([byte])))
                for first, idle in [*((acts, None) for acts in (*within, after)), ((RIGHT,), byte)]:
                    failed = await _one(world, form, first, number % 50_000, idle)
                    assert failed <= 1, f"{form}: {failed} exchanges lost to {byte:#x}: {first}"
                    number, lost = number + 4, lost + failed
        await world.link.close()
        return number, lost

    number, lost = run(body)
    print(f"{name}: {number} exchanges, one byte of junk in every fourth, {lost} of them lost")
    assert 0 < lost <= number / 4


def _forms(kind: Kind) -> list[Form]:
    if isinstance(kind, Text):
        return kind.forms(random.Random(0))
    return [(unit, function, COUNT) for unit in UNITS for function in ((3, 4)[unit % 2],)]
