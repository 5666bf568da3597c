"""A gateway's side of the `stored` protocol, small: sends ranges, repeats what is not confirmed, notes the answers."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from servers.mosquitto import Mosquitto

from labmon.model.messages import RecordRange, Stored
from labmon.mqtt import BrokerSettings, Connection, NotConnected
from labmon.mqtt.topics import Topics, client_id


def settings(broker: Mosquitto, user: str | None = None, password: str | None = None) -> BrokerSettings:
    return BrokerSettings(broker.host, broker.port, user=user, password=password, backoff=(0.02, 0.1))


class Gateway:
    """`async with Gateway(broker, "lab") as gateway: gateway.send(range)`; answers stand in `answers`."""

    def __init__(
        self,
        broker: Mosquitto,
        site: str,
        name: str = "gw-1",
        *,
        repeat: float = 0.3,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self.topics = Topics(f"labmon/{site}/{name}")
        self.connection = Connection(settings(broker, user, password), client_id(self.topics.prefix, "test"))
        self.answers: list[tuple[str, Stored]] = []
        self.waiting: dict[tuple[str, int, int], RecordRange] = {}
        self._repeat = repeat
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gateway:
        await self.connection.subscribe(self.topics.stored_by_all, self._answered)
        await self.connection.start()
        await self.connection.wait_connected()
        self._task = asyncio.create_task(self._send_again())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.connection.stop()

    @property
    def last(self) -> Stored:
        return self.answers[-1][1]

    async def send(self, *ranges: RecordRange) -> None:
        """Send, and again and again until each is confirmed without an error."""
        for range_ in ranges:
            self.waiting[range_.journal, range_.first, range_.last] = range_
            await self.send_once(range_.encode())

    async def send_once(self, payload: bytes) -> None:
        with contextlib.suppress(NotConnected):
            await self.connection.publish(self.topics.record, payload)

    async def _send_again(self) -> None:
        while True:
            await asyncio.sleep(self._repeat)
            for range_ in list(self.waiting.values()):
                await self.send_once(range_.encode())

    def _answered(self, topic: str, payload: bytes, _: object) -> None:
        stored = Stored.decode(payload)
        self.answers.append((topic.rpartition("/")[2], stored))
        if stored.error is None:
            self.waiting.pop((stored.journal, stored.first, stored.last), None)
