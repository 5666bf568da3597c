"""`labmon driver list` and `check`: what is told of files that are right, incomplete, wrong, or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labmon.cli import main
from labmon.config.shipped import shipped
from labmon.drivers.catalogue import Catalogue

SHIPPED = Catalogue().paths()
CASES = Path(__file__).parents[1] / "drivers" / "cases"


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["driver", *map(str, arguments)], input=stdin, prog_name="labmon")
    told = result.exception
    assert told is None or isinstance(told, SystemExit), f"{arguments}: {told!r}"
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "broken.yaml").write_text("labmon-driver: 1\nmakr: Acme\n")
    return tmp_path


def test_list_names_every_shipped_driver() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in SHIPPED)
    assert f"{len(SHIPPED)} drivers" in result.stdout


@pytest.mark.parametrize(
    ("option", "word", "expected"),
    [
        ("--maker", "HAMIL", "hamilton/visiferm"),
        ("--model", "gmp252", "vaisala/gmp25x"),
        ("--class", "particle", "lighthouse/remote"),
        ("--transport", "tcp", "lighthouse/remote"),
        ("--transport", "modbus-ascii", "thermo/ult-freezer"),
    ],
)
def test_list_is_narrowed(option: str, word: str, expected: str) -> None:
    found = json.loads(run("list", option, word, "--json").stdout)
    names = [row["id"] for row in found]
    assert expected in names
    assert len(names) < len(SHIPPED)


def test_list_of_nothing_is_said_by_the_exit_code() -> None:
    result = run("list", "--maker", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(run("list", "--maker", "nobody", "--json").stdout) == []


def test_a_broken_file_is_listed_and_costs_the_others_nothing(folder: Path) -> None:
    result = run("list", "--drivers", folder)
    assert result.exit_code == 0
    assert all(name in result.stdout for name in SHIPPED)
    assert "acme/broken" in result.stderr
    rows = {row["id"]: row for row in json.loads(run("list", "--drivers", folder, "--json").stdout)}
    assert rows["acme/broken"]["usable"] is False
    assert any("did you mean `maker`?" in error for error in rows["acme/broken"]["errors"])


@pytest.mark.parametrize("case", ["form", "references"])
def test_check_tells_every_mistake_at_its_place(case: str) -> None:
    path = CASES / f"{case}.yaml"
    wanted = path.with_suffix(".txt").read_text().splitlines()
    result = run("check", path, *list(SHIPPED.values())[:1])
    assert result.exit_code == 2
    assert [f"{CASES}/{line}" for line in wanted] == result.stdout.splitlines()[: len(wanted)]
    assert f"{next(iter(SHIPPED.values()))}: no mistake" in result.stdout


def test_check_takes_stdin_folders_and_ids(folder: Path) -> None:
    text = SHIPPED["vaisala/gmp25x"].read_text()
    assert run("check", "-", stdin=text).stdout.splitlines()[-1].startswith("-: no mistake")
    assert run("check", "vaisala/gmp25x").stdout.splitlines()[-1].startswith(f"{SHIPPED['vaisala/gmp25x']}: no mistake")
    result = run("check", folder)
    assert result.exit_code == 2
    assert f"{folder}/acme/broken.yaml:2:1: makr: unknown key; did you mean `maker`?" in result.stdout


@pytest.mark.parametrize("text", ["", "\x00", "a: [", b"\xff\xfe", "- 1", "x"])
def test_check_refuses_what_is_no_driver_file(text: str | bytes) -> None:
    result = run("check", "-", stdin=text)
    assert result.exit_code == 2
    assert result.stdout.startswith("stdin:1:")


def test_check_of_what_is_not_there(tmp_path: Path) -> None:
    assert run("check", tmp_path / "none.yaml").exit_code == 2
    assert run("check", tmp_path).exit_code == 2
    assert run("check").exit_code == 2


def test_check_as_json(folder: Path) -> None:
    found = json.loads(run("check", folder / "acme/broken.yaml", "vaisala/gmp25x", "--json").stdout)
    assert [bool(row["errors"]) for row in found] == [True, False]
    assert {"line": 2, "column": 1, "path": "makr", "message": "unknown key", "hint": "did you mean `maker`?"} in found[
        0
    ]["errors"]


# ---------------------------------------------------------------- what no example shows

WHOLE = """\
labmon-driver: 1
maker: Example
models: [T-1]
title: Example T-1 thermometer
class: thermometer
manual: {document: T-1 manual, revision: B, pages: "12"}
framings: [modbus-rtu]
serial: {baud: 19200, parity: E}
address: {default: 1, from: 1, to: 247}
params:
  half: {type: switch, doc: Whether it counts in halves., default: false}
queries:
  temperature:
    every: 10 s
    requests:
      - read: input
        at: 1
        count: 2
        fields:
          tenths: {at: 1, type: i16, sentinels: [{raw: 0x8000, reason: no-sensor}]}
          status: {at: 2, type: u16}
    channels:
      - id: temperature
        name: Temperature
        unit: Cel
        from: tenths
        scale: 0.1
        when: {half: false}
        bad-when:
          - {field: status, set: 0, reason: not-ready}
      - {id: temperature, name: Temperature, unit: Cel, from: tenths, scale: 0.05, when: {half: true}}
examples:
"""
GOOD = """\
  - query: temperature
    origin: {composed: good}
    raws: {tenths: 369, status: 0}
    exchanges: [{sent: "01 04 00 01 00 02 20 0B", got: "01 04 04 01 71 00 00 AA 63"}]
    readings: {temperature: 36.9}
