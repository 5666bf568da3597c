"""One task per physical line: whose turn it is, one try per tick, and rest for what does not answer.

A failed try is a reading with a reason and is not repeated within its tick (design rule 6). After three failures in a
row a device rests; while it rests it costs the line one short probe per rest period, and all probes of a line together
at most a tenth of its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from labmon.acquisition.normalise import failed, readings_of, same_record
from labmon.acquisition.plan import DevicePlan, LinePlan, QueryPlan
from labmon.drivers.driver import Answer, WrongInstrument
from labmon.health.line import DeviceHealth, LineHealth
from labmon.links.errors import Garbled, LinkError, LinkLost, Refused, Silent
from labmon.links.link import Link, Request
from labmon.model.exchange import Exchange
from labmon.model.reading import Reason, reason_code, reason_text

SLOT = 0.02
"""Grid of due times in seconds: a wake-up costs more than the Modbus in it, so polls share them."""
FIRST = 0.4
"""The first poll of each query is spread over so many seconds after start."""
OPENING = 0.1
"""Seconds after which a line that is still being opened for the first time gives readings that say so."""
FAILURES = 3
"""Failures in a row after which a device rests."""
RESTS = (5.0, 10.0, 20.0, 30.0)
"""Rest periods; the last one repeats. The share of all probes in the line's time bounds what they cost."""
PROBE_SHARE = 0.1
PROBE_FLOOR = 0.2
REOPEN = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
UNREACHED = (10, 11)
"""Modbus exceptions by which a gateway says that the unit itself did not answer."""
STRETCH = 3.0
"""A device that answers late gets up to so many times its driver's timeout."""

log = logging.getLogger("labmon.line")


class Recorder(Protocol):
    """What a line tells: exchanges, and the technical conditions of its devices and itself."""

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        """Take one exchange, with the key of an instrument's own record; must not block."""
        ...

    def show(self, exchange: Exchange) -> None:
        """What was accepted before is still the latest: a record that is polled again after a failure."""
        ...

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        """A technical condition began (`active`) or ended."""
        ...

    def flags(self, device: str) -> int:
        """Flags that hold for all readings of a device now (clock not synchronised, out of service)."""
        ...

    def last_record(self, query: str) -> tuple[int, str] | None:
        """Time and key of the last record of a query that was journaled."""
        ...


class TimedLink:
    """The line's link as one device sees it: its own timeout, stretched where it answers late, cut for a probe."""

    def __init__(self, link: Link, fixed: float | None) -> None:
        self.link = link
        self.fixed = fixed
        self.stretch = 1.0
        self.cap = math.inf
        self.gap = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the line is open."""
        return self.link.is_open

    async def open(self) -> None:
        """Open the line."""
        await self.link.open()

    async def close(self) -> None:
        """Close the line."""
        await self.link.close()

    async def settle(self) -> int:
        """Let the line come to rest; bytes of late replies."""
        return await self.link.settle()

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        """One exchange with this device's timeout."""
        timeout = min((self.fixed or timeout) * self.stretch, self.cap)
        return await self.link.exchange(request, timeout, gap=max(gap, self.gap))


@dataclass(slots=True, eq=False)
class PollState:
    """One query's place on the grid."""

    plan: QueryPlan
    device: DeviceState
    due: float
    phase: float
    skipped: int = 0
    record: tuple[int, str] | None = None
    failed: bool = False
    """Whether the latest reading has no value because the poll failed."""

    def advance(self, now: float) -> int:
        """Move to the next grid point after `now`; return the number of ticks missed. They are never made up."""
        every = self.plan.every
        following = self.phase + math.floor((self.due - self.phase) / every + 1.0 + 1e-9) * every
        missed = 0
        if following <= now:
            missed = math.floor((now - following) / every) + 1
            following += missed * every
        self.due = math.ceil(following / SLOT - 1e-6) * SLOT
        return missed

    def pass_over(self, now: float) -> None:
        """Count the ticks up to `now` that were not tried, and move to the next."""
        if self.due <= now:
            self.skipped += 1 + self.advance(now)

    def at_once(self, now: float) -> None:
        """Be due now, whatever the grid says; the grid goes on after."""
        self.pass_over(now)
        self.due = now


@dataclass(slots=True, eq=False)
class DeviceState:
    """What the line knows of one device."""

    plan: DevicePlan
    link: TimedLink
    health: DeviceHealth
    polls: list[PollState] = field(default_factory=list)
    failures: int = 0
    rest: int = -1
    """Index into the rest periods; -1: not resting."""
    probe_at: float = 0.0
    probes: int = 0
    identified: bool = False
    wrong: str = ""
    slowest: float = 0.0
    reason: str = ""
    told_alive: bool = False
    """Whether the alarm engine knows, since start, that it answers (an alarm may have been left active)."""

    @property
    def resting(self) -> bool:
        """Whether its ticks are not tried now."""
        return self.rest >= 0


