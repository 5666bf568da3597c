"""The whole path at a real gateway's rate: simulated devices, mosquitto, ingest with the SQLite store, the daemon.

    python -m bench.whole_path [--devices 100] [--seconds 30] [--windows 3] [--json]

Per window: CPU of the daemon, missed polls (as the daemon counts them, and as the simulator sees them), bytes written
to the disk. Then the daemon is stopped, and the store is held against the journal and the simulator: every answer once.
At the end, on the same simulator, the peer: a bare pymodbus loop (`bench/peer.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.devices import CHANNELS
from bench.processes import Process, Simulator, Usage, broker, end_on_sigterm, labmon
from bench.site_file import write_site
from labmon.daemon.control import ask
from labmon.ingest.sqlite_readings import SqliteReadings
from labmon.journal.reader import Reader
from labmon.model.exchange import Exchange

WARM_UP = 10.0
PATIENCE = 120.0


@dataclass
class Window:
    """One stretch of measuring."""

    seconds: float
    cpu: float
    """Share of one core."""
    requests: int
    missed: int
    """Ticks that the daemon says it missed."""
    gaps: int
    """As the simulator saw it: intervals of more than one and a half seconds."""
    interval_p99: float
    interval_max: float
    simulator_cpu: float
    polled: int = 0
    written: int = 0
    others: dict[str, float] = field(default_factory=dict)

    @property
    def per_reading(self) -> float:
        return self.written / self.polled

    @property
    def per_thousand(self) -> float:
        """CPU milliseconds of the process for 1000 readings polled."""
        return self.cpu * self.seconds / (self.requests * CHANNELS) * 1e6


@dataclass
class Outcome:
    """What one run found."""

    devices: int
    labmon: list[Window]
    peer: list[Window]
    resident: list[int]
    backlog: list[int]
    behind: list[int]
    bad: int
    lost: int
    answered: int
    journaled: int
    stored: int
    twice_or_never: int
    load: float
    """Of the machine before the run: what others do beside it."""


def window(process: Process, simulator: Simulator, seconds: float, beside: list[Process], seen: Any) -> Window:
    """Measure one process for so long. `seen` reads what it says of itself, outside of the measured time."""
    before = seen()
    simulator.ask("reset")
    others = [p.usage() for p in beside]
    began = process.usage()
    time.sleep(seconds)
    ended = process.usage()
    shares = {p.name: p.usage().share(o) for p, o in zip(beside, others, strict=True)}
    report = simulator.ask("report")
    after = seen()
    return Window(
        ended.at - began.at,
        ended.share(began),
        report["requests"],
        after.get("missed", 0) - before.get("missed", 0),
        report["missed"],
        report["interval_p99"],
        report["interval_max"],
        report["cpu"] / seconds,
        after.get("polled", 0) - before.get("polled", 0),
        ended.written - began.written,
        shares,
    )


def until(what: str, holds: Any) -> Any:
    """Poll a condition with a deadline."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.2)
    return found


