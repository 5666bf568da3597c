"""One watch at a time on one memory: two would each tell what the other has told."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger("labmon.watch")


class Held(Exception):
    """Another process has it."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold what stands at `path` until the end of the block, or of the process. Raises Held.

    Where no lock can be made (a disk that cannot be written) the watch goes on without.
    """
    beside = path.with_name(f"{path.name}.watch")  # the journal has a lock of its own, and goes on without
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = beside.open("w")
    except OSError as error:
        log.error("watch: no lock at %s: %s", beside, error.strerror)
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Held(f"another one uses {path}") from None
        yield
