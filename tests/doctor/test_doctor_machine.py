"""Disk, clock, service, people, files and packages; and that every check has its turn and all come to an end."""

from __future__ import annotations

import getpass
import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patients import IN_CI, case, levels, nobody, only, site

from labmon.acquisition.load import load
from labmon.config.secrets import read_secret
from labmon.doctor.account import ENTER, READ, WRITE, Account, account_of
from labmon.doctor.case import Case
from labmon.doctor.clock import clock
from labmon.doctor.disk import disk_of, room, smart_finding, wear
from labmon.doctor.examine import CHECKS, examine, worst
from labmon.doctor.files import secrets, site_file
from labmon.doctor.finding import Finding, Level, ok
from labmon.doctor.packages import fits, package_findings, packages
from labmon.doctor.service import control_socket, daemon, unit_findings, users
from labmon.health.clock import ClockState

# ---------------------------------------------------------------- disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 60 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if IN_CI:
            pytest.fail(f"no file system can be mounted: {done.stderr}")
        pytest.skip(f"LOUD: the full disk was not tested, for mount says: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_and_a_read_only_disk(small: Path, tmp_path: Path) -> None:
    patient = case(tmp_path, journal={"path": "small/journal.db", "keep-readings": "1 d", "size": "100 MB"})
    assert levels(room(patient)) == [Level.OK]
    large = case(tmp_path, journal={"path": "small/journal.db", "keep-readings": "300 d", "size": "900 MB"})
    found = only(room(large))
    assert (found.level, "more days" in found.what, "make room" in found.remedy) == (Level.WARNING, True, True)
    (small / "filler").write_bytes(bytes(30_000_000))
    found = only(room(patient))
    assert (found.level, "delete" in found.remedy) == (Level.FAULT, True)
    (small / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    found = next(iter(room(patient)))
    assert (found.level, "read-only" in found.what) == (Level.FAULT, True)


def test_a_folder_that_the_service_may_not_write(tmp_path: Path) -> None:
    patient = case(tmp_path)
    patient.account = nobody()
    found = next(iter(room(patient)))
    assert (found.level, f"may not write {tmp_path / 'journal.db'}" in found.what) == (Level.FAULT, True)


def card(folder: Path, life: str | None, reserve: str = "0x01") -> Path:
    disk = folder / "mmcblk0"
    (disk / "device").mkdir(parents=True)
    if life is not None:
        (disk / "device/life_time").write_text(f"{life}\n")
        (disk / "device/pre_eol_info").write_text(f"{reserve}\n")
    return disk


@pytest.mark.parametrize(
    ("life", "reserve", "level", "said"),
    [
        ("0x01 0x02", "0x01", Level.OK, "10 to 20 %"),
        ("0x01 0x09", "0x01", Level.WARNING, "80 to 90 %"),
        ("0x0b 0x01", "0x01", Level.FAULT, "expected life is over"),
        ("0x01 0x01", "0x03", Level.FAULT, "90 % of its spare blocks"),
        ("0x00 0x00", "0x00", Level.UNKNOWN, "does not estimate"),
        (None, "", Level.UNKNOWN, "says nothing"),
    ],
)
def test_the_wear_of_a_card(tmp_path: Path, life: str | None, reserve: str, level: Level, said: str) -> None:
    patient = case(tmp_path)
    disk = card(tmp_path / "disks", life, reserve)
    (disk / "mmcblk0p2").mkdir()
    (disk / "mmcblk0p2/partition").write_text("2\n")
    device = tmp_path.stat().st_dev
    (patient.machine.sys / "dev/block").mkdir(parents=True)
    number = patient.machine.sys / f"dev/block/{os.major(device)}:{os.minor(device)}"
    number.symlink_to(disk / "mmcblk0p2")
    assert disk_of(tmp_path, patient.machine.sys) == disk
    found = only(wear(patient))
    assert (found.level, said in found.what) == (level, True), found


def test_a_disk_that_is_none(tmp_path: Path) -> None:
    assert only(wear(case(tmp_path))).level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({"smart_status": {"passed": True}}, Level.OK),
        ({"smart_status": {"passed": False}}, Level.FAULT),
        ({"smart_status": {"passed": True}, "nvme_smart_health_information_log": {"percentage_used": 12}}, Level.OK),
        (
            {"smart_status": {"passed": True}, "nvme_smart_health_information_log": {"percentage_used": 91}},
            Level.WARNING,
        ),
        (
            {"smart_status": {"passed": True}, "nvme_smart_health_information_log": {"percentage_used": 104}},
            Level.FAULT,
        ),
        ({"smartctl": {"messages": [{"string": "Permission denied"}]}}, Level.UNKNOWN),
    ],
)
def test_what_smartctl_says(said: dict[str, Any], level: Level) -> None:
    assert smart_finding("sda", said).level is level


