"""Serial ports: with ptys, a child process that holds one, and a tree of names and settings like a real machine's."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patients import case, levels, nobody, only, serial

from labmon.config.shipped import shipped
from labmon.doctor.finding import Level
from labmon.doctor.ports import RULE, ports, udev_rule

HOLD = "import os,sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def port() -> Iterator[str]:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    try:
        yield name
    finally:
        os.close(master)


@contextlib.contextmanager
def held(port: str, folder: Path) -> Iterator[int]:
    script = folder / "miniterm.py"
    script.write_text(HOLD)
    with subprocess.Popen(
        [sys.executable, str(script), port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        yield child.pid
        child.communicate("")


def status(port: str, pid: int, state: str = "open", detail: str = "") -> dict[str, Any]:
    return {"pid": pid, "lines": [{"line": "bus", "state": state, "detail": detail}]}


def test_a_port_that_is_well_and_none_is_opened(port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def watched(path: Any, *arguments: Any, **named: Any) -> int:
        assert str(path) != port, "it opened the port"
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", watched)
    assert only(ports(case(tmp_path, lines=[serial(port)]))).level is Level.OK


def test_a_port_that_is_missing_tells_which_there_are(tmp_path: Path) -> None:
    patient = case(tmp_path)
    by_id = patient.machine.dev / "serial/by-id"
    assert "there is none" in only(ports(patient)).remedy
    by_id.mkdir(parents=True)
    (by_id / "usb-FTDI_A5-port0").symlink_to("/dev/null")
    found = only(ports(patient))
    assert (found.level, found.what) == (Level.FAULT, "line bus: /dev/serial/by-id/nothing is not there")
    assert f"there are {by_id / 'usb-FTDI_A5-port0'}" in found.remedy


def test_a_port_that_somebody_else_holds(port: str, tmp_path: Path) -> None:
    with held(port, tmp_path) as pid:
        found = only(ports(case(tmp_path, lines=[serial(port)])))
        assert found.level is Level.FAULT
        assert f"miniterm.py (pid {pid}, user " in found.what
        assert levels(ports(case(tmp_path, status(port, pid), lines=[serial(port)]))) == [Level.OK], "the daemon's own"
        found = only(ports(case(tmp_path, status(port, pid + 1), lines=[serial(port)])))
        assert f"pid {pid}" in found.what, "beside the daemon"


def test_the_daemons_word_for_a_lost_line(port: str, tmp_path: Path) -> None:
    patient = case(tmp_path, status(port, 1, "lost", "permission denied: DeviceAllow"), lines=[serial(port)])
    assert "the daemon says: permission denied: DeviceAllow" in only(ports(patient)).what


def test_a_port_that_the_service_may_not_open(port: str, tmp_path: Path) -> None:
    patient = case(tmp_path, lines=[serial(port)])
    patient.account = nobody()
    Path(port).chmod(0o660)
    found = only(ports(patient))
    assert (found.level, found.what) == (Level.FAULT, f"line bus: labmon may not open {port}")
    assert "usermod -aG" in found.remedy or "udev rule" in found.remedy


def usb(folder: Path, latency: int | None) -> tuple[Any, Path]:
    """A USB port with its name by id, and the converter's latency timer; a symlink stands for the character device."""
    patient = case(folder)
    dev, sys_ = patient.machine.dev, patient.machine.sys
    (dev / "serial/by-id").mkdir(parents=True)
    (dev / "ttyUSB0").touch()
    (dev / "serial/by-id/usb-FTDI_A5-port0").symlink_to("../../ttyUSB0")
    if latency is not None:
        timer = sys_ / "bus/usb-serial/devices/ttyUSB0/latency_timer"
        timer.parent.mkdir(parents=True)
        timer.write_text(f"{latency}\n")
    return patient, dev


def renamed(patient: Any, port: Path) -> Any:
    return case(patient.folder, lines=[serial(str(port))])


def test_a_bare_name_is_answered_with_the_lasting_one(tmp_path: Path) -> None:
    patient, dev = usb(tmp_path, None)
    found = only(ports(renamed(patient, dev / "ttyUSB0")))
    assert found.level is Level.WARNING
    assert found.remedy == f"write {dev}/serial/by-id/usb-FTDI_A5-port0 into the site file"
    assert levels(ports(renamed(patient, dev / "serial/by-id/usb-FTDI_A5-port0"))) == [Level.OK]


@pytest.mark.parametrize(("latency", "level"), [(16, Level.WARNING), (1, Level.OK)])
def test_a_converter_that_holds_replies_back(tmp_path: Path, latency: int, level: Level) -> None:
    patient, dev = usb(tmp_path, latency)
    found = only(ports(renamed(patient, dev / "serial/by-id/usb-FTDI_A5-port0")))
    assert found.level is level
    assert level is Level.OK or ("16 ms" in found.what and "udev rule" in found.remedy)


def test_the_udev_rule(tmp_path: Path, port: str) -> None:
    wanted = shipped("config") / "udev" / RULE
    assert only(udev_rule(case(tmp_path, lines=[serial(port)]))).level is Level.OK, "no USB port"
    patient = case(tmp_path)
    found = next(iter(udev_rule(patient)))
    assert (found.level, f"install -m 644 {wanted} " in found.remedy) == (Level.WARNING, True)
    installed = patient.machine.lib / "udev/rules.d" / RULE
    installed.parent.mkdir(parents=True)
    installed.write_text(wanted.read_text())
    assert only(udev_rule(patient)).level is Level.OK
    installed.write_text("# of an earlier version\n")
    assert "not the rule of this labmon" in only(udev_rule(patient)).what


def test_modem_manager_is_told_where_no_rule_keeps_it_away(tmp_path: Path) -> None:
    patient = case(tmp_path)
    process = tmp_path / "proc/77"
    process.mkdir(parents=True)
    (process / "comm").write_text("ModemManager\n")
    patient.machine = type(patient.machine)(tmp_path / "proc", *(tmp_path / n for n in ("sys", "dev", "etc", "lib")))
    assert "ModemManager" in [f.what for f in udev_rule(patient)][1]


def test_the_rule_is_made_of_matches_and_settings() -> None:
    """Each line is comma-separated `KEY==`, `KEY=` pairs of keys that udev(7) knows."""
    rules = [r for r in (shipped("config") / "udev" / RULE).read_text().splitlines() if r and not r.startswith("#")]
    matches = {"ACTION", "SUBSYSTEM", "SUBSYSTEMS", "DRIVER", "DRIVERS", "KERNEL", "TEST"}
    settings = {"GROUP", "MODE", "ATTR{latency_timer}", "ENV{ID_MM_PORT_IGNORE}"}
    assert len(rules) == 3
    for rule in rules:
        for pair in rule.split(", "):
            key, quoted = pair.split("==", 1) if "==" in pair else pair.split("=", 1)
            assert key in (matches if "==" in pair else settings), pair
            assert quoted[0] == quoted[-1] == '"' and quoted.count('"') == 2, pair
        assert "==" in rule.split(", ")[0]