"""
OTHERS = {
    "queries.temperature.requests.0.fields.tenths.sentinels.0: no example in which tenths is 32768": """\
  - query: temperature
    origin: {composed: no sensor}
    raws: {tenths: -32768, status: 0}
    exchanges: [{sent: "01 04 00 01 00 02 20 0B", got: "01 04 04 80 00 00 00 D2 44"}]
    readings: {temperature: no-sensor}
""",
    "queries.temperature.channels.temperature.bad-when.0: no example in which status bit 0 set": """\
  - query: temperature
    origin: {composed: warming up}
    raws: {tenths: 369, status: 1}
    exchanges: [{sent: "01 04 00 01 00 02 20 0B", got: "01 04 04 01 71 00 01 6B A3"}]
    readings: {temperature: not-ready}
""",
    "params.half: no example with half on": """\
  - query: temperature
    origin: {composed: in halves}
    params: {half: true}
    raws: {tenths: 369, status: 0}
    exchanges: [{sent: "01 04 00 01 00 02 20 0B", got: "01 04 04 01 71 00 00 AA 63"}]
    readings: {temperature: 18.45}
""",
}


def test_a_file_in_which_everything_is_shown_is_fit() -> None:
    result = run("check", "-", stdin=WHOLE + GOOD + "".join(OTHERS.values()))
    assert (result.exit_code, result.stdout) == (0, "-: no mistake, everything has an example\n")


@pytest.mark.parametrize("branch", OTHERS)
def test_each_branch_without_an_example_is_told_at_its_place(branch: str) -> None:
    text = WHOLE + GOOD + "".join(example for other, example in OTHERS.items() if other != branch)
    result = run("check", "-", stdin=text)
    assert result.exit_code == 1
    assert branch in result.stdout
    [found] = json.loads(run("check", "-", "--json", stdin=text).stdout)
    assert found["errors"] == []
    assert not found["fit"]
    assert branch.startswith(found["notices"][0]["path"])
    assert found["notices"][0]["line"] > 1


def test_a_query_without_an_example_is_told() -> None:
    result = run("check", "-", stdin=WHOLE.replace("examples:\n", ""))
    assert result.exit_code == 1
    assert "stdin:13:3: queries.temperature: has no example, so the driver does not load into service" in result.stdout


# ---------------------------------------------------------------- show


@pytest.mark.parametrize("name", SHIPPED)
def test_show_tells_of_every_channel_and_keeps_to_80_columns(name: str) -> None:
    result = run("show", name)
    found = json.loads(run("show", SHIPPED[name], "--json").stdout)
    assert (result.exit_code, found["id"]) == (0, name)
    for query in found["queries"]:
        assert f"query {query['query']}" in result.stdout
        assert query["requests"]
        assert all(
            channel["id"] in result.stdout and (channel["units"] or channel["unit-param"])
            for channel in query["channels"]
        )
    words = [line for line in result.stdout.splitlines() if len(line) > 80 and " " in line.strip()[:60]]
    assert words == []


def test_show_tells_what_is_watched_beside_the_readings() -> None:
    said = " ".join(run("show", "lighthouse/remote").stdout.split())
    assert "settings asked at each connect and every 5 min" in said
    assert "a change of initial-delay, hold-time, set-sample-time, flow-unit-text, last-setting-change" in said
    assert "off by more than 60 s; set where the site file says so" in said
    assert "never set from here" in run("show", "met-one/6000").stdout
    assert "test-integer is -12345" in run("show", "vaisala/hmp").stdout
    assert "comes by itself; silent after 30 s" in run("show", "plantower/pms5003").stdout
    counts = json.loads(run("show", "plantower/pms5003", "--json").stdout)["queries"][0]["channels"]
    assert {c["id"]: c["particle-size"] for c in counts if c["particle-size"]} == {
        "count-03": 0.3, "count-05": 0.5, "count-10": 1.0, "count-25": 2.5, "count-50": 5.0, "count-100": 10
    }  # fmt: skip


def test_show_computes_the_wire_time_from_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "t-1.yaml"
    path.write_text(WHOLE + GOOD)
    [query] = json.loads(run("show", path, "--json").stdout)["queries"]
    # 8 bytes out, 9 back; 11 bits each and one silence of 3.5 characters at 19200 baud.
    assert query["bytes"] == 17
    assert query["wire-time"] == pytest.approx((17 + 3.5) * 11 / 19200, abs=1e-6)
    assert query["line-share"] == pytest.approx(query["wire-time"] / 10, abs=1e-6)


def test_show_of_what_is_wrong_or_not_there(folder: Path) -> None:
    result = run("show", "vaisala/gmp25")
    assert result.exit_code == 2
    assert "did you mean `vaisala/gmp25x`?" in result.stderr
    result = run("show", folder / "acme/broken.yaml")
    assert result.exit_code == 2
    assert "did you mean `maker`?" in result.stderr


def test_every_shipped_file_is_ready_and_generic_ones_say_what_they_are() -> None:
    folder = shipped("drivers")
    result = run("check", folder, "--json")
    found = {row["file"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert set(found) == {str(path) for path in folder.rglob("*.yaml")}
    assert all(row["errors"] == [] for row in found.values())
    assert {Path(name).parent.name for name, row in found.items() if row["notices"]} <= {"generic"}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_example_of_a_shipped_file_holds_over_a_real_line(name: str) -> None:
    result = run("test", name)
    assert result.exit_code == 0, result.stdout
