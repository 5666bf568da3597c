"""The one thread in which a store is written to."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class StoreThread:
    """Runs blocking calls one after the other, away from the event loop.

    Not an executor of the standard library: those are waited for when the interpreter ends, and a store that hangs
    must not keep the process from ending.
    """

    def __init__(self, name: str, last: Callable[[], None]) -> None:
        """Start in the running event loop; `last` is called in the thread when it ends."""
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._last = last
        self._ended = asyncio.Event()
        self._since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> float:
        """Seconds for which the call under way has been going on; 0 when there is none."""
        since = self._since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

    async def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, or what it raised. When cancelled, the call still ends by itself."""
        future: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def work() -> None:
            self._since = time.monotonic()
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001
                # It is raised again in the coroutine that waits.
                self._in_loop(partial(settle, None, error))
            else:
                self._in_loop(partial(settle, result, None))
            finally:
                self._since = None

        self._work.put(work)
        return await future

    async def stop(self, timeout: float) -> bool:
        """End the thread after what it does now; False when that takes longer than `timeout` seconds."""
        self._work.put(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout)
        if not self._ended.is_set():
            return False
        self._thread.join()
        return True

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
        try:
            self._last()
        finally:
            self._in_loop(self._ended.set)

    def _in_loop(self, callback: Callable[[], None]) -> None:
        # Nobody waits any more once the loop is closed.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)
