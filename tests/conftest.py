"""What every test gets: coroutine tests in a loop of their own, and a failure for whatever a test leaves behind."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_DEADLINE = 5.0


def pytest_collection_finish() -> None:
    """What importing and collecting made stays for good: the collections in and after each test need not walk it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests; a task that outlives its test fails it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def body() -> None:
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        await pyfuncitem.obj(**arguments)
        await asyncio.sleep(0)
        deadline = time.monotonic() + _DEADLINE
        # A peer's handler that is just hearing of the end is no leak; one that never hears of it is.
        while left := [t for t in asyncio.all_tasks() if t is not asyncio.current_task() and not t.done()]:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.005)
        assert not left, f"tasks left over: {left}"
        gc.collect()
        assert not problems, f"the event loop reported: {problems}"

    asyncio.run(body())
    return True


def _open_files() -> dict[str, str]:
    found: dict[str, str] = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(("socket:", "/dev/ptmx", "/dev/pts/")):
            found[fd] = target
    return found


def _children() -> set[str]:
    found: set[str] = set()
    for tid in os.listdir("/proc/self/task"):
        try:
            found |= set(Path(f"/proc/self/task/{tid}/children").read_text().split())
        except OSError:
            continue
    return found


# A run in the background (`&`, nohup) is started with these ignored, and every command of a test would be as well.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A command that a test runs in its own process sets what signals do: for all that is started after it too."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def nothing_left_over() -> Iterator[None]:
    """Fail the test that leaks a thread, child process, socket or pty. Module-wide servers exist before it begins."""
    before = set(threading.enumerate()), _children(), set(_open_files().items())
    yield
    deadline = time.monotonic() + _DEADLINE
    while True:
        gc.collect()
        threads = [t for t in threading.enumerate() if t not in before[0] and t.is_alive() and not _pool_thread(t)]
        children = _children() - before[1]
        files = set(_open_files().items()) - before[2]
        if not (threads or children or files):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left over: threads {threads}, child processes {children}, sockets and ptys {files}")
        time.sleep(0.01)


def _pool_thread(thread: threading.Thread) -> bool:
    return "pytest_timeout" in thread.name


@pytest.fixture
def eventually() -> Any:
    """`await eventually(condition, deadline)`: poll until true, else fail with what it last returned."""

    async def wait(condition: Any, deadline: float = 10.0, what: str = "") -> Any:
        end = time.monotonic() + deadline
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline} s: {what or inspect.getsource(condition).strip()} -> {result!r}")
            await asyncio.sleep(0.005)

    return wait
