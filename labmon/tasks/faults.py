"""Where faults of tasks, callbacks and threads go that nobody awaits: to whoever runs the event loop.

asyncio's own way is used, the exception handler of the loop, so that what no part of labmon caught (a callback that
raised, a task whose exception was never looked at) arrives in the same place as what a part tells of itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Fault = Callable[[str, str, BaseException | None], None]
"""(part, what happened, error); called in the event loop."""


def fault(part: str, what: str, error: BaseException | None = None) -> None:
    """Tell of a fault of a part of labmon, from within the event loop."""
    context: dict[str, Any] = {"message": f"{part}: {what}", "part": part, "what": what}
    if isinstance(error, Exception):
        context["exception"] = error
    asyncio.get_running_loop().call_exception_handler(context)


def words(error: BaseException) -> str:
    """Kind and text of an error, in a line that is not too long."""
    return (f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)[:200]


@contextmanager
def faults_to(tell: Fault) -> Iterator[None]:
    """Have `tell` told of every fault: of parts, of callbacks and tasks that nobody looks after, of threads.

    Within the running event loop. A handler that stands already hears of them as well.
    """
    loop = asyncio.get_running_loop()
    before, thread_before = loop.get_exception_handler(), threading.excepthook

    def heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = context.get("what") or f"{context.get('message', 'fault')} ({words(error) if error else 'no exception'})"
        tell(str(context.get("part") or _whose(context)), str(what), error)
        if before is not None:
            before(loop, context)

    def thread_failed(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is None or isinstance(error, SystemExit):
            return
        name = arguments.thread.name if arguments.thread is not None else "?"
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(
                loop.call_exception_handler,
                {"message": f"thread {name}", "part": f"thread {name}", "what": f"failed ({words(error)})"}
                | ({"exception": error} if isinstance(error, Exception) else {}),
            )

    loop.set_exception_handler(heard)
    threading.excepthook = thread_failed
    try:
        yield
    finally:
        loop.set_exception_handler(before)
        threading.excepthook = thread_before


def _whose(context: dict[str, Any]) -> str:
    """What asyncio says of a fault that no part has told of."""
    about = context.get("task") or context.get("future")
    if isinstance(about, asyncio.Task):
        return f"task {about.get_name()}"
    return "the event loop"
