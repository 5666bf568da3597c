"""What a subscriber at the broker sees and sends."""

from __future__ import annotations

from types import TracebackType

from servers.mosquitto import Mosquitto

from labmon.model.messages import AlarmMessage, Command, EventMessage, Reply
from labmon.mqtt import BrokerSettings, Connection
from labmon.mqtt.topics import Topics, client_id

PREFIX = "labmon/lab/gw-1"


class Listener:
    """`async with Listener(broker)`: alarms by id (their states in order), events, replies by command id."""

    def __init__(self, broker: Mosquitto) -> None:
        self.topics = Topics(PREFIX)
        self.connection = Connection(
            BrokerSettings(broker.host, broker.port, backoff=(0.02, 0.1)), client_id(PREFIX, "test")
        )
        self.alarms: dict[str, list[AlarmMessage | None]] = {}
        """None: what was retained has been removed."""
        self.events: list[EventMessage] = []
        self.replies: dict[str, list[Reply]] = {}

    async def __aenter__(self) -> Listener:
        await self.connection.subscribe(self.topics.alarms, self._alarm)
        await self.connection.subscribe(self.topics.event, self._event)
        await self.connection.subscribe(f"{PREFIX}/reply/+", self._reply)
        await self.connection.start()
        await self.connection.wait_connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.connection.stop()

    def state(self, alarm: str) -> str | None:
        """State of an alarm as last told; None where none is retained."""
        told = self.alarms.get(alarm, [None])[-1]
        return None if told is None else told.state.value

    async def send(self, verb: str, command: Command) -> None:
        await self.connection.publish(self.topics.command(verb), command.encode())

    def _alarm(self, topic: str, payload: bytes, _: object) -> None:
        name = topic.rpartition("/")[2]
        self.alarms.setdefault(name, []).append(AlarmMessage.decode(payload) if payload else None)

    def _event(self, topic: str, payload: bytes, _: object) -> None:
        self.events.append(EventMessage.decode(payload))

    def _reply(self, topic: str, payload: bytes, _: object) -> None:
        reply = Reply.decode(payload)
        assert topic.endswith(reply.id)
        self.replies.setdefault(reply.id, []).append(reply)
