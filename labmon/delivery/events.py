"""Events in the order of the journal, each until the broker has it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable

from labmon.delivery.log import EVENT_CURSOR, Journal
from labmon.journal.errors import JournalUnavailable
from labmon.model.event import Event
from labmon.model.messages import EventMessage, MessageError
from labmon.mqtt import Connection, MqttError, NotConnected
from labmon.mqtt.topics import Topics
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_PAGE = 200
_LOOK = 1.0
_PAUSE = 5.0
_WAITING = 1000
"""Events from memory that may wait for the broker; the oldest of more wait for the journal, as they would anyway."""
_REMEMBERED = 5000


class EventSender:
    """Publishes `P/event` from the cursor `event` on. An event that went ahead of the journal is not sent twice."""

    def __init__(self, connection: Connection, topics: Topics, journal: Journal) -> None:
        self.sent = 0
        self.unsendable = 0
        self._connection = connection
        self._topics = topics
        self._journal = journal
        self._urgent: deque[Event] = deque(maxlen=_WAITING)
        self._ahead: dict[str, None] = {}
        self._journal_id: str | None = None
        self._position = 0
        self._saved = 0
        self._wake = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._problem = ""

    async def start(self) -> None:
        """Begin; needs neither journal nor broker."""
        self._connection.on_connect(self._wake.set)
        self._tasks = [
            kept("events to mqtt", self._run),
            kept("event cursor", self._keep_saving),
        ]

    async def stop(self) -> None:
        """End within about a second."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(TimeoutError, JournalUnavailable, ValueError):
            async with asyncio.timeout(1.0):
                await self._save()

    @property
    def position(self) -> int:
        """Entry of the journal up to which the broker has every event; 0 while that is not known."""
        return self._position if self._journal.journal == self._journal_id else 0

    @property
    def waiting(self) -> int:
        """Events that go ahead of the journal and wait for the broker."""
        return len(self._urgent)

    def wake(self) -> None:
        """The journal has new entries."""
        self._wake.set()

    def urgent(self, events: Iterable[Event]) -> None:
        """Send these now; the journal does not have them."""
        self._urgent.extend(events)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._connection.wait_connected()
                await self._send_urgent()
                await self._send_journaled()
                self._problem = ""
            except (NotConnected, JournalUnavailable):
                pass
            except Exception as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    log.error("events cannot be published: %s", error, exc_info=not isinstance(error, MqttError))
                await asyncio.sleep(_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._wake.wait()

    async def _send_urgent(self) -> None:
        while self._urgent:
            event = self._urgent[0]
            await self._send(None, event)
            self._ahead[event.uid] = None
            while len(self._ahead) > _REMEMBERED:
                del self._ahead[next(iter(self._ahead))]
            if self._urgent and self._urgent[0] is event:
                self._urgent.popleft()

    async def _send_journaled(self) -> None:
        journal = self._journal.journal
        if journal is None:
            return
        if journal != self._journal_id:
            self._position = self._saved = await self._journal.cursor(EVENT_CURSOR)
            self._journal_id = journal
        while self._journal.journal == journal:
            last = self._journal.last_seq
            events = await self._journal.events_after(self._position, _PAGE)
            if self._journal.journal != journal:
                return
            for seq, event in events:
                if self._urgent:
                    await self._send_urgent()
                if event.uid in self._ahead:
                    del self._ahead[event.uid]
                else:
                    await self._send(seq, event)
                self._position = seq
                self._unsaved.set()
            if len(events) < _PAGE:
                self._position = max(self._position, last)
                self._unsaved.set()
                return

    async def _send(self, seq: int | None, event: Event) -> None:
        try:
            payload = EventMessage(self._journal.journal or self._journal_id or "-", seq, event).encode()
        except MessageError as error:
            self.unsendable += 1
            log.error("event %s cannot be published: %s", event.uid, error)
            return
        await self._connection.publish(self._topics.event, payload)
        self.sent += 1

    async def _keep_saving(self) -> None:
        self._unsaved.set()  # by a start after a failure: what was to be saved then
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            try:
                await self._save()
            except (JournalUnavailable, ValueError) as error:
                log.debug("cursor not saved, it will be: %s", error)
                self._unsaved.set()
                await asyncio.sleep(_LOOK)

    async def _save(self) -> None:
        if self._journal.journal == self._journal_id and self._position > self._saved:
            position = self._position
            await self._journal.advance(EVENT_CURSOR, position)
            self._saved = position
