"""Runs the checks, side by side: none keeps another from its turn, and all of them together come to an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from labmon.doctor import broker, clock, disk, endpoints, files, notices, packages, ports, service, stores
from labmon.doctor.case import Case
from labmon.doctor.finding import Finding, Level, fault

Check = Callable[[Case], Iterable[Finding]]

CHECKS: Mapping[str, Check] = {
    "site file": files.site_file,
    "secrets": files.secrets,
    "daemon": service.daemon,
    "socket": service.control_socket,
    "service": service.units,
    "users": service.users,
    "serial ports": ports.ports,
    "udev rule": ports.udev_rule,
    "tcp lines": endpoints.endpoints,
    "clock": clock.clock,
    "disk": disk.room,
    "wear": disk.wear,
    "broker": broker.broker,
    "certificates": broker.certificates,
    "stores": stores.stores,
    "notices": notices.notices,
    "packages": packages.packages,
}
"""In the order in which they are told."""
LIMIT = 20.0
"""Seconds that all checks together may take."""


def examine(case: Case, checks: Mapping[str, Check] = CHECKS, limit: float = LIMIT) -> list[Finding]:
    """What every check found, in the order of `checks`, within `limit` seconds.

    A check that fails is a finding, and so is one that does not end in time; what it found before is told too.
    """
    runs = [_Run(name, check, case) for name, check in checks.items()]
    end = time.monotonic() + limit
    for run in runs:
        run.thread.join(max(0.0, end - time.monotonic()))
    return [finding for run in runs for finding in run.told(limit)]


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level among the findings."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)


class _Run:
    """One check in a thread of its own, which an exit does not wait for: a name service cannot be interrupted."""

    def __init__(self, name: str, check: Check, case: Case) -> None:
        self._name, self._check, self._case = name, check, case
        self._found: list[Finding] = []
        self._ended = False
        self.thread = threading.Thread(target=self._go, name=f"doctor {name}", daemon=True)
        self.thread.start()

    def _go(self) -> None:
        try:
            for finding in self._check(self._case):
                self._found.append(finding)
        except Exception as error:  # noqa: BLE001 - the other checks go on, and this one is told
            self._found.append(fault(f"the check itself failed: {error!r}"[:300], "tell whoever maintains labmon"))
        self._ended = True

    def told(self, limit: float) -> list[Finding]:
        """What it found."""
        ended, found = self._ended, list(self._found)
        if not ended:
            found.append(fault(f"no end within {limit:g} s", "what it asks hangs: look at network, name service, disk"))
        return [replace(finding, check=self._name) for finding in found]
