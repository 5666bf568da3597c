"""The transaction layer over a transport: one request at a time, and a late reply to one is never that of another."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from itertools import pairwise
from typing import Literal, NamedTuple

from labmon.links.errors import Garbled, LinkLost, Refused, Silent
from labmon.links.frame import Terminated
from labmon.links.link import Manner, Memory, Request
from labmon.links.overdue import Overdue
from labmon.links.stream import Listener
from labmon.links.timing import Timing
from labmon.links.transport import Transport
from labmon.links.turn import Turn

_BUFFER = 8192
# Fewer bytes than this outside of an exchange are noise of a turnaround; from here on it may be somebody's reply.
_STRAY = 4
_TURNAROUND = 0.02
_LONGEST_END = 8
"""Bytes of a terminator that may have come before the rest of it."""
_WITHIN_A_FRAME = 0.01
"""Seconds of silence that there may be between two pieces of one frame, converters and kernels included."""
_SURFACE = 0.002


class Traffic(NamedTuple):
    """One entry of the wire trace: monotonic time and what went out or came in."""

    time: float
    direction: Literal[">", "<"]
    data: bytes


class Conversation:
    """Implements `labmon.links.link.Link`.

    What it promises about replies that come late. Modbus TCP: the transaction id decides, a late reply is skipped
    whenever it comes. All other framings have no id. There, after a timeout, a garbled reply or a cancelled exchange,
    nothing is sent before both

    - `latest_reply` seconds (default: twice the failed exchange's timeout, and at least twice the slowest reply seen
      since the line was made) have passed since the failed request was sent, and
    - the line was quiet for max(`least_quiet`, twice the slowest reply seen).

    So a reply that comes within that time of its request is never given to another. One that comes later still, or a
    second time after the next request was sent, is caught only where unit, function, length or pattern differ. Over
    TCP a request that the peer's TCP has not acknowledged by its timeout resets the connection, because it would be
    answered at any later time; `close` and `open` do the same on demand for what the far end still holds.

    Bytes that come while nobody waits (four or more) make the line dirty as well: who answers unasked may be one
    reply behind. What a `Listener` takes as frames of a stream does not: it is never a reply, neither does it end a
    silence, and a frame that may be a reply that is waited for or overdue is neither.
    """

    def __init__(self, transport: Transport, timing: Timing, *, trace: int = 0) -> None:
        self._transport = transport
        self._timing = timing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._buffer = b""
        self._request: Request | None = None
        self._transaction = random.randrange(0x10000)
        self._waiter: asyncio.Future[bytes] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._doubt: asyncio.TimerHandle | None = None
        self._busy = False
        self._sent = self._last_byte = time.monotonic()
        self._dirty = False
        self._safe_at = 0.0
        self._stray = 0
        self._late = 0
        self._overdue: Overdue | None = None
        self._why_lost = "not open"
        self._listener: Listener | None = None
        self._turn: Turn | None = None
        self._rest_until = 0.0
        self.memory = Memory()
        """What is remembered of this connection."""
        self.retries = 0
        """How often something was asked again within an asking."""
        self.slowest = 0.0
        """The slowest reply seen, late ones included, in seconds."""
        self.trace: deque[Traffic] | None = deque(maxlen=trace) if trace else None
        """The last bytes sent and received, where asked for."""

    # ------------------------------------------------------------------ Link

    @property
    def is_open(self) -> bool:
        """Whether the port or connection is open."""
        return self._transport.is_open

    def listen(self, listener: Listener | None) -> None:
        """Give what comes unasked to a listener, from the next byte on and over every reconnect."""
        self._listener = listener

    async def open(self) -> None:
        """Open; without effect on an open link. Raises LinkLost, with the holder's name where there is one."""
        if self.is_open:
            return
        self._loop = asyncio.get_running_loop()
        self._why_lost = ""
        if self._listener is not None:
            self._listener.reset()
        await self._transport.open(self)
        if self._why_lost:
            raise LinkLost(self._why_lost)
        self._last_byte = time.monotonic()
        self._rest_until = 0.0
        self.memory = Memory(self._last_byte)
        # Whoever spoke last on the port may still be answered.
        self._dirty = not self._timing.identified
        self._stray = 0
        if self._timing.identified:
            self._overdue = None

    async def close(self) -> None:
        """Close at once; an exchange under way raises LinkLost."""
        self.lost("closed")
        await self._transport.close()

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        """Send once, return the reply's payload (see `labmon.links.link.Link.exchange`).

        `timeout` counts from the moment of sending and is raised to what request and reply take on the wire plus
        20 ms, below which a healthy instrument could not answer. Raises RuntimeError when an exchange is under way.
        """
        if self._busy:
            raise RuntimeError("an exchange is under way: a line has one owner")
        self._busy = True
        try:
            if not self._transport.is_open:
                raise LinkLost(self._why_lost)
            if not self._timing.identified:
                await self._make_ready(max(gap, self._timing.gap))
            elif gap:
                await self._wait_until(self._last_byte + gap)
            if self._rest_until:
                await self._rest_out()
            return await self._ask(request, max(timeout, request.size * self._timing.character + _TURNAROUND))
        finally:
            self._busy = False

    async def settle(self) -> int:
        """Let late replies pass (see the class). Returns the number of bytes of late replies since the settle before.

        Never raises: a link lost meanwhile, or a line that is not quiet within `settle_limit`, shows at the next
        exchange. Raises RuntimeError when an exchange is under way.
        """
        if self._busy:
            raise RuntimeError("an exchange is under way: a line has one owner")
        self._busy = True
        try:
            if self._dirty:
                await self._settle()
        except LinkLost:
            pass  # the next exchange says so
        finally:
            self._busy = False
        late, self._late = self._late, 0
        return late

    async def flush(self) -> None:
        """Settle also a clean line (see `labmon.links.link.Link.flush`)."""
        self._dirty = not self._timing.identified
        await self.settle()

    async def send_break(self, seconds: float) -> None:
        """Hold the line in BREAK. Raises LinkLost, LinkError; RuntimeError when an exchange is under way."""
        if self._busy:
            raise RuntimeError("an exchange is under way: a line has one owner")
        self._busy = True
        try:
            await self._transport.send_break(seconds)
            self._last_byte = time.monotonic()
        finally:
            self._busy = False

    def rest(self, seconds: float) -> None:
        """Send nothing until so many seconds after the last byte."""
        self._rest_until = max(self._rest_until, self._last_byte + seconds)

    async def _rest_out(self) -> None:
        await self._wait_until(self._rest_until)
        self._rest_until = 0.0
        if not self._timing.identified:
            await self._make_ready(self._timing.gap)
        if not self._transport.is_open:
            raise LinkLost(self._why_lost)

    # ------------------------------------------------------------------ one exchange

    async def _ask(self, request: Request, timeout: float) -> bytes:
        loop = self._loop
        assert loop is not None
        self._transaction = transaction = (self._transaction % 0xFFFF) + 1
        frame = request.encode(transaction)
        self._buffer = b""
        self._stray = 0
        self._request = request
        if self._listener is not None:
            self._listener.asked()
        self._sent = time.monotonic()
        if self.trace is not None:
            self.trace.append(Traffic(self._sent, ">", frame))
        if request.manner is not None and not request.manner.answered:
            self._transport.write(frame)
            # Until then it is on the wire, and nobody else's turn.
            self._last_byte = self._sent + len(frame) * self._timing.character
            return b""
        waiter: asyncio.Future[bytes] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout, self._expired, timeout, waiter, False)
        try:
            if request.manner is None:
                self._transport.write(frame)
            else:
                self._turn = self._begin(request.manner, frame, waiter, timeout)
            return await waiter
        except Silent:
            self._failed(request, timeout)
            self._give_up_output()
            raise
        except Refused:
            raise  # a whole reply to this request
        except BaseException:
            self._failed(request, timeout)
            raise
        finally:
            timer.cancel()
            self._waiter = None
            if self._doubt is not None:
                self._doubt.cancel()
                self._doubt = None
            if self._turn is not None:
                self._end_turn()
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # retrieved also when the caller was cancelled in the same turn of the loop

    def _begin(self, manner: Manner, frame: bytes, waiter: asyncio.Future[bytes], timeout: float) -> Turn:
        """Send what is more than one write. Raises LinkLost."""

        def write(data: bytes) -> None:
            try:
                self._transport.write(data)
            except LinkLost as lost:
                if not waiter.done():
                    waiter.set_exception(lost)

        def paused() -> None:
            if self._transport.pending():  # the loop was late, not the instrument
                turn.heard()
                return
            try:
                payload = manner.over(self._buffer) if manner.over is not None else None
            except Exception as error:  # noqa: BLE001 - as in received
                self._settle_waiter(waiter, error)
                return
            if payload is None:
                self._expired(timeout, waiter, True)
            elif not waiter.done():
                self._answered(waiter, payload)

        assert self._loop is not None
        turn = Turn(self._loop, manner, frame, write, paused)
        turn.begin()
        return turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        turn.end()
        if turn.sent > 1:
            # What was sent more than once may be answered more than once.
            self._dirty = not self._timing.identified

    @staticmethod
    def _settle_waiter(waiter: asyncio.Future[bytes], error: Exception) -> None:
        if not waiter.done():
            waiter.set_exception(error)

    def _answered(self, waiter: asyncio.Future[bytes], payload: bytes) -> None:
        waiter.set_result(payload)
        self.slowest = max(self.slowest, self._last_byte - self._sent)
        self._overdue = None

    def _expired(self, timeout: float, waiter: asyncio.Future[bytes], again: bool) -> None:
        if waiter.done():
            return
        if not again and self._transport.pending():
            # The loop was late, not the instrument: read first what has arrived.
            assert self._loop is not None
            self._loop.call_later(0.001, self._expired, timeout, waiter, True)
            return
        request, buffer = self._request, self._buffer
        assert request is not None
        if self._transport.echo_missing:
            waiter.set_exception(Garbled("bytes, but not the local echo that the line is declared to have"))
        elif not buffer:
            waiter.set_exception(Silent(f"nothing within {timeout:.3g} s"))
        elif request.begins(buffer, self._transaction):
            waiter.set_exception(Silent(f"incomplete within {timeout:.3g} s: {buffer[:24].hex(' ')}"))
        else:
            waiter.set_exception(Garbled(f"{len(buffer)} bytes, not the reply: {buffer[:24].hex(' ')}"))

    def _failed(self, request: Request, timeout: float) -> None:
        """Remember what may still come, and until when."""
        self._overdue = Overdue(request, self._transaction, self._sent, self._buffer)
        if self._timing.identified:
            return
        self._dirty = True
        latest = self._timing.latest_reply
        if latest is None:
            latest = 2 * max(timeout, self.slowest)
        self._safe_at = max(self._safe_at, self._sent + latest)

    def _give_up_output(self) -> None:
        if not self._timing.identified:
            self._transport.abandon()

    # ------------------------------------------------------------------ silence

    async def _make_ready(self, gap: float) -> None:
        """Settle a dirty line; then wait until it was silent for `gap`, reading what is still in the kernel."""
        give_up = time.monotonic() + self._timing.settle_limit
        while True:
            if self._dirty and not await self._settle():
                raise Garbled(f"bytes without a pause for {self._timing.settle_limit:g} s")
            await self._wait_until(self._last_byte + gap)
            if self._transport.pending():
                await asyncio.sleep(0)
            elif not self._dirty and time.monotonic() >= self._last_byte + gap:
                return
            if not self._transport.is_open:
                raise LinkLost(self._why_lost)
            if time.monotonic() > give_up:
                self._dirty = True
                raise Garbled(f"bytes without a pause for {self._timing.settle_limit:g} s")

    async def _settle(self) -> bool:
        """Wait out what may still come; whether the line became quiet. It stays dirty when not."""
        quiet = min(max(self._timing.least_quiet, 2 * self.slowest), self._timing.settle_limit)
        begun = time.monotonic()
        watched = -1.0
        while self._transport.is_open:
            now = time.monotonic()
            due = max(self._last_byte + quiet, self._safe_at)
            if now >= due:
                # A loop that stood still saw no silence: look once more after a moment in which bytes can surface.
                if watched != self._last_byte:
                    watched = self._last_byte
                    await self._wait_until(now + _SURFACE)
                    continue
                if self._transport.pending():
                    await asyncio.sleep(0)
                    continue
                self._dirty = False
                self._overdue = None
                self._stray = 0
                return True
            limit = max(begun, self._safe_at) + self._timing.settle_limit + quiet
            if now >= limit:
                return False
            await self._wait_until(min(due, limit))
        raise LinkLost(self._why_lost)

    async def _wait_until(self, due: float) -> None:
        """Wait for a moment, or until the link is lost."""
        loop = self._loop
        assert loop is not None
        # Loops round: asyncio up, uvloop also down to a millisecond below.
        while (delay := due - time.monotonic()) > 0 and self._transport.is_open:
            self._pause = pause = loop.create_future()
            timer = loop.call_later(delay, _wake, pause)
            try:
                await pause
            finally:
                timer.cancel()
                self._pause = None

    # ------------------------------------------------------------------ Receiver

    def received(self, data: bytes) -> None:
        """Bytes from the transport."""
        now = time.monotonic()
        if self._listener is None:
            self._last_byte = now
        if not data:
            return
        if self.trace is not None:
            self.trace.append(Traffic(now, "<", data))
        if self._listener is not None:
            data = self._hear(self._listener, data, now)
            if not data:
                return
            self._last_byte = now
        if self._overdue is not None:
            self._look_for_late(data, now)
        waiter, request = self._waiter, self._request
        if waiter is None or request is None or waiter.done():
            self._stray += len(data)
            if self._stray >= _STRAY and not self._timing.identified:
                self._dirty = True
            return
        self._buffer = buffer = self._buffer + data if self._buffer else data
        try:
            if self._turn is not None:
                self._turn.received(data)
                if waiter.done():
                    return
            payload = request.match(buffer, self._transaction)
        except Exception as error:  # noqa: BLE001 - a fault in a matcher must reach its caller, not the loop
            waiter.set_exception(error)
            return
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None
        if payload is not None:
            doubtful = getattr(request, "doubtful", None)  # a reply of RTU, which nothing but silence begins and ends
            if doubtful is not None and doubtful(buffer):
                self._doubt_for(waiter, payload)
            else:
                self._answered(waiter, payload)
        elif len(buffer) > _BUFFER:
            waiter.set_exception(Garbled(f"{len(buffer)} bytes and no reply among them"))

    def _doubt_for(self, waiter: asyncio.Future[bytes], payload: bytes) -> None:
        """Take a reply only when a pause shows that it was not the data of a longer frame."""

        def quiet() -> None:
            if waiter.done():
                return
            if self._transport.pending():  # the loop was late
                self._doubt_for(waiter, payload)
            else:
                self._answered(waiter, payload)

        assert self._loop is not None
        self._doubt = self._loop.call_later(max(self._timing.gap, _WITHIN_A_FRAME), quiet)

    def _hear(self, listener: Listener, data: bytes, now: float) -> bytes:
        """Take a stream's frames out of what came; what is left for the exchange under way."""
        waiter = self._waiter
        waiting = waiter is not None and not waiter.done()
        may_answer = self._may_answer if waiting or self._overdue is not None else None
        ends = self._other_ends(listener) if waiting else set()
        left = b""
        for piece in _pieces((self._buffer + listener.kept)[-_LONGEST_END:], data, ends) if ends else (data,):
            rest, unclear = listener.hear(piece, now, may_answer)
            left += rest
            if unclear and waiter is not None and not waiter.done():
                waiter.set_exception(Garbled("a frame that may be the reply, and may have come unasked"))
            if ends and self._is_whole(self._buffer + left + listener.kept, ends):
                left += listener.finish()
        if waiting and self._request is not None and (manner := self._request.manner) is not None and manner.every:
            left += listener.release()  # a prompt does not end as frames do
        return left

    def _other_ends(self, listener: Listener) -> set[bytes]:
        """Terminators of the reply that is waited for that are none of the stream's."""
        form = getattr(self._request, "form", None)
        if form is None or not isinstance(form.end, Terminated):
            return set()
        return set(form.end.terminators) - listener.ends

    def _is_whole(self, came: bytes, ends: set[bytes]) -> bool:
        """Whether what came ends with the end of the reply, which a stream keeps as the beginning of a line."""
        if self._request is None or not any(came.endswith(end) for end in ends):
            return False
        try:
            return self._request.match(came, self._transaction) is not None
        except Refused:
            return True
        except Exception:  # noqa: BLE001 - Garbled, or a fault that its own exchange tells
            return False

    def _may_answer(self, frame: bytes) -> bool:
        """Whether a frame may be a reply that is waited for, or one that is overdue."""
        asked = [] if self._waiter is None or self._waiter.done() else [self._request]
        asked += [] if self._overdue is None else [self._overdue.request]
        for request in asked:
            try:
                if request is not None and request.match(frame, self._transaction) is not None:
                    return True
            except Refused:
                return True
            except Exception:  # noqa: BLE001, S112 - Garbled, or a fault that its own exchange tells
                continue
        return False

    def lost(self, why: str) -> None:
        """The transport is gone: whoever waits hears it now."""
        self._why_lost = why
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(LinkLost(why))
        if self._pause is not None:
            _wake(self._pause)

    def _look_for_late(self, data: bytes, now: float) -> None:
        overdue = self._overdue
        assert overdue is not None
        overdue.buffer = (overdue.buffer + data)[-_BUFFER:]
        overdue.late += len(data)
        if overdue.answered():
            self._late += overdue.late
            self.slowest = max(self.slowest, now - overdue.sent)
            self._overdue = None


def _wake(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _pieces(before: bytes, data: bytes, ends: set[bytes]) -> list[bytes]:
    """The data cut behind each of the ends, of which the beginning may have come `before`."""
    whole = before + data
    cuts = {found.end() - len(before) for end in ends for found in re.finditer(re.escape(end), whole)}
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]
