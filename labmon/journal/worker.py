"""One thread that runs calls one after another, for what may block on a disk."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from labmon.journal.errors import JournalUnavailable
from labmon.tasks.faults import fault, words

T = TypeVar("T")

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Worker:
    """A thread that does not hold up the end of the process when a disk hangs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._since: float | None = None
        self._thread = self._start()

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._live, name=self._name, daemon=True)
        thread.start()
        return thread

    @property
    def busy(self) -> float:
        """Seconds for which the call under way has been going on; 0 when there is none."""
        since = self._since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

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

    def dismiss(self) -> None:
        """Have the thread end after all earlier calls; nobody waits for it."""
        self._calls.put(None)

    def _live(self) -> None:
        """Run the calls. A failure that is not of a call itself costs that call and the thread: a new one comes."""
        under_way: list[_Call] = []
        try:
            self._run(under_way)
        except BaseException as error:  # noqa: BLE001 - nobody else would hear of it, and the caller would wait for ever
            self._since = None
            self._thread = self._start()
            for _, future, loop in under_way:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_died, self._name, future, error)

    def _run(self, under_way: list[_Call]) -> None:
        while (call := self._calls.get()) is not None:
            under_way.append(call)
            what, future, loop = call
            if not future.cancelled():
                self._since = time.monotonic()
                _run(what, future, loop)
                self._since = None
            under_way.clear()
            # Nothing of a finished call is held while waiting for the next.
            del call, what, future, loop


def _died(name: str, future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(JournalUnavailable(f"the thread {name} failed ({words(error)})"))
    fault(f"thread {name}", f"failed ({words(error)}), another one takes its place", error)


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
