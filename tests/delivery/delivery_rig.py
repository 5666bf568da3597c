"""A gateway without instruments: a real journal, a real broker, and somebody at the far end who stores or does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.mosquitto import Mosquitto

from labmon.alarms.errors import CommandRefused
from labmon.delivery.gateway import Delivery, Surroundings
from labmon.delivery.lane import Pace as SendPace
from labmon.delivery.record import RecordSender
from labmon.health.line import LineHealth
from labmon.journal.committer import Pace
from labmon.journal.watch import Callbacks
from labmon.journal.writer import JournalWriter
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.messages import Command, RecordRange, Stored
from labmon.model.reading import Reading
from labmon.mqtt import BrokerSettings, Connection, MessageProperties, MqttError
from labmon.mqtt.topics import Topics

T = 1_763_800_000_000_000_000
PREFIX = "labmon/north/gw-1"
TOPICS = Topics(PREFIX)
QUICK: dict[str, Any] = {"backoff": (0.02, 0.1), "stall": 2.0, "connect_timeout": 3.0}
PACE = SendPace(resend_first=0.1, resend_most=0.3, range_entries=20)


def broker_settings(broker: Mosquitto, **changed: Any) -> BrokerSettings:
    return BrokerSettings(broker.host, broker.port, **(QUICK | changed))


def layout(device: str = "incubator-1", query: str = "live", channels: int = 3) -> Layout:
    return Layout(
        f"{device}/{query}",
        tuple(
            Column(f"{device}.{query}-{n}", "room-1", device, f"{query}-{n}", "temperature", "Cel")
            for n in range(channels)
        ),
    )


LAYOUT = layout()


def exchange(number: int, of: Layout = LAYOUT) -> Exchange:
    """Exchange number `number`: its values say which it is; every seventh failed."""
    time = T + number * 10**9
    readings = [
        Reading(c.key, time, time, None, "silent")
        if number % 7 == 6
        else Reading(c.key, time, time, number + n / 10, None)
        for n, c in enumerate(of.columns)
    ]
    return Exchange(of, time, time, readings)


Stored_ = dict[tuple[str, int], tuple[float | None, str | None]]


def expected(numbers: Any, of: Layout = LAYOUT) -> Stored_:
    """What a store must hold after these exchanges."""
    return {(r.channel, r.time): (r.value, r.reason) for number in numbers for r in exchange(number, of).readings}


class Ingest:
    """Another process at the far end, with a store. What it answers can be changed while it runs."""

    def __init__(self, broker: Mosquitto, store: str) -> None:
        self.store = store
        self.connection = Connection(broker_settings(broker), f"ingest-{store}")
        self.rows: Stored_ = {}
        self.ranges: list[RecordRange] = []
        self.answer: Callable[[RecordRange], Stored | None] = self.confirm

    @staticmethod
    def confirm(record: RecordRange) -> Stored | None:
        return Stored(record.journal, record.first, record.last)

    @staticmethod
    def silent(record: RecordRange) -> Stored | None:
        return None

    async def say(self, stored: Stored | bytes, store: str | None = None) -> None:
        payload = stored if isinstance(stored, bytes) else stored.encode()
        with contextlib.suppress(MqttError):
            await self.connection.publish(TOPICS.stored(store or self.store), payload)

    async def take(self, topic: str, payload: bytes, _: MessageProperties) -> None:
        assert topic == TOPICS.record
        record = RecordRange.decode(payload)
        self.ranges.append(record)
        answer = self.answer(record)
        if answer is None:
            return
        if answer.error is None:
            refused = {seq for seq, _ in answer.refused}
            for entry in record.entries:
                if entry.seq not in refused:
                    for column, value, reason in zip(entry.columns, entry.values, entry.reasons, strict=True):
                        self.rows[record.channels[column].key, entry.time] = value, reason
        await self.say(answer)

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [(record.first, record.last) for record in self.ranges]


@contextlib.asynccontextmanager
async def ingest(broker: Mosquitto, store: str = "influx") -> AsyncIterator[Ingest]:
    """An ingest that is there (when the broker is)."""
    one = Ingest(broker, store)
    await one.connection.subscribe(TOPICS.record, one.take)
    async with one.connection:
        if broker.running:
            await asyncio.wait_for(one.connection.wait_connected(), 5)
        yield one


class Gateway:
    """A journal with a record sender."""

    def __init__(self, path: Path, broker: Mosquitto, stores: list[str], pace: SendPace) -> None:
        self.conditions: list[tuple[str, bool, str]] = []
        self.events: list[Event] = []
        self.connection = Connection(broker_settings(broker), "gateway-record")
        self.journal = JournalWriter(
            path, Callbacks(on_commit=lambda *_: self.sender.wake()), pace=Pace(commit_every=0.02, retry_first=0.02)
        )
        self.sender = RecordSender(
            self.connection,
            TOPICS,
            self.journal,
            stores,
            on_condition=lambda *told: self.conditions.append(told),
            on_event=self.events.append,
            pace=pace,
        )

    @property
    def active(self) -> set[str]:
        """Conditions that are active."""
        now = {alarm: active for alarm, active, _ in self.conditions}
        return {alarm for alarm, active in now.items() if active}

    def poll(self, numbers: Any, of: Layout = LAYOUT) -> None:
        """These exchanges are made."""
        for number in numbers:
            self.journal.append(exchange(number, of))
        self.journal.flush()

    async def saved(self, store: str = "influx") -> int:
        """The cursor on the disk."""
        return await self.journal.cursor(f"record.{store}")

    async def delivered(self, store: str = "influx") -> bool:
        """Whether the cursor on the disk stands at the end."""
        journal = self.journal
        return journal.backlog == 0 < journal.last_seq and await self.saved(store) == journal.last_seq


@contextlib.asynccontextmanager
async def gateway(
    path: Path, broker: Mosquitto, *, stores: tuple[str, ...] = ("influx",), pace: SendPace = PACE
) -> AsyncIterator[Gateway]:
    """A gateway that runs."""
    one = Gateway(path / "journal.db", broker, list(stores), pace)
    await one.journal.start()
    try:
        await one.sender.start()
        async with one.connection:
            try:
                yield one
            finally:
                await one.sender.stop()
    finally:
        await one.journal.stop()


@dataclass
class Alarm:
    """An alarm that is not normal, as the engine would show it."""

    alarm: str
    state: AlarmState = AlarmState.UNACK
    occurrence: str = "occ-1"
    alarm_class: AlarmClass = AlarmClass.ACTION
    since: int = T
    area: str = "room-1"
    line: str = "line-1"
    device: str = "incubator-1"
    channel: str = "co2"
    value: float | None = 6.5
    unit: str = "%"
    limit: float | None = 6.0
    direction: str = "high"
    measured: bool = True
    detail: str = ""


class Listener:
    """Somebody who looks: everything that was published, and what the broker holds of each topic now."""

    def __init__(self, broker: Mosquitto) -> None:
        self.connection = Connection(broker_settings(broker), "listener")
        self.messages: list[tuple[str, bytes, bool]] = []

    def take(self, topic: str, payload: bytes, properties: MessageProperties) -> None:
        self.messages.append((topic, payload, properties.retain))

    def of(self, topic: str) -> list[bytes]:
        return [payload for at, payload, _ in self.messages if at == topic]

    def last(self, topic: str, kind: Any) -> Any:
        """The last message of a topic, decoded; None when there was none."""
        payloads = self.of(topic)
        return kind.decode(payloads[-1]) if payloads and payloads[-1] else None


@contextlib.asynccontextmanager
async def listener(broker: Mosquitto, filter_: str = f"{PREFIX}/#") -> AsyncIterator[Listener]:
    one = Listener(broker)
    await one.connection.subscribe(filter_, one.take)
    async with one.connection:
        if broker.running:
            await asyncio.wait_for(one.connection.wait_connected(), 5)
        yield one


async def held(broker: Mosquitto, topic: str) -> dict[str, bytes]:
    """What the broker holds of a topic or filter, told to somebody new."""
    found: dict[str, bytes] = {}
    done = asyncio.Event()

    def take(at: str, payload: bytes, properties: MessageProperties) -> None:
        if at == "end":
            done.set()
        elif properties.retain:
            found[at] = payload

    async with Connection(broker_settings(broker), "newcomer") as connection:
        await asyncio.wait_for(connection.wait_connected(), 5)
        await connection.subscribe(topic, take)
        await connection.subscribe("end", take)
        await connection.publish("end", b"x")
        await asyncio.wait_for(done.wait(), 5)
    return found


class House:
    """A daemon without lines: journal, delivery, and alarms that are what the test says."""

    def __init__(
        self, path: Path, broker: Mosquitto, keys: Mapping[str, bytes | None], session: int, pins: Any
    ) -> None:
        self.alarms: dict[str, Alarm] = {}
        self.conditions: list[tuple[str, bool, str]] = []
        self.orders: list[tuple[str, Command]] = []
        self.refuse: str | None = None
        self.health: dict[str, LineHealth] = {}
        self.journal = JournalWriter(
            path,
            Callbacks(on_commit=lambda first, last, events: self.delivery.committed([e for _, e in events])),
            pace=Pace(commit_every=0.02, retry_first=0.02),
        )
        self.delivery = Delivery(
            PREFIX,
            broker_settings(broker),
            ["influx"],
            Surroundings(
                self.journal,
                lambda: list(self.alarms.values()),
                lambda *told: self.conditions.append(told),
                self.record,
                self.order,
                keys,
                self.health,
                pins=pins if pins is not None else {},
            ),
            session=session,
            since=T,
            pace=PACE,
        )

    def record(self, *events: Event) -> None:
        self.journal.record(events)
        self.journal.flush()

    def order(self, verb: str, command: Command) -> str:
        self.orders.append((verb, command))
        detail = f"refused: {self.refuse}" if self.refuse else "done"
        self.record(Event(EventKind.COMMAND, T, T, detail, user=command.user, command=verb, command_id=command.id))
        if self.refuse:
            raise CommandRefused(self.refuse)
        return "acknowledged"

    def poll(self, made: Exchange) -> None:
        self.journal.append(made)
        self.delivery.update(made)

    async def recorded(self) -> list[Event]:
        return [event for _, event in await self.journal.events_after(0, 1000)]


@contextlib.asynccontextmanager
async def house(
    path: Path, broker: Mosquitto, keys: Mapping[str, bytes | None] | None = None, session: int = 17, pins: Any = None
) -> AsyncIterator[House]:
    one = House(path / "journal.db", broker, keys or {}, session, pins)
    await one.journal.start()
    try:
        await one.delivery.start()
        try:
            yield one
        finally:
            await one.delivery.stop()
    finally:
        await one.journal.stop()
