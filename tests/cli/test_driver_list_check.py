"""`labmon driver list` and `check`: what is told of files that are right, incomplete, wrong, or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from labmon.cli import main
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
    assert run("check", "-", stdin=text).exit_code == 0
    assert run("check", "vaisala/gmp25x").exit_code == 0
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
    assert [row["fit"] for row in found] == [False, True]
    assert {"line": 2, "column": 1, "path": "makr", "message": "unknown key", "hint": "did you mean `maker`?"} in found[
        0
    ]["errors"]
