"""The daemon: puts the parts together, starts them, keeps them alive, and ends them within five seconds."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import labmon
from labmon.acquisition.line import Line
from labmon.acquisition.pipeline import Pipeline
from labmon.alarms.engine import AlarmEngine
from labmon.daemon.clock import ClockWatch
from labmon.daemon.commands import Commands
from labmon.daemon.control import ControlSocket
from labmon.acquisition.load import Loaded
from labmon.daemon.outside import Outside
from labmon.daemon.report import Report
from labmon.health.line import LineHealth
from labmon.journal.writer import JournalWriter
from labmon.links.opening import make_link
from labmon.model.event import Event, EventKind

log = logging.getLogger("labmon.daemon")

TICK = 0.1
"""Seconds between looks at the clock for delays, silence and the ends of out of service."""
STOP = 4.5
"""Seconds that everything together may take to stop."""
RESTART = (1.0, 5.0, 30.0)
"""Waits before a part that failed is started again."""


class Daemon:
    """One gateway. `run()` works until `stop` is set."""

    def __init__(self, loaded: Loaded) -> None:
        if loaded.site is None or loaded.plan is None:
            raise ValueError("a site file with errors cannot be run")
        self.loaded = loaded
        self.site = loaded.site
        self.plan = loaded.plan
        self.plant = loaded.plan.plant
        self.stop = asyncio.Event()
        self.started = time.time_ns()
        self.journal = JournalWriter(Path(self.site.journal.path), self.site.journal)
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Start everything, wait for `stop`, end everything. Needs neither instruments nor broker nor network."""
        await self.journal.start()
        engine = AlarmEngine(self.loaded.rules, self.plant, self.journal.alarm_states())
        self.health = {
            line.id: LineHealth(line.id, str(line.endpoint), [d.id for d in line.devices]) for line in self.plan.lines
        }
        self.outside = Outside(self)
        self.pipeline = Pipeline(engine, self.journal, self.outside.live, self.journal.latest_records())
        self.outside.connect(self.pipeline)
        self.commands = Commands(self.pipeline, {u.id: u for u in self.site.users}, self.plant)
        self.report = Report(self)
        self.control = ControlSocket(Path(self.site.socket), {u.id: u for u in self.site.users}, self.report.answer)
        self.clock = ClockWatch(self.pipeline)
        self._configured()
        try:
            await self._start()
            log.info("daemon: %d lines, %d devices, %d channels", len(self.plan.lines), len(self.plant.devices), len(self.plant.channels))
            await self.stop.wait()
        finally:
            await self._end()

    async def _start(self) -> None:
        self.pipeline.watch(self._tell)
        for plan in self.plan.lines:
            line = Line(plan, make_link(plan.endpoint, plan.framing, quiet=plan.quiet), self.pipeline, self.health[plan.id])
            self._keep(f"line {plan.id}", line.run)
        self._keep("alarms", self._ticks)
        self._keep("clock", self.clock.run)
        await self.outside.start()
        try:
            await self.control.start()
        except OSError as error:
            log.error("control: no local socket: %s", error)

    def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part for ever: one that fails is told of and started again."""

        async def keep() -> None:
            failures = 0
            while True:
                began = time.monotonic()
                try:
                    await run()
                    return
                except Exception as error:  # noqa: BLE001 - a fault in one part must not stop the others
                    failures = 0 if time.monotonic() - began > 60 else failures + 1
                    wait = RESTART[min(failures, len(RESTART) - 1)]
                    log.critical("%s: failed, starts again in %.0f s", name, wait, exc_info=error)
                    now = time.time_ns()
                    self.pipeline.record(Event(EventKind.LINE, now, now, detail=f"{name} failed: {error!r}"[:300]))
                    await asyncio.sleep(wait)

        self.tasks.add(asyncio.create_task(keep(), name=name))

    async def _ticks(self) -> None:
        while True:
            self.pipeline.tick()
            await asyncio.sleep(TICK)

    def _configured(self) -> None:
        """The configuration that all entries from here on were made under, and who started it."""
        texts = {"site": self.loaded.text}
        texts |= {f"driver {name}": driver.source_text for name, driver in self.plan.drivers.items()}
        self.journal.configure(texts, by=_starter(), version=labmon.__version__)
        now = time.time_ns()
        self.pipeline.record(Event(EventKind.STARTED, now, now, detail=f"labmon {labmon.__version__}", user=_starter()))

    def _tell(self, events: list[Event]) -> None:
        """One line in the log per change of an alarm's state."""
        for event in events:
            if event.alarm:
                log.warning(
                    "alarm %s: %s, %s%s", event.alarm, event.kind.value, event.state.value if event.state else "",
                    f" at {event.value:g} {event.unit}" if event.value is not None else f" {event.detail}".rstrip(),
                )  # fmt: skip

    async def _end(self) -> None:
        began = time.monotonic()
        await self.control.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        now = time.time_ns()
        self.pipeline.record(Event(EventKind.STOPPED, now, now))
        await self.outside.stop(max(0.5, STOP - 1.0 - (time.monotonic() - began)))
        await self.journal.stop(max(0.5, STOP - (time.monotonic() - began)))
        log.info("daemon: stopped in %.1f s", time.monotonic() - began)


def _starter() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or str(os.getuid())


async def serve(loaded: Loaded) -> int:
    """Run the daemon until SIGTERM or SIGINT. Returns the exit code."""
    daemon = Daemon(loaded)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop.set)
    await daemon.run()
    return 0
