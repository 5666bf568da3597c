"""Cases to examine: a site file of the test's own, on a machine whose folders it can make."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from labmon.acquisition.load import load
from labmon.doctor.account import Account
from labmon.doctor.case import Case, Machine
from labmon.doctor.finding import Finding, Level

DEVICE = {"id": "p-1", "name": "Pressure", "driver": "delta-ohm/hd402st", "area": "room"}


def tcp(port: int, name: str = "net") -> dict[str, Any]:
    return {"id": name, "tcp": {"host": "127.0.0.1", "port": port}, "framing": "modbus-rtu", "devices": [DEVICE]}


def serial(port: str, name: str = "bus") -> dict[str, Any]:
    return {"id": name, "serial": {"port": port}, "devices": [DEVICE]}


def site(folder: Path, **parts: Any) -> Path:
    """A valid site file with `parts` in the place of its own."""
    base: dict[str, Any] = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "areas": [{"id": "room", "name": "Room"}],
        "lines": [serial("/dev/serial/by-id/nothing")],
        "journal": {"path": "journal.db", "keep-readings": "1 d", "size": "100 MB"},
        "socket": "control.sock",
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps(base | parts, indent=1))
    return path


def machine(folder: Path) -> Machine:
    """A machine with empty folders, and the real processes."""
    made = Machine(Path("/proc"), *(folder / name for name in ("sys", "dev", "etc", "lib", "run")))
    for place in (made.sys, made.dev, made.etc, made.lib, made.run):
        place.mkdir(exist_ok=True)
    return made


def case(folder: Path, status: dict[str, Any] | None = None, **parts: Any) -> Case:
    """A case of a site file without errors."""
    made = Case(load(site(folder, **parts)), status, "nobody answers", machine(folder))
    assert made.site is not None, [str(error) for error in made.loaded.errors]
    return made


def nobody() -> Account:
    """Somebody who owns nothing here."""
    return Account("labmon", 64000, frozenset({64000}))


def levels(findings: Iterable[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def only(findings: Iterable[Finding]) -> Finding:
    found = list(findings)
    assert len(found) == 1, found
    return found[0]


IN_CI = bool(os.environ.get("CI"))
