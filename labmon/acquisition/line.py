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
from collections.abc import Callable

from labmon.acquisition.guards import Errand, tell_identity, without_records, without_values
from labmon.acquisition.listening import Listening
from labmon.acquisition.normalise import failed, readings_of
from labmon.acquisition.plan import LinePlan
from labmon.acquisition.polled import PolledDevice, PolledQuery, TimedLink
from labmon.acquisition.recorder import Nobody, Recorder
from labmon.acquisition.records import Records
from labmon.drivers.driver import Answer, Turn, WrongInstrument
from labmon.drivers.session import close_sessions
from labmon.health.line import LineHealth
from labmon.links.errors import Garbled, LinkError, LinkLost, Refused, Silent
from labmon.links.link import Link
from labmon.model.reading import Reason, reason_code, reason_text

OPENING = 0.1
"""Seconds after which a line that is still being opened for the first time gives readings that say so."""
PROBE_SHARE = 0.1
"""Of the line's time, that all probes together may take."""
PROBE_WAITS = 1.0
"""Seconds that a probe that is due lets polls go first."""
REOPEN = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
RETRY = 30.0
"""Seconds after which an instrument that did not say how it is set, or what its clock shows, is asked for it again."""
ERRAND_WAITS = 5.0
"""On a full line, settings and clocks of instruments are asked so many seconds after queries of the same time."""
UNREACHED = (10, 11)
"""Modbus exceptions by which a gateway says that the unit itself did not answer."""

