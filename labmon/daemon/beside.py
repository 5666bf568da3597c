"""Work in a thread of its own that does not make the polling late."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from labmon.journal.worker import Worker

T = TypeVar("T")

SLICE = 0.0005
"""Seconds after which the thread gives way to the event loop.

Measured with a site of 2000 channels, which takes a second to load: polls are at most 3 ms late; at the interpreter's
own 5 ms it is 15 ms, and 60 ms with a full collection on the way.
"""


async def beside(work: Callable[[], T]) -> T:
    """What `work` returns or raises. The thread does not hold up the end of the process, whatever it waits for."""
    worker = Worker("labmon-beside")
    try:
        with _gently():
            return await worker.call(work)
    finally:
        worker.dismiss()


@contextmanager
def _gently() -> Iterator[None]:
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    gc.disable()
    sys.setswitchinterval(min(SLICE, interval))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()
