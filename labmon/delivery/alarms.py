"""The state of every alarm that is not normal, retained at the broker for whoever comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from labmon.model.event import AlarmClass, AlarmState, Event
from labmon.model.messages import AlarmMessage
from labmon.mqtt import Connection, MessageProperties, MqttError, NotConnected, SubscribeRefused
from labmon.mqtt.topics import Topics, last_level
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_PAUSE = 5.0
"""Seconds before the broker is asked again after it refused."""


class AlarmNow(Protocol):
    """An alarm that is not normal, as it stands (alarms.view.AlarmView is one)."""

    @property
    def alarm(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> AlarmState: ...  # noqa: D102
    @property
    def occurrence(self) -> str: ...  # noqa: D102
    @property
    def alarm_class(self) -> AlarmClass: ...  # noqa: D102
    @property
    def since(self) -> int: ...  # noqa: D102
    @property
    def area(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> str: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def channel(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def limit(self) -> float | None: ...  # noqa: D102
    @property
    def direction(self) -> str: ...  # noqa: D102
    @property
    def measured(self) -> bool: ...  # noqa: D102
    @property
    def detail(self) -> str: ...  # noqa: D102


class AlarmPublisher:
    """Keeps `P/alarm/<id>` as `views()` says: retained while not normal; normal is published, then removed.

    After each connect every alarm that is not normal is published again, and what the broker still holds of alarms that
    are normal by now (cleared while labmon or the broker was away) is removed. Several changes between two messages are
    one message: the transitions are on `P/event`.
    """

    def __init__(self, connection: Connection, topics: Topics, views: Callable[[], Sequence[AlarmNow]]) -> None:
        self._connection = connection
        self._topics = topics
        self._views = views
        self._told: dict[str, tuple[object, ...]] = {}
        """What the broker has of each alarm on this connection."""
        self._stale: set[str] = set()
        """Alarms that the broker may hold although they are normal."""
        self._unjournaled: dict[str, set[str]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self) -> None:
        """Begin; needs no broker."""
        self._connection.on_connect(self._anew)
        with suppress(SubscribeRefused):  # told by the connection, tried again with the next one
            await self._connection.subscribe(self._topics.alarms, self._held)
        self._task = kept("alarms to mqtt", self._run)

    async def stop(self) -> None:
        """End at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def waiting(self) -> int:
        """Alarms whose state the broker does not have yet."""
        now = {view.alarm: _compared(self._message(view)) for view in self._views()}
        changed = sum(self._told.get(alarm) != told for alarm, told in now.items())
        return changed + len({*self._told, *self._stale} - now.keys())

    def look(self) -> None:
        """Alarms may stand otherwise although nothing happened to them: a limit is another one."""
        self._wake.set()

    def committed(self, events: Iterable[Event]) -> None:
        """These events are in the journal now."""
        for event in events:
            if event.alarm:
                waiting = self._unjournaled.get(event.alarm)
                if waiting is not None:
                    waiting.discard(event.uid)
                    if not waiting:
                        del self._unjournaled[event.alarm]
                self._wake.set()

    def urgent(self, events: Iterable[Event]) -> None:
        """These events happened and are not in the journal."""
        for event in events:
            if event.alarm:
                self._unjournaled.setdefault(event.alarm, set()).add(event.uid)
                self._wake.set()

    def _anew(self) -> None:
        self._stale |= set(self._told)
        self._told.clear()
        self._wake.set()

    def _held(self, topic: str, payload: bytes, properties: MessageProperties) -> None:
        """What the broker held from before. Our own messages come back here too, not marked as retained."""
        alarm = last_level(topic, self._topics.alarms)
        if properties.retain and payload and alarm is not None and alarm not in self._told:
            self._stale.add(alarm)
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._connection.wait_connected()
            try:
                await self._publish_changes()
                self._problem = ""
            except NotConnected:
                pass  # everything again with the next connection
            except Exception as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    log.error("alarms cannot be published: %s", error, exc_info=not isinstance(error, MqttError))
                await asyncio.sleep(_PAUSE)
                self._wake.set()

    async def _publish_changes(self) -> None:
        now = {view.alarm: view for view in self._views()}
        for alarm, view in now.items():
            message = self._message(view)
            told = _compared(message)
            if self._told.get(alarm) != told:
                await self._connection.publish(self._topics.alarm(alarm), message.encode(), retain=True)
                self._told[alarm] = told
            self._stale.discard(alarm)
        for alarm in [alarm for alarm in {*self._told, *self._stale} if alarm not in now]:
            normal = AlarmMessage(alarm, AlarmState.NORM, time.time_ns(), journaled=alarm not in self._unjournaled)
            await self._connection.publish(self._topics.alarm(alarm), normal.encode())
            await self._connection.publish(self._topics.alarm(alarm), b"", retain=True)
            self._told.pop(alarm, None)
            self._stale.discard(alarm)

    def _message(self, view: AlarmNow) -> AlarmMessage:
        return AlarmMessage(
            view.alarm,
            view.state,
            time.time_ns(),
            view.occurrence,
            view.alarm_class,
            view.since,
            view.area,
            view.line,
            view.device,
            view.channel,
            view.value,
            view.unit,
            view.limit,
            view.direction,
            view.measured,
            view.alarm not in self._unjournaled,
            view.detail,
        )


def _compared(message: AlarmMessage) -> tuple[object, ...]:
    """What makes a new message worth sending; the value moves with every reading and is on live."""
    return (message.state, message.occurrence, message.measured, message.journaled, message.detail, message.limit)
