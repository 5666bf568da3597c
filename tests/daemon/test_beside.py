"""Work beside the polling: it gives way, and leaves the interpreter as it was whatever becomes of it."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest

from labmon.daemon.beside import SLICE, beside


def state() -> tuple[bool, float]:
    return gc.isenabled(), round(sys.getswitchinterval(), 6)


async def test_the_work_is_done_gently_in_a_thread_of_its_own() -> None:
    before = state()
    found = await beside(lambda: (state(), threading.current_thread().name))
    assert found == ((False, SLICE), "labmon-beside")
    assert state() == before


async def test_a_failure_of_the_work_is_the_callers() -> None:
    before = state()

    def fail() -> None:
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError, match="planted"):
        await beside(fail)
    assert state() == before


async def test_who_gives_up_does_not_wait_for_work_that_hangs() -> None:
    before, go, begun = state(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go.wait(20)

    task = asyncio.create_task(beside(hang))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state() == before
    go.set()


async def test_who_had_it_off_gets_it_off() -> None:
    gc.disable()
    try:
        await beside(lambda: None)
        assert not gc.isenabled()
    finally:
        gc.enable()
