"""Another site file for the running daemon: read beside the polling, checked as at the start, applied line by line.

Until everything is known to be right nothing is touched. Lines that are the same go on in their tasks, on their grid
and over their open connections. What fails before the alarms have taken the new configuration leaves the old one in
force, with every line polled; what fails after leaves the new one in force, and is told. There is nothing between.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labmon.acquisition.difference import Difference, compare, kept
from labmon.acquisition.load import Loaded, load
from labmon.acquisition.plan import Plan
from labmon.alarms.errors import CommandRefused
from labmon.config.site import Role, Site
from labmon.daemon.beside import beside
from labmon.daemon.reloaded import Outcome, ended, lines_of, rows_of
from labmon.health.notify import READY, notify, reloading, status
from labmon.journal.errors import JournalUnavailable
from labmon.model.event import Event, EventKind

if TYPE_CHECKING:
    from labmon.daemon.daemon import Daemon

log = logging.getLogger("labmon.reload")

VERB = "reload"
WHO: frozenset[Role] = frozenset(("engineer",))
"""Who may order it on the local socket, beside root."""
SIGNAL = "SIGHUP"
"""Named as whoever applied it where a signal asked for it: it does not say who sent it."""

GOES_ON = "the configuration of before goes on"
PATIENCE = 3.0
"""Seconds that the disk gets for a cursor to be dropped."""


class Reload:
    """Has the daemon take its files anew. One at a time; none before it has started, none while it stops."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._ready = asyncio.Event()
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._stopping = False

    def ready(self) -> None:
        """The daemon has started."""
        self._ready.set()

    def signalled(self) -> None:
        """SIGHUP came. What becomes of it is in the log and in the journal."""
        if not self._stopping:
            self._begin(SIGNAL)

    async def order(self, user: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What `labmon reload` asks for; the answer as Outcome.to_dict. Raises CommandRefused.

        It goes on to its end also when whoever asked has gone.
        """
        by = self._allowed(user, str(arguments.get("login", "")))
        self._same_file(by, str(arguments.get("site", "")))
        if self._stopping:
            raise CommandRefused("the daemon is stopping")
        task = self._begin(by)
        try:
            return (await asyncio.shield(task)).to_dict()
        except asyncio.CancelledError:
            if task.cancelled():
                raise CommandRefused("the daemon is stopping") from None
            raise

    async def stop(self) -> None:
        """Take no more, and break off the one under way: everything ends now."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ who and which

    def _allowed(self, user: str, login: str) -> str:
        known = self._daemon.commands.users.get(user)
        if known is not None and known.role in WHO:
            return user
        if login == "root":
            return login
        why = f"unknown user {user or login}" if known is None else f"{user} is {known.role}"
        self._note(user or login, f"refused: {why}")
        raise CommandRefused(f"{why}; {VERB} is for {', '.join(sorted(WHO))}, and for root")

    def _same_file(self, by: str, site: str) -> None:
        mine = self._daemon.loaded.path.absolute()
        if site and Path(os.path.realpath(site)) != Path(os.path.realpath(mine)):
            why = f"this daemon runs {mine}; another site file needs a restart"
            self._note(by, f"refused: {why}")
            raise CommandRefused(why)

    def _note(self, by: str, detail: str) -> None:
        now = time.time_ns()
        self._daemon.pipeline.record(Event(EventKind.COMMAND, now, now, detail=detail, user=by, command=VERB))

    # ------------------------------------------------------------------ one reload

    def _begin(self, by: str) -> asyncio.Task[Outcome]:
        task = asyncio.create_task(self._run(by), name=f"reload by {by}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, by: str) -> Outcome:
        await self._ready.wait()
        async with self._one:
            notify(reloading(), status(f"reload by {by}"))
            try:
                outcome = await self._try(by)
            finally:
                notify(READY, status("in service"))
        outcome.configuration = self._daemon.configuration
        if outcome.state != "applied":  # else it stands in the journal already
            self._note(by, outcome.detail)
        level = {"applied": logging.INFO, "unchanged": logging.INFO, "failed": logging.CRITICAL}
        for row in [*outcome.errors, *outcome.rows]:
            log.log(level.get(outcome.state, logging.ERROR), "reload by %s: %s: %s", by, outcome.state, row)
        return outcome

    async def _try(self, by: str) -> Outcome:
        old = self._daemon.loaded
        try:
            new, change = await beside(lambda: _read(old))
            if change is None:
                return _invalid(new)
            outcome = self._refusal(change, new) or await self._apply(old, new, change, by)
        except Exception as error:  # noqa: BLE001 - it is told, and the daemon goes on
            self._daemon.fault(VERB, f"failed: {error!r}", error)
            return Outcome("failed", [f"fault in labmon ({type(error).__name__}); {GOES_ON}"])
        outcome.warnings = [str(warning) for warning in new.warnings]
        if self._daemon.outside.connected:
            # Also when nothing has changed: renewed certificates stand in files of the same names.
            steps = _Steps(self._daemon.fault, outcome)
            await steps.wait("certificates", self._daemon.watch_other_certificates())
        return outcome

    def _refusal(self, change: Difference, new: Loaded) -> Outcome | None:
        """Why a sound configuration cannot be applied, before anything is; None when it can."""
        if change.restart:
            rows = [f"only a restart can change {what}" for what in change.restart]
            return Outcome("refused", [*rows, f"nothing was applied; {GOES_ON}"])
        outside = self._daemon.outside
        if why := outside.unreachable(_site(new)):
            # Where it is so already nothing gets worse.
            return Outcome("refused", [why, f"nothing was applied; {GOES_ON}"]) if outside.delivery else None
        if not (change or change.texts or outside.stale(_site(new))):
            return Outcome("unchanged", ["nothing has changed"])
        return None

    async def _apply(self, old: Loaded, new: Loaded, change: Difference, by: str) -> Outcome:
        daemon, lines = self._daemon, self._daemon.lines
        outcome = Outcome("applied", rows_of(change, old, new, daemon.outside.behind()), lines=lines_of(change))
        ending = [plan for plan in daemon.plan.lines if plan.id in {*change.lines.changed, *change.lines.removed}]
        try:
            # All of them before any begins: a port may go from one line to another.
            for fault in await asyncio.gather(*(lines.end(p.id) for p in ending), return_exceptions=True):
                if fault is not None:
                    raise fault
            now = time.time_ns()
            events = daemon.pipeline.engine.reconfigure(change.rules, _plan(new).plant, by, time.monotonic(), now)
        except Exception:
            for plan in ending:
                try:
                    lines.start(plan)
                except Exception as error:  # noqa: BLE001 - the others are to be polled
                    daemon.fault(VERB, f"line {plan.id} is not polled any more: {error!r}; restart labmon", error)
            lines.arrange([plan.id for plan in daemon.plan.lines])
            raise
        # From here on the new configuration is in force.
        outcome.rows += ended(events)
        told = Event(EventKind.CONFIGURED, now, now, detail=outcome.detail, user=by)
        steps = _Steps(daemon.fault, outcome)
        steps.do("what the daemon holds of it", lambda: daemon.adopt(new))
        steps.do("its record in the journal", lambda: daemon.configured(by))
        steps.do("the alarms that it ended", lambda: daemon.pipeline.command([told, *events]))
        for plan in daemon.plan.lines:
            if plan.id not in change.lines.same:
                steps.do(f"line {plan.id}", partial(lines.start, plan))
        lines.arrange([plan.id for plan in daemon.plan.lines])
        if change.sections & {"journal", "stores"}:
            steps.do("the journal's retention", daemon.keep_readings)
        await self._outside(change, old, new, steps)
        gc.freeze()  # as after the start: what stands now stays
        return outcome

    async def _outside(self, change: Difference, old: Loaded, new: Loaded, steps: _Steps) -> None:
        """Delivery and notices: told what is gone, and replaced where they are to be made of something else."""
        outside, plan, lines = self._daemon.outside, _plan(new), change.lines
        if not outside.connected:
            return  # what is made then is made of the new configuration
        anew = [device.id for line in plan.lines if line.id in lines.changed for device in line.devices]
        tell = partial(outside.reconfigured, lines.removed, change.devices_gone)
        steps.do("what is shown of it", partial(tell, anew))
        before, after = ({store.id for store in _site(loaded).stores} for loaded in (old, new))
        waiting = []
        if before != after or not outside.same_broker():
            waiting.append(steps.wait("delivery", outside.replace_delivery()))
        if change.plant or change.sections & {"users", "notices"} or outside.lacks_notifier:
            waiting.append(steps.wait("notices", outside.replace_notifier()))
        await asyncio.gather(*waiting)
        if waiting:
            steps.do("what is shown of it", partial(tell, ()))
        for store in sorted(before - after):
            await steps.wait(f"the cursor of store {store}", self._drop(f"record.{store}"))

    async def _drop(self, cursor: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._daemon.journal.drop_cursor(cursor)
        except (JournalUnavailable, TimeoutError) as error:
            # Retention does not ask for it any more.
            log.warning("cursor %s is not dropped yet: %s", cursor, str(error) or "the disk is slow")


class _Steps:
    """What is done one after the other: a fault in one of them is told, and keeps none of the others from its turn."""

    def __init__(self, fault: Callable[[str, str, BaseException | None], None], outcome: Outcome) -> None:
        self._fault = fault
        self._outcome = outcome

    def do(self, what: str, step: Callable[[], None]) -> None:
        """Do it now."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - it is told
            self._failed(what, error)

    async def wait(self, what: str, step: Awaitable[None]) -> None:
        """Do it and wait for its end."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 - it is told
            self._failed(what, error)

    def _failed(self, what: str, error: Exception) -> None:
        self._outcome.state = "failed"
        self._outcome.rows.append(
            f"fault in labmon: {what} ({type(error).__name__}); "
            "the new configuration is in force but for that: restart labmon"
        )
        try:
            self._fault(VERB, f"{what} failed: {error!r}", error)
        except Exception:
            log.exception("%s failed (%r), which cannot be told", what, error)


def _read(old: Loaded) -> tuple[Loaded, Difference | None]:
    """The files as they are now, and what differs; None where they have errors."""
    new = load(old.path)
    if new.errors:
        return new, None
    change = compare(old, new)
    plan = _plan(new)
    plan.lines = kept(_plan(old), plan, change.lines)
    return new, change


def _invalid(new: Loaded) -> Outcome:
    count = len(new.errors)
    rows = [f"{count} error{'' if count == 1 else 's'}; {GOES_ON}"]
    return Outcome("invalid", rows, [str(error) for error in new.errors], [str(warning) for warning in new.warnings])


def _site(loaded: Loaded) -> Site:
    if loaded.site is None:
        raise ValueError("a site file with errors")
    return loaded.site


def _plan(loaded: Loaded) -> Plan:
    if loaded.plan is None:
        raise ValueError("a site file with errors")
    return loaded.plan
