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

from labmon.acquisition.connection import Connection
from labmon.acquisition.guards import Errand, tell_identity
from labmon.acquisition.listening import Listening
from labmon.acquisition.plan import LinePlan
from labmon.acquisition.polled import PolledDevice, PolledQuery, TimedLink
from labmon.acquisition.recorder import Nobody, Recorder
from labmon.acquisition.records import Records
from labmon.acquisition.resting import Resting
from labmon.acquisition.taking import Taking
from labmon.acquisition.turns import next_turn
from labmon.drivers.driver import Answer, Turn, WrongInstrument
from labmon.drivers.session import close_sessions
from labmon.health.line import LineHealth
from labmon.links.errors import UNREACHED, Garbled, LinkError, LinkLost, Refused, Silent
from labmon.links.link import Link
from labmon.model.reading import Reason, reason_text

RETRY = 30.0
"""Seconds after which an instrument that did not say how it is set, or what its clock shows, is asked for it again."""

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
        self.connection = Connection(self)
        self.resting = Resting(self)
        self.taking = Taking(self)
        self.listening = Listening(self) if any(device.streams for device in self.devices) else None
        self.over = False
        """Whether nothing is polled any more."""

    async def run(self) -> None:
        """Poll until cancelled. Raises only what is a fault of labmon itself."""
        try:
            while not self.over:
                await self._turn()
                self.turns += 1
                self.health.turns += 1
        except Exception:
            self._broken()
            raise
        finally:
            try:
                await close_sessions(self.link)
            finally:  # cancelled again: whoever waits for the port waits no longer
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
        if self.over:
            return
        self.over = True
        for device in self.devices:
            for poll in device.queries:
                with contextlib.suppress(Exception):  # what is broken may be the taking of readings itself
                    self.taking.fail(poll, reason_text(Reason.INTERNAL, "the line's task failed"))

    # ------------------------------------------------------------------ whose turn

    async def _turn(self) -> None:
        if self.listening is not None and self.listening.cut_off:
            self.connection.lost(LinkLost("the far end closed"))
        if not self.link.is_open and not await self.connection.open():
            return
        device, poll, due = next_turn(self.devices, self.clock(), self.resting.free_at)
        delay = due - self.clock()
        if delay > 0:
            await asyncio.sleep(min(delay, 1.0))
            if delay > 1.0:
                return
        if not self.link.is_open:
            return
        if poll is None:
            await self.resting.probe(device)
        elif self.listening is not None and poll in device.streams:
            await self.listening.look_after(poll)
        elif isinstance(poll, PolledQuery):
            await self._poll(poll)
        elif poll is not None:
            await self.errand(device, poll)
        device.health.retries += device.link.retries
        device.link.retries = 0

    # ------------------------------------------------------------------ one device

    async def _poll(self, poll: PolledQuery) -> None:
        device = poll.device
        started = self.clock()
        device.health.late_by(started - poll.due)
        if poll.records is not None and (wait := poll.records.wait(self.recorder, started)):
            poll.due = started + wait  # what was read is not on the disk yet: others are polled meanwhile
            return
        if device.identified and device.may_be_another(started):
            device.forget_identity(started)
        if not await self.identify(device) or not await self.guarded(device):
            if self.link.is_open and not device.resting:
                device.health.missed(poll.advance(self.clock()))
                self.taking.fail(poll, device.reason)
            return
        outcome = await self.ask(device, poll, poll.records)
        missed = poll.advance(self.clock())
        if missed:
            device.health.missed(missed)
        if isinstance(outcome, LinkLost):
            self.connection.lost(outcome, skip=poll)
        elif isinstance(outcome, LinkError):
            self.taking.fail(poll, outcome.reason)
            if device.tired:
                self.resting.begin(device, poll)
        elif isinstance(outcome, Turn):
            self.taking.records(poll, outcome, started)
        else:
            self.taking.good(poll, outcome)
        poll.skipped += missed

    async def ask(
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
        self.success(device, self.clock() - started)
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
            self.success(device, self.clock() - started)
            device.reason = reason_text(Reason.WRONG_INSTRUMENT, f"found {error.found}")
            if device.wrong != error.found:
                device.wrong = error.found
                log.warning("line %s: device %s: wrong instrument: %s", self.plan.id, device.plan.id, error)
                self.recorder.condition(alarm, True, str(error))
            device.health.record_failure(Reason.WRONG_INSTRUMENT, self.clock())
            return False
        except LinkLost as error:
            self.connection.lost(error)
            return False
        except LinkError as error:
            await self._unanswered(device, error, started)
            return False
        except Exception as error:  # noqa: BLE001 - as in ask
            device.reason = self.internal(device, "identity", error).reason
            return False
        self.success(device, self.clock() - started)
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
        return device.guard is None or device.guard.known or await self.errand(device, device.guard)

    async def errand(self, device: PolledDevice, errand: Errand) -> bool:
        """Ask the device for something besides its queries; False when there was no answer."""
        started = self.clock()
        try:
            await errand.run(device.link, self.recorder)
        except LinkLost as error:
            self.connection.lost(error)
            return False
        except LinkError as error:
            await self._unanswered(device, error, started)
            if device.identified:  # else whoever stands there now might be asked, and have its clock set
                errand.due = self.clock() + min(errand.every, RETRY)
            return False
        except Exception as error:  # noqa: BLE001 - as in ask
            device.reason = self.internal(device, type(errand).__name__, error).reason
            errand.due = self.clock() + errand.every
            return False
        self.success(device, self.clock() - started)
        errand.due = self.clock() + errand.every
        return True

    async def _unanswered(self, device: PolledDevice, error: LinkError, started: float) -> None:
        """What is asked besides the queries failed: its queries say why, and it rests as after any failure."""
        await self._failure(device, error, started)
        device.reason = error.reason
        if device.tired and not device.resting:
            self.resting.begin(device, None)

    def internal(self, device: PolledDevice, what: str, error: Exception) -> LinkError:
        """A fault in labmon itself, told once: it costs this device alone."""
        detail = f"{type(error).__name__} in {what}"
        if device.reason != detail:
            log.error("line %s: device %s: fault in labmon: %s", self.plan.id, device.plan.id, detail, exc_info=error)
            device.reason = detail
        self.connection.answered()
        device.health.record_failure(Reason.INTERNAL, self.clock())
        device.failures += 1
        return LinkError(detail)

    async def _failure(self, device: PolledDevice, error: LinkError, started: float) -> None:
        """Count a failed try; let the line settle; tell a late device from a dead one."""
        now = self.clock()
        device.health.record_failure(error.code, now)
        if isinstance(error, LinkLost):
            return  # of the line, not of the device
        self.connection.answered()
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

    def success(self, device: PolledDevice, seconds: float) -> None:
        """It answered after so many seconds: it lives, and rests no more."""
        now = self.clock()
        device.answered(seconds, now)
        self.connection.answered()
        device.health.record_success(seconds, now)
        if not device.told_alive:
            device.told_alive = True
            self.recorder.condition(f"{device.plan.id}.dead", False, "answers")
        if device.resting:
            log.info("line %s: device %s: answers again", self.plan.id, device.plan.id)
            device.wake(now)
