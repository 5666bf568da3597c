"""Threads for blocking calls that may hang: none of them holds up another, or the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """An executor for an event loop (`set_default_executor`) that gives each call a daemon thread of its own.

    The standard one has few threads, so that a handful of host names that do not resolve would keep all others from
    being looked up, and both `asyncio.run` and the interpreter wait for its calls at the end.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Begin the call at once."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name=f"call {getattr(fn, '__name__', fn)}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing is waited for: what hangs is left behind."""
