"""Ingest: ranges of readings from MQTT into one store, and the store's confirmations back.

Keeps nothing of its own: a range that is not confirmed is sent again by its gateway, to this or another ingest of the
same store. So whatever goes wrong here costs a repetition and never a reading.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from labmon.ingest.lanes import Lane, Lanes, Waiting
from labmon.ingest.store import Store, StoreError, Written
from labmon.ingest.store_state import FIRST_PAUSE, StoreState
from labmon.ingest.store_thread import StoreThread
from labmon.model.messages import MessageError, RecordRange, Stored
from labmon.mqtt import Connection, MessageProperties, NotConnected, PublishRefused, SubscribeRefused
from labmon.mqtt.topics import ALL_GATEWAYS, Topics, parse
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

RECORD_TOPICS: Final = f"{ALL_GATEWAYS}/record"
_STOP: Final = 1.0
_REMEMBERED_LANES: Final = 1000


@dataclass(slots=True)
class Counters:
    """What happened since the start. Nothing in here is lost: what is not stored is sent again by its gateway."""

    stored_ranges: int = 0
    stored_points: int = 0
    refused_entries: int = 0
    denied_ranges: int = 0
    """Answered with an error: somebody has to act."""
    unavailable: int = 0
    """Attempts that the store did not take."""
    repeated: int = 0
    """Came again while they waited here."""
    not_taken: int = 0
    """Came while too much waited here."""
    malformed: int = 0
    unconfirmed: int = 0
    """Stored, but the confirmation did not reach the broker."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one message: exactly one of written and trouble is set, the range unless it was malformed."""

    record: RecordRange
    written: Written | None = None
    trouble: StoreError | None = None


