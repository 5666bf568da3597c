"""A gateway in service, in a booted Debian: the tests follow each other as the days of a gateway do."""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nspawn import Container, debian
from prepared import changed, commit_before, package, wheel, wheels
from systemd_needs import ROOT, need_program

# The Debian is made and the packages are fetched once on a machine; that takes its minute.
pytestmark = [pytest.mark.xdist_group("systemd"), pytest.mark.timeout(400)]

COMMAND = "sudo sh systemd/install.sh"
SECRET = "planted-secret-4711"

SITE = """\
labmon: 1
site: {{id: lab, name: Laboratory}}
gateway: {{id: gw1}}
areas: [{{id: bench, name: Bench}}]
lines:
  - id: probes
    tcp: {{host: 127.0.0.1, port: {answers}}}
    framing: modbus-rtu
    devices:
      - {{id: probe-1, name: Probe 1, driver: vaisala/gmp25x, area: bench, every: {{co2: 200 ms}}}}
  - id: silent
    tcp: {{host: 127.0.0.1, port: {silent}}}
    framing: modbus-rtu
    devices:
      - {{id: probe-2, name: Probe 2, driver: vaisala/gmp25x, area: bench}}
users:
  - {{id: engineer, name: Engineer, role: engineer, system-user: duty}}
"""
"""What every version can read."""

WHOLE = (
    SITE
    + """\
mqtt: {{host: 127.0.0.1, port: {silent}, user: gateway-gw1, password: {{credential: broker}}}}
stores: [{{id: local, sqlite: {{path: /var/lib/labmon-ingest/readings.db}}}}]
watch: {{gateways: [gw1]}}
notices:
  channels:
    - {{id: sms, webhook: {{url: "http://127.0.0.1:{silent}/", secret: {{credential: sms}}}}}}
  people: [{{id: on-call, name: On call}}]
  routes: [{{classes: [action], to: [on-call], by: [sms]}}]
"""
)


