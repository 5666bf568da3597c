"""What comes unasked on a line: one reading per interval and query as soon as its frame is there, and silence told.

A frame is taken when it comes. Of those that come more often than `every` the last one in each interval is kept and the
rest counted. Without a frame for a query's `silence` its channels are silent, again at each rest period; a device
that only speaks is dead then. Frames count only after the device was identified, where it can be.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, cast

from labmon.acquisition.polled import RESTS, PolledQuery
from labmon.drivers.driver import StreamQuery
from labmon.links.errors import LinkError
from labmon.links.stream import Listener, StreamForm
from labmon.model.reading import Reason, reason_text

if TYPE_CHECKING:
    from labmon.acquisition.line import Line

SILENT_INTERVALS = 3.0
"""Intervals without a frame after which a stream is silent, where its driver does not say."""
EARLY = 0.25
"""Part of an interval by which a frame may come early and still begin the next one: instruments' clocks differ."""

log = logging.getLogger("labmon.line")


class _Stream:
    """One query that listens."""

    def __init__(self, poll: PolledQuery, now: float) -> None:
        self.poll = poll
        self.silence = self.query.silence or SILENT_INTERVALS * poll.plan.every
        self.heard_at = now
        self.waiting: tuple[bytes, int] | None = None
        """The latest frame that is not a reading yet, and when it came (UTC ns)."""
        self.next_at = now
        """When the next interval begins."""
        self.silences = 0
        """How often in a row it was told to be silent."""

    @property
    def query(self) -> StreamQuery:
        """What it listens for now: a variant may listen for another form."""
        return cast(StreamQuery, self.poll.plan.query)

    @property
    def form(self) -> StreamForm:
        """How its frames are known now."""
        if (form := self.query.stream) is None:
            raise ValueError(f"query {self.poll.plan.query.name} says nothing of its frames")
        return form

    def plan_look(self) -> None:
        """When it is to be looked after next."""
        self.poll.due = self.next_at if self.waiting is not None else self.heard_at + self.silence


class Listening:
    """The queries of one line that listen. `opened` begins anew; the line looks after each when it is due."""

    def __init__(self, line: Line) -> None:
        self._line = line
        now = line.clock()
        self._streams = {id(poll): _Stream(poll, now) for device in line.devices for poll in device.streams}
        self._open = False
        self._listen()

    def _listen(self) -> None:
        """Listen for what the streams of all devices look like now."""
        self._forms = [stream.form for stream in self._streams.values()]
        hearers = [partial(self._heard, stream) for stream in self._streams.values()]
        self.listener = Listener(list(zip(self._forms, hearers, strict=True)))
        self._line.link.listen(self.listener)

    def follow(self) -> None:
        """A device may have become another variant, whose frames are known by something else."""
        if any(was is not stream.form for was, stream in zip(self._forms, self._streams.values(), strict=True)):
            self._listen()

    @property
    def cut_off(self) -> bool:
        """Whether the line was open, and is not any more: where nobody asks, nobody else finds out."""
        return self._open and not self._line.link.is_open

    def closed(self) -> None:
        """The line is known to be lost."""
        self._open = False

    def opened(self, now: float) -> None:
        """The line was opened: silence counts from now, and who it is that speaks is asked at once."""
        self._open = True
        for stream in self._streams.values():
            stream.heard_at = stream.next_at = now
            stream.waiting, stream.silences = None, 0
            stream.plan_look()
            if not stream.poll.device.known:
                stream.poll.due = now

    async def look_after(self, poll: PolledQuery) -> None:
        """What is due of a query: to identify its device, to make a reading of what waits, to tell its silence."""
        stream, device, now = self._streams[id(poll)], poll.device, self._line.clock()
        if not device.known and not device.resting:
            if await self._line.identify(device) and await self._line.guarded(device):
                stream.plan_look()
            elif self._line.link.is_open and not device.resting:
                self._line.taking.fail(poll, device.reason)
                poll.due = self._line.clock() + poll.plan.every
            return
        if stream.waiting is not None:
            self._take(stream, now)
        elif now >= stream.heard_at + stream.silence:
            self._silent(stream, now)
        else:
            stream.plan_look()

    def _silent(self, stream: _Stream, now: float) -> None:
        poll, device = stream.poll, stream.poll.device
        self._line.connection.answered()
        missed = max(0, int((now - max(stream.heard_at, stream.next_at)) / poll.plan.every) - 1)
        stream.next_at = now
        device.health.record_failure(Reason.SILENT, now)
        if not device.polls and stream.silences == 0:
            device.told_alive = False
            if all(s.silences or s is stream for s in self._of(stream)):
                log.warning("line %s: device %s: silent", self._line.plan.id, device.plan.id)
                device.health.resting(now)
                self._line.recorder.condition(f"{device.plan.id}.dead", True, Reason.SILENT.value)
        poll.skipped += missed
        self._line.taking.fail(poll, reason_text(Reason.SILENT, f"nothing heard for {now - stream.heard_at:.0f} s"))
        poll.due = now + max(poll.plan.every, RESTS[min(stream.silences, len(RESTS) - 1)])
        stream.silences += 1

    def _of(self, stream: _Stream) -> list[_Stream]:
        return [self._streams[id(poll)] for poll in stream.poll.device.streams]

    # ------------------------------------------------------------------ what came

    def _heard(self, stream: _Stream, payload: bytes, now: float) -> None:
        """A frame is there. Never raises: it is called from where bytes arrive."""
        device = stream.poll.device
        now = self._line.clock()
        try:
            device.health.heard(stream.waiting is not None or not device.known, now)
            stream.heard_at, stream.silences = now, 0
            self._line.connection.answered()
            # Who does not say who it is rests, however much it speaks.
            if not device.polls and not device.told_alive and (device.known or not device.resting):
                device.told_alive = True
                self._line.recorder.condition(f"{device.plan.id}.dead", False, "heard")
            if not device.known:
                return
            stream.waiting = payload, time.time_ns()
            if now >= stream.next_at - EARLY * stream.poll.plan.every:
                self._take(stream, now)
            stream.plan_look()
        except Exception as error:  # noqa: BLE001 - what one device says must not stop its line
            self._line.internal(device, stream.poll.plan.query.name, error)

    def _take(self, stream: _Stream, now: float) -> None:
        """Make a reading of the frame that waits."""
        poll = stream.poll
        if stream.waiting is None:
            return
        (payload, received), stream.waiting = stream.waiting, None
        stream.next_at = now + poll.plan.every
        try:
            answer = stream.query.decode([payload])
        except LinkError as error:
            poll.device.health.record_failure(error.code, now)
            self._line.taking.fail(poll, error.reason)
        else:
            self._line.taking.good(poll, answer, received)
        stream.plan_look()
