"""The hostile peers on real ptys and sockets: virtual time leaves out the kernel, the transports and uvloop."""

from __future__ import annotations

import asyncio
import random
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import uvloop
from hostile_hunt import suffer
from hostile_kinds import KINDS, Kind
from hostile_real import RealWire
from hostile_steps import draw
from hostile_world import Tally, World
from links.peers import PtyPeer, TcpPeer

from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.serial_port import SerialTransport
from labmon.links.tcp import TcpTransport
from labmon.links.timing import Timing

FASTER = {0.05: 0.04, 0.3: 0.06, 1.0: 0.08}
"""Timeouts of a real run for those of a virtual one."""
MARGIN = 0.03
"""A machine that is late by less than this is no failure of the link."""


async def line(kind: Kind, name: str, exchanges: int) -> Tally:
    rng = random.Random(name)
    steps = [draw(rng, number, 0xFFFF) for number in range(exchanges)]
    steps = [
        replace(s, timeout=FASTER[s.timeout], before=s.before / 20, stall=s.stall if s.number % 5 else None)
        for s in steps
    ]
    async with AsyncExitStack() as stack:
        if "tcp" in kind.name:
            tcp = await stack.enter_async_context(TcpPeer(lambda buffer: 0, lambda *_: ()))
            wire = RealWire(TcpTransport(TcpEndpoint("127.0.0.1", tcp.port)), tcp)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            pty = await stack.enter_async_context(PtyPeer(lambda buffer: 0, lambda *_: (), f"{folder}/port"))
            wire = RealWire(SerialTransport(SerialEndpoint(pty.port, 115200)), pty)
        timing = Timing(0.002, 0.0, kind.identified, least_quiet=0.02)
        world = World(wire, kind, rng, timing=timing, margin=MARGIN)
        stack.push_async_callback(world.link.close)
        stack.callback(wire.silence)
        await suffer(world, steps)
        return world.tally


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_hostile_peers_on_real_wires(loop: str, hostile_seed: str, hostile_exchanges: int) -> None:
    async def all_kinds() -> None:
        async with asyncio.TaskGroup() as group:
            lines = [
                group.create_task(line(kind, f"{hostile_seed}-{name}-{loop}", hostile_exchanges // 500))
                for name, kind in KINDS.items()
            ]
        for name, one in zip(KINDS, lines, strict=True):
            print(f"{name} on {loop}, seed {hostile_seed!r}: {one.result()}")
            assert one.result().values > one.result().exchanges / 10

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(all_kinds())
