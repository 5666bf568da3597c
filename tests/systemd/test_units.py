"""The units: free of mistakes, closed as far as they may be, and never giving up."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from systemd_needs import SYSTEMD, need_program

UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))
SERVICES = ["labmon.service", "labmon-ingest.service", "labmon-watch.service"]
EXPOSURE = 2.0
PROGRAM = re.compile(r"^(ExecStart=)/opt/labmon/current/\S+", re.M)


def settings(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists on this machine: `verify` looks for it."""
    for name in UNITS:
        text, count = PROGRAM.subn(r"\1/bin/true", (SYSTEMD / name).read_text())
        assert count == 1, name
        (tmp_path / name).write_text(text)
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = need_program("systemd-analyze", "systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30)


def test_the_three_services_are_there() -> None:
    assert set(SERVICES) < set(UNITS)


@pytest.mark.parametrize("name", UNITS)
def test_verify_is_silent(units: Path, name: str) -> None:
    # An unknown key is a warning with exit code 0: any output counts.
    done = analyze("verify", "--man=no", str(units / name))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_verify_would_find_a_wrong_key(units: Path) -> None:
    unit = units / "labmon.service"
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nRestartSoon=yes"))
    done = analyze("verify", "--man=no", str(unit))
    assert "RestartSoon" in done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_exposure_is_low(units: Path, name: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", str(units / name))
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None, done.stdout + done.stderr
    assert float(level[1]) <= EXPOSURE, done.stdout
    assert done.returncode == 0


def test_exposure_would_be_found(units: Path) -> None:
    unit = units / "labmon.service"
    unit.write_text(re.sub(r"^(Protect|Private|Restrict|SystemCall|Capability).*\n", "", unit.read_text(), flags=re.M))
    done = analyze("security", "--offline=true", "--no-pager", "--json=short", "--threshold=20", str(unit))
    assert done.returncode != 0
    assert any(row["exposure"] for row in json.loads(done.stdout))


@pytest.mark.parametrize("name", UNITS)
def test_no_number_of_starts_is_too_many(name: str) -> None:
    assert settings(name)["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_started_for_ever(name: str) -> None:
    found = settings(name)
    assert found["Restart"] == ["always"]
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) >= 10
    assert "Requires" not in found, "what is missing must not keep it from starting"
    assert "BindsTo" not in found


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_as_credentials_and_stay_out_of_core_files(name: str) -> None:
    found = settings(name)
    assert found["LoadCredential"] == ["labmon:/run/labmon-credentials/loaded"]
    assert found["SetCredential"] == ["labmon:\\n"], "a missing folder would keep it from starting"
    assert found["LimitCORE"] == ["0"]
    assert "EnvironmentFile" not in found
    assert found["Environment"] == ["PYTHONFAULTHANDLER=1"]


def test_the_daemon_has_serial_ports_and_no_other_device() -> None:
    found = settings("labmon.service")
    assert found["DevicePolicy"] == ["closed"]
    assert found["DeviceAllow"] == [f"char-{name} rw" for name in ("ttyUSB", "ttyACM", "ttyS", "ttyAMA")]
    assert "m labmon dialout" in (SYSTEMD / "labmon.sysusers").read_text().splitlines()


def test_the_peer_of_the_control_socket_keeps_its_name() -> None:
    # In a user namespace the kernel would name every user `nobody`, and every acknowledgement would be refused.
    assert "PrivateUsers" not in settings("labmon.service")