def status(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ask(folder / "control.sock", "status")
    except ConnectionError:
        return {}
    return found


def run(devices: int, seconds: float, windows: int, warm_up: float, with_peer: bool = True) -> Outcome:
    load = float(Path("/proc/loadavg").read_text().split()[0])
    with tempfile.TemporaryDirectory(prefix="labmon-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        with Simulator(folder, devices) as simulator:
            mosquitto, port = broker(folder)
            site = write_site(folder, simulator.ports, port)
            with mosquitto, labmon("ingest", folder, "ingest", str(site), "--log", "warning") as ingest:
                outcome = measure(folder, site, simulator, [ingest, mosquitto], seconds, windows, warm_up)
            outcome.load = load
            if with_peer:
                command = [sys.executable, "-m", "bench.peer", *map(str, simulator.ports)]
                with Process("peer", command, folder) as peer:
                    time.sleep(min(warm_up, 5.0))
                    outcome.peer = [
                        window(peer, simulator, max(5.0, seconds / 2), [], dict[str, Any]) for _ in range(windows)
                    ]
    return outcome


def measure(
    folder: Path,
    site: Path,
    simulator: Simulator,
    beside: list[Process],
    seconds: float,
    windows: int,
    warm_up: float,
) -> Outcome:
    measured, resident, backlog, behind = [], [], [], []
    with labmon("daemon", folder, "run", str(site), "--log", "warning") as daemon:
        until("the daemon polls", lambda: status(folder).get("polled"))
        time.sleep(warm_up)
        for _ in range(windows):
            measured.append(window(daemon, simulator, seconds, beside, lambda: status(folder)))
            now = status(folder)
            resident.append(Usage.of(daemon.child.pid).resident)
            backlog.append(now["journal"]["backlog"])
            behind.append(max(now["cursors"].values()))
    answered: list[int] = simulator.ask("report")["answered"]
    journaled = _journaled(folder / "journal.db")
    # What the daemon journaled last is delivered after its next start.
    goal = _last(folder / "journal.db")
    with labmon("daemon-again", folder, "run", str(site), "--log", "warning"):
        until("everything is confirmed", lambda: _confirmed(status(folder)) >= goal)
    stored, wrong = _stored(folder / "store.db", journaled, answered)
    return Outcome(
        len(simulator.ports), measured, [], resident, backlog, behind, now["bad"], now["lost"]["exchanges"],
        sum(answered), sum(journaled.values()), stored, wrong, 0.0,
    )  # fmt: skip


def _last(path: Path) -> int:
    reader = Reader.at(path)
    try:
        return reader.last_seq()
    finally:
        reader.close()


def _confirmed(now: dict[str, Any]) -> int:
    """The entry of the journal up to which the store has confirmed all; 0 where that is not known."""
    last: int = now["journal"]["last"] - max(now["cursors"].values()) if now.get("cursors") else 0
    return last


def _journaled(path: Path) -> Counter[tuple[str, int]]:
    """How often each answer (device, number of the request) stands in the journal."""
    reader = Reader.at(path)
    found: Counter[tuple[str, int]] = Counter()
    seq = 0
    while entries := reader.entries_after(seq, 5000, 2**22):
        seq = entries[-1].seq
        for entry in entries:
            if isinstance(entry.content, Exchange):
                first = entry.content.readings[0]
                if first.value is not None:
                    found[entry.content.layout.columns[0].device, int(first.value)] += 1
    reader.close()
    return found


def _stored(path: Path, journaled: Counter[tuple[str, int]], answered: list[int]) -> tuple[int, int]:
    """Readings in the store, and the answers of the simulator that are not there exactly once.

    The last answer to a device may have come when the daemon was already stopping, and was not taken.
    """
    with SqliteReadings(path) as readings:
        count = readings.count()
        there = Counter((r.device, int(r.value)) for r in readings.select(channel="c00") if r.value is not None)
    wrong = 0
    for number, total in enumerate(answered):
        device = f"device-{number}"
        for nth in range(1, total + 1):
            times = there[device, nth]
            may_miss = nth == total and not journaled[device, nth]
            wrong += times != 1 and not (may_miss and times == 0)
    return count, wrong


def middle(values: list[float], form: str = "{:.3g}") -> str:
    """Median, and least and most in brackets."""
    return f"{form.format(median(values))} [{form.format(min(values))}-{form.format(max(values))}]"


def rows(outcome: Outcome) -> list[tuple[str, str, str]]:
    """(what, found, limit or peer) for the table."""
    own, peer = outcome.labmon, outcome.peer
    name = f"{outcome.devices} devices x {CHANNELS} channels at 1 s"
    due = round(sum(w.seconds for w in own) * outcome.devices)
    missed = sum(w.missed for w in own)
    limit = "< 20" if outcome.devices <= 100 else "< 50"
    found = [
        (f"{name}: daemon CPU, % of a core", middle([w.cpu * 100 for w in own]), limit),
        ("  CPU ms per 1000 readings, whole path", middle([w.per_thousand for w in own]), ""),
        ("  polls at the simulator / due", f"{sum(w.requests for w in own)} / {due}", "equal, but for the edges"),
        ("  missed, by the daemon / late by half a second", f"{missed} / {sum(w.gaps for w in own)}", "0 / 0"),
        ("  interval at the device, p99, s", middle([w.interval_p99 for w in own], "{:.3f}"), "1"),
        ("  bytes to disk per reading", middle([w.per_reading for w in own], "{:.1f}"), "< 24"),
        ("  answers / journaled / readings stored", f"{outcome.answered} / {outcome.journaled} / {outcome.stored}", ""),
        ("  answers not stored exactly once", str(outcome.twice_or_never), "0"),
        ("  bad readings / exchanges lost", f"{outcome.bad} / {outcome.lost}", "0 / 0"),
        ("  resident MB at each window's end", " ".join(f"{r / 1e6:.1f}" for r in outcome.resident), "flat"),
        ("  exchanges not on disk / not confirmed", f"{max(outcome.backlog)} / {max(outcome.behind)}", ""),
        ("  simulator CPU, % of a core", middle([w.simulator_cpu * 100 for w in own]), "<< 100"),
    ]
    found += [
        (f"  {process} CPU, % of a core", middle([w.others[process] * 100 for w in own]), "")
        for process in own[0].others
    ]
    if peer:
        found[1] = (*found[1][:2], f"pymodbus, polling only: {middle([w.per_thousand for w in peer])}")
        found[4] = (*found[4][:2], f"pymodbus: {middle([w.interval_p99 for w in peer], '{:.3f}')}")
    return found


def show(lines: list[tuple[str, str, str]]) -> None:
    for what, found, limit in lines:
        print(f"{what:52} {found:>28}   {limit}")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--devices", type=int, default=100)
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--windows", type=int, default=3)
    arguments.add_argument("--warm-up", type=float, default=WARM_UP)
    arguments.add_argument("--no-peer", action="store_true")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    end_on_sigterm()
    outcome = run(options.devices, options.seconds, options.windows, options.warm_up, not options.no_peer)
    if options.json:
        print(json.dumps(asdict(outcome)))
    else:
        print(f"load of the machine before: {outcome.load:g}")
        show(rows(outcome))


if __name__ == "__main__":
    main()
