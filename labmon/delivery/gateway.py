"""Everything of one gateway that goes over MQTT, on two connections, so that a backlog never stands before an alarm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from labmon.alarms.transitions import ACTIVE_STATES
from labmon.config.secrets import PinParameters
from labmon.delivery.alarms import AlarmNow, AlarmPublisher
from labmon.delivery.commands import CommandReceiver, Handler
from labmon.delivery.events import EventSender
from labmon.delivery.lane import Pace
from labmon.delivery.live import LivePublisher
from labmon.delivery.lockout import Lockout
from labmon.delivery.log import Journal
from labmon.delivery.pins import PinPublisher
from labmon.delivery.record import RecordSender
from labmon.delivery.status import REFRESH, Account, StatusPublisher, line_message, status_will
from labmon.delivery.used import UsedIds
from labmon.health.line import LineHealth
from labmon.model.event import Event
from labmon.model.exchange import Exchange
from labmon.mqtt import BrokerSettings, Connection
from labmon.mqtt.certificate import Server
from labmon.mqtt.topics import Topics, client_id
from labmon.tasks.kept import kept

_HEALTH_LOOK = 2.0
_NOTICES = "gateway.notices."
BROKER = "gateway.broker"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What delivery is given by the rest of the daemon. Callbacks are called in the event loop and must not block."""

    journal: Journal
    views: Callable[[], Sequence[AlarmNow]]
    """The alarms that are not normal."""
    on_condition: Callable[[str, bool, str], None]
    """(alarm, active, detail): a technical condition began or ended."""
    on_event: Callable[[Event], None]
    """Record an event that concerns no alarm."""
    handler: Handler
    keys: Mapping[str, bytes | None]
    """Keys of the users' PINs."""
    health: Mapping[str, LineHealth] = field(default_factory=dict)
    intervals: Mapping[str, float] = field(default_factory=dict)
    """Longest polling interval of each device, in seconds."""
    pins: Mapping[str, PinParameters] = field(default_factory=dict)
    """What of the users' PIN hashes is public."""
    used: UsedIds | None = None
    lockout: Lockout | None = None
    """What was learned of commands by the delivery before, when this one takes its place; None: nothing was."""


