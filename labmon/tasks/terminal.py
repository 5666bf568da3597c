"""SIGHUP means two things: the terminal of a process was closed, or a service is asked to take its files anew."""

from __future__ import annotations

import os
from collections.abc import Callable


def on_hang_up(end: Callable[[], None], again: Callable[[], None]) -> Callable[[], None]:
    """What to do on SIGHUP: `end` when the terminal that the process has now is gone by then, else `again`."""
    terminal = _has_terminal()
    return lambda: end() if terminal and not _has_terminal() else again()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
