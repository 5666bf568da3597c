"""Looks whether the daemon makes progress, replaces what is stuck, and tells the service manager that all is alive.

It runs on the event loop: a loop that hangs (a driver that blocks) tells nothing, and the service manager restarts the
daemon. While the loop turns, WATCHDOG is withheld only for what a restart can mend and nothing less could:

- a part whose replacement failed too, or got stuck as well: once in SPARED seconds, for where a restart does not help
  either, the other lines shall not pay for one again and again; the alarm stays;
- the journal's machinery: its task completes no turn although the disk is asked nothing;
- one call of the disk that lasts longer than HANGS, in a daemon whose journal was open before.

A disk that hangs is no reason for a restart as long as hope is. The alarm gateway.journal tells of it after two
seconds, alarms and notices go on from memory (design rule 4), and readings wait in the buffer. A restart would lose
that buffer, and which alarms somebody has taken charge of, and no restart wakes a disk. After ten minutes it is weighed
differently: the hang may be in this process (a deadlock, a lock that is held), whoever is on duty has been told for ten
minutes, and on a busy gateway the buffer loses its oldest readings by now. So a restart is tried then, once: where the
disk hangs still, the new process never opens its journal, polls and alarms without it, and is not restarted again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from labmon.daemon.parts import LONGEST, Parts
from labmon.health.notify import WATCHDOG, notify, status, watchdog_interval

log = logging.getLogger("labmon.daemon")

LOOK = 1.0
"""Seconds between looks, and between two messages at most."""
PATIENCE = 60.0
"""Seconds that the journal's task may take for a turn in which it asks the disk nothing; its longest rest takes 30."""
HANGS = 600.0
"""Seconds that one call of the disk may last."""
SPARED = 3600.0
"""Seconds for which no second restart is asked for on account of a part; the file `<journal>.restarted` remembers."""


class Journal(Protocol):
    """What is watched of the journal."""

    @property
    def journal(self) -> str | None:
        """Id of the open journal; None while none is open."""
        ...

    @property
    def turns(self) -> int:
        """Moves with every turn of the task that writes."""
        ...

    @property
    def disk_busy(self) -> float:
        """Seconds of the disk's call under way; 0 when there is none."""
        ...


class Watchdog:
    """Looks once a second, or four times as often as the service manager wants to hear."""

    def __init__(
        self,
        parts: Parts,
        journal: Journal,
        *,
        memory: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[..., bool] = notify,
        interval: float | None = None,
    ) -> None:
        self._parts = parts
        self._journal = journal
        self._clock = clock
        self._tell = tell
        wanted = interval if interval is not None else watchdog_interval()
        self.every = LOOK if wanted is None else min(LOOK, wanted / 4)
        self.withheld = ""
        """Why the service manager is not told that all is alive; empty while it is."""
        self._memory = memory
        self._spared_until = clock() + _left(memory)
        self._turns = journal.turns
        self._still = 0.0
        self._opened = False
        self._looked = clock()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(self.every)

    def look(self) -> None:
        """Look once."""
        self._parts.look()
        why = self._journal_stuck() or self._part_stuck()
        if why != self.withheld:
            if why:
                log.critical("watchdog: %s: the service manager is to restart labmon", why)
            else:
                log.warning("watchdog: all parts make progress again")
            self._tell(status(why or "in service"))
        self.withheld = why
        if not why:
            self._tell(WATCHDOG)

    def _part_stuck(self) -> str:
        hopeless = self._parts.hopeless()
        if not hopeless or self._clock() < self._spared_until:
            return ""
        if self._memory is not None and not self.withheld:
            # In a thread, for a disk that hangs must not hold up the loop.
            threading.Thread(target=_remember, args=(self._memory,), name="remember the restart", daemon=True).start()
        return "; ".join(f"{part} makes no progress, and replacing it did not help" for part in hopeless)

    def _journal_stuck(self) -> str:
        now = self._clock()
        passed, self._looked = min(now - self._looked, LONGEST), now
        busy, turns = self._journal.disk_busy, self._journal.turns
        self._opened = self._opened or self._journal.journal is not None
        if busy:
            self._still = 0.0
            return f"the disk hangs for {HANGS:.0f} s" if busy > HANGS and self._opened else ""
        if turns != self._turns:
            self._turns, self._still = turns, 0.0
            return ""
        self._still += passed
        return f"the journal made no progress in {PATIENCE:.0f} s" if self._still > PATIENCE else ""


def _left(memory: Path | None) -> float:
    """Seconds for which no restart is to be asked for, because one was since the machine started; 0 where none was."""
    if memory is None:
        return 0.0
    with suppress(OSError, ValueError):
        boot, moment = memory.read_text().split()
        age = time.monotonic() - float(moment)
        return SPARED - age if boot == _boot() and 0 <= age < SPARED else 0.0
    return 0.0


def _remember(memory: Path) -> None:
    written = memory.with_name(f"{memory.name}.new")
    with suppress(OSError):
        written.write_text(f"{_boot()} {time.monotonic()}\n")
        written.replace(memory)  # whole or not at all: the service manager may kill at any moment


def _boot() -> str:
    """Names this run of the machine, within which all processes have one monotonic clock: it needs no right time."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
