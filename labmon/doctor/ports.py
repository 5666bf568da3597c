"""Serial ports: there, allowed, free, by a lasting name, fast enough. None is opened: that would toggle its lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from labmon.config.shipped import shipped
from labmon.doctor.account import READ, WRITE
from labmon.doctor.case import Case
from labmon.doctor.finding import Finding, fault, ok, unknown, warning
from labmon.links.endpoint import SerialEndpoint
from labmon.links.holder import group_remedy, holders

RULE: Final = "99-labmon.rules"
SLOW: Final = 1
"""Milliseconds for which an FTDI converter may hold back what it received; its default is 16."""


def serial_lines(case: Case) -> list[tuple[str, str]]:
    """Each serial line with its port."""
    return [(line.id, line.endpoint.port) for line in case.lines if isinstance(line.endpoint, SerialEndpoint)]


def ports(case: Case) -> Iterator[Finding]:
    """Each port of the site file."""
    for line, port in serial_lines(case):
        path = Path(port)
        if not path.exists():
            yield fault(f"line {line}: {port} is not there", f"plug the adapter in; {_there(case)}")
            continue
        found = [*_permission(case, line, path), *_held(case, line, port), *_name(case, line, path)]
        found += _latency(case, line, path)
        yield from found or [ok(f"line {line}: {port}")]


def _there(case: Case) -> str:
    """The ports that there are, for whoever has to choose another."""
    by_id = case.machine.dev / "serial/by-id"
    found = sorted(map(str, by_id.iterdir())) if by_id.is_dir() else []
    return f"there are {', '.join(found)}" if found else f"there is none below {by_id}"


def _permission(case: Case, line: str, path: Path) -> Iterator[Finding]:
    account = case.account
    if not account.may(path, READ | WRITE):
        remedy = group_remedy(str(path), account.name, account.groups)
        yield fault(f"line {line}: {account.name} may not open {path}", remedy)


def _held(case: Case, line: str, port: str) -> Iterator[Finding]:
    status = case.status
    own = status["pid"] if status is not None else None
    others = [holder for holder in holders(port, proc=case.machine.proc) if holder.pid != own]
    row = case.line_status(line)
    if others:
        yield fault(f"line {line}: {port} is held by {', '.join(map(str, others))}", "end it: two readers steal bytes")
    elif row is not None and row["state"] != "open":
        yield fault(f"line {line}: the daemon says: {row['detail']}", "do what it says; then look at labmon status")


def _name(case: Case, line: str, path: Path) -> Iterator[Finding]:
    real = path.resolve()
    if path.parent.parent == case.machine.dev / "serial" or not real.name.startswith(("ttyUSB", "ttyACM")):
        return
    by_id = case.machine.dev / "serial/by-id"
    names = [name for name in sorted(by_id.iterdir()) if name.resolve() == real] if by_id.is_dir() else []
    better = f"write {names[0]} into the site file" if names else "give it a name of its own by a udev rule"
    yield warning(f"line {line}: {path} may be another adapter after the next start", better)


def _latency(case: Case, line: str, path: Path) -> Iterator[Finding]:
    timer = case.machine.sys / "bus/usb-serial/devices" / path.resolve().name / "latency_timer"
    try:
        held = int(timer.read_text())
    except (OSError, ValueError):
        return
    if held > SLOW:
        yield warning(
            f"line {line}: the converter holds each reply back for {held} ms",
            f"install the udev rule (below) and plug it in anew, or: echo 1 | sudo tee {timer}",
        )


def udev_rule(case: Case) -> Iterator[Finding]:
    """Whether the shipped rule is installed, where there is a USB port to apply it to."""
    usb = [port for _, port in serial_lines(case) if _is_usb(port)]
    modems = list(_processes(case, "ModemManager")) if usb else []
    wanted = shipped("config") / "udev" / RULE
    install = (
        f"sudo install -m 644 {wanted} /etc/udev/rules.d/ && sudo udevadm control --reload && sudo udevadm trigger"
    )
    places = [case.machine.etc, case.machine.lib]
    installed = next((f for p in places if (f := p / "udev/rules.d" / RULE).is_file()), None)
    if installed is None:
        if not usb:
            yield ok("not installed, and no USB port needs it")
            return
        yield warning(f"{RULE} is not installed", install)
        if modems:
            yield warning(
                "ModemManager runs, and may send modem commands to instruments", "the udev rule keeps it away"
            )
        return
    if not wanted.is_file():
        yield unknown(f"{installed}: the shipped rule to compare it with is missing", "install labmon anew")
    elif installed.read_text() != wanted.read_text():
        yield warning(f"{installed} is not the rule of this labmon", install)
    else:
        yield ok(f"{installed}")


def _is_usb(port: str) -> bool:
    return "/serial/by-" in port or Path(port).resolve().name.startswith(("ttyUSB", "ttyACM"))


def _processes(case: Case, command: str) -> Iterator[int]:
    for process in case.machine.proc.iterdir():
        try:
            if process.name.isdigit() and (process / "comm").read_text().strip() == command:
                yield int(process.name)
        except OSError:
            continue
