"""For what the service manager is told that all is alive, and for what not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labmon.daemon.watchdog import HANGS, LOOK, PATIENCE, SPARED, Watchdog
from labmon.health.notify import WATCHDOG


@dataclass
class Journal:
    journal: str | None = "j-1"
    turns: int = 0
    disk_busy: float = 0.0


class Parts:
    def __init__(self) -> None:
        self.looks = 0
        self.without_hope: list[str] = []

    def look(self) -> None:
        self.looks += 1

    def hopeless(self) -> list[str]:
        return self.without_hope


class Bench:
    def __init__(self, memory: Path | None = None, **journal: Any) -> None:
        self.now = 0.0
        self.parts, self.journal = Parts(), Journal(**journal)
        self.told: list[str] = []
        self.watchdog = Watchdog(
            self.parts,  # type: ignore[arg-type]
            self.journal,
            memory=memory,
            clock=lambda: self.now,
            tell=lambda *states: bool(self.told.extend(states)) or True,
        )

    def look(self, seconds: float = 1.0, *, turns: bool = True, busy: bool = False) -> list[str]:
        """So many seconds of looks, in which the journal turns or the disk is busy; what was told of them."""
        self.told.clear()
        for _ in range(int(seconds)):
            self.now += 1.0
            self.journal.turns += turns
            self.journal.disk_busy = self.journal.disk_busy + 1.0 if busy else 0.0
            self.watchdog.look()
        return self.told


def test_all_is_alive_once_a_look() -> None:
    bench = Bench()
    assert bench.look(5) == [WATCHDOG] * 5
    assert bench.parts.looks == 5


def test_withheld_for_a_replacement_that_failed_and_given_again() -> None:
    bench = Bench()
    bench.parts.without_hope = ["line tcp"]
    why = "line tcp makes no progress, and replacing it did not help"
    assert bench.look(3) == [f"STATUS={why}"]
    assert bench.watchdog.withheld == why
    bench.parts.without_hope = []
    assert bench.look(2) == ["STATUS=in service", WATCHDOG, WATCHDOG]
    assert bench.watchdog.withheld == ""


def age(memory: Path, seconds: float) -> None:
    """Let what is remembered have happened so long ago."""
    boot, _ = memory.read_text().split()
    memory.write_text(f"{boot} {time.monotonic() - seconds}")


async def test_a_restart_for_a_part_is_asked_for_once_an_hour(tmp_path: Path, eventually: Any) -> None:
    """Where it did not help, the other lines are spared the next one."""
    memory = tmp_path / "journal.db.restarted"
    first = Bench(memory)
    first.parts.without_hope = ["line tcp"]
    assert WATCHDOG not in first.look(1)
    await eventually(memory.exists)
    assert WATCHDOG not in first.look(10), "it stands by it"
    age(memory, 30.0)
    again = Bench(memory)
    again.parts.without_hope = ["line tcp"]
    assert again.look(SPARED - 60) == [WATCHDOG] * int(SPARED - 60)
    before = memory.read_text()
    assert again.look(120)[-1] != WATCHDOG
    await eventually(lambda: memory.read_text() != before)
    age(memory, SPARED + 1)
    later = Bench(memory)
    later.parts.without_hope = ["line tcp"]
    assert WATCHDOG not in later.look(1)


@pytest.mark.parametrize("text", ["", "nonsense", "another-boot 1.0", "a b c"])
def test_what_cannot_be_understood_or_is_of_another_boot_spares_nobody(tmp_path: Path, text: str) -> None:
    memory = tmp_path / "journal.db.restarted"
    memory.write_text(text)
    bench = Bench(memory)
    bench.parts.without_hope = ["line tcp"]
    assert WATCHDOG not in bench.look(1)


def test_the_hour_does_not_hold_for_the_journal(tmp_path: Path) -> None:
    memory = tmp_path / "journal.db.restarted"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory.write_text(f"{boot} {time.monotonic()}")
    bench = Bench(memory)
    bench.look(PATIENCE, turns=False)
    assert WATCHDOG not in bench.look(1, turns=False)


def test_withheld_for_a_journal_whose_task_completes_no_turn() -> None:
    bench = Bench()
    assert bench.look(PATIENCE, turns=False) == [WATCHDOG] * int(PATIENCE)
    assert WATCHDOG not in bench.look(1, turns=False)
    assert WATCHDOG in bench.look(1, turns=True)


def test_not_withheld_for_a_disk_that_hangs_until_it_hung_for_long() -> None:
    bench = Bench()
    bench.look(1)
    assert bench.look(HANGS, turns=False, busy=True) == [WATCHDOG] * int(HANGS)
    assert WATCHDOG not in bench.look(1, turns=False, busy=True)
    assert WATCHDOG in bench.look(1)


def test_never_withheld_for_a_disk_that_hung_from_the_start() -> None:
    bench = Bench(journal=None)
    assert bench.look(3 * HANGS, turns=False, busy=True) == [WATCHDOG] * int(3 * HANGS)


def test_not_withheld_because_the_loop_stood_still() -> None:
    bench = Bench()
    bench.look(1)
    bench.now += 3600.0
    assert bench.look(1, turns=False) == [WATCHDOG]


@pytest.mark.parametrize(("usec", "every"), [(None, LOOK), ("60000000", LOOK), ("2000000", 0.5)])
def test_told_at_least_four_times_as_often_as_wanted(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, every: float
) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if usec is not None:
        monkeypatch.setenv("WATCHDOG_USEC", usec)
    assert Bench().watchdog.every == every
