"""`labmon demo` as a user runs it: the first minute raises what it should, nothing is lost, nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import labmon

ROOT = Path(labmon.__file__).parent.parent


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INFLUX_")}
    environment |= {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "labmon", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    )


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that speak of the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if str(folder) in line and entry.name != str(os.getpid()):
            found.append(line)
    return found


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("demo")
def test_the_first_minute_raises_what_it_should_and_loses_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path, "--for", "55s", "--json")
    out, err = demo.communicate(timeout=150)
    last = json.loads(out.strip().splitlines()[-1])
    assert demo.returncode == 0, (last, err)
    assert last["ok"] is True
    assert {name: last[name] for name in last if "lost" in name} == {
        "lost_readings": 0,
        "lost_in_journal": 0,
        "lost_refused": 0,
        "lost_alarms": [],
    }
    assert last["readings_polled"] > 300
    assert last["readings_stored"] >= last["readings_polled"] - last["not_yet_confirmed"]
    assert 3 <= last["alarms"] <= 12, "the alarms of three events, and no flood"
    assert 3 <= last["notices"] <= 20
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.timeout(90)
@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_early_it_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    demo = start(tmp_path, "--json")
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*/daemon.log")):
        assert time.monotonic() < deadline, "the daemon was not started"
        time.sleep(0.01)
    demo.send_signal(number)
    out, err = demo.communicate(timeout=60)
    assert "Traceback" not in err
    assert json.loads(out.strip().splitlines()[-1])["lost_readings"] == 0
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []
