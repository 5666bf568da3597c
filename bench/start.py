"""Cold start: from the exec of the daemon to the time of the first reading in its journal, and to its commit.

    python -m bench.start [--devices 100] [--runs 5] [--json]

labmon is compiled to byte code first, as pip does where it is installed.

With all devices present; with all absent because their host refuses; with all absent because their host accepts and
never answers; with all absent because nobody answers to SYN (a listening socket whose queue is full). No broker runs.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import socket
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.processes import ROOT, Simulator, end_on_sigterm, free_ports, labmon
from bench.site_file import write_site
from labmon.journal.entries import EntryKind

PATIENCE = 30.0


@dataclass
class Start:
    """Seconds since exec. `reading`: the time of the first reading of all; `every`: when each device had one."""

    reading: float
    every: float
    committed: float


@contextlib.contextmanager
def present(folder: Path, devices: int) -> Iterator[list[int]]:
    with Simulator(folder, devices) as simulator:
        yield simulator.ports


@contextlib.contextmanager
def refusing(folder: Path, devices: int) -> Iterator[list[int]]:
    yield free_ports(devices)


@contextlib.contextmanager
def silent(folder: Path, devices: int) -> Iterator[list[int]]:
    with Simulator(folder, devices, silent=True) as simulator:
        yield simulator.ports


@contextlib.contextmanager
def unreachable(folder: Path, devices: int) -> Iterator[list[int]]:
    """Ports that take no connection: the queue of each holds one, which is ours."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(devices):
            server = stack.enter_context(socket.socket())
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            for _ in range(2):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(server.getsockname())
            ports.append(server.getsockname()[1])
        yield ports


WORLDS = {
    "all present": present,
    "all absent, refused": refusing,
    "all absent, silent": silent,
    "all absent, unreachable": unreachable,
}


def start(world: str, devices: int) -> Start:
    """One start. Raises RuntimeError when the journal holds no reading of each device in time."""
    with tempfile.TemporaryDirectory(prefix="labmon-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        with WORLDS[world](folder, devices) as ports:
            site = write_site(folder, ports, None)
            with labmon("daemon", folder, "run", str(site), "--log", "warning") as daemon:
                began = daemon.started
                deadline = time.monotonic() + PATIENCE
                committed = 0
                while True:
                    daemon.usage()
                    found = _first_readings(folder / "journal.db")
                    if found and not committed:
                        committed = time.time_ns()
                    if len(found) == devices:
                        break
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"{world}: {len(found)} of {devices} devices have a reading")
                    time.sleep(0.02)
    return Start((min(found) - began) / 1e9, (max(found) - began) / 1e9, (committed - began) / 1e9)


def _first_readings(path: Path) -> list[int]:
    """The time of the first reading of each device."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        try:
            return [
                row[0]
                for row in db.execute(
                    "SELECT min(time) FROM entry WHERE kind = ? GROUP BY layout", (int(EntryKind.READINGS),)
                )
            ]
        except sqlite3.OperationalError:
            return []  # not made yet


def measure(devices: int, runs: int) -> dict[str, list[Start]]:
    """So many starts in each world, in turns, so that what disturbs one disturbs all."""
    compileall.compile_dir(ROOT / "labmon", quiet=1)
    found: dict[str, list[Start]] = {world: [] for world in WORLDS}
    for _ in range(runs):
        for world in WORLDS:
            found[world].append(start(world, devices))
    return found


def rows(found: dict[str, list[Start]], devices: int) -> list[tuple[str, str, str]]:
    """(what, found, limit) for the table."""
    lines = [(f"cold start, {devices} devices, {len(next(iter(found.values())))} runs: s after exec", "", "")]
    for world, starts in found.items():
        for what, limit in (("reading", "< 1"), ("every", ""), ("committed", "")):
            values = [getattr(s, what) for s in starts]
            text = f"{median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"
            name = {"reading": "first reading", "every": "first of the last device", "committed": "first on disk"}[what]
            lines.append((f"  {world}: {name}", text, limit))
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--devices", type=int, default=100)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    end_on_sigterm()
    found = measure(options.devices, options.runs)
    if options.json:
        print(json.dumps({world: [asdict(s) for s in starts] for world, starts in found.items()}))
    else:
        for what, text, limit in rows(found, options.devices):
            print(f"{what:52} {text:>28}   {limit}")


if __name__ == "__main__":
    main()