log = logging.getLogger("labmon.line")


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
        now = clock()
        self.devices = [
            PolledDevice.starting(
                device,
                TimedLink(link, device.timeout, plan.quiet, getattr(device.driver, "timeout", math.inf)),
                health.device(device.id),
                now,
            )
            for device in plan.devices
        ]
        self.listening = Listening(self) if any(device.streams for device in self.devices) else None
        self._probe_free = 0.0
        self._lost_since: float | None = None
        self._holds = False
        """Whether an exchange has shown that the open link is of use."""
        self._reopens = 0
        self._reopen_at = 0.0
        self._told_opening = False
        self._over = False

    async def run(self) -> None:
        """Poll until cancelled. Raises only what is a fault of labmon itself."""
        try:
            while not self._over:
                await self._turn()
                self.turns += 1
                self.health.turns += 1
        except Exception:
            self._broken()
            raise
        finally:
            await close_sessions(self.link)
            await self.link.close()

    def abandon(self) -> None:
        """Another line takes the place of this one, whose task may never end: its channels say so, and whatever it
        still does counts no more. Whoever abandons it closes its link.
        """
        self._broken()
        self.recorder, self.health = Nobody(), LineHealth(self.plan.id)
        for device in self.devices:
            device.health = self.health.device(device.plan.id)

    def _broken(self) -> None:
        """Nothing is polled until somebody starts the line again: no channel goes on showing its last value."""
        if self._over:
            return
        self._over = True
        for device in self.devices:
            for poll in device.queries:
                with contextlib.suppress(Exception):  # what is broken may be the taking of readings itself
                    self.fail(poll, reason_text(Reason.INTERNAL, "the line's task failed"))

    # ------------------------------------------------------------------ whose turn

    async def _turn(self) -> None:
        if self.listening is not None and self.listening.cut_off:
            self._lost(LinkLost("the far end closed"))
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
        if poll is None:
            await self._probe(device)
        elif self.listening is not None and poll in device.streams:
            await self.listening.look_after(poll)
        elif isinstance(poll, PolledQuery):
            await self._poll(poll)
        elif poll is not None:
            await self._errand(device, poll)
        device.health.retries += device.link.retries
        device.link.retries = 0

    def _next(self) -> tuple[PolledDevice, PolledQuery | Errand | None, float]:
        """The poll that is due and has waited longest for its priority, else the next; or the earliest probe."""
        now = self.clock()
        best: tuple[PolledDevice, PolledQuery | Errand | None, float] | None = None
        first = (True, math.inf)
        for device in self.devices:
            for poll in device.streams:
                if (rank := (poll.due > now, poll.due)) < first:
                    first, best = rank, (device, poll, poll.due)
            if device.resting:
                due = max(device.probe_at, self._probe_free)
                rank = (True, due) if due > now else (False, due + PROBE_WAITS)
                if rank < first:
                    first, best = rank, (device, None, due)
                continue
            for poll in device.polls:
                rank = (True, poll.due) if poll.due > now else (False, poll.due + poll.plan.waits)
                if rank < first:
                    first, best = rank, (device, poll, poll.due)
            for errand in device.errands:
                rank = (True, errand.due) if errand.due > now else (False, errand.due + ERRAND_WAITS)
                if rank < first:
                    first, best = rank, (device, errand, errand.due)
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
        if self._over:  # abandoned meanwhile: the port is another's
            await self.link.close()
            return False
        self._told_opening = True
        now = self.clock()
        for device in self.devices:
            device.forget_identity(now)
            if self._reopens:
                device.probe_at = now
                for poll in device.polls:
                    poll.at_once(now)
        if self.listening is not None:
            self.listening.opened(now)
        return True

    def answered(self) -> None:
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
                for poll in device.queries:
                    self.fail(poll, reason_text(Reason.LINK_LOST, "still opening"))
        self._told_opening = True

    def _lost(self, error: LinkLost, skip: PolledQuery | None = None) -> None:
        """The link is gone: say so once, tell every channel, plan the next attempt."""
        now = self.clock()
        self._holds = False
        if self._lost_since is None:
            self._lost_since = now
            self.health.lost(now, error.detail)
            log.warning("line %s: lost: %s", self.plan.id, error.detail or "no detail")
            self.recorder.condition(f"line.{self.plan.id}.lost", True, error.detail)
        if self.listening is not None:
            self.listening.closed()
        self._reopen_at = now + REOPEN[min(self._reopens, len(REOPEN) - 1)]
        self._reopens += 1
        for device in self.devices:
            device.forget_identity(now)
            for poll in device.queries:
                if poll is not skip:
                    poll.pass_over(now)
                self.fail(poll, error.reason)

    # ------------------------------------------------------------------ one device

    async def _poll(self, poll: PolledQuery) -> None:
        device = poll.device
        started = self.clock()
        device.health.late_by(started - poll.due)
        if poll.records is not None and (wait := poll.records.wait(self.recorder, started)):
            poll.due = started + wait  # what was read is not on the disk yet: others are polled meanwhile
            return
        if not await self.identify(device) or not await self.guarded(device):
            if self.link.is_open and not device.resting:
                device.health.missed(poll.advance(self.clock()))
                self.fail(poll, device.reason)
            return
        outcome = await self._ask(device, poll, poll.records)
        missed = poll.advance(self.clock())
        if missed:
            device.health.missed(missed)
        if isinstance(outcome, LinkLost):
            self._lost(outcome, skip=poll)
        elif isinstance(outcome, LinkError):
            self.fail(poll, outcome.reason)
            if device.tired:
                self._rest(device, poll)
        elif isinstance(outcome, Turn):
            self._read(poll, outcome, started)
        else:
            self.good(poll, outcome)
        poll.skipped += missed

    async def _ask(
        self, device: PolledDevice, poll: PolledQuery, records: Records | None = None
    ) -> Answer | Turn | LinkError:
        """One try. Whatever goes wrong comes back as the error; a fault in labmon itself costs this device alone."""
        started = self.clock()
        try:
            if records is None:
                answer: Answer | Turn = await poll.plan.query.ask(device.link)
            else:
                answer = await records.reader.turn(device.link, records.last)
        except LinkError as error:
            await self._failure(device, error, started)
            return error
        except Exception as error:  # noqa: BLE001 - a driver must not be able to stop its line
            return self.internal(device, poll.plan.query.name, error)
        self._success(device, self.clock() - started)
        return answer

    async def identify(self, device: PolledDevice) -> bool:
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
            if device.tired and not device.resting:
                self._rest(device, None)
            return False
        except Exception as error:  # noqa: BLE001 - as in _ask
            device.reason = self.internal(device, "identity", error).reason
            return False
        self._success(device, self.clock() - started)
        self.recorder.condition(alarm, False, found.text)
        tell_identity(self.recorder, device.plan.id, found)
        if (device.health.identity, device.health.variant) != found:
            variant = f", variant {found.variant}" if found.variant else ""
            log.info("line %s: device %s: identified as %s%s", self.plan.id, device.plan.id, found.text, variant)
            device.health.identity = found.text
        device.identified_as(found.variant, self.clock())
        if self.listening is not None:
            self.listening.follow()
        return True

    async def guarded(self, device: PolledDevice) -> bool:
        """Whether it is known how the device is set; asked after each (re)connect, before the first query."""
        return device.guard is None or device.guard.known or await self._errand(device, device.guard)

    async def _errand(self, device: PolledDevice, errand: Errand) -> bool:
        """Ask the device for something besides its queries; False when there was no answer."""
        started = self.clock()
        try:
            await errand.run(device.link, self.recorder)
        except LinkLost as error:
            self._lost(error)
            return False
        except LinkError as error:
            await self._failure(device, error, started)
            device.reason = error.reason
            if device.tired and not device.resting:
                self._rest(device, None)
            if device.identified:  # else whoever stands there now might be asked, and have its clock set
                errand.due = self.clock() + min(errand.every, RETRY)
            return False
        except Exception as error:  # noqa: BLE001 - as in _ask
            device.reason = self.internal(device, type(errand).__name__, error).reason
            errand.due = self.clock() + errand.every
            return False
        self._success(device, self.clock() - started)
        errand.due = self.clock() + errand.every
        return True

    def internal(self, device: PolledDevice, what: str, error: Exception) -> LinkError:
        """A fault in labmon itself, told once: it costs this device alone."""
        detail = f"{type(error).__name__} in {what}"
        if device.reason != detail:
            log.error("line %s: device %s: fault in labmon: %s", self.plan.id, device.plan.id, detail, exc_info=error)
            device.reason = detail
        self.answered()
        device.health.record_failure(Reason.INTERNAL, self.clock())
        device.failures += 1
        return LinkError(detail)

    async def _failure(self, device: PolledDevice, error: LinkError, started: float) -> None:
        """Count a failed try; let the line settle; tell a late device from a dead one."""
        now = self.clock()
        device.health.record_failure(error.code, now)
        if isinstance(error, LinkLost):
            return  # of the line, not of the device
        self.answered()
        if isinstance(error, Refused) and error.error not in UNREACHED:
            device.failures = 0  # it is alive and said no
            return
        device.failures += 1
        if isinstance(error, (Silent, Garbled)) and await self.link.settle():
            self._late(device, self.clock() - started)

    def _late(self, device: PolledDevice, within: float) -> None:
        """Tell a late device from a dead one: its timeout grows, within bounds, and it does not rest."""
        if not device.grant_time():
            return
        device.health.late(within)
        log.info(
            "line %s: device %s: answers late, within %.2f s: its timeout is now %.1f times its driver's",
            self.plan.id, device.plan.id, within, device.link.stretch,
        )  # fmt: skip

    def _success(self, device: PolledDevice, seconds: float) -> None:
        now = self.clock()
        device.answered(seconds)
        self.answered()
        device.health.record_success(seconds, now)
        if not device.told_alive:
            device.told_alive = True
            self.recorder.condition(f"{device.plan.id}.dead", False, "answers")
        if device.resting:
            log.info("line %s: device %s: answers again", self.plan.id, device.plan.id)
            device.wake(now)

    # ------------------------------------------------------------------ rest and probes

    def _rest(self, device: PolledDevice, poll: PolledQuery | None) -> None:
        """Begin to rest: the condition is told once, and each other query's channels hear why they get nothing."""
        device.lie_down(self.clock())
        device.health.resting(self.clock())
        last = reason_code(device.health.last_failure or Reason.SILENT)
        log.warning("line %s: device %s: rests (%s)", self.plan.id, device.plan.id, last)
        self.recorder.condition(f"{device.plan.id}.dead", True, last)
        # Who speaks by itself goes on doing so, and is believed where nobody needs to ask who it is.
        for other in device.polls if device.known else device.queries:
            if other is not poll:
                self.fail(other, reason_text(Reason.RESTING, last))

    async def _probe(self, device: PolledDevice) -> None:
        """One short question: identity or settings where they are not known, else the first query.

        Every third is of full length.
        """
        started = self.clock()
        device.link.cap = device.next_probe()
        device.health.probed()
        try:
            if device.known and device.polls:
                await self._probe_query(device, started)
            else:
                await self._probe_beside(device, started)
        finally:
            device.link.cap = math.inf

    async def _probe_beside(self, device: PolledDevice, started: float) -> None:
        """Ask what is asked besides queries. When it is answered the device's polls are due."""
        if not device.identified:
            await self.identify(device)
        else:
            await self._errand(device, device.errands[0 if not device.known else -1])
        if device.resting and self.link.is_open:
            if device.failures:
                self._rest_on(device, started)
            else:
                self._success(device, self.clock() - started)  # it is alive and said no

    async def _probe_query(self, device: PolledDevice, started: float) -> None:
        """Ask a query; of a device that has only records in a turn like any other: reading may take one away."""
        poll = next((p for p in device.polls if p.records is None), device.polls[0])
        if poll.records is not None and (wait := poll.records.wait(self.recorder, started)):
            device.probe_at = started + wait
            return
        outcome = await self._ask(device, poll, poll.records)
        if isinstance(outcome, LinkLost):
            self._lost(outcome)
        elif isinstance(outcome, Refused) and outcome.error not in UNREACHED:
            self._success(device, self.clock() - started)
            self.fail(poll, outcome.reason)
        elif isinstance(outcome, LinkError):
            self._rest_on(device, started)
        elif isinstance(outcome, Turn):
            self._read(poll, outcome, started)
        else:
            self.good(poll, outcome)

    def _rest_on(self, device: PolledDevice, started: float) -> None:
        """A probe failed: one entry with the ticks not tried, and the next probe no sooner than its share allows."""
        now = self.clock()
        device.rest_on(now)
        self._probe_free = now + (now - started) * (1 / PROBE_SHARE - 1)
        reason = reason_text(Reason.RESTING, reason_code(device.health.last_failure or Reason.SILENT))
        for poll in device.polls:
            poll.pass_over(now)
        for poll in device.polls if device.known else device.queries:
            self.fail(poll, reason)

    # ------------------------------------------------------------------ readings

    def good(self, poll: PolledQuery, answer: Answer, received: int | None = None) -> None:
        """Make readings of an answer; `received` (UTC ns): when it came, if not now."""
        flags = self.recorder.flags(poll.device.plan.id)
        try:
            if (guard := poll.device.guard) is not None and guard.wrong:
                answer = without_values(answer, Reason.WRONG_MODE, guard.wrong)
            elif answer.signs and (still := poll.signs.still(answer.signs, self.clock())):
                answer = without_values(answer, Reason.NOT_RELIABLE, still)
            exchange = readings_of(poll.plan, answer, received or time.time_ns(), flags)
            exchange.skipped = poll.skipped
            self.recorder.accept(exchange)
        except Exception as error:  # noqa: BLE001 - what one device says must not stop its line
            self.fail(poll, self.internal(poll.device, poll.plan.query.name, error).reason)
            return
        poll.skipped, poll.failed = 0, False

    def _read(self, poll: PolledQuery, turn: Turn, started: float) -> None:
        """Take what a turn of reading records brought; where there is more, the next one is due after who waits."""
        records = poll.records
        if records is None:
            raise TypeError(f"query {poll.plan.query.name} reads no records")
        flags, received = self.recorder.flags(poll.device.plan.id), time.time_ns()
        if (guard := poll.device.guard) is not None and guard.wrong:
            turn = without_records(turn, Reason.WRONG_MODE, guard.wrong)
        try:
            more = records.take(turn, self.recorder, started, received, flags, poll.skipped)
            if poll.failed and turn.shown is not None:
                self.recorder.show(readings_of(poll.plan, turn.shown, received, flags))
            elif turn.absent and (poll.failed or not records.told):
                self.recorder.accept(records.nothing(received, flags, poll.skipped))
                poll.skipped = 0
            records.told = True
        except Exception as error:  # noqa: BLE001 - as in _good
            self.fail(poll, self.internal(poll.device, poll.plan.query.name, error).reason)
            return
        if turn.records:
            poll.skipped = 0
        poll.failed = False
        if more:
            poll.due = self.clock()

    def fail(self, poll: PolledQuery, reason: str) -> None:
        """Make readings without a value, for this reason."""
        flags = self.recorder.flags(poll.device.plan.id)
        self.recorder.accept(failed(poll.plan, reason, time.time_ns(), flags, poll.skipped))
        poll.skipped, poll.failed = 0, True
