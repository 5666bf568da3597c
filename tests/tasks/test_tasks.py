"""Kept tasks, faults that nobody awaits, and threads that hold up nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import labmon
from labmon.tasks import kept as module
from labmon.tasks.faults import fault, faults_to
from labmon.tasks.kept import kept
from labmon.tasks.threads import Threads

Eventually = Callable[..., Any]


@contextmanager
def hearing() -> Iterator[list[tuple[str, str]]]:
    """What is told of faults, in place of the handler that would fail the test."""
    told: list[tuple[str, str]] = []
    asyncio.get_running_loop().set_exception_handler(None)
    with faults_to(lambda part, what, error: told.append((part, what))):
        yield told


async def test_what_fails_is_told_and_runs_again(eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART", (0.01, 0.02))
    runs = 0
    well = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("boom")
        if runs == 2:
            raise asyncio.CancelledError
        if runs == 3:
            raise ValueError
        well.set()
        await asyncio.Event().wait()

    with hearing() as told:
        task = kept("pump", run)
        await asyncio.wait_for(well.wait(), 10)
        assert told == [
            ("pump", "failed (RuntimeError: boom), starts again in 0.01 s"),
            ("pump", "failed (CancelledError), starts again in 0.02 s"),
            ("pump", "failed (ValueError), starts again in 0.02 s"),
        ]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert runs == 4


async def test_what_returns_is_done() -> None:
    async def run() -> None:
        return

    await kept("once", run)


async def test_cancelled_while_it_waits_to_run_again_it_does_not() -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        raise RuntimeError

    with hearing() as told:
        task = kept("pump", run)
        while not told:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert runs == 1


async def test_callbacks_tasks_and_threads_that_nobody_looks_after_are_told(eventually: Eventually) -> None:
    async def fails() -> None:
        raise RuntimeError("of a task")

    def callback() -> None:
        raise RuntimeError("of a callback")

    def thread() -> None:
        raise RuntimeError("of a thread")

    with hearing() as told:
        asyncio.get_running_loop().call_soon(callback)
        threading.Thread(target=thread, name="sorter").start()
        task = asyncio.create_task(fails(), name="forgotten")
        await asyncio.wait({task})
        del task
        fault("pump", "is loud")
        await eventually(lambda: len(told) == 4)
    by_part = dict(told)
    assert by_part["thread sorter"] == "failed (RuntimeError: of a thread)"
    assert by_part["pump"] == "is loud"
    assert "of a callback" in by_part["the event loop"]
    assert "of a task" in by_part["task forgotten"]


async def test_a_handler_that_stood_before_hears_too_and_stands_again() -> None:
    loop = asyncio.get_running_loop()
    heard: list[dict[str, Any]] = []

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        heard.append(context)

    standing = loop.get_exception_handler()
    loop.set_exception_handler(handler)
    hook = threading.excepthook
    with faults_to(lambda *_: None):
        fault("pump", "is loud")
        assert threading.excepthook is not hook
    assert [context["message"] for context in heard] == ["pump: is loud"]
    assert loop.get_exception_handler() is handler
    assert threading.excepthook is hook
    loop.set_exception_handler(standing)


async def test_calls_that_hang_hold_up_no_other(eventually: Eventually) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Threads())
    release = threading.Event()
    hanging = [loop.run_in_executor(None, release.wait, 20) for _ in range(100)]
    try:
        assert await asyncio.to_thread(lambda: 1 + 1) == 2
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
    finally:
        release.set()
    assert await asyncio.gather(*hanging) == [True] * 100


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process(tmp_path: Path) -> None:
    text = """
import asyncio, threading
from labmon.tasks.threads import Threads

async def main():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Threads())
    begun = threading.Event()
    def hang():
        begun.set()
        threading.Event().wait()
    loop.run_in_executor(None, hang)
    while not begun.is_set():
        await asyncio.sleep(0.001)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=Path(labmon.__file__).parent.parent,
        timeout=30,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
