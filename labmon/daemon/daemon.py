"""The daemon: puts the parts together, starts them, keeps them alive, and ends them within five seconds."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import time
from collections.abc import Awaitable
from datetime import date

import labmon
from labmon.acquisition.load import Loaded
from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import Plan
from labmon.alarms.engine import AlarmEngine
from labmon.config.site import Site
from labmon.daemon.clock import ClockWatch, moment
from labmon.daemon.commands import Commands
from labmon.daemon.control import AGAIN, ControlSocket
from labmon.daemon.fault_alarm import ALARM, FaultAlarm
from labmon.daemon.from_site import retention, trusted
from labmon.daemon.journal_alarm import JournalAlarm
from labmon.daemon.lines import Lines
from labmon.daemon.memory import Memory
from labmon.daemon.outside import Outside
from labmon.daemon.parts import Parts
from labmon.daemon.reload import Reload
from labmon.daemon.report import Report
from labmon.daemon.watchdog import Watchdog
from labmon.health.clock import ClockSource, kernel_clock
from labmon.health.line import LineHealth
from labmon.health.notify import READY, STOPPING, notify, status
from labmon.journal.committer import Pace
from labmon.journal.entries import Configuration
from labmon.journal.watch import Callbacks
from labmon.journal.writer import JournalWriter
from labmon.links.holder import caller
from labmon.model.event import Event, EventKind
from labmon.tasks.faults import faults_to

log = logging.getLogger("labmon.daemon")

TICK = 0.1
"""Seconds between looks at the clock for delays, silence and the ends of out of service."""
STOP = 4.0
"""Seconds that everything together may take to stop; the service manager kills after 5."""
PART = 0.5
"""Seconds of them for what is still starting, and for the lines and the local socket."""
OUTSIDE = 2.5
"""Seconds of them for what leaves the gateway: a broker, a mail server."""
LAST = 0.5
"""Seconds that the journal gets at least to write what waits."""
CERTIFICATES = "certificates"
"""Name of the part that looks at them."""


class Daemon:
    """One gateway. `run()` works until `stop` is set."""

    def __init__(self, loaded: Loaded, clock: ClockSource = kernel_clock) -> None:
        if loaded.site is None or loaded.plan is None:
            raise ValueError("a site file with errors cannot be run")
        self._hold(loaded, loaded.site, loaded.plan)
        self.stop = asyncio.Event()
        self.started = self.applied_at = time.time_ns()
        self.began = time.monotonic()
        self.started_by = self.applied_by = caller()
        self.health = {line.id: LineHealth(line.id) for line in self.plan.lines}
        self.outside = Outside(loaded.path.parent, self.site, self.plan, self.health, self.started)
        config = self.site.journal
        self.journal = JournalWriter(
            loaded.path.parent / config.path,
            Callbacks(self._committed, self.outside.urgent, lambda _: self._tell_journal(), self._journal_opened),
            pace=Pace(commit_every=config.commit_every),
            retention=retention(self.site),
            clock_trusted=lambda: self.clock is not None and self.clock.trusted,
        )
        self.memory = Memory(self.journal)
        self.parts = Parts(self.fault)
        self.reload = Reload(self)
        self.fault_alarm = FaultAlarm()
        self.clock: ClockWatch | None = None
        self._clock_source = clock
        self.control: ControlSocket | None = None
        self.journal_alarm = JournalAlarm(lambda: self.journal.health)
        self._ending = False
        self._pipeline: Pipeline | None = None
        self._journal_id: str | None = None

    def _hold(self, loaded: Loaded, site: Site, plan: Plan) -> None:
        self.loaded, self.site, self.plan, self.plant = loaded, site, plan, plan.plant
        self.configuration = hashlib.sha256(loaded.text.encode()).hexdigest()

    def adopt(self, loaded: Loaded) -> None:
        """Hold another configuration, and have everybody know its users, devices and secrets. No task is touched."""
        if loaded.site is None or loaded.plan is None:
            raise ValueError("a site file with errors cannot be run")
        self._hold(loaded, loaded.site, loaded.plan)
        self.commands.users = users = {user.id: user for user in self.site.users}
        self.commands.plant = self.plant
        if self.clock is not None:
            self.clock.reason = trusted(self.site)
            if self.clock.day is not None:  # midnight may have come since the files were read
                self.plan.mark_overdue(self.clock.day)
        if self.control is not None:
            self.control.know(users)
        self.outside.take(self.site, self.plan)

    def keep_readings(self) -> None:
        """Have the journal keep readings, and commit, as the site file says."""
        self.journal.adjust(retention(self.site), self.site.journal.commit_every)

    @property
    def pipeline(self) -> Pipeline:
        """Where readings, alarms and journal meet; there from `run` on."""
        if self._pipeline is None:
            raise RuntimeError("the daemon does not run")
        return self._pipeline

    async def run(self) -> None:
        """Start everything, wait for `stop`, end everything. Needs neither instruments nor broker nor network."""
        with faults_to(self.fault):
            beginning = asyncio.create_task(self._begin(), name="start")
            stopping = asyncio.create_task(self.stop.wait(), name="stop")
            try:
                await asyncio.wait({beginning, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    await asyncio.wait({beginning}, timeout=PART)  # a start that hangs holds up no end
                if beginning.done():
                    await beginning
                    await stopping
            finally:
                for task in (beginning, stopping):
                    task.cancel()
                await asyncio.wait({beginning, stopping}, timeout=PART)
                await self._end()

    async def _begin(self) -> None:
        await self.journal.start()
        await self._assemble()
        await self._start()
        log.info(
            "daemon: %d lines, %d devices, %d channels",
            len(self.plan.lines), len(self.plant.devices), len(self.plant.channels),
        )  # fmt: skip

    async def _assemble(self) -> None:
        saved, records, settings = await self.memory.at_start()
        engine = AlarmEngine(self.loaded.rules, self.plant, saved, mono=time.monotonic(), now=time.time_ns())
        users = {user.id: user for user in self.site.users}
        self._pipeline = pipeline = Pipeline(engine, self.journal, self.outside.live, records, settings)
        self.commands = Commands(pipeline, users, self.plant)
        self.clock = ClockWatch(pipeline, self._clock_source, trusted(self.site), self._new_day)
        self.configured(caller())
        now = time.time_ns()
        self.pipeline.record(Event(EventKind.STARTED, now, now, detail=f"labmon {labmon.__version__}", user=caller()))
        self.clock.look(*moment())  # the first reading must know
        self._tell_journal()

    def _new_day(self, day: date) -> None:
        self.plan.mark_overdue(day)

    async def _remember(self) -> None:
        self.pipeline.remember(*await self.memory.later())
        log.info("daemon: has taken up what the journal remembers")

    def _committed(self, first: int, last: int, events: list[tuple[int, Event]]) -> None:
        self.outside.committed(first, last, events)
        self.journal_alarm.committed(event for _, event in events)

    def _tell_journal(self) -> None:
        if self._pipeline is not None:
            self._pipeline.condition("gateway.journal", *self.journal_alarm.now())

    def _journal_opened(self, journal: str, trouble: str | None) -> None:
        """A new journal knows nothing: give it the states. What stood in the one before is still to be told."""
        before, self._journal_id = self._journal_id, journal
        if trouble:
            self.journal_alarm.lost(trouble)
        if self._pipeline is None:
            return
        self._pipeline.save_all()
        if before not in (None, journal):
            self.outside.replaced()

    async def _start(self) -> None:
        self.pipeline.watch(self._tell)
        self.lines = Lines(self.parts, self.pipeline, self.health)
        for plan in self.plan.lines:
            self.lines.start(plan)
        self.parts.keep("alarms", self._ticks)
        if self.clock is not None:
            self.parts.keep("clock", self.clock.run)
        if not self.memory.complete:
            self.parts.keep("alarm states", self._remember)
        await self.parts.begun()
        await self._open_socket()
        journal = self.loaded.path.parent / self.site.journal.path
        memory = journal.with_name(f"{journal.name}.restarted")
        self.parts.keep("watchdog", Watchdog(self.parts, self.journal, memory=memory).run)
        notify(READY, status("in service"))
        self.parts.keep("outside", self._go_outside)

    async def _go_outside(self) -> None:
        """Start what leaves the gateway. A fault in that costs neither a poll nor an alarm."""
        try:
            if not self.outside.connected:  # else it failed later, and people would be told everything twice
                await asyncio.to_thread(self.outside.load)
                self.outside.connect(self.pipeline, self.journal, self.commands)
            await self.outside.start()
            self.watch_certificates()
        finally:
            # What stands now stays: without it every full collection walks all channels (measured at 1000 devices:
            # polls a third of a second late).
            gc.freeze()
            gc.enable()
            self.reload.ready()

    async def _open_socket(self) -> None:
        users = {user.id: user for user in self.site.users}
        self.control = control = ControlSocket(self.loaded.path.parent / self.site.socket, users, Report(self).answer)
        try:
            await control.start()
        except OSError as error:
            log.error("control: no local socket: %s; it is tried again every %g s", error, AGAIN)
            self.parts.keep("control socket", control.start_later)

    def watch_certificates(self) -> None:
        """Have the files of certificates looked at that the site names."""
        if CERTIFICATES not in self.parts.names():
            self.parts.keep(CERTIFICATES, self._certificates)

    async def watch_other_certificates(self) -> None:
        """Other files may be named than before, or others stand under the same names: they are looked at now."""
        await self.parts.end(CERTIFICATES, PART)
        self.watch_certificates()

    async def _certificates(self) -> None:
        # Imported here: it needs what delivery is made of, which the first readings do not wait for.
        from labmon.daemon.certificates import CertificateWatch, watched

        await CertificateWatch(
            lambda: watched(self.site, self.loaded.path.parent), lambda: self.outside.broker, self.pipeline.condition
        ).run()

    def fault(self, part: str, what: str, error: BaseException | None = None) -> None:
        """A part of labmon failed, or was replaced: logged, recorded, and an alarm that names it."""
        if self._ending:
            log.error("%s: %s, while labmon ends", part, what, exc_info=error)
            return
        log.critical("%s: %s", part, what, exc_info=error)
        self.fault_alarm.fault(part, what)
        now = time.time_ns()
        event = Event(EventKind.FAULT, now, now, detail=f"{part}: {what}"[:300])
        if self._pipeline is None:  # it is still starting: the alarm comes with the first tick
            self.journal.record([event])
        else:
            self._pipeline.record(event)
            self._tell_fault()

    def _tell_fault(self) -> None:
        self.pipeline.condition(ALARM, *self.fault_alarm.now())

    async def _ticks(self) -> None:
        while True:
            self.pipeline.tick()
            self._tell_journal()
            self._tell_fault()
            await asyncio.sleep(TICK)

    def configured(self, by: str) -> None:
        """Record the configuration that all entries from here on were made under, and who applied it."""
        self.applied_by, self.applied_at = by, time.time_ns()
        drivers = {name: driver.source_text for name, driver in self.plan.drivers.items()}
        site = self.loaded.path.name
        self.journal.configure(
            Configuration(labmon.__version__, by, site, self.loaded.text, drivers, self.loaded.profiles)
        )

    def _tell(self, events: list[Event]) -> None:
        """One line in the log per change of an alarm's state."""
        for event in events:
            if event.alarm and event.state is not None:
                log.warning(
                    "alarm %s: %s, %s%s", event.alarm, event.kind.value, event.state.value if event.state else "",
                    f" at {event.value:g} {event.unit}" if event.value is not None else f" {event.detail}".rstrip(),
                )  # fmt: skip

    async def _end(self) -> None:
        began = time.monotonic()
        self._ending = True
        await _ended(self.reload.stop(), PART)
        notify(STOPPING, status("stopping"))
        ends = [self.parts.stop(PART)]
        if self.control is not None:
            ends.append(_ended(self.control.stop(), PART))
        await asyncio.gather(*ends)
        if self._pipeline is not None:
            now = time.time_ns()
            self._pipeline.record(Event(EventKind.STOPPED, now, now))
        await self.outside.stop(OUTSIDE)
        await self.journal.stop(max(LAST, STOP - (time.monotonic() - began)))
        log.info("daemon: stopped in %.1f s", time.monotonic() - began)


async def _ended(end: Awaitable[None], seconds: float) -> None:
    """What comes after has its turn, whatever becomes of this."""
    try:
        async with asyncio.timeout(seconds):
            await end
    except Exception as error:
        log.error("daemon: fault while stopping", exc_info=error)