# ---------------------------------------------------------------- clock


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (ClockState(True, max_error=0.01), Level.OK),
        (ClockState(False), Level.FAULT),
        (ClockState(True, estimated_error=20.0), Level.FAULT),
        (ClockState(False, problem="not permitted"), Level.UNKNOWN),
    ],
)
def test_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: ClockState, level: Level) -> None:
    monkeypatch.setattr("labmon.doctor.clock.kernel_clock", lambda: state)
    found = next(iter(clock(case(tmp_path))))
    assert (found.level, bool(found.remedy)) == (level, level is not Level.OK)


def test_a_clock_that_the_site_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labmon.doctor.clock.kernel_clock", lambda: ClockState(False))
    patient = case(tmp_path, gateway={"id": "gw-1", "clock": {"trusted": "a GPS card sets it"}})
    assert "a GPS card sets it" in next(iter(clock(patient))).what


# ---------------------------------------------------------------- service and people


def shown(**changes: str) -> dict[str, str]:
    well = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "Result": "success"}
    return well | {"NRestarts": "0"} | changes


@pytest.mark.parametrize(
    ("unit", "level", "said"),
    [
        (shown(), [Level.OK], "active"),
        (shown(LoadState="not-found"), [Level.UNKNOWN], "no such unit"),
        (shown(ActiveState="failed", Result="watchdog"), [Level.FAULT], "failed (watchdog)"),
        (shown(UnitFileState="disabled"), [Level.FAULT, Level.OK], "does not start with the machine"),
        (shown(NRestarts="3"), [Level.WARNING], "restarted 3 times"),
    ],
)
def test_a_unit(unit: dict[str, str], level: list[Level], said: str) -> None:
    found = list(unit_findings("labmon", unit))
    assert levels(found) == level
    assert said in found[0].what


def test_the_socket(tmp_path: Path) -> None:
    patient = case(tmp_path)
    assert only(control_socket(patient)).level is Level.UNKNOWN
    running = case(tmp_path, {"pid": os.getpid(), "lines": []})
    assert "was removed while the daemon runs" in only(control_socket(running)).what
    path = tmp_path / "control.sock"
    path.write_text("")
    assert "is no socket" in only(control_socket(patient)).what
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o660)
        assert only(control_socket(patient)).level is Level.OK
        path.chmod(0o666)
        assert only(control_socket(patient)).level is Level.WARNING


def test_what_the_daemon_is_not_well_with(tmp_path: Path) -> None:
    assert "nobody answers" in only(daemon(case(tmp_path))).what
    status = {
        "version": "1", "pid": 1, "user": "labmon", "alarms": [{}], "lines": [],
        "journal": {"state": "failing", "reason": "disk full"},
        "notices": [{"channel": "mail", "error": "refused"}], "broker": {"connected": False, "error": "refused"},
    }  # fmt: skip
    assert levels(daemon(case(tmp_path, status))) == [Level.OK, Level.WARNING, *[Level.FAULT] * 3]


def test_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"dialout": False, "labmon": False}
    monkeypatch.setattr("labmon.doctor.service.in_group", lambda name, group: groups[group] or name == group)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("labmon.doctor.service.caller", lambda: "anna")
    found = list(users(case(tmp_path)))
    assert levels(found) == [Level.FAULT, Level.OK, Level.WARNING]
    assert "usermod -aG dialout labmon" in found[0].remedy
    assert "usermod -aG labmon anna" in found[2].remedy


