"""kill -9 in the middle of a catch-up, at any of its requests, loses and doubles no stored record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from rig import JournalFile, daemon, on_pty, on_tcp, serving, tcp_line, write_site
from stored_samples import EVERY, START, Queue, Samples, counts

from labmon.journal.entries import EntryKind
from labmon.model.event import EventKind
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag

Eventually = Callable[..., Any]
KILLS = 14


def stored(name: str, kind: str) -> dict[str, Any]:
    return {"id": name, "name": f"Counter {name}", "driver": f"test/{kind}", "area": "room", "address": 1}


def exchanges(journal: JournalFile, device: str) -> list[Exchange]:
    """All records of a device, as they stand in the journal."""
    found = [e.content for e in journal.entries() if e.kind == EntryKind.READINGS]
    return [
        e
        for e in found
        if isinstance(e, Exchange) and e.layout.query == f"{device}.sample" and e.readings[0].value is not None
    ]


def samples(journal: JournalFile, device: str) -> list[int]:
    """Which samples they are; each with the values and the time that it was stored with."""
    ks = []
    for exchange in exchanges(journal, device):
        k = (exchange.time // 10**9 - START) // EVERY
        assert exchange.time == (START + EVERY * k) * 10**9
        assert [r.value for r in exchange.readings] == [counts(k), EVERY]
        ks.append(k)
    return ks


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("heavy")
async def test_kill_9_at_any_request_of_a_catch_up_loses_and_doubles_nothing(
    tmp_path: Path, eventually: Eventually
) -> None:
    dice = random.Random(20261122)
    buffer, queue, full = Samples(), Queue(), Samples(room=250)
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(serving(on_tcp(one))) for one in (buffer, queue)]
        pty = on_pty(tmp_path / "port", full)
        await pty.start()
        stack.push_async_callback(pty.stop)
        site = write_site(
            tmp_path,
            lines=[
                tcp_line(lines[0].port, stored("buffer", "indexed"), name="one"),
                tcp_line(lines[1].port, stored("queue", "queued"), name="two"),
                {
                    "id": "three",
                    "serial": {"port": str(tmp_path / "port"), "baud": 115200},
                    "devices": [stored("full", "indexed")],
                },
            ],
        )
        journal = JournalFile(site)
        process = await stack.enter_async_context(daemon(site))
        instruments = {"buffer": buffer, "queue": queue, "full": full}
        full.store(240)
        await eventually(journal.exists, 20)
        await eventually(lambda: asyncio.to_thread(lambda: len(samples(journal, "full")) == 240), 30, "the first ones")
        killed: list[bool] = []

        def kill() -> None:
            if process.running:
                process.kill()
                killed.append(True)

        for n in range(KILLS):
            for instrument in instruments.values():
                instrument.store(dice.randrange(10, 17))
            victim = list(instruments.values())[n % 3]
            victim.at_request = {victim.requests + dice.randrange(1, 40): kill}
            await eventually(lambda n=n: len(killed) > n, 30, "the kill")
            process.start()
        for instrument in instruments.values():
            instrument.at_request.clear()
            instrument.store()

        def complete() -> bool:
            return all(one.next - 1 in samples(journal, name) for name, one in instruments.items())

        await eventually(lambda: asyncio.to_thread(complete), 60, "everything was read")
        await eventually(lambda: not queue.stored, 20, "the queue is empty")
        assert await process.stop() == 0
        assert process.faults() == []
        for name, instrument in instruments.items():
            assert samples(journal, name) == list(range(instrument.next)), name
            late = [bool(r.readings[0].flags & Flag.DETECTED_LATE) for r in exchanges(journal, name)]
            assert sum(late) > len(late) // 2, name
        assert queue.popped == list(range(queue.next))
        assert [e for e in journal.events() if e.kind is EventKind.GAP] == []
