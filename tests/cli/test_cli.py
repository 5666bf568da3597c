"""The command line: what each command says to right and wrong input, and with which exit code. Never a traceback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import serial
from click.testing import CliRunner, Result

import labmon
from labmon.cli import main
from labmon.config.secrets import pin_matches
from labmon.config.shipped import shipped
from labmon.daemon.control import ask

ROOT = Path(labmon.__file__).parent.parent
CONFIG = shipped("config")
SITE: dict[str, Any] = {
    "labmon": 1,
    "site": {"id": "lab", "name": "Laboratory"},
    "gateway": {"id": "gw-1"},
    "areas": [{"id": "room", "name": "Room"}],
    "lines": [
        {
            "id": "bus",
            "serial": {"port": "/dev/serial/by-id/nothing"},
            "devices": [{"id": "p-1", "name": "Pressure", "driver": "delta-ohm/hd402st", "area": "room"}],
        }
    ],
    "journal": {"path": "journal.db", "keep-readings": "1 d", "size": "100 MB"},
    "socket": "control.sock",
}


def run(*arguments: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin, prog_name="labmon")
    told = result.exception
    assert told is None or isinstance(told, SystemExit), f"{arguments}: {told!r}"
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write(tmp_path / "site.yaml")


def write(path: Path, **parts: Any) -> Path:
    path.write_text(json.dumps(SITE | parts, indent=1))
    return path


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket or a port fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it opened a socket or a port")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(serial.Serial, "__init__", refuse)
    opened = os.open

    def watched(path: Any, *arguments: Any, **named: Any) -> int:
        assert not str(path).startswith("/dev/serial"), "it opened a port"
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", watched)


# ---------------------------------------------------------------- check


@pytest.mark.parametrize("name", ["example-site.yaml", "demo.yaml"])
def test_check_takes_the_shipped_sites(name: str, no_way_out: None) -> None:
    result = run("check", CONFIG / name)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no errors" in result.stdout
    assert "MB a day" in result.stdout


def test_check_says_what_will_be_polled_and_delivered(site: Path, no_way_out: None) -> None:
    result = run("check", site)
    assert (result.exit_code, result.stderr) == (0, "")
    for word in ("lab", "gw-1", "/dev/serial/by-id/nothing 19200 8E1", "modbus-rtu", "every 5 s  pressure", "17,280"):
        assert word in result.stdout, word
    assert "stores (none)" in result.stdout
    assert "broker (none)" in result.stdout
    assert sorted(path.name for path in site.parent.iterdir()) == ["site.yaml"], "it makes nothing"


def test_check_says_when_the_clock_is_taken_on_trust(site: Path, tmp_path: Path, no_way_out: None) -> None:
    assert "clock" not in run("check", site).output
    path = write(tmp_path / "other.yaml", gateway={"id": "gw-1", "clock": {"trusted": "time card, SOP 815"}})
    assert "clock trusted, not asked whether it is synchronised: time card, SOP 815" in run("check", path).output
    for wrong, why in (({}, "gateway.clock.trusted: is missing"), ({"trusted": ""}, "must not be empty")):
        result = run("check", write(tmp_path / "other.yaml", gateway={"id": "gw-1", "clock": wrong}))
        assert (result.exit_code, why in result.output) == (2, True), result.output


def test_check_as_json(site: Path, no_way_out: None) -> None:
    result = run("check", site, "--json")
    found = json.loads(result.stdout)
    assert found["channels"] == 1
    assert found["readings-per-day"] == 17280
    assert found["lines"][0]["devices"][0]["queries"] == [
        {"query": "pressure", "every": 5.0, "channels": ["p-1.pressure"]}
    ]
    assert found["outage-days"] > found["keep-days"] == 1.0
    assert found["alarms"] >= 5


def test_check_tells_every_mistake_at_once_with_its_place(tmp_path: Path, no_way_out: None) -> None:
    lines = [
        {
            "id": "bus",
            "serial": {"port": "/dev/ttyS0"},
            "devices": [
                {"id": "p-1", "name": "P", "driver": "delta-ohm/hd402", "area": "room"},
                {"id": "p-2", "name": "P", "driver": "delta-ohm/hd402st", "area": "rom", "addres": 1},
            ],
        }
    ]
    path = write(tmp_path / "site.yaml", lines=lines)
    result = run("check", path)
    assert result.exit_code == 2
    assert result.stdout == ""
    rows = result.stderr.splitlines()
    assert rows[-1] == f"{len(rows) - 1} errors"
    assert all(row.startswith(f"{path}:") and row.split(":")[1].isdigit() for row in rows[:-1])
    for words in (("rom", "room"), ("addres", "address")):
        assert any(all(word in row for word in words) for row in rows), words


def test_check_tells_an_unknown_driver_with_the_nearest(tmp_path: Path, no_way_out: None) -> None:
    lines = json.loads(json.dumps(SITE["lines"]))
    lines[0]["devices"][0]["driver"] = "delta-ohm/hd402"
    result = run("check", write(tmp_path / "site.yaml", lines=lines))
    assert result.exit_code == 2
    assert "did you mean `delta-ohm/hd402st`?" in result.stderr
    assert "1 error\n" in result.stderr


def test_check_refuses_a_retention_that_does_not_fit(tmp_path: Path, no_way_out: None) -> None:
    path = write(tmp_path / "site.yaml", journal=SITE["journal"] | {"keep-readings": "36500 d"})
    result = run("check", path)
    assert result.exit_code == 2
    assert "keep-readings" in result.stderr


BAD_FILES = {
    "empty": b"",
    "blank": b"\n\n",
    "binary": bytes(range(256)) * 64,
    "nul": b"\0" * 4096,
    "not utf-8": "labmon: 1\nsite: {id: m\xfcnchen}\n".encode("latin-1"),
    "a list": b"- 1\n- 2\n",
    "a text": b"hello",
    "a number": b"17",
    "broken yaml": b"labmon: 1\nsite: {id: lab\n",
    "tabs": b"labmon:\t1\n\tsite: 2\n",
    "deep": b"[" * 5000,
    "null": b"labmon: 1\nlines: null\nareas: null\nsite: null\n",
    "of another version": b"labmon: 2\n",
    "wrong types": b"labmon: 1\nsite: 3\ngateway: [1]\nareas: {a: 1}\nlines: [1, [2], {id: 3}]\nusers: x\nnotices: 7\n",
}


@pytest.mark.parametrize("command", ["check", "run", "ingest"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_site_file(tmp_path: Path, command: str, kind: str, no_way_out: None) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(BAD_FILES[kind])
    result = run(command, path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:")
    assert "error" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["check", "run", "ingest"])
def test_no_file_at_all(tmp_path: Path, command: str, no_way_out: None) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "a\nb.yaml"):
        result = run(command, path)
        assert result.exit_code == 2
        assert "cannot be read" in result.stderr
    assert run(command).exit_code == 2


# ---------------------------------------------------------------- usage

WRONG = [
    (["chekc", "x"], "Did you mean check?"),
    (["alram", "list"], "Did you mean alarm?"),
    (["alarm", "lst"], "Did you mean list?"),
    (["device", "in-servce"], "Did you mean in-service?"),
    (["zzz"], "No such command"),
    (["check", "--jsn", "x"], "--json"),
    (["check", "a", "b"], "unexpected extra argument"),
    (["run", "x", "--log", "loud"], "loud"),
    (["alarm", "ack", "x.y"], "--reason"),
    (["alarm", "ack", "--reason", "r"], "NAME"),
    (["device", "out-of-service", "d", "--reason", "r"], "--for"),
    (["device", "out-of-service", "d", "--reason", "r", "--for", "2"], "a number with a unit"),
    (["device", "out-of-service", "d", "--reason", "r", "--for", "-2 h"], "a number with a unit"),
    (["demo", "--for", "soon"], "a number with a unit"),
    (["simulate"], "DRIVER"),
    (["simulate", "vaisala/gmp25x", "--set", "co2"], "NAME=VALUE"),
    (["simulate", "vaisala/gmp25x", "--tcp", "1", "--pty", "x"], "not both"),
    (["simulate", "vaisala/gmp25x", "--tcp", "99999"], "99999"),
    (["simulate", "vaisala/gmp252", "--tcp", "0"], "did you mean"),
    (["simulate", "vaisala/gmp25x", "--tcp", "0", "--framing", "morse"], "modbus-rtu"),
    (["simulate", "vaisala/gmp25x", "--tcp", "0", "--set", "co3=1"], "co2"),
    (["simulate", "vaisala/gmp25x", "--tcp", "0", "--set", "co2=much"], "much"),
    (["simulate", "vaisala/gmp25x", "--tcp", "0", "--param", "colour=red"], "colour"),
    (["simulate", "vaisala/gmp25x", "--tcp", "0", "--address", "900"], "900"),
    (["simulate", "nowhere.yaml", "--tcp", "0"], "nowhere.yaml"),
]


@pytest.mark.parametrize(("arguments", "hint"), WRONG, ids=lambda value: " ".join(value) if type(value) is list else "")
def test_a_wrong_command_gets_a_hint(arguments: list[str], hint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert hint in result.stderr


def test_every_command_has_help() -> None:
    def below(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, sub in getattr(command, "commands", {}).items():
            yield from below(sub, (*words, name))

    for words in below(main, ()):
        result = run(*words, "--help")
        assert result.exit_code == 0
        assert "Usage: labmon" in result.stdout
    assert run("--version").stdout == f"labmon, version {labmon.__version__}\n"


# ---------------------------------------------------------------- without a daemon


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json"),
        ("alarm", "list"),
        ("alarm", "ack", "a.b", "--reason", "r"),
        ("alarm", "ack", "a.b", "--occurrence", "o", "--reason", "r"),
        ("device", "out-of-service", "d", "--for", "1 h", "--reason", "r"),
        ("device", "in-service", "d", "--reason", "r"),
    ],
)
@pytest.mark.parametrize("place", ["missing", "a file", "a folder", "nobody listens", "too long"])
def test_no_daemon_answers(tmp_path: Path, arguments: tuple[str, ...], place: str) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        if place == "a file":
            path.write_text("")
        elif place == "a folder":
            path.mkdir()
        elif place == "nobody listens":
            server.bind(str(path))
        elif place == "too long":
            path = tmp_path / ("s" * 200)
        result = run(*arguments, "--socket", path)
    assert result.exit_code == 1
    assert f"labmon: no daemon answers on {path}: " in result.stderr
    assert "--socket" in result.stderr and "labmon doctor" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_socket_that_is_not_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    result = run("status", "--socket", tmp_path / "s")
    assert result.exit_code == 1
    assert "permission denied: sudo usermod -aG labmon" in result.stderr


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"[1]\n", b"17\n", b'{"ok": tr', b"\xff\xfe\n", b"{}\n"])
def test_something_else_answers(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("status", "--socket", path)
        thread.join()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("labmon: ")


def test_a_daemon_that_hangs_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(ConnectionError, match="no daemon answers"):
            ask(path, "status", timeout=0.05)


def test_the_socket_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABMON_SOCKET", str(tmp_path / "other.sock"))
    assert str(tmp_path / "other.sock") in run("status").stderr


# ---------------------------------------------------------------- the rest


def test_ingest_without_broker_or_store(site: Path) -> None:
    result = run("ingest", site)
    assert result.exit_code == 2
    assert "broker" in result.stderr


@pytest.mark.parametrize(
    ("typed", "said"), [(["12", "12"], "at least 6"), (["1234567", "1234568"], "differ"), (["", ""], "at least 6")]
)
def test_a_pin_that_is_not_taken(typed: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(typed)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    result = run("user", "pin")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_a_pin_becomes_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda _: "4711-0815")
    result = run("user", "pin")
    assert result.exit_code == 0
    assert pin_matches("4711-0815", result.stdout.strip())
    assert "4711" not in result.output


def test_as_a_process_without_terminal(site: Path) -> None:
    def labmon_(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "labmon", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
        )

    done = labmon_("check", str(site))
    assert (done.returncode, done.stderr) == (0, "")
    assert labmon_("check", "/nonexistent").returncode == 2
    assert labmon_("chekc").returncode == 2


def test_a_reader_that_goes_away_gets_no_traceback(site: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "labmon", "check", str(site)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        assert b"Traceback" not in stderr.read()
    process.wait(30)


def test_interrupted_while_it_runs(site: Path) -> None:
    """Ctrl-C ends the daemon as SIGTERM does."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "labmon", "run", str(site)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as stderr:
        for row in stderr:
            if "daemon: 1 lines" in row:
                break
        process.send_signal(signal.SIGINT)
        rest = stderr.read()
    assert process.wait(10) == 0
    assert "Traceback" not in rest
    assert "stopped" in rest