def test_rights_by_owner_group_and_others(tmp_path: Path) -> None:
    for folder in itertools.takewhile(lambda place: place != Path("/tmp"), tmp_path.parents):
        folder.chmod(0o755)
    tmp_path.chmod(0o755)
    path = tmp_path / "x"
    path.touch()
    own = path.stat()
    me, mate, other = (
        Account("a", own.st_uid or 64010, frozenset()),
        Account("b", 64001, frozenset({own.st_gid})),
        nobody(),
    )
    if own.st_uid == 0:
        os.chown(path, 64010, -1)
    path.chmod(0o640)
    assert [who.may(path, READ) for who in (me, mate, other)] == [True, True, False]
    assert [who.may(path, READ | WRITE) for who in (me, mate, other)] == [True, False, False]
    tmp_path.chmod(0o700)
    assert not other.may(path, 0)
    assert Account("root", 0, frozenset()).may(path, READ | WRITE | ENTER)


def test_the_account_is_the_running_daemons(tmp_path: Path) -> None:
    found = account_of({"pid": os.getpid()}, Path("/proc"))
    assert (found.name, found.uid, found.running) == (getpass.getuser(), os.geteuid(), True)
    assert found.groups >= {os.getegid()}
    assert not account_of({"pid": 4194304}, Path("/proc")).running


# ---------------------------------------------------------------- files


def test_a_site_file_with_mistakes_and_one_that_vanished(tmp_path: Path) -> None:
    path = site(tmp_path, areas=[], lnes=[], users=[{}], stores=[{}], mqtt={}, site={})
    patient = Case(load(path), None)
    found = list(site_file(patient))
    assert set(levels(found)) == {Level.FAULT}
    assert len(found) == 6
    assert "labmon check" in found[0].remedy
    assert "more mistakes" in found[-1].what
    path.unlink()
    found = [*site_file(Case(load(path), None))]
    assert "put" in only(found).remedy and "backup" in only(found).remedy


def test_a_site_file_that_is_not_the_one_in_force(tmp_path: Path) -> None:
    status = {"pid": os.getpid(), "configuration": "0" * 64, "lines": []}
    found = list(site_file(case(tmp_path, status)))
    assert levels(found) == [Level.WARNING, Level.OK]
    assert "earlier text" in found[0].what


def test_secrets_there_missing_and_for_everybody(tmp_path: Path) -> None:
    for name, mode in (("good", 0o600), ("open", 0o644), ("empty", 0o600)):
        (tmp_path / name).write_text("planted\n" if name != "empty" else "")
        (tmp_path / name).chmod(mode)
    people = [
        {"id": f"u-{n}", "name": n, "role": "qa", "pin": {"file": n}} for n in ("good", "open", "empty", "missing")
    ]
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/broker").write_text("planted\n")
    (tmp_path / "credentials/broker").chmod(0o600)
    patient = case(tmp_path, users=people, mqtt={"host": "h", "user": "u", "password": {"credential": "broker"}})
    found = {f.what.partition(" ")[0] + f.what.split()[1]: f for f in secrets(patient)}
    assert [f.level for f in found.values()] == [Level.OK, Level.WARNING, Level.FAULT, Level.FAULT, Level.OK]
    assert "planted" not in str(found)
    assert patient.site is not None and patient.site.mqtt is not None and patient.site.mqtt.password is not None
    assert read_secret(patient.site.mqtt.password, tmp_path) == "planted"
    (patient.machine.run / "labmon-credentials/loaded").mkdir(parents=True)
    (patient.machine.run / "labmon-credentials/loaded/broker").write_text("given\n")
    patient = case(tmp_path, mqtt={"host": "h", "user": "u", "password": {"credential": "broker"}})
    assert patient.site is not None and patient.site.mqtt is not None and patient.site.mqtt.password is not None
    assert read_secret(patient.site.mqtt.password, tmp_path) == "given", "what the services were given counts"