class Delivery:
    """Starts without a broker, ends within three seconds whatever the broker does, and loses nothing in between.

    `prefix` is the gateway's (model.plant.Plant.prefix), `session` a number that grows with every start of the daemon,
    `since` its start in UTC ns. Status and health are published again every `refresh` seconds.
    """

    def __init__(
        self,
        prefix: str,
        settings: BrokerSettings,
        stores: Iterable[str],
        around: Surroundings,
        *,
        session: int,
        since: int,
        pace: Pace | None = None,
        refresh: float = REFRESH,
    ) -> None:
        stores = list(stores)
        topics = Topics(prefix)
        self._around = around
        self._broker = f"broker {settings.host}:{settings.port}"
        self._refresh = refresh
        self._record_connection = Connection(settings, client_id(prefix, "record"))
        self._live_connection = Connection(
            settings, client_id(prefix, "live"), will=status_will(topics, session, since)
        )
        self.record = RecordSender(
            self._record_connection,
            topics,
            around.journal,
            stores,
            on_condition=around.on_condition,
            on_event=around.on_event,
            pace=pace,
        )
        self._stores = sorted(set(stores))
        self.status = StatusPublisher(
            self._live_connection, topics, session, since, refresh=refresh, account=self._account
        )
        self.alarms = AlarmPublisher(self._live_connection, topics, around.views)
        self.events = EventSender(self._live_connection, topics, around.journal)
        self.lives = LivePublisher(self._live_connection, topics, around.intervals)
        self.commands = CommandReceiver(
            self._live_connection,
            topics,
            around.keys,
            around.handler,
            around.on_event,
            around.journal,
            on_condition=around.on_condition,
            used=around.used,
            lockout=around.lockout,
        )
        self.pins = PinPublisher(self._live_connection, topics, around.pins)
        self._health_task: asyncio.Task[None] | None = None
        self._told_connected: bool | None = None

    @property
    def connected(self) -> bool:
        """Whether both connections to the broker stand."""
        return self._record_connection.connected and self._live_connection.connected

    @property
    def error(self) -> str:
        """Why a connection to the broker does not stand; empty while both do."""
        if self.connected:
            return ""
        return self._live_connection.last_error or self._record_connection.last_error or "not connected"

    @property
    def broker(self) -> Server:
        """The broker's certificate, as the connection for alarms saw it."""
        connection = self._live_connection
        return Server(self._broker, connection.peer_certificate, connection.peer_expired)

    async def start(self) -> None:
        """Start everything; returns at once."""
        for connection in (self._live_connection, self._record_connection):
            connection.on_connect(self._look_at_broker)
            connection.on_disconnect(lambda _reason: self._look_at_broker())
        # Status first: what a connect sets off happens in the order of these starts.
        for part in (self.status, self.alarms, self.events, self.commands, self.pins, self.lives, self.record):
            await part.start()
        for connection in (self._live_connection, self._record_connection):
            await connection.start()
        self._look_at_broker()
        self._health_task = kept("health to mqtt", self._watch_health)

    async def stop(self) -> None:
        """End; the broker is told that the daemon goes, if it listens."""
        if self._health_task is not None:
            self._health_task.cancel()
            await asyncio.gather(self._health_task, return_exceptions=True)
        parts = (self.record, self.events, self.alarms, self.commands, self.pins, self.lives)
        await asyncio.gather(*(part.stop() for part in parts))
        await self.status.stop()
        await asyncio.gather(self._live_connection.stop(0.7), self._record_connection.stop(0.7))

    def update(self, exchange: Exchange) -> None:
        """An exchange was made; it is shown live at once and delivered when the journal has it."""
        self.lives.update(exchange)

    def reconfigured(self, lines: Iterable[str], devices: Iterable[tuple[str, str]], anew: Iterable[str]) -> None:
        """These lines, and devices by (area, id), are shown no more; the devices `anew` begin anew.

        What was given as a mapping at the start (health, intervals, keys) is the daemon's to change in place.
        """
        for line in lines:
            self.status.forget(line)
        for area, device in devices:
            self.lives.remove(area, device)
            self.lives.forget(device)
        for device in anew:
            self.lives.forget(device)
        self.alarms.look()

    def committed(self, events: Iterable[Event]) -> None:
        """The journal has new entries, these events among them."""
        self.record.wake()
        self.events.wake()
        self.alarms.committed(events)

    def urgent(self, events: Sequence[Event]) -> None:
        """Events that the journal does not have in time go on from memory."""
        self.alarms.urgent(events)
        self.events.urgent(events)

    def behind(self) -> dict[str, int]:
        """Entries of the journal that each store has not confirmed."""
        return self.record.behind()

    def _account(self) -> Account:
        behind = self.record.behind()
        failing = {
            view.alarm.removeprefix(_NOTICES)
            for view in self._around.views()
            if view.alarm.startswith(_NOTICES) and view.state in ACTIVE_STATES
        }
        return Account(len(self._around.health), {store: behind.get(store) for store in self._stores}, sorted(failing))

    def _look_at_broker(self) -> None:
        if self.connected is not self._told_connected:
            self._told_connected = self.connected
            self._around.on_condition(BROKER, not self.connected, self.error)

    async def _watch_health(self) -> None:
        shown: dict[str, tuple[object, float]] = {}
        while True:
            mono, now = time.monotonic(), time.time_ns()
            for line in shown.keys() - self._around.health.keys():
                del shown[line]
            for line, health in self._around.health.items():
                message = line_message(health, mono, now)
                states = (message.state, message.detail, [(d.device, d.state, d.detail) for d in message.devices])
                before = shown.get(line)
                if before is None or before[0] != states or mono - before[1] >= self._refresh:
                    shown[line] = (states, mono)
                    self.status.update(message)
            await asyncio.sleep(min(_HEALTH_LOOK, self._refresh))
