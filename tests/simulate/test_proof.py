"""`labmon driver check` and `labmon driver test` as commands, over all of drivers/ and over files that are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import labmon
from labmon.drivers.load import load_driver
from labmon.simulate.proof import prove
from labmon.simulate.replay import Played, Player, transposed

ROOT = Path(labmon.__file__).parent.parent
FILES = sorted((ROOT / "drivers").glob("*/*.yaml"))

FILE = """\
labmon-driver: 1
maker: Test
models: [T-1]
title: Test T-1
class: thermometer
manual: {document: none, revision: none, pages: "1"}
framings: [modbus-rtu, modbus-ascii, modbus-tcp]
serial: {baud: 19200}
address: {default: 1, from: 1, to: 247}
timing: {timeout: 200 ms}
queries:
  temperature:
    every: 10 s
    requests:
      - {read: holding, at: 1, count: 1, fields: {temperature: {at: 1, type: i16}}}
    channels:
      - {id: temperature, name: Temperature, unit: Cel, scale: 0.1}
examples:
  - query: temperature
    origin: {composed: by hand}
    raws: {temperature: 369}
    exchanges:
      - {sent: "01 03 00 01 00 01 D5 CA", got: "01 03 02 01 71 79 F0"}
    readings: {temperature: 36.9}
  - query: temperature
    origin: {composed: illegal data address}
    exchanges:
      - {sent: "01 03 00 01 00 01 D5 CA", got: "01 83 02 C0 F1"}
    fails: refused
  - query: temperature
    origin: {composed: the CRC is wrong}
    exchanges:
      - {sent: "01 03 00 01 00 01 D5 CA", got: "01 03 02 01 71 79 F1"}
    fails: garbled
  - query: temperature
    origin: {composed: half a frame}
    exchanges:
      - {sent: "01 03 00 01 00 01 D5 CA", got: "01 03 02"}
    fails: silent
