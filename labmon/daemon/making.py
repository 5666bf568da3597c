"""What the consumers of the journal are made of: a delivery, a notifier."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labmon.acquisition.pipeline import Pipeline
from labmon.acquisition.plan import Plan
from labmon.config.secrets import read_secret
from labmon.config.site import Site
from labmon.config.types import Secret
from labmon.daemon.commands import Commands
from labmon.daemon.keyring import Keyring
from labmon.daemon.reach import Reach, Unreachable, reach
from labmon.health.line import LineHealth
from labmon.journal.writer import JournalWriter

if TYPE_CHECKING:
    from labmon.delivery.gateway import Delivery
    from labmon.delivery.lockout import Lockout
    from labmon.delivery.used import UsedIds
    from labmon.model.messages import Command
    from labmon.notices.lasting import LastingJournal
    from labmon.notices.outbox import Notifier

log = logging.getLogger("labmon.daemon")


class Making:
    """Makes consumers, one after the other: of the configuration taken last, and of what those before have learned."""

    def __init__(self, folder: Path, site: Site, plan: Plan, health: Mapping[str, LineHealth], started: int) -> None:
        self.folder = folder
        self.site = site
        self.plan = plan
        self.health = health
        self.started = started
        self.keyring = Keyring(folder)
        self.reach: Reach | None = None
        """How the broker was reached when the last delivery was made."""
        self.lasting: LastingJournal | None = None
        self._intervals: dict[str, float] = {}
        self._session: int | None = None
        self._used: UsedIds | None = None
        self._lockout: Lockout | None = None
        """What no delivery that takes the place of another may forget: else a reload would let a command be played
        twice, and open the way to whoever guesses PINs."""

    def connect(self, pipeline: Pipeline, journal: JournalWriter, commands: Commands) -> None:
        """What all of them work with. Nothing is made before."""
        self.pipeline, self.journal, self.commands = pipeline, journal, commands
        self.take(self.site, self.plan)

    def take(self, site: Site, plan: Plan) -> None:
        """From here on this is what they are made of. What they hold of it is changed in place."""
        self.site, self.plan = site, plan
        self.keyring.take(site)
        devices = [device for line in plan.lines for device in line.devices]
        intervals = {d.id: max((q.every for q in d.queries), default=60.0) for d in devices}
        self._intervals.clear()
        self._intervals |= intervals

    def notifier(self) -> Notifier:
        """Notices to people, for a site that has channels; it is not started. Raises SecretError."""
        from labmon.notices.lasting import LastingJournal
        from labmon.notices.outbox import Notifier

        if self.lasting is None:
            self.lasting = LastingJournal(self.journal)
        return Notifier(
            self.plan.plant,
            self.site.notices,
            self.lasting,
            self.pipeline.engine.views,
            self._condition,
            self.pipeline.record,
            self._secret,
            users=self.site.users,
        )

    def delivery(self) -> Delivery:
        """A delivery by MQTT, for a site that has a broker; it is not started. Raises SecretError."""
        from labmon.delivery.broker import broker_settings
        from labmon.delivery.gateway import Delivery, Surroundings
        from labmon.delivery.lockout import Lockout
        from labmon.delivery.used import UsedIds

        # One number in all of a run, also where the journal, which knows a better one, was opened later.
        self._session = self._session or self.journal.session or self.started // 10**6
        self._used = self._used or UsedIds(self.journal)
        self._lockout = self._lockout or Lockout()
        config = self.site.mqtt
        assert config is not None
        around = Surroundings(
            self.journal,
            self.pipeline.engine.views,
            self._condition,
            self.pipeline.record,
            self._command,
            self.keyring.keys,
            self.health,
            self._intervals,
            pins=self.keyring.pins,
            used=self._used,
            lockout=self._lockout,
        )
        settings = broker_settings(config, config.user, config.password, self.folder)
        with contextlib.suppress(Unreachable):  # it is told when the connection is made
            self.reach = reach(self.site, self.folder)
        return Delivery(
            self.plan.plant.prefix,
            settings,
            [store.id for store in self.site.stores],
            around,
            session=self._session,
            since=self.started,
            refresh=config.status_every,
        )

    # What they tell and ask

    def _condition(self, alarm: str, active: bool, detail: str) -> None:
        """What a consumer tells. One that is being replaced may know of an alarm that is no more."""
        try:
            self.pipeline.condition(alarm, active, detail)
        except KeyError:
            log.debug("%s is no more: %s", alarm, detail)

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
