"""The daemon as it says itself, its socket, its units, and the people who may use it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from labmon.config.site import Site
from labmon.doctor.account import SERVICE, in_group
from labmon.doctor.case import PATIENCE, Case
from labmon.doctor.finding import Finding, fault, ok, unknown, warning
from labmon.doctor.ports import serial_lines
from labmon.links.holder import caller, group_name, user_name

SOCKET: Final = Site.model_fields["socket"].default
_SHOWN: Final = "LoadState,UnitFileState,ActiveState,Result,NRestarts,WatchdogUSec"


def daemon(case: Case) -> Iterator[Finding]:
    """Whether it answers, and what it is not well with."""
    status = case.status
    if status is None:
        yield fault(
            f"it does not answer: {case.silence}", "sudo systemctl start labmon; why not: journalctl -u labmon -e"
        )
        return
    yield ok(f"labmon {status['version']} answers, pid {status['pid']}, user {status['user']}")
    alarms, journal = status["alarms"], status["journal"]
    if alarms:
        yield warning(f"{len(alarms)} alarms are not normal", "labmon alarm list")
    if journal["state"] != "ok":
        yield fault(f"the journal is {journal['state']}: {journal['reason']}", "see disk, below")
    for way in status["notices"]:
        if way["error"]:
            yield fault(f"notices by {way['channel']} fail: {way['error']}", "see notices, below")
    broker = status["broker"]
    if broker is not None and not broker["connected"]:
        yield fault(f"it is not connected to the broker: {broker['error']}", "see broker, below")


def control_socket(case: Case) -> Iterator[Finding]:
    """Whether the command line's socket is there and for those who should have it."""
    path = case.folder / (case.site.socket if case.site is not None else SOCKET)
    try:
        found = path.stat()
    except PermissionError:
        yield fault(
            f"{path}: {caller()} may not look there", f"sudo usermod -aG {SERVICE} {caller()}, then log in anew"
        )
        return
    except OSError:
        if case.status is not None:
            yield fault(f"{path} was removed while the daemon runs", "sudo systemctl restart labmon")
        else:
            yield unknown(f"{path} is not there: no daemon made it", "sudo systemctl start labmon")
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode):
        yield fault(f"{path} is no socket", "move it away and restart labmon")
    elif mode & 0o007:
        yield warning(f"{path}: everybody on this machine may use it (mode {mode:04o})", f"sudo chmod 0660 {path}")
    elif not os.access(path, os.R_OK | os.W_OK):
        group = group_name(found.st_gid)
        yield fault(f"{path}: {caller()} may not use it", f"sudo usermod -aG {group} {caller()}, then log in anew")
    else:
        yield ok(f"{path}: user {user_name(found.st_uid)}, group {group_name(found.st_gid)}, mode {mode:04o}")


def users(case: Case) -> Iterator[Finding]:
    """Whether the service's user may use serial ports, and the caller the socket."""
    member = in_group(SERVICE, "dialout")
    if serial_lines(case) and member is False and not case.account.running:
        yield fault(
            f"user {SERVICE} is not in group dialout", f"sudo usermod -aG dialout {SERVICE}, then restart labmon"
        )
    if in_group(SERVICE, SERVICE) is None:
        yield unknown(f"there is no user {SERVICE}: labmon is not installed as a service", "docs/installation.md")
    else:
        yield ok(f"user {SERVICE}{' is in group dialout' if member else ''}")
    person = caller()
    if os.geteuid() != 0 and in_group(person, SERVICE) is False:
        yield warning(f"{person} is not in group {SERVICE}", f"sudo usermod -aG {SERVICE} {person}, then log in anew")


def units(case: Case) -> Iterator[Finding]:
    """Whether the units are enabled and run, and whether the watchdog had to act."""
    if not (case.machine.run / "systemd/system").is_dir() or shutil.which("systemctl") is None:
        yield unknown("systemd does not run here")
        return
    wanted = ["labmon", *(["labmon-ingest"] if case.site is not None and case.site.stores else [])]
    for unit in wanted:
        yield from unit_findings(unit, _show(unit))
    if acted := _log("labmon", "Watchdog timeout"):
        yield warning(
            f"the watchdog restarted labmon {acted} times in the last 7 days",
            "journalctl -u labmon --since -7d, and tell",
        )


def unit_findings(unit: str, shown: Mapping[str, str]) -> Iterator[Finding]:
    """What systemd says of one unit."""
    if shown.get("LoadState") != "loaded":
        told = f"{unit}: there is no such unit"
        yield unknown(told, "docs/installation.md; ingest may stand elsewhere")
        return
    if shown.get("ActiveState") != "active":
        yield fault(
            f"{unit}: {shown.get('ActiveState')} ({shown.get('Result')})",
            f"sudo systemctl start {unit}; why not: journalctl -u {unit} -e",
        )
    if shown.get("UnitFileState") not in ("enabled", "enabled-runtime", "static"):
        yield fault(f"{unit}: does not start with the machine", f"sudo systemctl enable {unit}")
    restarts = int(shown.get("NRestarts") or 0)
    if restarts:
        yield warning(f"{unit}: was restarted {restarts} times", f"journalctl -u {unit} -p warning says why")
    elif shown.get("ActiveState") == "active":
        yield ok(f"{unit}: {shown['ActiveState']}, {shown.get('UnitFileState')}")


def _show(unit: str) -> dict[str, str]:
    text = _output(["systemctl", "show", f"{unit}.service", f"--property={_SHOWN}"])
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _log(unit: str, words: str) -> int:
    text = _output(["journalctl", "-q", "-u", f"{unit}.service", "--since=-7d", "-o", "cat", "--grep", words])
    return len(text.splitlines())


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def socket_of(site: Site | None, folder: Path) -> Path:
    """The control socket of a site file, or of none."""
    return folder / (site.socket if site is not None else SOCKET)