"""


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "labmon", "driver", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "test" / "t-1.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_every_shipped_file_checks() -> None:
    done = command("check", "drivers", "--json")
    wrong = [f"{f['file']}: {e}" for f in json.loads(done.stdout) for e in f["errors"]]
    assert not wrong, "\n".join(wrong)
    assert done.returncode in (0, 1), "1: right in itself, but a branch has no example yet"


def test_every_shipped_file_proves_itself_over_a_line() -> None:
    done = command("test", "drivers", "--json")
    told = json.loads(done.stdout)
    wrong = [f"{f['file']}: {t}" for f in told for t in f["trials"] if not t["ok"]]
    assert not wrong, "\n".join(wrong)
    assert done.returncode == 0, done.stderr
    assert [f["file"] for f in told] == [str(p.relative_to(ROOT)) for p in FILES]
    for file, path in zip(told, FILES, strict=True):
        loaded = load_driver(path).driver
        assert loaded is not None
        assert {t["example"] for t in file["trials"]} == set(range(1, len(loaded.file.examples) + 1)), path


async def test_sound_exchanges_are_played_in_every_framing_broken_ones_in_their_own(written: Any) -> None:
    driver = load_driver(written(FILE)).driver
    assert driver is not None
    trials = await prove(driver)
    assert all(not trial.problems for trial in trials), trials
    every = ["modbus-rtu", "modbus-ascii", "modbus-tcp"]
    assert [(t.example, t.framing) for t in trials] == [
        *((1, framing) for framing in every),
        *((2, framing) for framing in every),
        (3, "modbus-rtu"),
        (4, "modbus-rtu"),
    ]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("at: 1, count: 1", "at: 1, count: 2", "labmon sends 01 03 00 01 00 02 95 CB instead of 01 03 00 01 00 01"),
        ('sent: "01 03 00 01 00 01 D5 CA", got: "01 03 02', 'sent: "01 03 00 01 00 01 D5 CB", got: "01 03 02', "D5 CB"),
        ("readings: {temperature: 36.9}", "readings: {temperature: 36.8}", "temperature: 36.9 instead of 36.8"),
        ("readings: {temperature: 36.9}", "readings: {temperature: no-sensor}", "36.9 instead of no-sensor"),
        ("71 79 F0", "71 79 F1", "garbled"),
        ("01 71 79 F0", "01 71", "silent"),
        ("fails: refused", "fails: garbled", "refused"),
        ("71 79 F1", "71 79 F0", "does not fail as garbled"),
        ("scale: 0.1", "scale: 0.01", "3.69 instead of 36.9"),
        ("base: 0", "base: 1", "labmon sends 01 03 00 00"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_example(written: Any, right: str, wrong: str, said: str) -> None:
    path = written(FILE.replace("timing:", "base: 0\ntiming:").replace(right, wrong, 1))
    done = command("test", path)
    assert done.returncode == 1, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"{path}:"), first
    assert "example " in first
    assert said in done.stdout
    assert " fail" in done.stdout.splitlines()[-1]


def test_a_file_without_an_example_proves_nothing(written: Any) -> None:
    done = command("test", written(FILE[: FILE.index("examples:")]))
    assert done.returncode == 1
    assert "nothing is proven" in done.stdout


def test_a_broken_file_is_bad_input_and_costs_the_others_nothing(written: Any) -> None:
    path = written(FILE.replace("scale: 0.1", "scael: 0.1"))
    done = command("test", path, "delta-ohm/hd402st")
    assert done.returncode == 2
    assert f"{path}:17:57" in done.stdout
    assert "did you mean `scale`?" in done.stdout
    assert "hold" in done.stdout.splitlines()[-1]
    told = json.loads(command("test", path, "delta-ohm/hd402st", "--json").stdout)
    assert [f["ok"] for f in told] == [False, True]


# ---------------------------------------------------------------- the far end


def test_the_player_answers_what_it_waits_for_byte_by_byte_and_nothing_else() -> None:
    said: list[bytes] = []
    player = Player([Played(b"one", b"1"), Played(b"two", b"2"), Played(b"", b"unasked")])
    for byte in b"onetwo":
        player.feed(bytearray([byte]), said.append)
    assert said == [b"1", b"2", b"unasked"]
    assert player.unfinished() is None and not player.problems
    player.feed(bytearray(b"x"), said.append)
    assert player.problems == ["labmon sends 'x' after the last exchange"]
    assert len(said) == 3


def test_the_player_tells_what_came_instead() -> None:
    player = Player([Played(b"one", b"1")])
    player.feed(bytearray(b"on"), pytest.fail)
    assert player.unfinished() == "exchange 1: labmon sends 'on' instead of 'one'"
    player.feed(bytearray(b"x"), pytest.fail)
    assert player.problems == ["exchange 1: labmon sends 'onx' instead of 'one'"]


def test_a_transaction_id_is_the_askers_and_a_foreign_one_stays_foreign() -> None:
    said: list[bytes] = []
    player = Player([Played(b"\0\1AB", b"\0\1CD"), Played(b"\0\2AB", b"\0\7CD")], tagged=True)
    player.feed(bytearray(b"\x33\x44AB"), said.append)
    player.feed(bytearray(b"\x33\x45AB"), said.append)
    assert said == [b"\x33\x44CD", b"\0\7CD"]


def test_a_broken_frame_has_no_counterpart_in_another_framing() -> None:
    asked = bytes.fromhex("0103000100 01D5CA")
    sound, broken = bytes.fromhex("0103020171 79F0"), bytes.fromhex("0103020171 79F1")
    there = transposed([Played(asked, sound)], "modbus-rtu", "modbus-ascii")
    assert there == [Played(b":010300010001FA\r\n", b":010302017188\r\n")]
    assert transposed(there, "modbus-ascii", "modbus-rtu") == [Played(asked, sound)]
    assert transposed([Played(asked, broken)], "modbus-rtu", "modbus-tcp") is None


TALK = """\
labmon-driver: 1
maker: Test
models: [T-2]
title: Test T-2
class: thermometer
manual: {document: none, revision: none, pages: "1"}
framings: [text]
serial: {baud: 9600}
address: {default: 3, from: 0, to: 63}
frame: {end: "\\r", error: "E(?P<code>[0-9])"}
timing: {timeout: 200 ms}
select: "{address+0x80:byte}"
session:
  open:
    - {break: 20 ms}
    - flush
    - {send: CR, reply: CC}
  wake:
    - {send: "\\r", until: "*", every: 50 ms, at-most: 3}
  close:
    - {send: CQ}
queries:
  temperature:
    every: 10 s
    requests: [{send: T, reply: "T {temperature}", fields: {temperature: {type: number, form: ".1f"}}}]
    channels: [{id: temperature, name: Temperature, unit: Cel}]
examples:
  - query: temperature
    origin: {printed: by hand}
    exchanges: [{sent: "T\\r", got: "T 36.9\\r"}]
    readings: {temperature: 36.9}
"""


async def test_a_session_is_played_around_every_example() -> None:
    driver = load_driver(Path("t-2.yaml"), "test/t-2", text=TALK).driver
    assert driver is not None
    (trial,) = await prove(driver)
    assert trial.problems == ()


async def test_an_opening_that_cannot_come_about_fails() -> None:
    """What the file says is answered to its opening is, by the same file, a refusal."""
    driver = load_driver(Path("t-2.yaml"), "test/t-2", text=TALK.replace("reply: CC", "reply: E1")).driver
    assert driver is not None
    (trial,) = await prove(driver)
    assert "refused" in "".join(trial.problems)