class Line:
    """One line: `run()` polls its devices for ever."""

    def __init__(
        self,
        plan: LinePlan,
        link: Link,
        recorder: Recorder,
        health: LineHealth,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.plan = plan
        self.link = link
        self.recorder = recorder
        self.health = health
        self.turns = 0
        """Completed turns, good, failed or resting: the sign that this task makes progress."""
        self.devices = [self._device(plan) for plan in plan.devices]
        self._probe_free = 0.0
        self._lost_since: float | None = None
        self._holds = False
        """Whether an exchange has shown that the open link is of use."""
        self._reopens = 0
        self._reopen_at = 0.0
        self._told_opening = False

    def _device(self, plan: DevicePlan) -> DeviceState:
        link = TimedLink(self.link, plan.timeout)
        link.gap = self.plan.quiet
        device = DeviceState(plan, link, self.health.device(plan.id), identified=plan.identity is None)
        now = self.clock()
        for query in plan.queries:
            share = zlib.crc32(query.layout.query.encode()) / 2**32
            first = now + min(FIRST, query.every) * share
            poll = PollState(query, device, math.ceil(first / SLOT) * SLOT, round(share * query.every / SLOT) * SLOT)
            device.polls.append(poll)
        return device

    async def run(self) -> None:
        """Poll until cancelled. Raises only what is a fault of labmon itself."""
        try:
            while True:
                await self._turn()
                self.turns += 1
        except Exception:
            self._broken()
            raise
        finally:
            await self.link.close()

    def _broken(self) -> None:
        """Nothing is polled until somebody starts the line again: no channel goes on showing its last value."""
        for device in self.devices:
            for poll in device.polls:
                with contextlib.suppress(Exception):  # what is broken may be the taking of readings itself
                    self._fail(poll, reason_text(Reason.INTERNAL, "the line's task failed"))

    # ------------------------------------------------------------------ whose turn

    async def _turn(self) -> None:
        if not self.link.is_open and not await self._open():
            return
        device, poll, due = self._next()
        delay = due - self.clock()
        if delay > 0:
            await asyncio.sleep(min(delay, 1.0))
            if delay > 1.0:
                return
        if not self.link.is_open:
            return
        if device.resting:
            await self._probe(device)
        elif poll is not None:
            await self._poll(poll)

    def _next(self) -> tuple[DeviceState, PollState | None, float]:
        """The earliest due poll of a device that does not rest, or the earliest probe of one that does."""
        best: tuple[DeviceState, PollState | None, float] | None = None
        for device in self.devices:
            if device.resting:
                due = max(device.probe_at, self._probe_free)
                if best is None or due < best[2]:
                    best = device, None, due
                continue
            for poll in device.polls:
                if best is None or poll.due < best[2]:
                    best = device, poll, poll.due
        if best is None:
            raise ValueError(f"line {self.plan.id} has nothing to poll")
        return best

    # ------------------------------------------------------------------ the line itself

    async def _open(self) -> bool:
        wait = self._reopen_at - self.clock()
        if wait > 0:
            await asyncio.sleep(min(wait, 1.0))
            return False
        slow = asyncio.get_running_loop().call_later(OPENING, self._still_opening)
        try:
            await self.link.open()
        except LinkLost as error:
            self._lost(error)
            return False
        finally:
            slow.cancel()
        self._told_opening = True
        now = self.clock()
        for device in self.devices:
            device.identified = device.plan.identity is None
            if self._reopens:
                device.probe_at = now
                for poll in device.polls:
                    poll.at_once(now)
        return True

    def _answered(self) -> None:
        """An exchange came to an end of its own: the line is open.

        Not before: a converter that is held by somebody else takes every connection, and closes it.
        """
        if self._holds or not self.link.is_open:
            return
        self._holds = True
        if self._lost_since is not None:
            log.info("line %s: open again after %.0f s", self.plan.id, self.clock() - self._lost_since)
            self._lost_since = None
        else:
            log.info("line %s: open (%s)", self.plan.id, self.plan.endpoint)
        self._reopens = 0
        self.recorder.condition(f"line.{self.plan.id}.lost", False, "open")
        self.health.opened(self.clock())

    def _still_opening(self) -> None:
        """At start, where the far end says neither yes nor no: a reading now, not when the attempt is over.

        What is due stays due, so that it is polled as soon as the line is open.
        """
        if not self._told_opening and self._lost_since is None:
            for device in self.devices:
                for poll in device.polls:
                    self._fail(poll, reason_text(Reason.LINK_LOST, "still opening"))
        self._told_opening = True

    def _lost(self, error: LinkLost, skip: PollState | None = None) -> None:
        """The link is gone: say so once, tell every channel, plan the next attempt."""
        now = self.clock()
        self._holds = False
        if self._lost_since is None:
            self._lost_since = now
            self.health.lost(now, error.detail)
            log.warning("line %s: lost: %s", self.plan.id, error.detail or "no detail")
            self.recorder.condition(f"line.{self.plan.id}.lost", True, error.detail)
        self._reopen_at = now + REOPEN[min(self._reopens, len(REOPEN) - 1)]
        self._reopens += 1
        for device in self.devices:
            device.identified = device.plan.identity is None
            for poll in device.polls:
                if poll is not skip:
                    poll.pass_over(now)
                self._fail(poll, error.reason)

    # ------------------------------------------------------------------ one device

    async def _poll(self, poll: PollState) -> None:
        device = poll.device
        started = self.clock()
        device.health.late_by(started - poll.due)
        if not await self._identify(device):
            if self.link.is_open and not device.resting:
                device.health.missed(poll.advance(self.clock()))
                self._fail(poll, device.reason)
            return
        outcome = await self._ask(device, poll)
        missed = poll.advance(self.clock())
        if missed:
            device.health.missed(missed)
        if isinstance(outcome, LinkLost):
            self._lost(outcome, skip=poll)
        elif isinstance(outcome, LinkError):
            self._fail(poll, outcome.reason)
            if device.failures >= FAILURES:
                self._rest(device, poll)
        else:
            self._good(poll, outcome)
        poll.skipped += missed

    async def _ask(self, device: DeviceState, poll: PollState) -> Answer | LinkError:
        """One try. Whatever goes wrong comes back as the error; a fault in labmon itself costs this device alone."""
        started = self.clock()
        try:
            answer = await poll.plan.query.ask(device.link)
        except LinkError as error:
            await self._failure(device, error, started)
            return error
        except Exception as error:  # noqa: BLE001 - a driver must not be able to stop its line
            return self._internal(device, poll.plan.query.name, error)
        self._success(device, self.clock() - started)
        return answer

    async def _identify(self, device: DeviceState) -> bool:
        """Whether the device is the one that the site file names; asked after each (re)connect."""
        if device.identified or device.plan.identity is None:
            return True
        started = self.clock()
        alarm = f"{device.plan.id}.wrong-instrument"
        try:
            found = await device.plan.identity.check(device.link)
        except WrongInstrument as error:
            self._success(device, self.clock() - started)
            device.reason = reason_text(Reason.WRONG_INSTRUMENT, f"found {error.found}")
            if device.wrong != error.found:
                device.wrong = error.found
                log.warning("line %s: device %s: wrong instrument: %s", self.plan.id, device.plan.id, error)
                self.recorder.condition(alarm, True, str(error))
            device.health.record_failure(Reason.WRONG_INSTRUMENT, self.clock())
            return False
        except LinkLost as error:
            self._lost(error)
            return False
        except LinkError as error:
            await self._failure(device, error, started)
            device.reason = error.reason
            if device.failures >= FAILURES and not device.resting:
                self._rest(device, None)
            return False
        except Exception as error:  # noqa: BLE001 - as in _ask
            device.reason = self._internal(device, "identity", error).reason
            return False
        self._success(device, self.clock() - started)
        device.identified = True
        device.wrong = ""
        self.recorder.condition(alarm, False, found)
        if device.health.identity != found:
            log.info("line %s: device %s: identified as %s", self.plan.id, device.plan.id, found)
            device.health.identity = found
        return True

    def _internal(self, device: DeviceState, what: str, error: Exception) -> LinkError:
        detail = f"{type(error).__name__} in {what}"
        if device.reason != detail:
            log.error("line %s: device %s: fault in labmon: %s", self.plan.id, device.plan.id, detail, exc_info=error)
            device.reason = detail
        self._answered()
        device.health.record_failure(Reason.INTERNAL, self.clock())
        device.failures += 1
        return LinkError(detail)

    async def _failure(self, device: DeviceState, error: LinkError, started: float) -> None:
        """Count a failed try; let the line settle; tell a late device from a dead one."""
        now = self.clock()
        device.health.record_failure(error.code, now)
        if isinstance(error, LinkLost):
            return  # of the line, not of the device
        self._answered()
        if isinstance(error, Refused) and error.error not in UNREACHED:
            device.failures = 0  # it is alive and said no
            return
        device.failures += 1
        if isinstance(error, (Silent, Garbled)) and await self.link.settle():
            self._late(device, self.clock() - started)

    def _late(self, device: DeviceState, within: float) -> None:
        """Tell a late device from a dead one: its timeout grows, within bounds, and it does not rest."""
        timed = device.link
        if timed.cap < math.inf or timed.stretch >= STRETCH:
            return
        timed.stretch = min(timed.stretch * 1.5, STRETCH)
        device.failures = min(device.failures, FAILURES - 1)
        device.health.late(within)
        log.info(
            "line %s: device %s: answers late, within %.2f s: its timeout is now %.1f times its driver's",
            self.plan.id, device.plan.id, within, timed.stretch,
        )  # fmt: skip

    def _success(self, device: DeviceState, seconds: float) -> None:
        now = self.clock()
        device.slowest = max(seconds, device.slowest * 0.999)
        device.failures = 0
        device.reason = ""
        self._answered()
        device.health.record_success(seconds, now)
        if not device.told_alive:
            device.told_alive = True
            self.recorder.condition(f"{device.plan.id}.dead", False, "answers")
        if device.resting:
            log.info("line %s: device %s: answers again", self.plan.id, device.plan.id)
            device.rest = -1
            for poll in device.polls:
                poll.at_once(now)

    # ------------------------------------------------------------------ rest and probes

    def _rest(self, device: DeviceState, poll: PollState | None) -> None:
        """Begin to rest: the condition is told once, and each other query's channels hear why they get nothing."""
        device.rest = 0
        device.probe_at = self.clock() + RESTS[0]
        device.identified = device.plan.identity is None
        device.health.resting(self.clock())
        last = reason_code(device.health.last_failure or Reason.SILENT)
        log.warning("line %s: device %s: rests (%s)", self.plan.id, device.plan.id, last)
        device.told_alive = False
        self.recorder.condition(f"{device.plan.id}.dead", True, last)
        for other in device.polls:
            if other is not poll:
                self._fail(other, reason_text(Reason.RESTING, last))

    async def _probe(self, device: DeviceState) -> None:
        """One short question: the identity where there is one, else the first query. Every third is of full length."""
        started = self.clock()
        device.probes += 1
        device.link.cap = math.inf if device.probes % 3 == 0 else max(PROBE_FLOOR, 4 * device.slowest)
        device.health.probed()
        poll = device.polls[0]
        try:
            if not device.identified:
                await self._identify(device)
                if device.resting and self.link.is_open:
                    self._rest_on(device, started)
                return  # it answered: its polls are due now
            outcome = await self._ask(device, poll)
        finally:
            device.link.cap = math.inf
        if isinstance(outcome, LinkLost):
            self._lost(outcome)
        elif isinstance(outcome, Refused) and outcome.error not in UNREACHED:
            self._success(device, self.clock() - started)
            self._fail(poll, outcome.reason)
        elif isinstance(outcome, LinkError):
            self._rest_on(device, started)
        else:
            self._good(poll, outcome)

    def _rest_on(self, device: DeviceState, started: float) -> None:
        """A probe failed: one entry with the ticks not tried, and the next probe no sooner than its share allows."""
        now = self.clock()
        device.rest = min(device.rest + 1, len(RESTS) - 1)
        device.probe_at = now + RESTS[device.rest]
        self._probe_free = now + (now - started) * (1 / PROBE_SHARE - 1)
        reason = reason_text(Reason.RESTING, reason_code(device.health.last_failure or Reason.SILENT))
        for poll in device.polls:
            poll.pass_over(now)
            self._fail(poll, reason)

    # ------------------------------------------------------------------ readings

    def _good(self, poll: PollState, answer: Answer) -> None:
        flags = self.recorder.flags(poll.device.plan.id)
        try:
            exchange = readings_of(poll.plan, answer, time.time_ns(), flags)
            if answer.key is not None:
                if poll.record is None:
                    poll.record = self.recorder.last_record(poll.plan.layout.query)
                if same_record(poll.record, answer.time, answer.key):
                    if poll.failed:
                        self.recorder.show(exchange)
                        poll.failed = False
                    return  # polled twice: one reading
            exchange.skipped = poll.skipped
            self.recorder.accept(exchange, answer.key)
        except Exception as error:  # noqa: BLE001 - what one device says must not stop its line
            self._fail(poll, self._internal(poll.device, poll.plan.query.name, error).reason)
            return
        poll.skipped, poll.failed = 0, False
        if answer.key is not None:
            poll.record = exchange.time, answer.key

    def _fail(self, poll: PollState, reason: str) -> None:
        flags = self.recorder.flags(poll.device.plan.id)
        self.recorder.accept(failed(poll.plan, reason, time.time_ns(), flags, poll.skipped))
        poll.skipped, poll.failed = 0, True


LinkFactory = Callable[[LinePlan], Link]
