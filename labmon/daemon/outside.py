"""Everything that leaves the gateway: delivery over MQTT, and notices to people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import Plan
from labmon.config.secrets import PinParameters, SecretError, pin_key, pin_parameters, read_secret
from labmon.config.site import Site, User
from labmon.config.types import Secret
from labmon.daemon.commands import Commands
from labmon.health.line import LineHealth
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event
from labmon.model.exchange import Exchange

if TYPE_CHECKING:
    from labmon.delivery.gateway import Delivery
    from labmon.model.messages import Command
    from labmon.mqtt.certificate import Server
    from labmon.notices.lasting import LastingJournal
    from labmon.notices.outbox import Notifier

log = logging.getLogger("labmon.daemon")

_BROKER = ("gateway.broker",)
REMEMBERED = 1000
"""Events that are kept in memory after their commit, for the case that the journal cannot be read any more."""


class Outside:
    """Carries what the journal commits, and what it cannot commit, to whoever waits for it."""

    def __init__(self, folder: Path, site: Site, plan: Plan, health: Mapping[str, LineHealth], started: int) -> None:
        self.folder = folder
        self.site = site
        self.plan = plan
        self.health = health
        self.started = started
        self._ways = [f"gateway.notices.{way.id}" for way in site.notices.channels]
        self.delivery: Delivery | None = None
        self.notifier: Notifier | None = None
        self._lasting: LastingJournal | None = None
        self._committed: deque[Event] = deque(maxlen=REMEMBERED)
        self._connected = False
        self._early: dict[str, Exchange] = {}
        self._early_events: list[Event] = []
        """What came before the consumers were there."""

    @staticmethod
    def load() -> None:
        """Import what the consumers are made of: a tenth of the start, which the first readings do not wait for."""
        import labmon.delivery.gateway
        import labmon.notices.lasting
        import labmon.notices.outbox  # noqa: F401

    def connect(self, pipeline: Pipeline, journal: JournalWriter, commands: Commands) -> None:
        """Make the consumers; nothing is started. A secret that cannot be read costs its own consumer, and is told."""
        self.commands, self.pipeline = commands, pipeline
        if self.site.mqtt is not None:
            try:
                self.delivery = self._delivery(pipeline, journal)
            except Exception as error:  # noqa: BLE001 - polling and alarms go on without it
                self._without("delivery", _BROKER, error)
        if self.site.notices.channels:
            try:
                self.notifier = self._notifier(pipeline, journal)
            except Exception as error:  # noqa: BLE001 - as above
                self._without("notices", self._ways, error)
        self._connected = True
        for exchange in self._early.values():
            self.live(exchange)
        self.urgent(self._early_events)
        self._early, self._early_events = {}, []

    def _without(self, what: str, alarms: Sequence[str], error: Exception) -> None:
        """Polling and alarms go on without a consumer that cannot be made or started."""
        log.error("%s: not started: %s", what, error, exc_info=None if isinstance(error, SecretError) else error)
        for alarm in alarms:
            self.pipeline.condition(alarm, True, str(error) or repr(error))

    def _notifier(self, pipeline: Pipeline, journal: JournalWriter) -> Notifier:
        from labmon.notices.lasting import LastingJournal
        from labmon.notices.outbox import Notifier

        self._lasting = LastingJournal(journal)
        return Notifier(
            self.plan.plant,
            self.site.notices,
            self._lasting,
            pipeline.engine.views,
            pipeline.condition,
            pipeline.record,
            self._secret,
            users=self.site.users,
        )

    def _delivery(self, pipeline: Pipeline, journal: JournalWriter) -> Delivery:
        from labmon.delivery.broker import broker_settings
        from labmon.delivery.gateway import Delivery, Surroundings

        config = self.site.mqtt
        assert config is not None
        pins = {user.id: self._pin(user) for user in self.site.users}
        around = Surroundings(
            journal,
            pipeline.engine.views,
            pipeline.condition,
            pipeline.record,
            self._command,
            {user: pin[1] if pin else None for user, pin in pins.items()},
            self.health,
            {d.id: max((q.every for q in d.queries), default=60.0) for line in self.plan.lines for d in line.devices},
            pins={user: pin[0] for user, pin in pins.items() if pin},
        )
        settings = broker_settings(config, config.user, config.password, self.folder)
        return Delivery(
            self.plan.plant.prefix,
            settings,
            [store.id for store in self.site.stores],
            around,
            session=journal.session or self.started // 10**6,
            since=self.started,
            refresh=config.status_every,
        )

    def _pin(self, user: User) -> tuple[PinParameters, bytes] | None:
        """A user's PIN: how its key is derived, and the key. One that cannot be read: no commands by MQTT."""
        if user.pin is None:
            return None
        try:
            text = read_secret(user.pin, self.folder)
            return pin_parameters(text), pin_key(text)
        except (SecretError, ValueError) as error:
            log.error("user %s: no commands by MQTT: %s", user.id, error)
            return None

    def _command(self, verb: str, command: Command) -> str:
        arguments: dict[str, Any] = {"reason": command.reason}
        for name in ("alarm", "occurrence", "device"):
            if getattr(command, name):
                arguments[name] = getattr(command, name)
        if command.until is not None:
            arguments["seconds"] = (command.until - time.time_ns()) / 1e9
        return self.commands.carry_out(verb, command.user, arguments, command.id)

    def _secret(self, secret: Secret) -> str:
        return read_secret(secret, self.folder)

    # What the pipeline and the journal tell

    def live(self, exchange: Exchange) -> None:
        """The latest of a device."""
        if not self._connected:
            self._early[exchange.layout.query] = exchange
        elif self.delivery is not None:
            self.delivery.update(exchange)

    def committed(self, first: int, last: int, events: list[tuple[int, Event]]) -> None:
        """The journal has new entries."""
        self._committed.extend(event for _, event in events)
        if self.delivery is not None:
            self.delivery.committed([event for _, event in events])
        if self._lasting is not None:
            self._lasting.committed(last)
        if events and self.notifier is not None:
            self.notifier.wake()

    def urgent(self, events: list[Event]) -> None:
        """Events that the journal does not have in time go on from memory (design rule 4)."""
        if not self._connected:
            self._early_events += events
            return
        if self.delivery is not None:
            self.delivery.urgent(events)
        if self.notifier is not None:
            self.notifier.urgent(events)

    def replaced(self) -> None:
        """The journal was set aside while running: what people had not read in it goes to them from memory."""
        if self.notifier is not None and self._lasting is not None:
            self._lasting.replaced()
            self.notifier.urgent([replace(event, journaled=False) for event in self._committed])
        self._committed.clear()

    # Life

    async def start(self) -> None:
        """Start every consumer; none of them needs its far end to be there, and none takes another with it."""
        if self.delivery is not None:
            try:
                await self.delivery.start()
            except Exception as error:  # noqa: BLE001 - as in connect
                self._without("delivery", _BROKER, error)
        if self.notifier is not None:
            try:
                self.notifier.start()
            except Exception as error:  # noqa: BLE001 - as in connect
                self._without("notices", self._ways, error)

    async def stop(self, timeout: float) -> None:
        """End everything within `timeout` seconds, whatever the far ends do."""
        ends = [part.stop() for part in (self.delivery, self.notifier) if part is not None]
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
