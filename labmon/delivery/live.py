"""The latest reading of every channel, for those who look: a view that may be lost and is never replayed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from labmon.model.exchange import Exchange, Layout
from labmon.model.messages import Live, LiveChannel
from labmon.mqtt import Connection, MqttError, NotConnected
from labmon.mqtt.topics import Topics
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_TOGETHER = 50
"""Devices published in one go before others get the event loop."""
_COLLECT = 0.05
"""Seconds for which changes are collected: a wake-up costs more than a message, and lines poll all the time."""
_KNOWN_LAYOUTS = 10_000
_Columns = tuple[str, tuple[tuple[str, str, str], ...]]
"""Area, and for each column its channel, kind and unit."""
EXPIRY = 600.0
"""Seconds after which the broker forgets what it was told last, at least."""


class LivePublisher:
    """Publishes `P/live/<area>/<device>`: all channels of a device, each with its own time and quality.

    A device that changes faster than the broker takes it is published less often, always with the newest. After a
    connect every device is published again. `intervals` are the longest polling intervals (seconds) by device: the
    broker forgets a device after three of them, or EXPIRY where that is longer.
    """

    def __init__(self, connection: Connection, topics: Topics, intervals: Mapping[str, float] | None = None) -> None:
        self.published = 0
        self._connection = connection
        self._topics = topics
        self._intervals = intervals or {}
        self._latest: dict[str, dict[str, Exchange]] = {}
        self._columns: dict[int, tuple[Layout, _Columns]] = {}
        self._changed: dict[str, None] = {}
        self._gone: dict[tuple[str, str], None] = {}
        """(area, device) under which the broker may still hold what is no more."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refused = ""

    async def start(self) -> None:
        """Begin; needs no broker."""
        self._connection.on_connect(self._all)
        self._task = kept("live to mqtt", self._run)

    async def stop(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def update(self, exchange: Exchange) -> None:
        """Take an exchange; costs next to nothing."""
        if not exchange.layout.columns:
            return
        device = exchange.layout.columns[0].device
        queries = self._latest.get(device)
        if queries is None:
            queries = self._latest[device] = {}
        queries[exchange.layout.query] = exchange
        self._changed[device] = None
        self._wake.set()

    def latest(self) -> list[Exchange]:
        """The latest exchange of every query, for another publisher to begin with."""
        return [exchange for queries in self._latest.values() for exchange in queries.values()]

    def forget(self, device: str) -> None:
        """What is known of a device is no more; what comes of it from now on is all that there is."""
        self._latest.pop(device, None)
        self._changed.pop(device, None)

    def remove(self, area: str, device: str) -> None:
        """A device is no more, or not there: the broker shall not go on showing it."""
        self._gone[area, device] = None
        self._wake.set()

    def _all(self) -> None:
        self._changed = dict.fromkeys(self._latest)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_COLLECT)
            self._wake.clear()
            await self._connection.wait_connected()
            await self._clear()
            while self._changed and self._connection.connected:
                devices = list(self._changed)[:_TOGETHER]
                for device in devices:
                    del self._changed[device]
                await asyncio.gather(*(self._publish(device) for device in devices))

    async def _clear(self) -> None:
        for area, device in list(self._gone):
            try:
                await self._connection.publish(self._topics.live(area, device), b"", retain=True)
            except NotConnected:
                return  # with the next connection
            except MqttError as error:
                log.warning("device %s is still shown by the broker, although it is no more: %s", device, error)
            del self._gone[area, device]

    async def _publish(self, device: str) -> None:
        if device not in self._latest:
            return  # forgotten meanwhile
        try:
            area, live = self._live(device)
            expiry = max(EXPIRY, 3 * self._intervals.get(device, 0.0))
            await self._connection.publish(
                self._topics.live(area, device), live.encode(), qos=0, retain=True, expiry=expiry
            )
            self.published += 1
        except MqttError:
            pass  # all of them are published after the next connect
        except Exception as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("device %s cannot be shown live", device, exc_info=error)

    def _live(self, device: str) -> tuple[str, Live]:
        channels: dict[str, LiveChannel] = {}
        area = ""
        for exchange in self._latest[device].values():
            area, columns = self._columns_of(exchange.layout)
            for (name, kind, unit), r in zip(columns, exchange.readings, strict=True):
                channels[name] = LiveChannel(r.time, r.value, r.reason, r.flags, kind, unit)
        return area, Live(device, channels)

    def _columns_of(self, layout: Layout) -> _Columns:
        known = self._columns.get(id(layout))
        if known is not None:
            return known[1]
        if len(self._columns) >= _KNOWN_LAYOUTS:
            self._columns.clear()
        columns = layout.columns[-1].area, tuple((c.channel, c.kind, c.unit) for c in layout.columns)
        # The layout is kept beside, so that its id is not given to another one.
        self._columns[id(layout)] = layout, columns
        return columns