@pytest.fixture(scope="module")
def dock() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of small files are written."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="labmon-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def box(dock: Path) -> Iterator[Container]:
    """A fresh Debian with a checkout in /srv/labmon; nothing of labmon is installed."""
    tree = debian()
    (dock / "before").mkdir()
    (dock / "wheels").mkdir()
    binds = {
        "/srv/labmon": ROOT,
        "/srv/packages": wheels(),
        "/srv/before": commit_before(dock / "before"),
        "/srv/built": dock,
    }
    with Container(tree, dock, binds, {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/packages"}) as running:
        yield running


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture(scope="module")
def probe(box: Container) -> int:
    """The port of a simulated instrument that lives in the container."""
    with socket.create_server(("127.0.0.1", 0)) as trial:
        port: int = trial.getsockname()[1]
    simulate = f"labmon simulate vaisala/gmp25x --tcp {port} --framing modbus-rtu"
    box.run(f"systemd-run --quiet --unit=probe sh -c 'tail -f /dev/null | exec {simulate}'")
    return port


def status(box: Container, user: str = "root") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(box.says("labmon status --json", user=user))
    return found


def polled(box: Container) -> int:
    return int(status(box)["polled"])


def reads_on(box: Container) -> bool:
    before = polled(box)
    box.wait(lambda: polled(box) > before, 10, "new readings")
    return True


def main_pid(box: Container) -> int:
    return int(box.shows("labmon", "MainPID")["MainPID"])


def in_service(box: Container) -> int:
    """The process that has said READY; 0 while there is none."""
    found = box.shows("labmon", "MainPID", "SubState")
    return int(found["MainPID"]) if found["SubState"] == "running" else 0


# ---------------------------------------------------------------- the first day


def test_the_documented_command_alone_brings_a_fresh_machine_into_service(box: Container) -> None:
    for page in ("README.md", "docs/installation.md"):
        assert re.search(rf"^{COMMAND}$", (ROOT / page).read_text(), re.M), f"{page} does not say this command"
    told = box.run(f"cd /srv/labmon && {COMMAND.removeprefix('sudo ')}", timeout=200)
    assert "labmon is in service" in told.stdout
    assert "at my-site/gw1" in told.stdout
    found = box.shows("labmon", "ActiveState", "SubState", "Type", "UnitFileState", "NRestarts", "User", "Result")
    assert found == {
        "ActiveState": "active",
        "SubState": "running",
        "Type": "notify",
        "UnitFileState": "enabled",
        "NRestarts": "0",
        "User": "labmon",
        "Result": "success",
    }
    assert box.says("readlink -f /opt/labmon/current/bin/python").startswith("/usr/bin/python3")
    assert box.says("systemctl is-system-running") == "running"
    assert box.says("ls /etc/udev/rules.d").split() == [path.name for path in (ROOT / "config/udev").glob("*.rules")]


def test_the_units_in_place_are_without_fault(box: Container) -> None:
    units = "labmon.service labmon-ingest.service labmon-watch.service labmon-credentials.service"
    done = box.run(f"systemd-analyze verify --man=no {units} 2>&1")
    assert done.stdout == ""


def test_staff_find_it_and_others_do_not(box: Container) -> None:
    box.run("useradd --create-home --groups labmon duty && useradd --create-home guest")
    assert status(box, "duty")["site"] == "my-site"
    refused = box.run("labmon status", user="guest", check=False)
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr.lower()
    assert len(refused.stderr.splitlines()) <= 2
    for path in ("/etc/labmon/site.yaml", "/var/lib/labmon/journal.db"):
        assert box.run(f"cat {path}", user="guest", check=False).returncode != 0


def test_a_site_file_is_taken_into_service(box: Container, probe: int, silent: int) -> None:
    box.write("/etc/labmon/site.yaml", WHOLE.format(answers=probe, silent=silent))
    assert "no errors" in box.says("labmon check /etc/labmon/site.yaml")
    box.run("systemctl restart labmon")
    assert reads_on(box)


def test_a_missing_credential_costs_one_line_and_its_own_consumer(box: Container) -> None:
    [line] = [line for line in box.log().splitlines() if "credential broker" in line]
    assert line == (
        "delivery: not started: credential broker: cannot be read: No such file or directory; "
        "put it into /etc/labmon/credentials/broker and restart the service"
    )
    assert reads_on(box)


def test_credentials_plain_and_encrypted_reach_the_daemon(box: Container) -> None:
    box.write("/etc/labmon/credentials/broker", f"{SECRET}-plain\n", "600")
    sealed = "/etc/labmon/credentials.encrypted/sms"
    box.run(f"systemd-creds encrypt --with-key=host --quiet - {sealed}", said=f"{SECRET}-sealed")
    assert SECRET not in box.says(f"cat {sealed}")
    before = box.mark()
    box.run("systemctl restart labmon")
    there = "/run/credentials/labmon.service"
    assert box.says(f"ls {there}").split() == ["labmon", "labmon_broker", "labmon_sms"]
    assert box.says(f"cat {there}/labmon_sms") == f"{SECRET}-sealed"
    said = box.log(since=before)
    assert "Started labmon" in said
    assert "credential" not in said


def test_without_any_credentials_it_starts_all_the_same(box: Container) -> None:
    box.run("systemctl mask --runtime --quiet labmon-credentials && mv /run/labmon-credentials /run/away")
    box.run("systemctl restart labmon")
    assert reads_on(box)
    box.run("mv /run/away /run/labmon-credentials && systemctl unmask --runtime --quiet labmon-credentials")


WITHIN = """\
import ctypes, grp, os, socket

print("adjtimex", ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
for path in ("/home", "/root", "/etc/labmon/credentials", "/run/labmon-credentials"):
    try:
        print(path, os.listdir(path))
    except OSError as error:
        print(path, error.strerror)
for path in ("/etc/labmon/site.yaml", "/opt/labmon/new", "/usr/new"):
    try:
        open(path, "a")
    except OSError as error:
        print(path, error.strerror)
try:
    socket.socket(socket.AF_PACKET)
except OSError as error:
    print("packets", error.strerror)
print("groups", sorted(grp.getgrgid(gid).gr_name for gid in os.getgroups()))
print("locks", open("/proc/locks").readable())
print("systemd", open("/proc/1/comm").read())
"""


def test_what_the_daemon_may_do_from_within_its_sandbox(box: Container) -> None:
    drop = "/run/systemd/system/labmon.service.d/within.conf"
    box.write("/run/within.py", WITHIN)
    box.write(drop, "[Service]\nExecStartPre=/opt/labmon/current/bin/python /run/within.py\n")
    before = box.mark()
    box.run("systemctl daemon-reload && systemctl restart labmon")
    said = box.log(since=before).splitlines()
    box.run(f"rm {drop} && systemctl daemon-reload")
    assert [line for line in said if line.startswith("adjtimex")] != ["adjtimex -1"], "the clock cannot be asked"
    closed = ["/home", "/root", "/etc/labmon/credentials", "/run/labmon-credentials", "/etc/labmon/site.yaml"]
    for path in [*closed, "/opt/labmon/new", "/usr/new"]:
        [line] = [line for line in said if line.startswith(f"{path} ")]
        assert line.endswith(("Permission denied", "Read-only file system")), line
    assert {"packets Address family not supported by protocol", "locks True", "systemd systemd"} <= set(said)
    assert "groups ['dialout', 'labmon']" in said


@pytest.mark.parametrize("service", ["labmon-ingest", "labmon-watch"])
def test_the_other_services_come_up_in_their_sandbox(box: Container, service: str) -> None:
    box.run(f"systemctl start {service}")
    assert box.shows(service, "SubState", "NRestarts", "User") == {
        "SubState": "running",
        "NRestarts": "0",
        "User": "labmon",
    }
    assert box.says(f"stat -c %U:%a /var/lib/{service}") == "labmon:700"
    pid = box.shows(service, "MainPID")["MainPID"]
    assert box.run(f"ls /proc/{pid}/root/var/lib/labmon", user="labmon", check=False).stdout == ""
    box.run(f"systemctl stop {service}", timeout=9)
    assert box.shows(service, "Result") == {"Result": "success"}


@pytest.mark.parametrize("user", ["guest", "duty"])
def test_credentials_are_read_by_nobody_else(box: Container, user: str) -> None:
    for folder in ("/etc/labmon/credentials", "/run/credentials/labmon.service", "/run/labmon-credentials"):
        assert box.run(f"ls {folder}", user=user, check=False).returncode != 0
    pid = main_pid(box)
    for shown in (f"/proc/{pid}/environ", f"/proc/{pid}/fd", f"/proc/{pid}/root/run/credentials"):
        assert box.run(f"cat {shown}/* {shown}", user=user, check=False).stdout == ""


def test_no_secret_stands_where_it_could_be_seen(box: Container) -> None:
    pid = main_pid(box)
    seen = [
        *(
            box.says("ps axww -o args"),
            box.says(f"tr '\\0' '\\n' < /proc/{pid}/environ"),
            box.says("journalctl -o cat"),
        ),
        *(box.says("labmon status --json"), box.says("labmon alarm list"), box.says("systemctl show labmon")),
    ]
    assert [text for text in seen if SECRET in text] == []
    assert box.run(f"grep -rl {SECRET} /var/lib/labmon /etc/labmon/site.yaml /opt/labmon", check=False).stdout == ""


def test_a_credential_that_cannot_be_decrypted_does_not_stop_the_gateway(box: Container) -> None:
    before = box.mark()
    box.run("cp /etc/labmon/site.yaml /etc/labmon/credentials.encrypted/sms && systemctl restart labmon")
    [line] = [x for x in box.log("labmon-credentials", before).splitlines() if "credential sms" in x]
    assert "cannot be had from /etc/labmon/credentials.encrypted/sms" in line
    assert reads_on(box)
    box.run("rm /etc/labmon/credentials.encrypted/sms")


# ---------------------------------------------------------------- the bad days


def test_killed_it_is_back(box: Container) -> None:
    before, journal = main_pid(box), status(box)["journal"]["last"]
    box.run(f"kill -9 {before}")
    box.wait(lambda: in_service(box) not in (0, before), 20, "restarted and READY")
    assert box.shows("labmon", "NRestarts") == {"NRestarts": "1"}
    assert status(box)["journal"]["last"] > journal
    assert reads_on(box)


PLANTED = """\
# A fault of labmon's own, which no configuration can bring about. Signals plant it in the running daemon.
import asyncio
import signal
import time


def loop(*_):
    time.sleep(3600)


def line(*_):
    from labmon.daemon import polling
    from labmon.links.conversation import Conversation

    whole, left = Conversation.exchange, [True]

    async def stuck(self, *args, **named):
        if asyncio.current_task().get_name() != "line probes" or not left:
            return await whole(self, *args, **named)
        left.clear()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    Conversation.exchange = stuck
    polling.longest_turn = lambda *_: 1.0


signal.signal(signal.SIGUSR1, loop)
signal.signal(signal.SIGUSR2, line)
"""


@pytest.fixture
def planted(box: Container) -> Iterator[int]:
    """The process of a daemon that two signals can make hang, with a watchdog that waits two seconds."""
    drop = "/run/systemd/system/labmon.service.d/soon.conf"
    box.write(drop, "[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    [packages] = box.says("ls -d /opt/labmon/current/lib/python3*/site-packages").split()
    box.write(f"{packages}/planted.py", PLANTED)
    box.write(f"{packages}/planted.pth", "import planted\n")
    box.run("systemctl daemon-reload && systemctl restart labmon")
    assert reads_on(box)
    yield main_pid(box)
    box.run(f"rm {packages}/planted.* {drop} && systemctl daemon-reload && systemctl restart labmon")


def test_a_line_that_hangs_is_replaced_alone(box: Container, planted: int) -> None:
    box.run(f"kill -USR2 {planted}")
    box.wait(lambda: "alarm gateway.fault: raised" in box.log(), 20, "the alarm")
    assert reads_on(box)
    assert main_pid(box) == planted, "the whole daemon was restarted"


def test_a_loop_that_hangs_is_restarted_by_the_watchdog(box: Container, planted: int) -> None:
    box.run(f"kill -USR1 {planted}")
    box.wait(lambda: in_service(box) not in (0, planted), 20, "killed by the watchdog and READY again")
    said = box.log()
    assert "Watchdog timeout" in said
    assert "planted.py" in said, "the log does not say where it hung"
    assert reads_on(box)


def test_it_stops_under_load_in_time_and_by_itself(box: Container) -> None:
    assert reads_on(box)
    before = box.mark()
    box.run("systemctl stop labmon", timeout=9)
    found = box.shows("labmon", "Result", "ExecMainStatus", "ActiveState")
    assert found == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    [seconds] = re.findall(r"daemon: stopped in ([0-9.]+) s", box.log(since=before))
    assert float(seconds) < 5


# ---------------------------------------------------------------- the next version


JOURNAL = """\
import sqlite3

connection = sqlite3.connect("file:/var/lib/labmon/journal.db?mode=ro", uri=True)
last = "SELECT coalesce(max(seq), 0) FROM entry"
print(*connection.execute(f"SELECT value, ({last}) FROM meta WHERE name = 'journal'").fetchone())
"""


def entries(box: Container) -> tuple[str, int]:
    """The journal's id and its last entry, read without labmon: ("", 0) while there is none."""
    found = box.run("runuser -u labmon -- python3 -", said=JOURNAL, check=False).stdout.split()
    return (found[0], int(found[1])) if len(found) == 2 else ("", 0)


def test_an_upgrade_goes_on_with_the_journal_of_the_commit_before(
    box: Container, dock: Path, probe: int, silent: int
) -> None:
    box.write("/etc/labmon/site.yaml", SITE.format(answers=probe, silent=silent))
    # The code of the commit before writes a journal of its own, with the packages of this one.
    box.run("rm -rf /var/lib/labmon && install -d -o labmon -g labmon -m 700 /var/lib/labmon")
    box.run("mkdir -p /run/labmon && chown labmon:labmon /run/labmon")
    older = "PYTHONPATH=/srv/before exec /opt/labmon/current/bin/python -P -m labmon run /etc/labmon/site.yaml"
    box.run(f"systemd-run --quiet --unit=older --property=User=labmon sh -c '{older}'")
    box.wait(lambda: entries(box)[1] > 3, 20, "the older one journals")
    assert "/srv/before" in box.says("cat /proc/$(systemctl show -P MainPID older)/environ | tr '\\0' '\\n'")
    journal, last = entries(box)
    box.run("systemctl stop older && systemctl start labmon")
    environment = box.says("readlink -f /opt/labmon/current")

    built = wheel(dock / "wheels")
    told = box.run(f"sh /srv/labmon/systemd/install.sh /srv/built/wheels/{built.name}", timeout=200).stdout
    assert "labmon is in service" in told
    assert "first site file" not in told
    assert box.says("readlink -f /opt/labmon/current") != environment
    assert box.run(f"test -e {environment}", check=False).returncode == 1
    assert entries(box)[0] == journal
    assert entries(box)[1] > last
    assert reads_on(box)


def test_a_version_that_does_not_come_up_is_taken_back(box: Container, dock: Path) -> None:
    [built] = (dock / "wheels").iterdir()
    broken = changed(built, dock / "broken", "labmon/daemon/daemon.py", "raise SystemExit(3)\n")
    environment, journal = box.says("readlink -f /opt/labmon/current"), entries(box)
    done = box.run(f"sh /srv/labmon/systemd/install.sh /srv/built/broken/{broken.name}", check=False, timeout=200)
    assert done.returncode == 1
    assert "the version before is in service again" in done.stderr
    assert box.says("readlink -f /opt/labmon/current") == environment
    assert box.says("ls /opt/labmon/environments").split() == [Path(environment).name]
    assert entries(box)[0] == journal[0]
    assert reads_on(box)


def test_a_version_that_refuses_the_site_file_changes_nothing(box: Container, dock: Path) -> None:
    [built] = (dock / "wheels").iterdir()
    picky = changed(built, dock / "picky", "labmon/cli/__init__.py", PICKY, alone=True)
    before = main_pid(box), box.says("readlink -f /opt/labmon/current")
    done = box.run(f"sh /srv/labmon/systemd/install.sh /srv/built/picky/{picky.name}", check=False, timeout=200)
    assert done.returncode == 1
    assert "site.yaml:3:1: no longer so" in done.stderr
    assert "Nothing is changed" in done.stderr
    assert (main_pid(box), box.says("readlink -f /opt/labmon/current")) == before


PICKY = """\
import sys

def main():
    if "check" in sys.argv:
        sys.exit("/etc/labmon/site.yaml:3:1: no longer so")
    print("labmon, version 0.2.0")
"""


def test_removal_keeps_what_is_the_sites(box: Container) -> None:
    told = box.says("sh /srv/labmon/systemd/install.sh --remove")
    assert "kept: /etc/labmon" in told
    left = box.says("find / -xdev -name '*labmon*' -not -path '/srv/*' -not -path '/proc/*' -not -path '/tmp/*'")
    assert set(left.split()) <= {
        "/etc/labmon",
        "/var/lib/labmon",
        "/var/lib/labmon-ingest",
        "/var/lib/labmon-watch",
        "/run/labmon-install.lock",
    }
    assert box.says("getent passwd labmon")
    assert box.says("ls /etc/labmon/credentials") == "broker"


# ---------------------------------------------------------------- the Debian package


def test_the_package_takes_over_site_file_and_journal(box: Container, dock: Path) -> None:
    need_program("dpkg-buildpackage", "dpkg-dev")
    need_program("dh", "debhelper")
    (dock / "package").mkdir()
    built = package(dock / "package")
    size = int(box.says("stat -c %s /var/lib/labmon/journal.db"))
    box.run(f"dpkg -i /srv/built/package/{built.name}", timeout=120)
    assert box.shows("labmon", "ActiveState", "UnitFileState") == {"ActiveState": "active", "UnitFileState": "enabled"}
    assert box.says("systemd-analyze verify --man=no labmon.service labmon-credentials.service 2>&1") == ""
    assert box.says("stat -c %U:%G:%a /etc/labmon/site.yaml") == "root:labmon:640"
    assert reads_on(box)
    assert size > 0


def test_the_command_leaves_a_package_alone(box: Container) -> None:
    done = box.run("sh /srv/labmon/systemd/install.sh", check=False)
    assert done.returncode == 1
    assert "upgrade or remove it with apt" in done.stderr


def test_the_package_goes_and_leaves_the_journal(box: Container) -> None:
    box.run("dpkg --purge labmon")
    assert box.run("test -e /etc/labmon -o -e /opt/labmon", check=False).returncode == 1
    assert box.says("ls /var/lib/labmon")
