"""Whether the daemon is there, and how its lines are."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import labmon
from labmon.health.line import LineHealth as LiveHealth
from labmon.model.messages import DeviceHealth, LineHealth, Status
from labmon.mqtt import Connection, MqttError, Will
from labmon.mqtt.topics import Topics
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

REFRESH = 30.0
"""Seconds between two messages that say that the daemon is still there."""


def status_will(topics: Topics, session: int, since: int) -> Will:
    """What the broker shall say when the connection breaks."""
    return Will(topics.status, Status(False, session, labmon.__version__, since, 0).encode())


def line_message(health: LiveHealth, mono: float, now: int) -> LineHealth:
    """Health of a line as a message; `mono` (monotonic seconds) and `now` (UTC ns) are the same moment."""

    def wall(moment: float | None) -> int:
        return now if moment is None else now - round((mono - moment) * 1e9)

    devices = [
        DeviceHealth(
            d.id, d.state.value, wall(d.since), "" if d.last_failure is None or not d.in_a_row else d.last_failure.value
        )
        for d in health.devices.values()
    ]
    counts = {
        "losses": health.losses,
        "exchanges": sum(d.exchanges for d in health.devices.values()),
        "failed": sum(sum(d.failures.values()) for d in health.devices.values()),
        "missed-ticks": sum(d.missed_ticks for d in health.devices.values()),
    }
    return LineHealth(health.id, health.state.value, wall(health.since), now, health.detail, devices, counts)


@dataclass(frozen=True, slots=True)
class Account:
    """What a status tells beside that the daemon is there; see model.status.Status."""

    lines: int | None = None
    stores: Mapping[str, int | None] | None = None
    failing: Sequence[str] | None = None


class StatusPublisher:
    """`P/status` and `P/health/<line>`, retained; all of them again after each connect and every `refresh` seconds."""

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        session: int,
        since: int,
        *,
        refresh: float = REFRESH,
        account: Callable[[], Account] = Account,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._session = session
        self._since = since
        self._refresh = refresh
        self._account = account
        self._health: dict[str, LineHealth] = {}
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        """Lines that are no more, of which the broker may still hold the health."""
        self._wake = asyncio.Event()
        self._anew = True
        self._said = 0.0
        """When the status was last published (monotonic)."""
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self) -> None:
        """Begin; needs no broker."""
        self._connection.on_connect(self._connected)
        self._task = kept("status to mqtt", self._run)

    async def stop(self) -> None:
        """Say that the daemon goes, if there is anybody to tell, and end within half a second."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        with suppress(MqttError, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._say(online=False)

    def update(self, health: LineHealth) -> None:
        """How a line is now."""
        self._health[health.line] = health
        self._changed[health.line] = None
        self._gone.pop(health.line, None)
        self._wake.set()

    def forget(self, line: str) -> None:
        """A line is no more: the broker shall not go on showing it."""
        self._health.pop(line, None)
        self._changed.pop(line, None)
        self._gone[line] = None
        self._wake.set()

    def _connected(self) -> None:
        self._anew = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._connection.wait_connected()
            try:
                await self._publish()
                self._problem = ""
            except Exception as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    log.error("status cannot be published: %s", error, exc_info=not isinstance(error, MqttError))
                await asyncio.sleep(1.0)
                continue
            try:
                # From the last time on, and not from the last change of a line: those may come ever so often.
                async with asyncio.timeout(self._said + self._refresh - time.monotonic()):
                    await self._wake.wait()
            except TimeoutError:
                self._anew = True

    async def _publish(self) -> None:
        if self._anew:
            self._anew = False
            self._changed = dict.fromkeys(self._health)
            try:
                await self._say(online=True)
            except BaseException:
                self._anew = True
                raise
        while self._gone:
            line = next(iter(self._gone))
            await self._connection.publish(self._topics.health(line), b"", retain=True)
            self._gone.pop(line, None)
        while self._changed:
            line = next(iter(self._changed))
            del self._changed[line]
            try:
                await self._connection.publish(self._topics.health(line), self._health[line].encode(), retain=True)
            except BaseException:
                if line in self._health:
                    self._changed[line] = None
                raise

    async def _say(self, *, online: bool) -> None:
        status = Status(online, self._session, labmon.__version__, self._since, time.time_ns())
        if online:
            account = self._account()
            status.lines, status.stores, status.failing = account.lines, account.stores, account.failing
        await self._connection.publish(self._topics.status, status.encode(), retain=True)
        self._said = time.monotonic()
