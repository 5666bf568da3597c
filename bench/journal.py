"""What the journal costs: CPU per exchange and bytes written per reading, beside a row per reading in SQLite.

    python bench/journal.py [--seconds 60] [--channels 20] [--devices 12 100 1000]

Each run journals so many seconds of a site: per second one exchange per device and one commit, both with FULL.
Bytes are those handed to write() (`wchar` of /proc/self/io: file and write-ahead log with all checkpoints) and those
of the pages that the kernel then sends to the disk (`write_bytes`), the final checkpoint at closing included.
CPU is that of the process, user and system together, without making the readings.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labmon.journal.entries import Group
from labmon.journal.packers import Packers
from labmon.journal.store import Store
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import Reading

SECOND = 10**9
Opened = tuple[Callable[[list[Exchange]], None], Callable[[], None]]


def site(devices: int, channels: int, raw_type: str) -> list[Layout]:
    scale = 0.1 if raw_type == "h" else 1.0
    return [
        Layout(
            f"d{d}.all",
            tuple(
                Column(f"d{d}.c{c}", "b", f"d{d}", f"c{c}", "temperature", "Cel", raw_type, scale)
                for c in range(channels)
            ),
        )
        for d in range(devices)
    ]


def seconds(layouts: list[Layout], count: int) -> Iterator[list[Exchange]]:
    start = time.time_ns()
    for second in range(count):
        moment = []
        for number, layout in enumerate(layouts):
            at = start + second * SECOND + number * 1_234_567
            received = at + 3_456_789
            readings = []
            for index, column in enumerate(layout.columns):
                raw: int | float = (second * 7 + index * 31 + number) % 30000
                if column.raw_type == "f":
                    raw = float(raw) / 64
                readings.append(Reading(column.key, at, received, raw * column.scale + column.offset, None, 0, raw))
            moment.append(Exchange(layout, at, received, readings))
        yield moment


def packed(path: Path) -> Opened:
    store, packers = Store.open(path), Packers()

    def commit(moment: list[Exchange]) -> None:
        store.commit(Group([packers.pack(exchange) for exchange in moment]))

    return commit, store.close


def rows(path: Path) -> Opened:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(
        "CREATE TABLE reading (seq INTEGER PRIMARY KEY, channel INTEGER, time INTEGER, received INTEGER, value REAL,"
        " reason TEXT, flags INTEGER, raw)"
    )
    channels: dict[str, int] = {}

    def commit(moment: list[Exchange]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT INTO reading VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            [
                (channels.setdefault(r.channel, len(channels)), r.time, r.received, r.value, r.reason, r.flags, r.raw)
                for exchange in moment
                for r in exchange.readings
            ],
        )
        database.execute("COMMIT")

    return commit, database.close


def io() -> tuple[int, int]:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"]), int(lines["write_bytes"])


def run(name: str, how: Callable[[Path], Opened], layouts: list[Layout], count: int) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "journal.db"
        commit, close = how(path)
        cpu, slowest = 0.0, 0.0
        before = io()
        exchanges = readings = 0
        for moment in seconds(layouts, count):
            began, clock = time.process_time(), time.perf_counter()
            commit(moment)
            cpu += time.process_time() - began
            slowest = max(slowest, time.perf_counter() - clock)
            exchanges += len(moment)
            readings += sum(len(x.readings) for x in moment)
        close()
        after = io()
        size = path.stat().st_size
    wrote, paged = (b - a for a, b in zip(before, after, strict=True))
    print(
        f"{name:34} {cpu / exchanges * 1e6:9.1f} {wrote / readings:9.1f} {paged / readings:9.1f} {size / readings:9.1f}"
        f" {slowest * 1e3:9.1f}"
    )


def packing(layouts: list[Layout]) -> None:
    packers = Packers()
    moment = next(seconds(layouts, 1))
    bodies = [(packers.of(x.layout), x.time, packers.pack(x).body) for x in moment]
    rounds = max(1, 10_000 // len(moment))
    began = time.process_time()
    for _ in range(rounds):
        for exchange in moment:
            packers.pack(exchange)
    there = (time.process_time() - began) / rounds / len(moment)
    began = time.process_time()
    for _ in range(rounds):
        for packer, at, body in bodies:
            packer.unpack(at, body)
    back = (time.process_time() - began) / rounds / len(moment)
    size = sum(len(body) for _, _, body in bodies) / len(bodies)
    print(f"  packing alone {there * 1e6:.1f} us, unpacking {back * 1e6:.1f} us, {size:.0f} bytes an exchange")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--channels", type=int, default=20)
    arguments.add_argument("--devices", type=int, nargs="*", default=[12, 100, 1000])
    options = arguments.parse_args()
    print(f"{'':34} {'us/exch.':>9} {'written':>9} {'to disk':>9} {'in file':>9} {'max ms':>9}   (bytes per reading)")
    for devices in options.devices:
        for raw_type, kind in (("h", "int16 scaled"), ("f", "float32")):
            layouts = site(devices, options.channels, raw_type)
            label = f"{devices} x {options.channels} {kind}"
            run(f"{label}, packed", packed, layouts, options.seconds)
            run(f"{label}, rows", rows, layouts, options.seconds)
            packing(layouts)


if __name__ == "__main__":
    main()
