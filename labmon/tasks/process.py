"""The end of a process: whatever hangs, it comes, with everything said that was to be said."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from labmon.tasks.threads import Threads

log = logging.getLogger("labmon")

MOMENT = 0.2
"""Seconds for tasks that are still there when the work is over."""


def heed_signals_early() -> None:
    """Call first of all: until the event loop handles signals, SIGTERM ends the process cleanly, with exit code 0.

    Nothing was accepted by then, so that nothing has to be written. SIGHUP, by which a service is asked to reload,
    would end it: it is ignored.
    """
    # Not sys.exit: an exception can be raised where nobody hears it, as in the import of a module or a finaliser.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def run(main: Coroutine[Any, Any, int], factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> int:
    """Run `main` in an event loop of its own and return what it returns, or raise what it raises.

    asyncio waits at its end for every task and every thread of the loop, and the interpreter for every thread that is
    no daemon. Here a task that does not end when it is cancelled, or a call that hangs, is named in the log and left
    behind: then the process ends at once, without returning from here.
    """
    with asyncio.Runner(loop_factory=factory) as runner:
        code = runner.run(_watched(main))
    hanging = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.current_thread()]
    if hanging:
        _leave(code, hanging)
    return code


async def _watched(main: Coroutine[Any, Any, int]) -> int:
    asyncio.get_running_loop().set_default_executor(Threads())
    try:
        code = await main
    except BaseException as error:
        if not isinstance(error, Exception):
            raise
        if left := await _left():
            log.critical("failed", exc_info=error)
            _leave(1, left)
        raise
    if left := await _left():
        _leave(code, left)
    return code


async def _left() -> list[str]:
    """Names of the tasks that do not end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=MOMENT)
    return sorted(task.get_name() for task in tasks if not task.done())


def _leave(code: int, left: list[str]) -> NoReturn:
    log.error("left behind at the end: %s", ", ".join(left))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
