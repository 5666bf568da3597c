"""`labmon driver probe`: against simulated instruments on a pty and on TCP, in a thread of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from click.testing import CliRunner, Result

import labmon
from labmon.cli import main
from labmon.drivers.catalogue import Catalogue
from labmon.drivers.load import load_driver
from labmon.simulate.fault import Fault
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import Instruments, PtyLine, TcpLine
from labmon.simulate.made import framing_of

ROOT = Path(labmon.__file__).parent.parent
VISIFERM = Catalogue().paths()["hamilton/visiferm"]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["driver", "probe", *map(str, arguments)], prog_name="labmon")
    told = result.exception
    assert told is None or isinstance(told, SystemExit), f"{arguments}: {told!r}"
    assert "Traceback" not in result.output
    return result


class Bench:
    """A simulated instrument, served by a loop in a thread of its own."""

    def __init__(self, name: str, framing: str, *, tcp: bool, params: dict[str, Any] | None = None) -> None:
        self.instrument = Instrument(Catalogue().get(name), framing, None, params or {})
        instruments = Instruments(framing_of(framing, [self.instrument]), [self.instrument])
        self.line: TcpLine | PtyLine = TcpLine(instruments) if tcp else PtyLine(instruments)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._ready = threading.Event()

    def _serve(self) -> None:
        self._loop.run_until_complete(self.line.start())
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(self.line.stop())
        self._loop.close()

    def __enter__(self) -> Bench:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def place(self) -> tuple[str, str]:
        """The options that lead to it."""
        if isinstance(self.line, TcpLine):
            return "--host", f"127.0.0.1:{self.line.port}"
        return "--port", self.line.path


@pytest.fixture
def sensor() -> Iterator[Bench]:
    with Bench("hamilton/visiferm", "modbus-rtu", tcp=False) as bench:
        yield bench


@pytest.fixture
def counter() -> Iterator[Bench]:
    with Bench("lighthouse/remote", "modbus-tcp", tcp=True, params={"flow-scale": 0.01, "flow-unit": "L/min"}) as bench:
        yield bench


@pytest.fixture
def no_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABMON_SOCKET", str(tmp_path / "no.sock"))


pytestmark = pytest.mark.usefixtures("no_daemon")


# ---------------------------------------------------------------- what it shows


def test_bytes_orders_range_identity_and_timing(sensor: Bench) -> None:
    sensor.instrument.jump("oxygen", 98.75)
    sensor.instrument.quantities["oxygen"].noise = 0.0
    result = run("hamilton/visiferm", *sensor.place, "--times", 3)
    assert result.exit_code == 0, result.output
    assert "sent     01 03 08 29 00 0A 16 65" in result.stdout
    assert "says     serial-number 4711-0815" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if "<- as the file says" in line and "98." in line]
    assert "CDAB" in line
    assert "in range" in line
    assert "asked 3 times" in result.stdout
    assert [line for line in result.stdout.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("target", ["vaisala/hmp", "hmp.yaml"])
def test_a_driver_without_a_place_asks_for_it(target: str) -> None:
    result = run(target)
    assert result.exit_code == 2
    assert result.stderr == f"labmon: {target} is a driver: say also where the instrument is, by --port or --host\n"


def test_everything_is_in_the_json_too(sensor: Bench) -> None:
    sensor.instrument.jump("temperature", 37.0)
    found = json.loads(run("hamilton/visiferm", *sensor.place, "--query", "temperature", "--json").stdout)
    [query] = found["queries"]
    assert found["good"]
    assert found["identity"]["found"] == "serial-number 4711-0815"
    [value] = [row for row in query["channels"] if row["id"] == "temperature"]
    assert value["value"] == pytest.approx(37.0, abs=1)
    assert value["range"] == [-50, 200]
    assert set(query["seconds"]) == {"min", "median", "max"}
    [view] = [row for row in query["orders"] if row["channel"] == "temperature"]
    assert set(view["values"]) == {"ABCD", "CDAB", "BADC", "DCBA"}
    assert view["declared"] == "CDAB"
    assert view["in-range"]["CDAB"]
    assert view["telling"]
    [status] = [row for row in query["orders"] if row["channel"] == "temperature-status"]
    assert not status["telling"], "zeros look right in every order"


def test_a_wrong_word_order_shows_in_the_range(sensor: Bench, tmp_path: Path) -> None:
    sensor.instrument.jump("temperature", 37.0)
    path = tmp_path / "wrong.yaml"
    text = VISIFERM.read_text().split("\nexamples:")[0].replace("order: CDAB", "order: ABCD") + "\n"
    path.write_text(text.replace("  wrong-when:\n    - {field: available, clear: [0, 5]}\n", ""))
    result = run(path, *sensor.place)
    assert "another order fits better: CDAB" in result.stdout


def test_text_is_shown_as_characters() -> None:
    with Bench("julabo/circulator", "text", tcp=True) as bench:
        result = run("julabo/circulator", *bench.place, "--times", 1)
        assert result.exit_code == 0, result.output
        assert '"IN_PV_00\\r"' in result.stdout
        found = json.loads(run("julabo/circulator", *bench.place, "--times", 1, "--json").stdout)
    assert any(row["sent-text"] == "IN_PV_00\r" for query in found["queries"] for row in query["exchanges"])


@pytest.mark.parametrize(
    ("fault", "words"), [("silent", "silent"), ("refuse", "refused"), ("wrong-checksum", "garbled")]
)
def test_what_does_not_answer_is_told_with_exit_code_1(sensor: Bench, fault: str, words: str) -> None:
    sensor.instrument.fault = Fault.parse(fault)
    result = run("hamilton/visiferm", *sensor.place, "--query", "oxygen", "--times", 1)
    assert result.exit_code == 1
    assert words in result.stdout


def test_the_wrong_instrument_is_told(sensor: Bench) -> None:
    result = run("hamilton/visiferm", *sensor.place, "--param", "serial-number=1234", "--times", 1)
    assert result.exit_code == 1
    assert "NOT IT" in result.stdout


# ---------------------------------------------------------------- effects


def test_what_has_effects_is_not_asked_unless_allowed(counter: Bench) -> None:
    arguments = ("lighthouse/remote", *counter.place, "--param", "flow-scale=0.01", "--param", "flow-unit=L/min")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "clears NEW DATA" in result.stdout
    assert "not asked" in result.stdout
    found = json.loads(run(*arguments, "--json").stdout)
    assert [bool(query["exchanges"]) for query in found["queries"]] == [True, False]
    found = json.loads(run(*arguments, "--allow-effects", "--json").stdout)
    assert [query["asked"] for query in found["queries"]] == [5, 1]
    assert found["queries"][1]["key"]


def test_record_refuses_effects(counter: Bench, tmp_path: Path) -> None:
    path = tmp_path / "remote.yaml"
    before = Catalogue().paths()["lighthouse/remote"].read_text()
    path.write_text(before)
    arguments = (path, *counter.place, "--param", "flow-scale=0.01", "--param", "flow-unit=L/min", "--record")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "clears NEW DATA" in result.stderr
    assert path.read_text() == before
    assert run(*arguments, "--query", "status").exit_code == 0
    assert run(*arguments, "--allow-effects").exit_code == 0
    assert "recorded" in path.read_text().removeprefix(before)


# ---------------------------------------------------------------- record


def test_record_appends_examples_that_hold_and_changes_nothing_else(sensor: Bench, tmp_path: Path) -> None:
    path = tmp_path / "visiferm.yaml"
    before = VISIFERM.read_text()
    path.write_text(before)
    path.chmod(0o640)
    result = run(path, *sensor.place, "--record")
    assert result.exit_code == 0, result.output
    assert f"2 recorded in {path}" in result.stdout
    after = path.read_text()
    assert after.startswith(before)
    assert path.stat().st_mode & 0o777 == 0o640
    loaded = load_driver(path)
    assert loaded.driver is not None
    added = loaded.driver.file.examples[-2:]
    assert [example.query for example in added] == ["oxygen", "temperature"]
    assert all("4711-0815" in (example.origin.recorded or "") for example in added)
    assert loaded.driver.seen_on_hardware
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["visiferm.yaml"]


def test_a_file_without_examples_gets_its_first_ones(sensor: Bench, tmp_path: Path) -> None:
    path = tmp_path / "visiferm.yaml"
    path.write_text(VISIFERM.read_text().split("\nexamples:")[0])
    assert run(path, *sensor.place, "--record", "--unit", "4711").exit_code == 0
    loaded = load_driver(path)
    assert loaded.driver is not None
    assert loaded.driver.proven
    assert {e.origin.recorded.split(",")[0] for e in loaded.driver.file.examples if e.origin.recorded} == {"unit 4711"}


def test_a_recorded_refusal_is_an_example_too(sensor: Bench, tmp_path: Path) -> None:
    path = tmp_path / "visiferm.yaml"
    path.write_text(VISIFERM.read_text())
    sensor.instrument.fault = Fault.parse("refuse 6")
    run(path, *sensor.place, "--record", "--unit", "x", "--query", "oxygen", "--times", 1)
    # The identity was refused as well: who it is is not known, so nothing is put down as this unit's.
    assert path.read_text() == VISIFERM.read_text()


def test_record_over_tcp_writes_the_transaction_id_of_examples(counter: Bench, tmp_path: Path) -> None:
    path = tmp_path / "remote.yaml"
    path.write_text(Catalogue().paths()["lighthouse/remote"].read_text())
    result = run(
        path,
        *counter.place,
        "--param",
        "flow-scale=0.01",
        "--param",
        "flow-unit=L/min",
        "--query",
        "status",
        "--record",
    )
    assert result.exit_code == 0, result.output
    loaded = load_driver(path)
    assert loaded.driver is not None
    example = loaded.driver.file.examples[-1]
    assert example.exchanges[0].sent.startswith("00 01 ")
    assert example.framing == "modbus-tcp"


def test_record_needs_a_file_and_a_name(sensor: Bench, tmp_path: Path) -> None:
    assert "copy its file" in run("hamilton/visiferm", *sensor.place, "--record").stderr
    path = tmp_path / "v.yaml"
    start, _, rest = VISIFERM.read_text().partition("identity:\n")
    path.write_text(start + rest[rest.index("queries:") :].split("\nexamples:")[0] + "\n")
    before = path.read_text()
    result = run(path, *sensor.place, "--record")
    assert (result.exit_code, path.read_text()) == (1, before)
    assert "--unit" in result.stderr


# ---------------------------------------------------------------- scan


def test_scan_of_units_finds_who_is_there(sensor: Bench) -> None:
    result = run("hamilton/visiferm", *sensor.place, "--scan", "units", "1-3", "--timeout", "50 ms")
    assert result.exit_code == 0
    assert "unit   1  answers" in result.stdout
    assert "3 asked, 1 found, 2 without an answer" in result.stdout


def test_scan_of_registers_shows_floats_in_all_orders(sensor: Bench) -> None:
    sensor.instrument.jump("temperature", 37.0)
    arguments = ("hamilton/visiferm", *sensor.place, "--scan", "holding", "2409-2412")
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["whole"]
    rows = {row["number"]: row for row in found["found"]}
    assert 2409 not in rows, "an exception is no register"
    assert rows[2410]["value"] == 4
    assert set(rows[2410]["f32"]) == {"ABCD", "CDAB", "BADC", "DCBA"}
    assert "2410  0004" in run(*arguments).stdout


@pytest.mark.parametrize(
    ("what", "range_", "words"),
    [
        ("input", "30990-31005", "input 30990 to 30999 must not be scanned: clears NEW DATA"),
        ("input", "30005", "clears NEW DATA"),
        ("holding", "40001-49999", "1000 at most"),
        ("units", "0-5", "0 would write to all"),
        ("units", "1-300", "1 to 247"),
        ("units", "5-1", "ends before it begins"),
        ("units", "a-b", "no range"),
        ("holding", "7", "no number of the table holding"),
        ("registers", "1-2", "units, holding, input, coils, discrete"),
    ],
)
def test_scan_refuses(counter: Bench, what: str, range_: str, words: str) -> None:
    served = counter.line.instruments.served
    result = run(
        "lighthouse/remote",
        "--param",
        "flow-scale=0.01",
        "--param",
        "flow-unit=L/min",
        *counter.place,
        "--scan",
        what,
        range_,
    )
    assert result.exit_code == 2
    assert words in result.stderr
    assert counter.line.instruments.served == served


def test_scan_is_for_modbus_only() -> None:
    result = run("julabo/circulator", "--host", "127.0.0.1:9", "--scan", "units", "1-3")
    assert result.exit_code == 2
    assert "for Modbus" in result.stderr


def test_scan_of_a_dead_unit_gives_up(sensor: Bench) -> None:
    sensor.instrument.fault = Fault.parse("silent")
    arguments = ("hamilton/visiferm", *sensor.place, "--scan", "holding", "1-1000", "--timeout", "20 ms")
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["asked"] == 5
    assert "does not answer" in found["lost"]


def test_ctrl_c_ends_a_scan_and_leaves_the_port_free(sensor: Bench) -> None:
    name, port = sensor.place
    command = [sys.executable, "-m", "labmon", "driver", "probe", "hamilton/visiferm", name, port]
    with subprocess.Popen(
        [*command, "--scan", "holding", "2090-3089"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(lambda: sensor.line.instruments.served > 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "2090  0020" in out
    assert "interrupted" in err
    assert "Traceback" not in err
    serial.Serial(port, exclusive=True).close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


# ---------------------------------------------------------------- whose line it is


def test_a_held_port_is_refused_with_the_name_of_the_holder(sensor: Bench) -> None:
    name, port = sensor.place
    with serial.Serial(port, exclusive=True):
        result = run("hamilton/visiferm", name, port)
    assert result.exit_code == 1
    assert f"pid {os.getpid()}" in result.stderr


def test_a_line_that_the_daemon_polls_is_refused(
    counter: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, where = counter.place
    path = tmp_path / "s"
    status = {"pid": 42, "user": "labmon", "lines": [{"line": "bus-1", "endpoint": where, "state": "open"}]}
    monkeypatch.setenv("LABMON_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(json.dumps({"ok": True, "result": status}).encode() + b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        result = run("lighthouse/remote", "--param", "flow-scale=0.01", "--param", "flow-unit=L/min", "--host", where)
        thread.join()
    assert result.exit_code == 1
    assert "pid 42, user labmon" in result.stderr
    assert "bus-1" in result.stderr
    assert counter.line.instruments.served == 0


@pytest.fixture
def site(tmp_path: Path, sensor: Bench) -> Path:
    path = tmp_path / "site.yaml"
    device = {"id": "do-1", "name": "Oxygen", "driver": "hamilton/visiferm", "area": "room"}
    content = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "areas": [{"id": "room", "name": "Room"}],
        "lines": [{"id": "bus", "serial": {"port": sensor.place[1]}, "devices": [device]}],
        "journal": {"path": "journal.db", "keep-readings": "1 d", "size": "100 MB"},
        "socket": "control.sock",
    }
    path.write_text(json.dumps(content))
    return path


def test_a_device_of_a_site_file(site: Path, sensor: Bench) -> None:
    result = run("do-1", "--site", site, "--times", 1)
    assert result.exit_code == 0, result.output
    assert "says     serial-number 4711-0815" in result.stdout
    assert sorted(entry.name for entry in site.parent.iterdir()) == ["site.yaml"]


def test_a_device_that_is_not_there_or_said_twice(site: Path) -> None:
    result = run("do-2", "--site", site)
    assert result.exit_code == 2
    assert "did you mean `do-1`?" in result.stderr
    assert "the site file says that" in run("do-1", "--site", site, "--address", 5).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hamilton/visiferm", "--port", "/dev/x", "--host", "y"), "not both"),
        (("hamilton/visifern", "--port", "/dev/x"), "did you mean"),
        (("hamilton/visiferm", "--port", "/dev/x", "--address", "99"), "not within 1..31"),
        (("hamilton/visiferm", "--port", "/dev/x", "--param", "quantity=mas"), "none of saturation"),
        (("hamilton/visiferm", "--port", "/dev/x", "--serial", "fast"), "9600 8N1"),
        (("hamilton/visiferm", "--port", "/dev/x", "--query", "x"), "it has oxygen, temperature"),
        (("hamilton/visiferm", "--host", "x:0"), "NAME:PORT"),
        (("lighthouse/remote", "--port", "/dev/x", "--framing", "modbus-tcp"), "required"),
    ],
)
def test_wrong_input(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_no_port_and_nobody_there(tmp_path: Path) -> None:
    result = run("hamilton/visiferm", "--port", tmp_path / "none")
    assert result.exit_code == 1
    assert "no such file" in result.stderr
