"""What the kernel knows of the system clock: whether a time service keeps it, and how far off it may be.

The kernel is asked by adjtimex(2) without changing anything, which needs no privilege. chrony (with `rtcsync`), ntpd,
systemd-timesyncd and phc2sys tell it when they have synchronised the clock. From then on its largest error grows by
500 ppm until they tell again; at 16 s, and whenever somebody sets the clock, it counts as not synchronised.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

OFF = 1.0
"""Seconds by which a clock may be off, as its time service itself says, before its times are doubted."""

_STA_UNSYNC = 0x0040
_STA_CLOCKERR = 0x1000
_STA_NANO = 0x2000


@dataclass(frozen=True, slots=True)
class ClockState:
    """The system clock at one moment, in seconds: what its time service last told the kernel."""

    synchronised: bool
    offset: float = 0.0
    """What the kernel has still to correct. Services that steer the clock themselves (chrony) leave it at 0."""
    max_error: float = 0.0
    estimated_error: float = 0.0
    problem: str = ""
    """Why the kernel could not be asked."""

    @property
    def error(self) -> float:
        """How far off it is, as far as is known."""
        return max(abs(self.offset), self.estimated_error)

    def doubt(self, off: float = OFF) -> str:
        """Why its times are not to be trusted; empty when they are."""
        if self.problem:
            return f"the kernel cannot be asked whether the clock is synchronised: {self.problem}"
        if not self.synchronised:
            return "not synchronised: no time service keeps it, or the kernel was not told"
        if self.error > off:
            return f"off by more than {OFF:g} s, as the time service itself says"
        return ""


ClockSource = Callable[[], ClockState]
"""Asks for the state of the clock now. Never raises, never waits."""


def timex_type(long: type) -> type[ctypes.Structure]:
    """`struct timex` of the C library for a kind of `long` (time of day in it is two of them), padding included."""
    fields: list[tuple[str, type]] = [
        ("modes", ctypes.c_uint32),
        ("offset", long),
        ("freq", long),
        ("maxerror", long),
        ("esterror", long),
        ("status", ctypes.c_int32),
        ("constant", long),
        ("precision", long),
        ("tolerance", long),
        ("seconds", long),
        ("fraction", long),
        ("tick", long),
        ("ppsfreq", long),
        ("jitter", long),
        ("shift", ctypes.c_int32),
        ("stabil", long),
        ("jitcnt", long),
        ("calcnt", long),
        ("errcnt", long),
        ("stbcnt", long),
        ("tai", ctypes.c_int32),
        ("_room", ctypes.c_int32 * 11),
    ]
    return type("Timex", (ctypes.Structure,), {"_fields_": fields})


Timex = timex_type(ctypes.c_long)


@functools.cache
def _adjtimex() -> Callable[[object], int]:
    function = ctypes.CDLL(None, use_errno=True).adjtimex
    function.argtypes = [ctypes.POINTER(Timex)]
    function.restype = ctypes.c_int
    found: Callable[[object], int] = function
    return found


def kernel_clock() -> ClockState:
    """Ask the kernel. Where it may not be asked the state says so: it counts as not synchronised."""
    timex = Timex()  # modes 0: nothing is set
    try:
        answer = _adjtimex()(ctypes.byref(timex))
    except (OSError, AttributeError) as error:
        return ClockState(False, problem=f"the C library has no adjtimex: {error}")
    if answer < 0:
        return ClockState(False, problem=f"adjtimex: {os.strerror(ctypes.get_errno())}")
    return state_of(timex)


def state_of(timex: ctypes.Structure) -> ClockState:
    """The state from what adjtimex wrote."""
    unit = 1e9 if timex.status & _STA_NANO else 1e6
    return ClockState(
        not timex.status & (_STA_UNSYNC | _STA_CLOCKERR),
        timex.offset / unit,
        timex.maxerror / 1e6,
        timex.esterror / 1e6,
    )
