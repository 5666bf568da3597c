"""What becomes of each secret before a service starts: taken, or told in one line; never a reason not to start."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from systemd_needs import SYSTEMD

DECRYPT = """#!/bin/sh
# Stands for systemd-creds: decrypt --name=NAME -- FILE -
for last; do file=$before; before=$last; done
grep -q '^sealed:' "$file" || { echo "Failed to decrypt: Bad message" >&2; exit 1; }
sed 's/^sealed://' "$file"
"""


@dataclass
class Place:
    """A configuration folder, and what was gathered from it."""

    folder: Path

    def give(self, name: str, content: str | bytes, kind: str = "credentials") -> Path:
        path = self.folder / "etc" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def gather(self) -> list[str]:
        """The lines that it says; it never fails."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "systemd-creds").write_text(DECRYPT)
        (programs / "systemd-creds").chmod(0o755)
        environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "LABMON_CONFIGURATION": str(self.folder / "etc"),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
        }
        done = subprocess.run(
            ["sh", str(SYSTEMD / "gather-credentials")], env=environ, capture_output=True, text=True, timeout=20
        )
        assert (done.returncode, done.stdout) == (0, "")
        return done.stderr.splitlines()

    def gathered(self) -> dict[str, str]:
        # Also hidden ones: systemd hands on everything that stands there.
        return {path.name: path.read_text() for path in (self.folder / "run/loaded").iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_plain_and_encrypted_secrets_are_taken(place: Place) -> None:
    place.give("smtp", "one\n")
    place.give("broker-gw1.old_2", "two")
    place.give("influx", "sealed:three", "credentials.encrypted")
    assert place.gather() == []
    assert place.gathered() == {"smtp": "one\n", "broker-gw1.old_2": "two", "influx": "three"}


def test_only_root_may_read_them(place: Place) -> None:
    place.give("smtp", "one").chmod(0o644)
    place.gather()
    modes = {path: path.stat().st_mode & 0o777 for path in (place.folder / "run").rglob("*")}
    assert {mode & 0o077 for mode in modes.values()} == {0}


def test_nothing_there_is_no_mistake(place: Place) -> None:
    assert place.gather() == []
    assert place.gathered() == {}


def test_one_that_cannot_be_decrypted_costs_one_line_and_itself_only(place: Place) -> None:
    place.give("smtp", "one")
    place.give("influx", "garbage", "credentials.encrypted")
    [line] = place.gather()
    assert line.startswith("<3>credential influx: cannot be had from ")
    assert "Bad message" in line
    assert place.gathered() == {"smtp": "one"}


def test_an_encrypted_one_is_never_replaced_by_a_plain_one(place: Place) -> None:
    place.give("smtp", "old")
    place.give("smtp", "garbage", "credentials.encrypted")
    assert len(place.gather()) == 1
    assert place.gathered() == {}


@pytest.mark.parametrize("name", ["smtp password", "größe", "a:b"])
def test_a_name_that_systemd_would_refuse_is_told(place: Place, name: str) -> None:
    place.give(name, "one")
    place.give("smtp", "two")
    [line] = place.gather()
    assert f"credential {name}: not taken" in line
    assert place.gathered() == {"smtp": "two"}


def test_what_is_no_file_is_told(place: Place) -> None:
    place.give("smtp/password", "one")
    place.give("broker", "two")
    [line] = place.gather()
    assert "credential smtp: not taken" in line
    assert place.gathered() == {"broker": "two"}


def test_all_together_stay_below_what_systemd_takes(place: Place) -> None:
    for number in range(20):
        place.give(f"large-{number:02d}", b"x" * 65_000)
    place.give("too-large", b"x" * 65_537)
    lines = place.gather()
    assert sum(map(len, place.gathered().values())) <= 2**20 - 2**16
    assert len(place.gathered()) == 13
    assert len(lines) == 8
    assert any("credential too-large: not taken: 65537 bytes" in line for line in lines)


def test_what_was_taken_away_goes_and_what_changed_is_new(place: Place) -> None:
    kept, gone = place.give("smtp", "one"), place.give("broker", "two")
    place.gather()
    gone.unlink()
    kept.write_text("three")
    place.gather()
    assert place.gathered() == {"smtp": "three"}


def test_a_secret_never_stands_in_what_it_says(place: Place) -> None:
    place.give("a b", "planted-secret")
    place.give("large", "planted-secret" * 10_000)
    place.give("broken", "planted-secret", "credentials.encrypted")
    lines = place.gather()
    assert len(lines) == 3
    assert "planted" not in "".join(lines)
