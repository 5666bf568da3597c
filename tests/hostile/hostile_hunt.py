"""Many lines, one after the other, each with its own hostile peer, until enough was exchanged or something is wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hostile_kinds import Kind
from hostile_steps import Step, draw, least
from hostile_wire import MemoryWire, WireLoop, run
from hostile_world import Misattributed, NotRecovered, Tally, World

LINE = 500
"""Hostile exchanges with one line, before a new one is made."""
EPISODE = 25
"""Of them, after which the peer is polite for a while."""
CLEAN = 2
PEACE = 30_000
"""Numbers of the exchanges in peace, beside those of the hostile ones."""


class Found(AssertionError):
    """What a hunt was for: the fewest steps that show it, and how to see it again."""


def hunt(kind: Kind, seed: str, exchanges: int, **wrong: Any) -> Tally:
    """At least so many exchanges. Raises Found."""
    total = Tally()
    while total.exchanges < exchanges:
        name = f"{seed}-{kind.name}-{total.exchanges}"
        rng = random.Random(name)
        steps = [draw(rng, number, 0xFFFF) for number in range(LINE)]
        try:
            total.add(line(kind, name, steps, **wrong))
        except (Misattributed, NotRecovered) as error:
            raise Found(_told(kind, name, steps, error, wrong)) from error
    return total


def line(kind: Kind, name: str, steps: Sequence[Step], **wrong: Any) -> Tally:
    """One line, new at its beginning. Raises Misattributed, NotRecovered."""

    async def body(loop: WireLoop) -> Tally:
        world = World(MemoryWire(loop), kind, random.Random(name), **wrong)
        await suffer(world, steps)
        await world.link.close()
        return world.tally

    return run(body)


async def suffer(world: World, steps: Sequence[Step]) -> None:
    """Hostility, with peace in between and at the end."""
    for n, step in enumerate(steps, 1):
        await world.play(replace(step, form=step.form % len(world.forms)))
        if n % EPISODE == 0 or n == len(steps):
            await world.peace([step.number + PEACE + k for k in range(CLEAN)])


def _told(kind: Kind, name: str, steps: Sequence[Step], error: AssertionError, wrong: dict[str, Any]) -> str:
    def fails(some: Sequence[Step]) -> bool:
        try:
            line(kind, name, some, **wrong)
        except AssertionError as other:
            return type(other) is type(error)
        return False

    few = least(steps, fails)
    shown = "\n  ".join(map(str, few))
    return f"{kind.name}: {error}\nrun {name!r}, at the least in these {len(few)} of {len(steps)} steps:\n  {shown}"