def test_a_secret_that_the_service_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("planted\n")
    (tmp_path / "pin").chmod(0o600)
    patient = case(tmp_path, users=[{"id": "u", "name": "U", "role": "qa", "pin": {"file": "pin"}}])
    patient.account = nobody()
    found = only(secrets(patient))
    assert (found.level, "cannot be read by labmon" in found.what) == (Level.FAULT, True)
    assert f"chown labmon {tmp_path / 'pin'}" in found.remedy


def test_an_encrypted_credential_that_was_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "credentials.encrypted").mkdir()
    (tmp_path / "credentials.encrypted/broker").write_text("x")
    patient = case(tmp_path, mqtt={"host": "h", "user": "u", "password": {"credential": "broker"}})
    assert "restart labmon-credentials" in only(secrets(patient)).remedy


# ---------------------------------------------------------------- packages


@pytest.mark.parametrize(
    ("version", "bounds", "good"),
    [
        ("2.1.0", ">=2.1,<2.3", True),
        ("2.3.0", ">=2.1,<2.3", False),
        ("2.0.9", ">=2.1,<2.3", False),
        ("3.5", "<4,>=3.5", True),
        ("10.0", ">=9", True),
        ("1.4.7", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False),
        ("1.4", "==1.4.0", True),
        ("1.4.1", "!=1.4.1", False),
        ("7", "", True),
    ],
)
def test_versions(version: str, bounds: str, good: bool) -> None:
    assert fits(version, bounds) is good


def test_packages_that_are_missing_or_too_new(tmp_path: Path) -> None:
    assert levels(package_findings(["click>=8.1,<9", "orjson (>=3.10,<4) ; python_version > '3'"])) == [Level.OK]
    found = list(package_findings(["click>=99", "no-such-package>=1", "pytest>=1; extra == 'test'"]))
    assert levels(found) == [Level.FAULT, Level.FAULT]
    assert "is missing" in found[1].what
    assert len(list(packages(case(tmp_path)))) == 1


# ---------------------------------------------------------------- all of them


def test_no_check_keeps_another_from_its_turn(tmp_path: Path) -> None:
    release = threading.Event()

    def hangs(_: Case) -> Iterator[Finding]:
        yield ok("found before")
        release.wait(30)

    def fails(_: Case) -> Iterator[Finding]:
        raise RuntimeError("planted")

    def good(_: Case) -> Iterator[Finding]:
        yield ok("good")

    began = time.monotonic()
    found = examine(case(tmp_path), {"hangs": hangs, "fails": fails, "good": good}, limit=0.3)
    release.set()
    assert time.monotonic() - began < 10
    assert [(f.check, f.level.value) for f in found] == [
        ("hangs", "ok"), ("hangs", "fault"), ("fails", "fault"), ("good", "ok"),
    ]  # fmt: skip
    assert "no end within" in found[1].what
    assert "the check itself failed" in found[2].what
    assert worst(found) is Level.FAULT
    assert worst([]) is Level.OK


def test_every_finding_is_a_line_and_whatever_is_not_well_has_a_remedy(tmp_path: Path) -> None:
    email = {"host": "127.0.0.1", "port": 1, "tls": "none", "from": "a@b.example"}
    patient = case(
        tmp_path,
        mqtt={"host": "127.0.0.1", "port": 1},
        stores=[{"id": "local", "sqlite": {"path": "x.db"}}],
        notices={"channels": [{"id": "mail", "email": email}]},
    )
    found = examine(patient)
    assert {f.check for f in found} >= set(CHECKS) - {"secrets", "tcp lines", "certificates"}
    for finding in found:
        assert "\n" not in finding.what + finding.remedy
        assert "itself failed" not in finding.what, finding
        if finding.level in (Level.FAULT, Level.WARNING):
            assert finding.remedy, finding


def test_without_a_site_file_the_machine_is_examined(tmp_path: Path) -> None:
    found = examine(Case(load(tmp_path / "none.yaml"), None, "nobody"))
    assert {"site file", "daemon", "service", "users", "clock", "packages"} <= {f.check for f in found}
    assert not [f for f in found if "itself failed" in f.what]
