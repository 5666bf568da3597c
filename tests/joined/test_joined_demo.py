"""`labmon demo` where something is missing or dies: the exit code tells, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import labmon

ROOT = Path(labmon.__file__).parent.parent
NO_MOSQUITTO = """
import labmon.demo.broker as broker
broker._runs = lambda *_: False
broker._unpacked = lambda _: None
from labmon.cli import main
main(prog_name="labmon")
"""
pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("demo")]


def start(
    folder: Path, *options: str, environ: Mapping[str, str] | None = None, program: str = ""
) -> subprocess.Popen[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("INFLUX_")}
    how = ["-c", program] if program else ["-m", "labmon"]
    return subprocess.Popen(
        [sys.executable, *how, "demo", "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=inherited | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)} | dict(environ or {}),
        cwd=folder,
    )


def ended(demo: subprocess.Popen[str], folder: Path) -> dict[str, object]:
    """Its last line, once it has ended without leaving a file or process."""
    out, err = demo.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert list(folder.iterdir()) == []
    assert speaking_of(folder) == {}
    last: dict[str, object] = json.loads(out.strip().splitlines()[-1])
    return last


def speaking_of(folder: Path) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if str(folder) in line:
            found[int(entry.name)] = line
    return found


def until_the_daemon_polls(demo: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not list(folder.glob("*/journal.db")):
        if demo.poll() is not None or time.monotonic() > deadline:
            demo.terminate()
            pytest.fail(f"the daemon was not started: {demo.communicate(timeout=60)}")
        time.sleep(0.01)


def test_a_terminal_that_is_closed_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = start(tmp_path)
    until_the_daemon_polls(demo, tmp_path)
    demo.send_signal(signal.SIGHUP)
    ended(demo, tmp_path)
    assert demo.returncode in (0, 1)


@pytest.mark.parametrize("name", [" run ", " ingest ", "mosquitto"])
def test_a_child_that_dies_ends_it_with_an_error(tmp_path: Path, name: str) -> None:
    demo = start(tmp_path, "--for", "3s")
    until_the_daemon_polls(demo, tmp_path)
    (child,) = [pid for pid, line in speaking_of(tmp_path).items() if name in line]
    os.kill(child, signal.SIGKILL)
    last = ended(demo, tmp_path)
    assert demo.returncode == 1, last
    assert last["ok"] is False


def test_a_store_that_is_not_there_is_no_success(tmp_path: Path) -> None:
    demo = start(tmp_path, "--for", "3s", environ={"INFLUX_URL": "http://127.0.0.1:9", "INFLUX_TOKEN": "x"})
    last = ended(demo, tmp_path)
    assert demo.returncode == 1, last
    assert last["ok"] is False
    assert last["not_yet_confirmed"] == last["readings_polled"]


def test_without_mosquitto_the_embedded_broker_carries_it(tmp_path: Path) -> None:
    demo = start(tmp_path, "--for", "5s", program=NO_MOSQUITTO)
    until_the_daemon_polls(demo, tmp_path)
    (broker,) = [pid for pid, line in children(demo.pid).items() if "embedded_broker" in line]
    last = ended(demo, tmp_path)
    assert demo.returncode == 0, last
    assert last["readings_stored"]
    assert last["lost_readings"] == 0
    assert not Path(f"/proc/{broker}").exists()


def children(parent: int) -> dict[int, str]:
    lists = [path.read_text().split() for path in Path(f"/proc/{parent}/task").glob("*/children")]
    return {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pids in lists for pid in pids}


@pytest.mark.parametrize("part", ["broker.Broker", "facility.Facility", "mailbox.Mailbox"])
def test_a_part_that_cannot_start_is_told_and_leaves_nothing(tmp_path: Path, part: str) -> None:
    module, name = part.split(".")
    program = f"""
import labmon.demo.{module} as module
def start(self):
    raise OSError("the port is taken")
module.{name}.start = start
from labmon.cli import main
main(prog_name="labmon")
"""
    demo = start(tmp_path, program=program)
    last = ended(demo, tmp_path)
    assert demo.returncode == 1
    assert last == {"ok": False, "error": "the port is taken"}
