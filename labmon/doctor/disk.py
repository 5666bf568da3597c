"""The disk under the journal: room, rights, and how worn it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from labmon.config.capacity import capacity
from labmon.doctor.account import ENTER, READ, WRITE
from labmon.doctor.case import PATIENCE, Case
from labmon.doctor.finding import Finding, fault, ok, unknown, warning
from labmon.journal.disk import look_at_disk

WORN: Final = 80
"""Percent of a medium's life from which on it is told."""
FULL: Final = 50_000_000
"""Bytes free below which nothing can be expected to work."""
_RESERVED: Final = {2: "80 % of its spare blocks are used", 3: "90 % of its spare blocks are used"}
"""pre_eol_info of eMMC (JEDEC, since 5.0)."""


def room(case: Case) -> Iterator[Finding]:
    """Whether the journal can be written, and can grow as far as the site file lets it."""
    if case.site is None:
        return
    config = case.site.journal
    path = case.folder / config.path
    disk = look_at_disk(path)
    place = _existing(path)
    if disk.read_only:
        yield fault(f"{place} is on a read-only file system", "sudo mount -o remount,rw; a card may do this at its end")
    elif not case.account.may(path if path.exists() else place, READ | WRITE | (0 if path.exists() else ENTER)):
        yield fault(f"{case.account.name} may not write {path}", f"sudo chown -R {case.account.name} {path.parent}")
    if disk.free < FULL or os.statvfs(place).f_favail == 0:
        yield fault(
            f"{place}: {_gb(disk.free)} free, or no file can be made", "delete what is not labmon's: df -h, df -i"
        )
        return
    queries = [(len(q.slots), q.every) for line in case.lines for d in line.devices for q in d.queries]
    held = capacity(queries, config)
    most = min(config.size, held.bytes_per_day * held.keep / 86400) - disk.used
    if disk.free < most:
        days = disk.free / held.bytes_per_day if held.bytes_per_day else 0.0
        yield warning(
            f"{place}: {_gb(disk.free)} free, the journal may grow by {_gb(most)}: room for {days:,.0f} more days",
            "make room, or lower `size` or `keep-readings` under journal:",
        )
    else:
        yield ok(
            f"{place}: {_gb(disk.free)} free, the journal has {_gb(disk.used)} and may grow by {_gb(max(0, most))}"
        )


def _existing(path: Path) -> Path:
    place = path.parent
    while not place.exists():
        place = place.parent
    return place


def _gb(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def wear(case: Case) -> Iterator[Finding]:
    """What the medium says of its own age."""
    if case.site is None:
        return
    place = _existing(case.folder / case.site.journal.path)
    disk = disk_of(place, case.machine.sys)
    if disk is None:
        yield unknown(f"{place}: not on a disk of this machine's own", "ask whoever keeps that storage")
        return
    if disk.name.startswith("mmcblk"):
        yield from _card(disk)
        return
    yield _smart(disk.name)


def disk_of(place: Path, sys: Path) -> Path | None:
    """The whole disk, as a folder of sysfs, that a folder is on; None for what is on none."""
    device = place.stat().st_dev
    try:
        found = (sys / f"dev/block/{os.major(device)}:{os.minor(device)}").resolve(strict=True)
    except OSError:
        return None
    if (found / "partition").exists():
        found = found.parent
    below = sorted((found / "slaves").iterdir()) if (found / "slaves").is_dir() else []  # encryption, LVM
    if below:
        found = below[0].resolve()
        found = found.parent if (found / "partition").exists() else found
    return found


def _card(disk: Path) -> Iterator[Finding]:
    """SD card or eMMC; `life_time` holds two estimates in steps of ten percent, 0 where it has none."""
    try:
        steps = [int(word, 16) for word in (disk / "device/life_time").read_text().split()]
        reserve = int((disk / "device/pre_eol_info").read_text().split()[0], 16)
    except (OSError, ValueError, IndexError):
        yield unknown(
            f"{disk.name}: the card says nothing of its wear", "keep a spare one ready; replace it every few years"
        )
        return
    most = max(steps, default=0)
    if most > 10 or reserve in _RESERVED:
        said = _RESERVED.get(reserve, "its expected life is over")
        yield fault(f"{disk.name}: {said}", "replace it now: docs/installation.md, a new card for the same site")
    elif most == 0:
        yield unknown(f"{disk.name}: the card does not estimate its wear", "keep a spare one ready")
    elif most * 10 > WORN:
        yield warning(f"{disk.name}: {(most - 1) * 10} to {most * 10} % of its life is used", "order a new one")
    else:
        yield ok(f"{disk.name}: {(most - 1) * 10} to {most * 10} % of its life is used")


def _smart(disk: str) -> Finding:
    program = shutil.which("smartctl") or shutil.which("smartctl", path="/usr/sbin")
    if program is None:
        return unknown(f"{disk}: smartctl is not installed", "sudo apt-get install smartmontools")
    try:
        done = subprocess.run(
            [program, "--json", "-H", "-A", f"/dev/{disk}"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return unknown(f"{disk}: smartctl: {type(error).__name__}", f"sudo smartctl -H -A /dev/{disk}")
    return smart_finding(disk, said)


def smart_finding(disk: str, said: Any) -> Finding:
    """What smartctl's JSON means."""
    passed = said.get("smart_status", {}).get("passed")
    used = said.get("nvme_smart_health_information_log", {}).get("percentage_used")
    if passed is None:
        why = "; ".join(str(m.get("string", "")) for m in said.get("smartctl", {}).get("messages", []))
        return unknown(
            f"{disk}: it does not say how it is ({why or 'no SMART'})", "sudo labmon doctor, for root may ask"
        )
    life = f", {used} % of its life is used" if used is not None else ""
    if not passed or (used is not None and used >= 100):
        return fault(f"{disk}: it says that it fails{life}", "replace it now")
    if used is not None and used > WORN:
        return warning(f"{disk}: {used} % of its life is used", "order a new one")
    return ok(f"{disk}: SMART passed{life}")