class Ingest:
    """Writes what arrives on `labmon/+/+/record` to one store and answers on `.../record/stored/<store id>`."""

    def __init__(self, store_id: str, store: Store, broker: Connection, *, shared: bool = True) -> None:
        """`shared`: take a share of the ranges beside other ingests of this store (MQTT 5 only)."""
        self.counters = Counters()
        self._store_id = store_id
        self._store = store
        self._broker = broker
        self._filter = f"$share/labmon-ingest-{store_id}/{RECORD_TOPICS}" if shared else RECORD_TOPICS
        self._lanes = Lanes()
        self._arrived = asyncio.Event()
        self._thread: StoreThread | None = None
        self._task: asyncio.Task[None] | None = None
        self._state = StoreState(store_id)
        self._malformed: dict[Lane, int] = {}
        self._overfull = False
        self._publish_refused = False

    async def start(self) -> None:
        """Subscribe and begin; returns at once, whether the broker and the store are there or not."""
        self._thread = StoreThread(f"store-{self._store_id}", self._store.close)
        self._task = kept(f"ingest {self._store_id}", self._run)
        try:
            await self._broker.subscribe(self._filter, self._take, 1)
        except SubscribeRefused as error:
            log.error("%s; it is tried again at each connect", error)

    @property
    def store_busy(self) -> float:
        """Seconds for which the store has been at its present call; 0 when it is not asked anything."""
        return 0.0 if self._thread is None else self._thread.busy

    async def stop(self) -> None:
        """End within about a second, whatever the store does; what waits here stays with its gateway."""
        self._store.abort()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._thread is not None and not await self._thread.stop(_STOP):
            log.warning("store %s: does not let go, its thread is left behind", self._store_id)
        log.info("ingest into store %s stopped: %s", self._store_id, self.counters)

    def _take(self, topic: str, payload: bytes, _: MessageProperties) -> None:
        place = parse(topic)
        if place is None:
            self._note_malformed(("?", "?"), f"topic {topic!r:.200} names no gateway")
            return
        lane = (place.site, place.gateway)
        match self._lanes.put(lane, payload, time.monotonic()):
            case "taken":
                self._arrived.set()
                if self._overfull:
                    self._overfull = False
                    log.info("ranges are taken again, %d were left to their gateways so far", self.counters.not_taken)
            case "known":
                self.counters.repeated += 1
            case "full":
                self.counters.not_taken += 1
                if not self._overfull:
                    self._overfull = True
                    log.warning("%d ranges wait: more are left to their gateways, to send again", len(self._lanes))

    async def _run(self) -> None:
        while True:
            while (waiting := self._lanes.next(time.monotonic())) is None:
                self._arrived.clear()
                await self._arrived.wait()
            try:
                await self._handle(waiting)
            except Exception as error:
                # A fault of ours with one range must not end the others; the gateway will raise the alarm.
                self._lanes.done(waiting)
                if self._state.fault(error):
                    log.exception("a range of %s/%s could not be handled", *waiting.lane)
                await asyncio.sleep(FIRST_PAUSE)

    async def _handle(self, waiting: Waiting) -> None:
        assert self._thread is not None
        denied = self._state.denied_now(time.monotonic())
        try:
            outcome = await self._thread.call(lambda: self._attempt(waiting, denied))
        except MessageError as error:
            self._lanes.done(waiting)
            self._note_malformed(waiting.lane, str(error))
            return
        self._note_well_formed(waiting.lane)
        if outcome.trouble is not None and outcome.trouble.kind == "unavailable":
            self.counters.unavailable += 1
            await asyncio.sleep(self._state.unavailable(outcome.trouble, len(self._lanes)))
            return
        self._lanes.done(waiting)
        await self._answer(waiting.lane, outcome, repeated=denied is not None)

    def _attempt(self, waiting: Waiting, denied: StoreError | None) -> _Outcome:
        """In the store's thread. `denied`: what the store said a moment ago, so it is not asked again yet."""
        record = RecordRange.decode(waiting.payload)
        if denied is not None:
            return _Outcome(record, trouble=denied)
        try:
            return _Outcome(record, written=self._store.write(record, *waiting.lane))
        except StoreError as trouble:
            return _Outcome(record, trouble=trouble)

    async def _answer(self, lane: Lane, outcome: _Outcome, *, repeated: bool) -> None:
        record, counters = outcome.record, self.counters
        answer = Stored(record.journal, record.first, record.last)
        if outcome.trouble is not None:
            counters.denied_ranges += 1
            answer.error = outcome.trouble.text
            if not repeated:
                self._state.denied(outcome.trouble, time.monotonic())
        else:
            assert outcome.written is not None
            self._state.stored()
            counters.stored_ranges += 1
            counters.stored_points += outcome.written.points
            if outcome.written.refused:
                self._note_refused(lane, outcome.written)
                answer.refused = [(refused.seq, refused.why) for refused in outcome.written.refused]
        try:
            await self._broker.publish(Topics("labmon/{}/{}".format(*lane)).stored(self._store_id), answer.encode())
        except NotConnected:
            counters.unconfirmed += 1
        except PublishRefused as error:
            counters.unconfirmed += 1
            if not self._publish_refused:
                self._publish_refused = True
                log.error("the broker refuses confirmations to %s/%s: %s", *lane, error)
        else:
            self._publish_refused = False

    def _note_refused(self, lane: Lane, written: Written) -> None:
        self.counters.refused_entries += len(written.refused)
        first = written.refused[0]
        log.warning(
            "store %s refused %d entries of %s/%s, which go to the gateway's quarantine; the first: seq %d, %s",
            self._store_id,
            len(written.refused),
            *lane,
            first.seq,
            first.why,
        )

    def _note_malformed(self, lane: Lane, problem: str) -> None:
        self.counters.malformed += 1
        if lane not in self._malformed:
            if len(self._malformed) >= _REMEMBERED_LANES:
                self._malformed.clear()
            log.warning("malformed record message from %s/%s, not answered: %s", *lane, problem[:300])
        self._malformed[lane] = self._malformed.get(lane, 0) + 1

    def _note_well_formed(self, lane: Lane) -> None:
        if count := self._malformed.pop(lane, 0):
            log.info("record messages of %s/%s are well-formed again after %d", *lane, count)
