"""The system clock: kept by a time service, and near enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from labmon.doctor.case import Case
from labmon.doctor.finding import Finding, fault, ok, unknown, warning
from labmon.health.clock import kernel_clock

_SERVICES: Final = {"chronyd", "systemd-timesyn", "systemd-timesyncd", "ntpd", "openntpd", "phc2sys"}
_INSTALL: Final = "sudo apt-get install chrony, and give it a server that this network reaches"


def clock(case: Case) -> Iterator[Finding]:
    """Whether the kernel knows the clock to be synchronised, and which service keeps it."""
    running = sorted(_running(case))
    by = f"kept by {', '.join(running)}" if running else "no time service of a known name runs"
    state = kernel_clock()
    trusted = case.site.gateway.clock if case.site is not None else None
    if trusted is not None:
        yield ok(f"trusted by the site file: {trusted.trusted}")
    elif state.problem:
        yield unknown(state.doubt(), "timedatectl")
    elif doubt := state.doubt():
        remedy = "chronyc tracking, or timedatectl timesync-status, says why not" if running else _INSTALL
        yield fault(f"{doubt} ({by})", remedy)
    else:
        yield ok(f"synchronised, within {state.error * 1000:.0f} ms, {by}")
    if len(running) > 1:
        yield warning(f"several time services: {', '.join(running)}", "leave one of them")
    steps = case.status["clock"].get("steps") if case.status is not None and case.status["clock"] else 0
    if steps:
        yield warning(f"the clock was stepped {steps} times since labmon started", "find out who set it")


def _running(case: Case) -> Iterator[str]:
    for process in case.machine.proc.iterdir():
        try:
            if process.name.isdigit() and (name := (process / "comm").read_text().strip()) in _SERVICES:
                yield name
        except OSError:
            continue
