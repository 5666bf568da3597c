"""What the kernel says of the clock: the layout of its answer, and what is made of it."""

from __future__ import annotations

import ctypes
import errno
import time

import pytest

import labmon.health.clock
from labmon.health.clock import ClockState, Timex, kernel_clock, state_of, timex_type


def test_the_layout_is_the_kernels() -> None:
    """Fields that are known before, from all over the structure."""
    timex = Timex()
    before = time.time()
    assert labmon.health.clock._adjtimex()(ctypes.byref(timex)) >= 0
    after = time.time()
    fraction = timex.fraction / (1e9 if timex.status & 0x2000 else 1e6)
    assert before - 0.001 <= timex.seconds + fraction <= after + 0.001
    assert timex.tolerance == 500 << 16, "500 ppm: the kernel's constant"
    assert 900_000 // 100 <= timex.tick <= 1_100_000 // 100
    assert list(timex._room) == [0] * 11


@pytest.mark.parametrize(
    ("long", "size", "places"),
    [
        (ctypes.c_int64, 208, {"offset": 8, "maxerror": 24, "esterror": 32, "status": 40, "tick": 88, "tai": 160}),
        (ctypes.c_int32, 128, {"offset": 4, "maxerror": 12, "esterror": 16, "status": 20, "tick": 44, "tai": 80}),
    ],
)
def test_the_layout_with_either_long(long: type, size: int, places: dict[str, int]) -> None:
    """As a C compiler lays out <sys/timex.h> for x86-64 or arm64, and for i386 or arm."""
    made = timex_type(long)
    assert ctypes.sizeof(made) == size
    assert {name: getattr(made, name).offset for name in places} == places


def test_nothing_is_set() -> None:
    assert Timex().modes == 0
    first, second = kernel_clock(), kernel_clock()
    assert first.synchronised == second.synchronised
    assert first.problem == second.problem == ""


@pytest.mark.parametrize(
    ("status", "synchronised"),
    [(0x0001, True), (0x2001, True), (0x0040, False), (0x2041, False), (0x1001, False), (0x0011, True)],
)
def test_status(status: int, synchronised: bool) -> None:
    assert state_of(Timex(status=status)).synchronised is synchronised


@pytest.mark.parametrize(("status", "unit"), [(0x0001, 1e-6), (0x2001, 1e-9)])
def test_the_offset_is_in_the_unit_that_the_kernel_names(status: int, unit: float) -> None:
    state = state_of(Timex(status=status, offset=-250_000, maxerror=20_000, esterror=400))
    assert state == ClockState(True, pytest.approx(-250_000 * unit), 0.02, 0.0004)


def test_a_refused_call_is_a_state_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(labmon.health.clock, "_adjtimex", lambda: refuse)
    state = kernel_clock()
    assert (state.synchronised, state.problem) == (False, "adjtimex: Operation not permitted")
    assert "cannot be asked" in state.doubt()


@pytest.mark.parametrize(
    ("state", "doubt"),
    [
        (ClockState(True, 0.5, 15.0, 0.9), ""),
        (ClockState(True, -1.1), "off by more than 1 s"),
        (ClockState(True, 0.0, 3.0, 1.1), "off by more than 1 s"),
        (ClockState(False), "not synchronised"),
    ],
)
def test_doubt(state: ClockState, doubt: str) -> None:
    assert state.doubt().startswith(doubt)
    assert bool(state.doubt()) is bool(doubt)
