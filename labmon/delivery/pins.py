"""What a panel needs besides the PIN to prove a command: the public parameters of each user's PIN hash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from labmon.config.secrets import PinParameters
from labmon.model.messages import Pin
from labmon.mqtt import Connection, MqttError
from labmon.mqtt.topics import Topics
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_LOOK = 5.0
"""Seconds between two looks at whether a PIN was changed."""


class PinPublisher:
    """Publishes `P/pin/<user>`, retained: anew after each connect, and when `parameters` have changed.

    They are of no use without the PIN. But whoever has them and a recorded command can try PINs on a machine of his
    own: the broker's access list shows them only to those who give commands.
    """

    def __init__(self, connection: Connection, topics: Topics, parameters: Mapping[str, PinParameters]) -> None:
        self._connection = connection
        self._topics = topics
        self._parameters = parameters
        self._told: dict[str, PinParameters] = {}
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self) -> None:
        """Begin; needs no broker."""
        self._connection.on_connect(self._told.clear)
        self._task = kept("pins to mqtt", self._run)

    async def stop(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._connection.wait_connected()
            try:
                await self._publish()
                self._problem = ""
            except MqttError as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    log.warning("parameters of PINs not published: %s", error)
            await asyncio.sleep(_LOOK)

    async def _publish(self) -> None:
        now = dict(self._parameters)
        for user in self._told.keys() - now.keys():
            await self._connection.publish(self._topics.pin(user), b"", retain=True)
            self._told.pop(user, None)
        for user, parameters in now.items():
            if self._told.get(user) != parameters:
                pin = Pin(user, parameters.salt, parameters.cost, parameters.block, parameters.parallel)
                await self._connection.publish(self._topics.pin(user), pin.encode(), retain=True)
                self._told[user] = parameters
