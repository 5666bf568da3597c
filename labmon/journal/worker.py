"""One thread that runs calls one after another, for what may block on a disk."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Worker:
    """A thread that does not hold up the end of the process when a disk hangs."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, what: Callable[[], T]) -> asyncio.Future[T]:
        """Run `what` in the thread after all earlier calls. A call that was begun is finished, also when its future is
        cancelled; one that was not is left out.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((what, future, loop))
        return future

    async def stop(self, last: Callable[[], None], timeout: float) -> bool:
        """Run `last` after all earlier calls and end the thread; say whether that was done in time.

        Raises what `last` raises. A thread that hangs is left behind; it runs `last` when it hangs no more.
        """
        future = self.call(last)
        done, _ = await asyncio.wait({future}, timeout=timeout)
        self._calls.put(None)
        if not done:
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            return False
        self._thread.join(timeout)
        future.result()
        return True

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            what, future, loop = call
            if not future.cancelled():
                _run(what, future, loop)
            # Nothing of a finished call is held while waiting for the next.
            del call, what, future, loop


def _run(what: Callable[[], Any], future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
    result, failure = None, None
    try:
        result = what()
    except BaseException as error:  # noqa: BLE001 - it is raised in the caller
        failure = error

    def deliver() -> None:
        if future.cancelled():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)

    with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
        loop.call_soon_threadsafe(deliver)
