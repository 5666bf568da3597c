"""What was received and waits for its handler: bounded in count and bytes, handled one by one, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from paho.mqtt.client import MQTTMessage, topic_matches_sub

from labmon.mqtt.session import Session
from labmon.mqtt.settings import BrokerSettings, MessageProperties

log = logging.getLogger(__name__)

Handler = Callable[[str, bytes, MessageProperties], Awaitable[None] | None]


class Inbox:
    """Takes messages from a session without waiting and runs the handlers.

    A message is acknowledged after its handler is done, so the broker's Receive Maximum bounds what is under way. One
    that does not fit (a broker that ignores its own bound, or QoS 0 in a flood) is dropped and counted in `lost`.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._waiting: deque[tuple[Session, MQTTMessage]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self.handlers: dict[str, tuple[Handler, int]] = {}
        self.lost = 0
        self.failed = 0
        self._failing: set[str] = set()

    def put(self, session: Session, message: MQTTMessage) -> None:
        """Take a message from a session."""
        size = len(message.payload)
        full = len(self._waiting) >= self._settings.waiting or self._bytes + size > self._settings.waiting_bytes
        if full or size > self._settings.max_payload:
            self.lost += 1
            log.log(
                logging.WARNING if self.lost == 1 else logging.DEBUG,
                "message dropped: %d bytes, %d messages wait (lost so far: %d)",
                *(size, len(self._waiting), self.lost),
            )
            session.acknowledge(message)
            return
        self._waiting.append((session, message))
        self._bytes += size
        self._arrived.set()

    async def run(self) -> None:
        """Handle messages until cancelled. A handler that raises costs its message, nothing else."""
        while True:
            while self._waiting:
                session, message = self._waiting.popleft()
                self._bytes -= len(message.payload)
                await self._handle(message)
                session.acknowledge(message)
            self._arrived.clear()
            await self._arrived.wait()

    async def _handle(self, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.lost += 1
            return
        properties = MessageProperties(message.qos, message.retain)
        for filter_, (handler, _) in list(self.handlers.items()):
            if not topic_matches_sub(plain_filter(filter_), topic):
                continue
            try:
                pending = handler(topic, bytes(message.payload), properties)
                if pending is not None:
                    await pending
            except Exception as error:
                self.failed += 1
                level = logging.DEBUG if filter_ in self._failing else logging.ERROR
                log.log(level, "fault while handling a message on %s:", topic, exc_info=error)
                self._failing.add(filter_)
            else:
                self._failing.discard(filter_)


def plain_filter(filter_: str) -> str:
    """The topic filter without `$share/<group>/`."""
    return filter_.split("/", 2)[2] if filter_.startswith("$share/") else filter_
