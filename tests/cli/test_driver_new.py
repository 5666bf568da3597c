"""`labmon driver new`: what it writes passes check but for what it says itself, and nothing is ever overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labmon.cli import main
from labmon.drivers.load import load_driver

HEAD = ("--maker", "Acme", "--model", "T-1", "--class", "thermometer", "--manual", "T-1 manual", "--revision", "B")
MODBUS = (*HEAD, "--pages", "12", "--framing", "modbus-rtu", "--serial", "19200 8E1")
TEXT = (*HEAD, "--pages", "12", "--framing", "text", "--send", "T?", "--reply", "T={temperature}")
CHANNELS = ("--channel", "temperature Cel input 1 i16 0.1", "--channel", "status 1 input 2 u16")
EXAMPLE = ("--sent", "01 04 00 01 00 02 20 0B", "--got", "01 04 04 01 71 00 00 AA 63", "--value", "temperature=36.9")


def run(*arguments: object, stdin: str = "") -> Result:
    result = CliRunner().invoke(main, ["driver", *map(str, arguments)], input=stdin, prog_name="labmon")
    told = result.exception
    assert told is None or isinstance(told, SystemExit), f"{arguments}: {told!r}"
    return result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "acme" / "t-1.yaml"


def test_what_is_written_has_only_the_notices_that_are_told(path: Path) -> None:
    result = run("new", path, *MODBUS, *CHANNELS)
    assert result.exit_code == 0, result.output
    told = [line.removeprefix("still to do: ") for line in result.stdout.splitlines() if line.startswith("still")]
    [checked] = json.loads(run("check", path, "--json").stdout)
    assert checked["errors"] == []
    assert [
        f"{path}:{row['line']}:{row['column']}: {row['path']}: {row['message']}" for row in checked["notices"]
    ] == told
    assert len(told) == 1
    assert path.read_text().count("#") > 10, "it is commented"


def test_neighbours_are_read_together_and_gaps_are_not(path: Path) -> None:
    run("new", path, *MODBUS, *CHANNELS, "--channel", "flow L/min holding 9 f32", "--channel", "far Cel input 7 i16")
    loaded = load_driver(path)
    assert loaded.driver is not None
    requests = loaded.driver.file.queries["values"].requests
    assert sorted((r.read or "", r.at, r.count) for r in requests) == [
        ("holding", 9, 2),
        ("input", 1, 2),
        ("input", 7, 1),
    ]


def test_with_the_manuals_bytes_it_is_fit_and_passes_its_test(path: Path) -> None:
    result = run("new", path, *MODBUS, *CHANNELS, *EXAMPLE, "--value", "status=0")
    assert result.exit_code == 0, result.output
    assert run("check", path).exit_code == 0
    assert run("test", path).exit_code == 0
    assert "labmon driver test" in result.stdout


def test_a_text_file_from_a_manuals_line(path: Path) -> None:
    example = ("--sent", r"T?\r", "--got", r"T=36.9\r", "--value", "temperature=36.9")
    assert run("new", path, *TEXT, "--channel", "temperature Cel", *example).exit_code == 0
    assert run("check", path).exit_code == 0
    assert run("test", path).exit_code == 0


def test_an_example_that_is_not_so_is_refused(path: Path) -> None:
    result = run("new", path, *MODBUS, *CHANNELS, *EXAMPLE[:-1], "temperature=3.69", "--value", "status=0")
    assert result.exit_code == 2
    assert "temperature: 36.9 instead of 3.69" in result.stderr.replace("36.900000000000006", "36.9")
    assert not path.exists()


def test_an_existing_file_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")
    result = run("new", path, *MODBUS, *CHANNELS)
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert "is there already" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say also --maker, --model, --class, --manual, --revision, --pages, --framing, --channel"),
        ((*MODBUS, "--channel", "temperature Celsius input 1 i16"), "did you mean Cel?"),
        ((*MODBUS, "--channel", "temperature Cel"), "temperature Cel input 1 i16 0.1"),
        ((*MODBUS, "--channel", "temperature Cel inputs 1 i16"), "holding, input, coils, discrete"),
        ((*MODBUS, "--channel", "temperature Cel input one i16"), "no register number"),
        ((*MODBUS, "--channel", "temperature Cel input 1 i17"), "type"),
        ((*MODBUS, "--channel", "Temperature Cel input 1 i16"), "is not an id"),
        ((*MODBUS, *CHANNELS, "--sent", "01"), "give all three"),
        ((*MODBUS, *CHANNELS, "--every", "often"), "a duration is a number with a unit"),
        ((*MODBUS, *CHANNELS, "--serial", "fast"), "serial"),
        ((*TEXT, "--channel", "pressure Pa"), "`{temperature}` is none of the fields"),
    ],
)
def test_wrong_input_writes_nothing(path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run("new", path, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not path.parent.exists()


def test_on_a_terminal_it_asks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labmon.cli.driver_new.on_terminal", lambda: True)
    answers = ["Acme", "T-1", "", "thermometer", "T-1 manual", "B", "12", "modbus-rtu", "19200 8E1", "1"]
    lines = [*answers, "temperature Celsius input 1 i16", "temperature Cel input 1 i16 0.1", ""]
    result = run("new", path, stdin="\n".join(lines) + "\n")
    assert result.exit_code == 0, result.output
    assert "did you mean Cel?" in result.stderr
    loaded = load_driver(path)
    assert loaded.driver is not None
    assert loaded.driver.title == "Acme T-1"


def test_as_json(path: Path) -> None:
    told = json.loads(run("new", path, *MODBUS, *CHANNELS, "--json").stdout)
    assert told["id"] == "acme/t-1"
    assert len(told["notices"]) == 1
