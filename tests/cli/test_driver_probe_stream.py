"""`labmon driver probe` of an instrument that speaks by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from labmon.cli import main

LINE = b"C1=37.0 C3=5.0\r\n"


def probe(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["driver", "probe", *arguments], prog_name="labmon")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def no_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABMON_SOCKET", str(tmp_path / "no.sock"))


def test_a_stream_is_listened_to() -> None:
    master, slave = os.openpty()
    over = threading.Event()

    def speak() -> None:
        while not over.wait(0.02):
            os.write(master, LINE)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        code, told, _ = probe("shel-lab/sco5a", "--port", os.ttyname(slave), "--serial", "9600", "--json")
    finally:
        over.set()
        thread.join()
        os.close(master)
        os.close(slave)
    [query] = json.loads(told)["queries"]
    assert code == 0, told
    assert {row["id"]: row["value"] for row in query["channels"]} == {"temperature": 37.0, "co2": 5.0}


def test_a_speed_that_no_manual_tells_must_be_said() -> None:
    code, _, why = probe("shel-lab/sco5a", "--port", "/dev/nothing")
    assert code == 2
    assert "--serial" in why


def test_a_simulated_stream_is_heard_and_the_probe_ends() -> None:
    simulator = subprocess.Popen(
        [sys.executable, "-m", "labmon", "driver", "simulate", "plantower/pms5003", "--port", "tcp:0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert simulator.stdin is not None and simulator.stdout is not None
        where = simulator.stdout.readline().rpartition(" on ")[2].strip()
        for command in ("every 0.1", "set pm25 25", "stuck all"):
            simulator.stdin.write(f"{command}\n")
            simulator.stdin.flush()
            assert simulator.stdout.readline()
        code, told, _ = probe("plantower/pms5003", "--host", where, "--json")
        assert code == 0, told
        [query] = json.loads(told)["queries"]
        assert {row["id"]: row["value"] for row in query["channels"]}["pm25"] == pytest.approx(25, abs=3)
        assert query["exchanges"][0]["got"].startswith("42 4D 00 1C")
        code, told, _ = probe("plantower/pms5003", "--host", where)
        assert code == 0
        assert "42 4D 00 1C" in told
    finally:
        simulator.communicate("quit\n", timeout=10)
    assert simulator.returncode == 0
