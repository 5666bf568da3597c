"""The watch: sees the gateways through the broker, judges, and is itself seen; composition and life cycle."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import signal
import time
from pathlib import Path

from labmon.acquisition.load import Loaded
from labmon.config.secrets import SecretError, read_secret
from labmon.config.site import MqttConfig, WatchConfig
from labmon.delivery.broker import broker_settings
from labmon.health.notify import READY, STOPPING, WATCHDOG, notify, status, watchdog_interval
from labmon.model.messages import LineHealth, MessageError, Status, Stored
from labmon.model.plant import Plant
from labmon.mqtt import BrokerSettings, Connection, MessageProperties, SubscribeRefused
from labmon.mqtt.topics import Topics, client_id, last_level
from labmon.notices.words import SiteClock
from labmon.tasks.faults import faults_to
from labmon.tasks.kept import kept
from labmon.watch.gateway import Gateway, Patience
from labmon.watch.lock import Held, hold
from labmon.watch.memory import Memory
from labmon.watch.ping import Pinger
from labmon.watch.rules import BROKER, FAULT, PING, names_of, of_gateway
from labmon.watch.sight import Moment, Sight

log = logging.getLogger("labmon.watch")

TICK = 0.25
"""Seconds between two looks at the clock."""
STOP = 4.5
"""Seconds that everything together may take to stop."""
HOLDS = 60.0
"""Seconds for which a fault of a part holds as a condition: one that fails again and again is one alarm."""


class WatchNotConfigured(Exception):
    """The site file does not say what a watch needs; the text says what is missing."""


class Watch:
    """One watch over the gateways of a site. `run()` works until `stop` is set.

    Needs neither broker nor disk nor mail server to start. Raises WatchNotConfigured on making.
    """

    def __init__(self, loaded: Loaded) -> None:
        site, plan = loaded.site, loaded.plan
        if site is None or plan is None:
            raise ValueError("a site file with errors cannot be watched")
        if site.mqtt is None:
            raise WatchNotConfigured("the site file names no broker (mqtt), through which gateways are seen")
        if not site.notices.channels:
            raise WatchNotConfigured("the site file names no notice channel (notices): nobody could be told")
        self.stop = asyncio.Event()
        self._config = config = site.watch
        folder, plant = loaded.path.parent, plan.plant
        self._sight = Sight(config.offline_after / 2)
        names = config.gateways or [plant.gateway]
        self._topics = {name: Topics(f"labmon/{plant.site}/{name}") for name in names}
        self._gateways = {name: _gateway(name, config, plant, self._now()) for name in names}
        self._memory = Memory(folder, site, plant, names)
        self._connection: Connection | None = None
        self._blind = ""
        """Why there can be no connection."""
        self._where = f"{site.mqtt.host}:{site.mqtt.port}"
        try:
            settings = _settings(site.mqtt, folder)
            self._connection = Connection(settings, client_id(f"labmon-{plant.site}", "watch"))
        except SecretError as error:
            # It can still tell people that it is blind.
            log.error("watch: no connection to the broker: %s; correct it and restart labmon watch", error)
            self._blind = f"{error}; correct it and restart labmon watch"
        self._faulty, self._faulty_until = "", -math.inf
        self._pinger: Pinger | None = None
        if (ping := config.ping) is not None:
            address = functools.partial(read_secret, ping.url, folder)
            told = functools.partial(self._memory.condition, PING)
            self._pinger = Pinger(ping, address, self._well, told)

    async def run(self) -> None:
        """Watch until `stop` is set, and end within five seconds."""
        with faults_to(self._fault):
            tasks: list[asyncio.Task[None]] = []
            try:
                await self._memory.start()
                if self._connection is not None:
                    await self._look(self._connection)
                tasks.append(kept("judge", self._judge_for_ever))
                if self._pinger is not None:
                    tasks.append(kept("ping", self._pinger.run))
                names = ", ".join(self._gateways)
                log.info("watch: looks at %s", names)
                notify(READY, status(f"looks at {names}"))
                await self.stop.wait()
            finally:
                notify(STOPPING, status("stopping"))
                await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ends = [self._memory.stop()]
        if self._connection is not None:
            ends.append(self._connection.stop())
        try:
            async with asyncio.timeout(STOP):
                await asyncio.gather(*ends)
        except Exception as error:
            log.error("watch: fault while stopping", exc_info=error)
        log.info("watch: stopped")

    def _fault(self, part: str, what: str, error: BaseException | None) -> None:
        """A part failed; it is started again, and somebody has to look why."""
        log.critical("%s: %s", part, what, exc_info=error)
        self._faulty_until, self._faulty = time.monotonic() + HOLDS, f"{part}: {what}"
        self._memory.condition(FAULT, True, self._faulty)

    # What is seen

    async def _look(self, connection: Connection) -> None:
        connection.on_connect(lambda: self._sight.connected(time.monotonic()))
        connection.on_disconnect(lambda _: self._sight.lost(time.monotonic()))
        for name, topics in self._topics.items():
            gateway = self._gateways[name]
            for filter_, take in (
                (topics.status, functools.partial(self._status, name, gateway)),
                (topics.healths, functools.partial(self._health, gateway)),
                (topics.stored_by_all, functools.partial(self._stored, topics.stored_by_all, gateway)),
            ):
                try:
                    await connection.subscribe(filter_, take)
                except SubscribeRefused as error:
                    log.error("watch: %s", error)
        await connection.start()

    def _status(self, name: str, gateway: Gateway, _: str, payload: bytes, properties: MessageProperties) -> None:
        if not payload:
            return  # what was kept is removed
        try:
            said = Status.decode(payload)
        except MessageError as error:
            if not gateway.unreadable:
                log.warning("gateway %s: its status is not understood: %s", name, error)
            gateway.unreadable = str(error)
            return
        gateway.status(said, properties.retain, self._now())
        self._memory.learn(name, gateway.stores)

    def _health(self, gateway: Gateway, topic: str, payload: bytes, properties: MessageProperties) -> None:
        try:
            gateway.health(LineHealth.decode(payload), properties.retain, self._now())
        except MessageError as error:
            log.debug("%s is not understood: %s", topic, error)  # missing health is judged, this is not

    def _stored(
        self, filter_: str, gateway: Gateway, topic: str, payload: bytes, properties: MessageProperties
    ) -> None:
        try:
            Stored.decode(payload)
        except MessageError as error:
            log.debug("%s is not understood: %s", topic, error)
            return
        gateway.stored(last_level(topic, filter_) or "", properties.retain, self._now())

    def _now(self) -> Moment:
        return self._sight.at(time.monotonic(), time.time_ns())

    # What follows from it

    async def _judge_for_ever(self) -> None:
        interval, due = watchdog_interval() or math.inf, 0.0
        while True:
            self._judge()
            if (now := time.monotonic()) >= due:
                # Withheld where judging fails again and again, or the event loop hangs.
                notify(WATCHDOG)
                due = now + min(1.0, interval / 4)
            await asyncio.sleep(min(TICK, interval / 4))

    def _judge(self) -> None:
        blind = self._why_blind()
        steady = not blind and self._sight.steady(time.monotonic())
        self._memory.condition(BROKER, not steady, "" if steady else blind or "not connected for long enough")
        if steady:
            now, standing = self._now(), self._memory.standing()
            for name, gateway in self._gateways.items():
                for verdict in list(gateway.verdicts(now, names_of(name, standing))):
                    alarm = of_gateway(name, verdict.name)
                    self._memory.condition(alarm, verdict.active, verdict.detail, verdict.since)
        self._memory.condition(FAULT, time.monotonic() < self._faulty_until, self._faulty)
        self._memory.tick()

    def _why_blind(self) -> str:
        """Why nothing can be seen; empty where there is a connection."""
        if self._connection is None:
            return self._blind
        if self._connection.refused:
            return f"the broker does not let the watch read: {'; '.join(sorted(self._connection.refused.values()))}"
        if self._connection.connected:
            return ""
        names = ", ".join(self._gateways)
        return f"{self._where}: {self._connection.last_error or 'not connected yet'}; not seen: {names}"

    def _well(self) -> bool:
        """The watch sees, every gateway is heard, and nothing is to be told; but for the ping itself."""
        now = self._now()
        seen = self._sight.steady(time.monotonic()) and all(gateway.well(now) for gateway in self._gateways.values())
        return seen and self._memory.standing() <= {PING}


def _gateway(name: str, config: WatchConfig, plant: Plant, now: Moment) -> Gateway:
    patience = Patience(config.silent_after, config.offline_after, config.ingest_after)
    named_in_notice = name == plant.gateway and bool(plant.devices)
    return Gateway(now, patience, SiteClock(plant.timezone).full, name_devices=not named_in_notice)


def _settings(config: MqttConfig, folder: Path) -> BrokerSettings:
    """How the watch reaches the broker: with credentials of its own where the site gives them (it should)."""
    if config.watch_user is None:
        return broker_settings(config, config.user, config.password, folder)
    return broker_settings(config, config.watch_user, config.watch_password, folder)


async def serve(loaded: Loaded) -> int:
    """Watch until SIGTERM or SIGINT. Returns the exit code: 1 beside another watch, 2 for a lack in the site file."""
    try:
        watch = Watch(loaded)
    except WatchNotConfigured as error:
        log.error("watch: %s: %s", loaded.path, error)
        return 2
    assert loaded.site is not None
    try:
        with hold(loaded.path.parent / loaded.site.watch.path):
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, watch.stop.set)
            await watch.run()
    except Held as error:
        log.error("watch: %s; this one does not start", error)
        return 1
    return 0
