"""Readings out of the journal, over MQTT, until every store has said that it has them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from labmon.delivery.lane import Flight, Lane, Pace, RecordCounters
from labmon.delivery.log import Journal, cursor_name
from labmon.delivery.ranges import RangeMaker
from labmon.delivery.trouble import Trouble, delivery_alarm
from labmon.journal.errors import JournalUnavailable
from labmon.model.event import Event
from labmon.model.messages import MessageError, Stored
from labmon.mqtt import Connection, MessageProperties, MqttError, SubscribeRefused
from labmon.mqtt.topics import Topics, last_level
from labmon.tasks.faults import fault, words
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between looks at the journal and at the clock when nothing wakes the sender."""


class RecordSender:
    """Sends readings to every store in `stores`, each at its own pace, from its cursor on.

    A message goes to all stores that stand at the same place. A store that does not confirm holds up nobody else. The
    cursor of a store moves only over the contiguous prefix of this journal that it has confirmed; refused entries are
    in the quarantine on the disk before. `on_condition(alarm, active, detail)` is told of `gateway.delivery.<store>`
    and `gateway.quarantine.<store>`, `on_event` of refusals.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Topics,
        journal: Journal,
        stores: Iterable[str],
        *,
        on_condition: Callable[[str, bool, str], None],
        on_event: Callable[[Event], None],
        pace: Pace | None = None,
    ) -> None:
        self.counters = RecordCounters()
        self._connection = connection
        self._topics = topics
        self._journal = journal
        self._stores = sorted(set(stores))
        self._trouble = Trouble(on_condition, on_event)
        self._pace = pace or Pace()
        self._lanes: dict[str, Lane] = {}
        self._maker: RangeMaker | None = None
        self._journal_id: str | None = None
        self._faulty = False
        self._publish_refused = ""
        self._unheard = 0
        self._publishing: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._unsaved = asyncio.Event()

    async def start(self) -> None:
        """Begin; needs neither journal nor broker to be there."""
        self._connection.on_connect(self._connected)
        self._tasks = [
            kept("record sender", self._run),
            kept("record cursors", self._save),
        ]
        with contextlib.suppress(SubscribeRefused):  # told by the connection, tried again with the next one
            await self._connection.subscribe(self._topics.stored_by_all, self._stored)

    async def stop(self) -> None:
        """End within about a second; what is not confirmed is sent again after the next start."""
        for task in [*self._tasks, *self._publishing]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._publishing, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(TimeoutError, JournalUnavailable, ValueError):
            async with asyncio.timeout(1.0):
                await self._save_all()

    def wake(self) -> None:
        """The journal has new entries."""
        self._wake.set()

    def behind(self) -> dict[str, int]:
        """Entries of the journal that each store has not confirmed."""
        return {store: max(0, self._journal.last_seq - lane.confirmed) for store, lane in self._lanes.items()}

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """How far each store is, by its id; empty until the journal could be read."""
        return self._lanes

    def _connected(self) -> None:
        for lane in self._lanes.values():
            for flight in lane.flights:
                flight.due, flight.tries = 0.0, 0
        self._unheard = 0
        self._wake.set()

    # What goes out

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._keep_up_with_journal()
                if self._maker is not None:
                    self._look_at_stores()
                    await self._fill(self._maker)
                    self._send_due()
            except JournalUnavailable as error:
                log.debug("journal cannot be read: %s", error)  # its own alarm tells people
            except Exception as error:
                log.log(logging.DEBUG if self._faulty else logging.ERROR, "fault in the record sender", exc_info=error)
                self._faulty = True
            else:
                self._faulty = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next()):
                    await self._wake.wait()

    def _until_next(self) -> float:
        dues = [f.due for lane in self._lanes.values() for f in lane.flights if not f.publishing]
        if not self._connection.connected or not dues:
            return _LOOK
        return min(_LOOK, max(0.01, min(dues) - time.monotonic()))

    async def _keep_up_with_journal(self) -> None:
        """Begin anew when the journal is another one than before."""
        journal = self._journal.journal
        if journal is None or journal == self._journal_id:
            return
        cursors = {store: await self._journal.cursor(cursor_name(store)) for store in self._stores}
        await self.review_quarantine()
        if self._journal.journal != journal:
            return
        now = time.monotonic()
        self._lanes = {store: Lane(store, cursors[store], now) for store in self._stores}
        self._maker = RangeMaker(journal)
        self._journal_id = journal

    async def review_quarantine(self) -> None:
        """Tell of every store whether the quarantine holds entries for it; after somebody released some."""
        held = Counter(q.store for q in await self._journal.quarantined())
        for store in self._stores:
            self._trouble.held(store, held[store])

    async def _fill(self, maker: RangeMaker) -> None:
        """Make ranges for the stores that have room, the one furthest behind first."""
        while True:
            now, last = time.monotonic(), self._journal.last_seq
            ready = [lane for lane in self._lanes.values() if lane.position < last and lane.room(now, self._pace)]
            if not ready:
                return
            after = min(lane.position for lane in ready)
            # Stop where another store stands: from there on one message serves both.
            end = min((lane.position for lane in self._lanes.values() if lane.position > after), default=last)
            entries = await self._journal.read_entries(after, self._pace.range_entries, self._pace.range_bytes)
            if self._journal.journal != self._journal_id:
                return
            fits = [entry for entry in entries if entry.seq <= end]
            # Nothing up to there means that it is gone from the journal, which keeps its own account of that.
            to = fits[-1].seq if fits and len(fits) == len(entries) else end
            for made in maker.make(after + 1, to, fits):
                flight = Flight(made, {lane.store for lane in ready if lane.position == made.first - 1}, now)
                for lane in [lane for lane in ready if lane.store in flight.waiting]:
                    lane.add(flight, now)
                    self._settle(lane)

    def _send_due(self) -> None:
        if not self._connection.connected:
            return
        now = time.monotonic()
        for lane in self._lanes.values():
            for flight in lane.flights:
                if flight.due <= now and not flight.publishing and flight.waiting and flight.range.payload is not None:
                    flight.publishing = True
                    task = asyncio.create_task(self._publish(flight, flight.range.payload), name="record publish")
                    self._publishing.add(task)
                    task.add_done_callback(self._publishing.discard)

    async def _publish(self, flight: Flight, payload: bytes) -> None:
        self.counters.sent += 1
        self.counters.sent_bytes += len(payload)
        self.counters.resent += flight.tries > 0
        try:
            heard = await self._connection.publish(self._topics.record, payload, qos=1)
            self._publish_refused = "" if heard else "nobody listens at the broker"
        except MqttError as error:
            heard = True
            self._publish_refused = f"{error}"
        except Exception as error:  # noqa: BLE001 - it is sent again, as after every other failure
            heard = True
            self._publish_refused = words(error)
            fault("record publish", f"failed ({words(error)}), is sent again", error)
        finally:
            flight.publishing = False
            flight.sent(time.monotonic(), self._pace)
            self._wake.set()
        if heard:
            self._unheard = 0
        else:
            # After an outage gateway and ingest come back in any order: ask soon, then at the usual pace.
            flight.due = min(flight.due, time.monotonic() + 2.0**self._unheard)
            self._unheard = min(self._unheard + 1, 16)

    # What comes back

    def _stored(self, topic: str, payload: bytes, _: MessageProperties) -> None:
        store = last_level(topic, self._topics.stored_by_all)
        try:
            stored = Stored.decode(payload)
        except MessageError as error:
            self.counters.malformed += 1
            level = logging.WARNING if self.counters.malformed == 1 else logging.DEBUG
            log.log(level, "confirmation of store %s not understood: %s", store, error)
            return
        lane = self._lanes.get(store or "")
        if lane is None or stored.journal != self._journal_id:
            self.counters.foreign += 1
            return
        if not lane.take(stored, time.monotonic()):
            self.counters.unexpected += 1
            return
        if stored.error is not None:
            self.counters.errors += 1
            self._trouble.begin(delivery_alarm(lane.store), f"the store does not take the data: {stored.error}")
            return
        self.counters.confirmed += 1
        self._trouble.end(delivery_alarm(lane.store))
        self._settle(lane)
        self._wake.set()

    def _settle(self, lane: Lane) -> None:
        lane.settle()
        if lane.confirmed > lane.saved:
            self._unsaved.set()

    def _look_at_stores(self) -> None:
        self._trouble.tell_refusals()
        now = time.monotonic()
        for lane in self._lanes.values():
            if lane.stalled(now, self._pace):
                lane.recall()
            if lane.flights and not lane.error and now - lane.progress > self._pace.silent_after:
                why = self._connection.last_error or self._publish_refused or "nothing is confirmed"
                self._trouble.begin(delivery_alarm(lane.store), f"not stored for some time: {why}")

    # Cursors

    async def _save(self) -> None:
        self._unsaved.set()  # by a start after a failure: what was to be saved then
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            try:
                await self._save_all()
            except (JournalUnavailable, ValueError) as error:
                log.debug("cursors not saved, they will be: %s", error)
                self._unsaved.set()
                await asyncio.sleep(_LOOK)

    async def _save_all(self) -> None:
        if self._journal.journal == self._journal_id:
            await asyncio.gather(*(self._save_lane(lane) for lane in list(self._lanes.values())))

    async def _save_lane(self, lane: Lane) -> None:
        """Quarantine first, then the cursor: what is refused is never passed over without a trace."""
        confirmed = lane.confirmed
        refused = {seq: why for seq, why in lane.refused.items() if seq <= confirmed}
        if refused:
            await self._journal.quarantine(lane.store, refused)
            for seq in refused:
                lane.refused.pop(seq, None)
            self.counters.refused += len(refused)
            self._trouble.refused(lane.store, refused)
        if confirmed > lane.saved and self._journal.journal == self._journal_id:
            await self._journal.advance(cursor_name(lane.store), confirmed)
            lane.saved = confirmed
