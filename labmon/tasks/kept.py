"""Tasks that live as long as their owner wants: one that fails is told of, and runs again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from labmon.tasks.faults import fault, words

RESTART = (1.0, 5.0, 30.0)
"""Seconds to wait before what failed is started again; the last one repeats."""
STEADY = 60.0
"""What ran for so many seconds before it failed begins again with the first wait."""


def kept(name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Run `run` in a task of this name until it returns, or until the task is cancelled.

    When it raises, or is cancelled by anybody but who cancels the task, that is told (labmon.tasks.faults) and it is
    run again, from its beginning, after a wait.
    """
    return asyncio.create_task(_keep(name, run), name=name)


async def _keep(name: str, run: Callable[[], Awaitable[None]]) -> None:
    failures = 0
    while True:
        began = time.monotonic()
        try:
            await run()
            return
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            problem: BaseException = error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and the part goes on
            problem = error
        failures = 1 if time.monotonic() - began > STEADY else failures + 1
        wait = RESTART[min(failures, len(RESTART)) - 1]
        fault(name, f"failed ({words(problem)}), starts again in {wait:g} s", problem)
        await asyncio.sleep(wait)
