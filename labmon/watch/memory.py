"""Alarms of the watch with their journal and their notices: a kill -9 neither repeats nor forgets anything."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from labmon.acquisition.pipeline import Pipeline
from labmon.alarms.engine import AlarmEngine
from labmon.alarms.view import AlarmView
from labmon.config.secrets import read_secret
from labmon.config.site import Site
from labmon.journal.committer import Pace
from labmon.journal.errors import JournalUnavailable
from labmon.journal.watch import Callbacks
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event, EventKind
from labmon.model.plant import Plant
from labmon.notices.lasting import LastingJournal
from labmon.notices.outbox import Notifier
from labmon.watch.rules import JOURNAL, make_rules, stores_in

log = logging.getLogger("labmon.watch")

READ = 2.0
"""Seconds that the watch may wait at its start for what the journal remembers; what comes later is taken up late."""
_LOOK = 0.1
_COMMIT = 0.1
"""Seconds: little is written here, and soon written means that nobody is told twice."""
_REMEMBERED = 1000
"""Events kept in memory after their commit, for the case that the journal is damaged while in use."""


class Memory:
    """Takes conditions; raises, journals and tells. Needs neither the disk nor a mail server to work."""

    def __init__(self, folder: Path, site: Site, plant: Plant, gateways: Collection[str]) -> None:
        self._site = site
        self._plant = plant
        self._stores: dict[str, set[str]] = {gateway: set() for gateway in gateways}
        self._told: dict[str, tuple[bool, str, int | None]] = {}
        self._journal_id: str | None = None
        self._committed_events: deque[Event] = deque(maxlen=_REMEMBERED)
        self._recall: asyncio.Task[None] | None = None
        self._journal = JournalWriter(
            folder / site.watch.path,
            Callbacks(self._committed, self._urgent, on_open=self._opened),
            pace=Pace(commit_every=_COMMIT),
        )
        self._lasting = LastingJournal(self._journal)
        self._pipeline = Pipeline(self._engine({}), self._journal, lambda _: None)
        self._pipeline.watch(_log)
        self._notifier = Notifier(
            plant,
            # Nobody has an account where a watch may stand: its alarms end by themselves.
            site.notices.model_copy(update={"acknowledge": ""}),
            self._lasting,
            self._views,
            self.condition,
            self._pipeline.record,
            lambda secret: read_secret(secret, folder),
            users=site.users,
            origin="watch",
            teller=f"labmon watch on {socket.gethostname()}",
        )

    async def start(self) -> None:
        """Take up what the last run left, and begin to tell."""
        await self._journal.start()
        try:
            async with asyncio.timeout(READ):
                self._take_up(await self._journal.alarm_states())
        except (JournalUnavailable, TimeoutError) as error:
            log.error("watch: starts without what its journal remembers: %s", str(error) or "the disk is slow")
            self._recall = asyncio.create_task(self._take_up_late(), name="watch memory")
        self._note(EventKind.STARTED)
        self._notifier.start()

    async def stop(self) -> None:
        """End within four seconds, whatever disk and servers do; what waits is told after the next start."""
        if self._recall is not None:
            self._recall.cancel()
            await asyncio.gather(self._recall, return_exceptions=True)
        self._note(EventKind.STOPPED)
        await self._notifier.stop()
        await self._journal.stop(1.0)

    # What is told to it

    def condition(self, alarm: str, active: bool, detail: str, since: int | None = None) -> None:
        """A condition as it is; telling it again costs nothing."""
        self._told[alarm] = (active, detail, since)
        self._pipeline.condition(alarm, active, detail, since)

    def learn(self, gateway: str, stores: Collection[str]) -> None:
        """A gateway delivers to these stores; each is watched from now on."""
        if set(stores) <= self._stores[gateway]:
            return
        self._stores[gateway] |= set(stores)
        self._renew()

    def tick(self) -> None:
        """Let the clock have its say, and look after the disk."""
        health = self._journal.health
        self.condition(JOURNAL, health.state != "ok", health.reason)
        self._pipeline.tick()

    def standing(self) -> set[str]:
        """The alarms that stand."""
        return {view.alarm for view in self._views()}

    # Inside

    def _views(self) -> list[AlarmView]:
        return self._pipeline.engine.views()

    def _engine(self, saved: dict[str, bytes]) -> AlarmEngine:
        rules = make_rules(self._site.watch, self._site.notices, self._stores)
        return AlarmEngine(rules, self._plant, saved, mono=time.monotonic(), now=time.time_ns())

    def _renew(self) -> None:
        """An engine with other rules and the same states."""
        self._pipeline.tick()
        self._pipeline.engine = self._engine(self._pipeline.engine.states())
        for alarm, told in self._told.items():
            self._pipeline.condition(alarm, *told)

    def _take_up(self, saved: dict[str, bytes]) -> None:
        for gateway, stores in stores_in(saved, self._stores).items():
            self._stores[gateway] |= stores
        self._renew()
        self._pipeline.remember(saved)

    async def _take_up_late(self) -> None:
        while True:
            try:
                saved = await self._journal.alarm_states()
                break
            except JournalUnavailable:
                await asyncio.sleep(_LOOK)
        self._take_up(saved)
        log.info("watch: has taken up what its journal remembers")

    def _note(self, kind: EventKind) -> None:
        now = time.time_ns()
        self._pipeline.record(Event(kind, now, now, detail="labmon watch"))

    def _committed(self, first: int, last: int, events: list[tuple[int, Event]]) -> None:
        self._committed_events.extend(event for _, event in events)
        self._lasting.committed(last)
        if events:
            self._notifier.wake()

    def _urgent(self, events: list[Event]) -> None:
        self._notifier.urgent(events)

    def _opened(self, journal: str, trouble: str | None) -> None:
        """A new journal knows nothing: give it the states. What was still to be told of goes on from memory."""
        before, self._journal_id = self._journal_id, journal
        self._pipeline.save_all()
        if before not in (None, journal):
            self._lasting.replaced()
            self._notifier.urgent([replace(event, journaled=False) for event in self._committed_events])
            self._committed_events.clear()


def _log(events: list[Event]) -> None:
    for event in events:
        if event.alarm and event.state is not None:
            log.warning("alarm %s: %s %s", event.alarm, event.kind.value, event.detail)
