"""Everything that leaves the gateway: delivery over MQTT, and notices to people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import Plan
from labmon.config.secrets import SecretError
from labmon.config.site import Site
from labmon.daemon.commands import Commands
from labmon.daemon.making import Making
from labmon.daemon.reach import Unreachable, reach
from labmon.health.line import LineHealth
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event
from labmon.model.exchange import Exchange

if TYPE_CHECKING:
    from labmon.delivery.gateway import Delivery
    from labmon.mqtt.certificate import Server
    from labmon.notices.outbox import Notifier

log = logging.getLogger("labmon.daemon")

_BROKER = ("gateway.broker",)
END = 4.0
"""Seconds that a consumer may take to end before another one takes its place; each promises three."""
REMEMBERED = 1000
"""Events that are kept in memory after their commit, for the case that the journal cannot be read any more."""


class Outside:
    """Carries what the journal commits, and what it cannot commit, to whoever waits for it."""

    def __init__(self, folder: Path, site: Site, plan: Plan, health: Mapping[str, LineHealth], started: int) -> None:
        self._making = Making(folder, site, plan, health, started)
        self._ways = [f"gateway.notices.{way.id}" for way in site.notices.channels]
        self.delivery: Delivery | None = None
        self.notifier: Notifier | None = None
        self._committed: deque[Event] = deque(maxlen=REMEMBERED)
        self._connected = self._started = False
        self._early: dict[str, Exchange] = {}
        self._early_events: list[Event] = []
        """What came before the consumers were there."""
        self._for_delivery: list[Event] | None = None
        self._for_notifier: list[Event] | None = None
        """Urgent events of the time in which one consumer takes the place of another; None at any other time."""
        self._leaving: list[Delivery | Notifier] = []
        """Consumers that are ending while others take their place."""

    @property
    def site(self) -> Site:
        """What consumers are made of."""
        return self._making.site

    @staticmethod
    def load() -> None:
        """Import what the consumers are made of: a tenth of the start, which the first readings do not wait for."""
        import labmon.delivery.gateway
        import labmon.notices.lasting
        import labmon.notices.outbox  # noqa: F401

    def connect(self, pipeline: Pipeline, journal: JournalWriter, commands: Commands) -> None:
        """Make the consumers; nothing is started. A secret that cannot be read costs its own consumer, and is told."""
        self.pipeline = pipeline
        self._making.connect(pipeline, journal, commands)
        self.delivery = self._make_delivery()
        self.notifier = self._make_notifier()
        self._connected = True
        for exchange in self._early.values():
            self.live(exchange)
        self.urgent(self._early_events)
        self._early, self._early_events = {}, []

    def _make_delivery(self) -> Delivery | None:
        if self.site.mqtt is None:
            return None
        try:
            return self._making.delivery()
        except Exception as error:  # noqa: BLE001 - polling and alarms go on without it
            self._without("delivery", _BROKER, error)
            return None

    def _make_notifier(self) -> Notifier | None:
        if not self.site.notices.channels:
            return None
        try:
            return self._making.notifier()
        except Exception as error:  # noqa: BLE001 - as above
            self._without("notices", self._ways, error)
            return None

    def _without(self, what: str, alarms: Sequence[str], error: Exception) -> None:
        """Polling and alarms go on without a consumer that cannot be made or started."""
        log.error("%s: not started: %s", what, error, exc_info=None if isinstance(error, SecretError) else error)
        for alarm in alarms:
            self.pipeline.condition(alarm, True, str(error) or repr(error))

    # What the pipeline and the journal tell

    def live(self, exchange: Exchange) -> None:
        """The latest of a device."""
        if not self._connected or self._for_delivery is not None:
            self._early[exchange.layout.query] = exchange
        elif self.delivery is not None:
            self.delivery.update(exchange)

    def committed(self, first: int, last: int, events: list[tuple[int, Event]]) -> None:
        """The journal has new entries."""
        self._committed.extend(event for _, event in events)
        if self.delivery is not None:
            self.delivery.committed([event for _, event in events])
        if self._making.lasting is not None:
            self._making.lasting.committed(last)
        if events and self.notifier is not None:
            self.notifier.wake()

    def urgent(self, events: list[Event]) -> None:
        """Events that the journal does not have in time go on from memory (design rule 4)."""
        if not self._connected:
            self._early_events += events
            return
        if self._for_delivery is not None:
            self._for_delivery += events
        elif self.delivery is not None:
            self.delivery.urgent(events)
        if self._for_notifier is not None:
            self._for_notifier += events
        elif self.notifier is not None:
            self.notifier.urgent(events)

    def replaced(self) -> None:
        """The journal was set aside while running: what people had not read in it goes to them from memory."""
        if self._making.lasting is not None:
            self._making.lasting.replaced()
        events = [replace(event, journaled=False) for event in self._committed]
        if self._for_notifier is not None:
            self._for_notifier += events
        elif self.notifier is not None:
            self.notifier.urgent(events)
        self._committed.clear()

    # Another configuration

    @property
    def connected(self) -> bool:
        """Whether consumers have been made; before, they will be made of what was taken last."""
        return self._connected

    def unreachable(self, site: Site) -> str:
        """Why a configuration could not even try to reach its broker: a secret or a certificate of no use; or empty."""
        try:
            reach(site, self._making.folder)
        except Unreachable as error:
            return str(error)
        return ""

    def stale(self, site: Site) -> bool:
        """Whether anything that the site file refers to is another than when it was taken: a password, a PIN."""
        return self._making.keyring.stale(site) or self.lacks_notifier or not self.same_broker(site)

    def same_broker(self, site: Site | None = None) -> bool:
        """Whether a site's broker (this one's, if none is given) is reached as the delivery reaches it now."""
        try:
            how = reach(site or self.site, self._making.folder)
        except Unreachable:
            return False
        return how == self._making.reach and (how is None) is (self.delivery is None)

    @property
    def lacks_notifier(self) -> bool:
        """Whether there should be one, and it could not be made."""
        return bool(self.site.notices.channels) and self.notifier is None

    def take(self, site: Site, plan: Plan) -> None:
        """From here on this is what consumers are made of. Those that run go on until they are replaced."""
        self._ways = [f"gateway.notices.{way.id}" for way in site.notices.channels]
        self._making.take(site, plan)

    def reconfigured(self, lines: Iterable[str], devices: Iterable[tuple[str, str]], anew: Iterable[str]) -> None:
        """Lines, and devices by (area, id), that are no more; devices that begin anew."""
        if self.delivery is not None:
            self.delivery.reconfigured(lines, devices, anew)

    async def replace_delivery(self) -> None:
        """Another one takes the place of the delivery; its cursors are in the journal, so that nothing is lost."""
        old, self.delivery, self._making.reach = self.delivery, None, None
        events: list[Event] = []
        self._for_delivery = events
        try:
            if old is not None:
                await self._ended(old, "delivery")
            self.delivery = self._make_delivery()
            await self._start_delivery()
        finally:
            self._for_delivery = None
        latest = old.lives.latest() if old is not None else []
        for exchange in [*latest, *self._early.values()]:
            self.live(exchange)
        self._early = {}
        if self.delivery is not None:
            self.delivery.urgent(events)

    async def replace_notifier(self) -> None:
        """Another one takes the place of the notifier, behind the same cursors."""
        old, self.notifier = self.notifier, None
        events: list[Event] = []
        self._for_notifier = events
        try:
            if old is not None:
                await self._ended(old, "notices")
            self.notifier = self._make_notifier()
            self._start_notifier()
        finally:
            self._for_notifier = None
        if self.notifier is not None:
            self.notifier.urgent(events)

    async def _ended(self, old: Delivery | Notifier, what: str) -> None:
        """What takes its place is made whatever becomes of it. When everything ends meanwhile, it is ended with it."""
        self._leaving.append(old)
        try:
            async with asyncio.timeout(END):
                await old.stop()
        except Exception as error:
            log.error("%s: fault while stopping", what, exc_info=error)
        self._leaving.remove(old)

    # Life

    async def start(self) -> None:
        """Start every consumer, once; none of them needs its far end to be there, and none takes another with it."""
        if self._started:
            return
        await self._start_delivery()
        self._start_notifier()
        self._started = True

    async def _start_delivery(self) -> None:
        if self.delivery is not None:
            try:
                await self.delivery.start()
            except Exception as error:  # noqa: BLE001 - as in connect
                self._without("delivery", _BROKER, error)

    def _start_notifier(self) -> None:
        if self.notifier is not None:
            try:
                self.notifier.start()
            except Exception as error:  # noqa: BLE001 - as in connect
                self._without("notices", self._ways, error)

    async def stop(self, timeout: float) -> None:
        """End everything within `timeout` seconds, whatever the far ends do."""
        ends = [part.stop() for part in (self.delivery, self.notifier, *self._leaving) if part is not None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for result in await asyncio.gather(*ends, return_exceptions=True):
                    if isinstance(result, Exception):
                        log.error("fault while stopping", exc_info=result)

    @property
    def broker(self) -> Server | None:
        """The broker's certificate as it was seen last; None without delivery."""
        return self.delivery.broker if self.delivery is not None else None

    def behind(self) -> dict[str, int]:
        """Entries of the journal that each store has not confirmed."""
        return self.delivery.behind() if self.delivery is not None else {}
