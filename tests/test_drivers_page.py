"""docs/drivers.md is a tutorial: its files are what it says they are, and its commands say what stands below them.

Everything is done in one folder, in the order of the page, as a reader would.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from labmon.drivers import examples
from labmon.drivers.branches import without_example
from labmon.drivers.load import load_driver

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/drivers.md"
BLOCK = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S)
BLOCKS = [(m["info"].strip(), m["text"]) for m in BLOCK.finditer(PAGE.read_text())]
FILES = {info.removeprefix("yaml file "): text for info, text in BLOCKS if info.startswith("yaml file ")}
WRONG = "acme/wrong.yaml"


def merged(base: Any, part: Any) -> Any:
    if isinstance(base, dict) and isinstance(part, dict):
        return base | {key: merged(base.get(key), value) for key, value in part.items()}
    return part


def put(folder: Path, name: str, text: str, *, into: bool) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if into:
        yaml = YAML(typ="safe", pure=True)
        whole = merged(yaml.load(path.read_text()), yaml.load(text))
        stream = io.StringIO()
        yaml.dump(whole, stream)
        text = stream.getvalue()
    path.write_text(text)


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    script = tmp_path / "bin" / "labmon"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m labmon "$@"\n')
    script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "COLUMNS": "80",
        "LABMON_SOCKET": str(tmp_path / "none"),
    }


@contextmanager
def running(command: str, folder: Path, surroundings: dict[str, str], sign: Path) -> Iterator[None]:
    """A command in another terminal, from when its `sign` is there until the page ends."""
    with subprocess.Popen(
        shlex.split(command), cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 20
            while not sign.exists():
                assert process.poll() is None, f"{command} ended"
                assert time.monotonic() < deadline, f"{command} serves nothing"
                os.sched_yield()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def said(command: str, folder: Path, surroundings: dict[str, str]) -> list[str]:
    run = subprocess.run(
        ["sh", "-eu"],
        input=command,
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
    return run.stdout.splitlines()


def test_the_tutorial_does_what_it_says(tmp_path: Path, surroundings: dict[str, str]) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    follow(BLOCKS, folder, surroundings)


def follow(blocks: list[tuple[str, str]], folder: Path, surroundings: dict[str, str]) -> None:
    for number, (info, text) in enumerate(blocks):
        if info.startswith(("yaml file ", "yaml in ")):
            put(folder, info.split()[-1], text, into=info.startswith("yaml in "))
        elif info == "sh background":
            with running(text, folder, surroundings, folder / "thermometer"):
                follow(blocks[number + 1 :], folder, surroundings)
            return
        elif info == "sh tutorial":
            told = said(text, folder, surroundings)
            kind, wanted = blocks[number + 1]
            assert kind == "text", f"what this says does not stand below it: {text}"
            missing = [line for line in wanted.splitlines() if line not in told]
            assert missing == [], f"{text}\nsays\n" + "\n".join(told)


@pytest.mark.parametrize("name", [name for name in FILES if name != WRONG])
def test_its_files_load_and_hold(name: str) -> None:
    loaded = load_driver(Path(name), text=FILES[name])
    assert loaded.driver is not None, loaded.errors
    assert [problem for one in examples.run(loaded.driver) for problem in one.problems] == []
    if name != "acme/t-1.yaml":  # which the page completes
        assert [str(notice) for notice in without_example(loaded)] == []


def test_there_is_a_file_for_each_kind_of_line() -> None:
    drivers = [load_driver(Path(name), text=text).driver for name, text in FILES.items() if name != WRONG]
    framings = {framing for driver in drivers if driver is not None for framing in driver.framings}
    assert framings == {"modbus-rtu", "modbus-ascii", "modbus-tcp", "text", "binary"}
    kinds = {query.kind for driver in drivers if driver is not None for query in driver.file.queries.values()}
    assert kinds == {"live", "record", "stream"}


def test_its_wrong_file_is_wrong() -> None:
    assert load_driver(Path(WRONG), text=FILES[WRONG]).errors
