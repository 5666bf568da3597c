"""What a service tells its service manager (sd_notify(3)): ready, alive, reloading, stopping, and in what state.

Without a service manager (no NOTIFY_SOCKET) nothing is told and nothing is missed.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def notify(*states: str) -> bool:
    """Send these assignments as one message, at once; say whether the service manager was told.

    Never blocks and never raises: a service does its work whether or not anybody is told.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(states).encode(), address)
        return True
    return False


def status(text: str) -> str:
    """One line on the state of the service, as `systemctl status` shows it."""
    return "STATUS=" + " ".join(text.split())


def reloading() -> str:
    """The configuration is being read again; READY follows when that is done, whatever came of it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_interval() -> float | None:
    """Seconds within which the service manager wants a WATCHDOG from this process; None when it wants none."""
    pid = os.environ.get("WATCHDOG_PID")
    if pid and pid != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None
