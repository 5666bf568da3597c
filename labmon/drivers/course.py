"""The course of an asking that is more than its requests in order: sessions, selection, retries, polling until."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.conditions import FieldIndex, test_of
from labmon.drivers.given import applies
from labmon.drivers.session import LOST, SESSION, CompiledSession, Opened
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step
from labmon.drivers.text_step import sendable
from labmon.links.errors import Garbled, LinkError, Refused, Silent
from labmon.links.link import Link
from labmon.links.text import Command
from labmon.model.reading import Raw, Reason

_OUTCOMES: dict[str, type[LinkError]] = {"refused": Refused, "garbled": Garbled, "silent": Silent}


class NotReady(Refused):
    """The instrument answered each time, and never that it is ready."""

    code = Reason.NOT_READY


@dataclass(frozen=True, slots=True)
class Leg:
    """One request of an asking: its exchanges, each with its timeout and the quiet time before it."""

    request: grammar.Request
    steps: tuple[Step, ...]
    timeout: float | None
    gaps: tuple[float, ...]


class Course:
    """The requests of one asking, one after the other, with what the file says of the conversation around them.

    What is remembered (the open session, the selected unit, what is asked once) stands in the link's memory, never
    here: devices that are set alike share this. A failed exchange makes the device's part of it forgotten, so that no
    answer is taken from a conversation that may be another one by now; a refusal does not.
    """

    def __init__(self, legs: Sequence[Leg], setting: Setting, timeout: float) -> None:
        file = setting.file
        self._legs = [_Runner(leg, file.retry, setting, timeout) for leg in legs]
        self._key = file.maker, file.title, setting.address
        self._after_connect = file.timing.after_connect
        self._session = None if file.session is None else CompiledSession(file.session, setting)
        self._select = None if file.select is None else sendable(file.select, setting)

    @staticmethod
    def needed(requests: Sequence[grammar.Request], file: grammar.DriverFile) -> bool:
        """Whether these requests are more than their exchanges in order."""
        if file.session is not None or file.select is not None or file.retry or file.timing.after_connect:
            return True
        return any(r.once or r.until is not None for r in requests)

    async def raws(self, link: Link) -> list[Raw]:
        """Ask all; the raw values of all fields. Raises what the link raises, and NotReady."""
        memory = link.memory.devices.setdefault(self._key, {})
        try:
            await self._begin(link, memory)
            found: list[Raw] = []
            for leg in self._legs:
                found.extend(await leg.ask(link, memory))
        except Refused:
            raise
        except BaseException:
            opened: Opened | None = memory.get(SESSION)
            memory.clear()
            if opened is not None and not opened.session.after_error and opened.failures + 1 < LOST:
                memory[SESSION] = opened._replace(failures=opened.failures + 1)
            link.memory.selected = None
            raise
        if self._session is not None and (opened := memory[SESSION]).failures:
            memory[SESSION] = opened._replace(failures=0)
        return found

    async def _begin(self, link: Link, memory: dict[object, Any]) -> None:
        if self._select is not None and link.memory.selected != self._select:
            link.memory.selected = None
            await link.exchange(Command(self._select), 0.0)
            link.memory.selected = self._select
        if SESSION not in memory:
            delay = link.memory.opened + self._after_connect - time.monotonic()
            if self._after_connect and delay > 0:
                await asyncio.sleep(delay)
            if self._session is not None:
                await self._session.open(link)
                memory[SESSION] = Opened(self._session, self._select)
        if self._session is not None:
            await self._session.wake(link)


class _Runner:
    """One leg: asked once or each time, until it is ready, and again where a rule says so."""

    def __init__(self, leg: Leg, rules: Sequence[grammar.Retry], setting: Setting, timeout: float) -> None:
        self._leg = leg
        self._timeout = leg.timeout or timeout
        request = leg.request
        risky = request.write is not None or changed(request) or request.effect is not None
        # What may have been done must not be done twice; what was refused has not been done.
        self._rules = [rule for rule in rules if rule.on == "refused" or not risky]
        self._until = request.until
        # The same question of the same device, however often its asking is made: for each record of a buffer anew.
        sent = tuple(step.request.encode(0) for step in leg.steps) if request.once else ()
        params = tuple((name, str(setting.params.get(name))) for name in setting.file.params)
        self._key = id(request), sent, params
        index = FieldIndex([f for s in leg.steps for f in s.fields])
        # Who does not say that it is ready is not.
        self._ready = [
            test_of(condition, index, setting.params, missing=False)
            for condition in (request.until.conditions if request.until is not None else [])
            if applies(condition.when, setting.params)
        ]

    async def ask(self, link: Link, memory: dict[object, Any]) -> Sequence[Raw]:
        """Raw values of the leg's fields."""
        if not self._leg.request.once:
            return await self._polled(link)
        if self._key not in memory:
            memory[self._key] = await self._polled(link)
        known: Sequence[Raw] = memory[self._key]
        return known

    async def _polled(self, link: Link) -> Sequence[Raw]:
        until = self._until
        if until is None:
            return await self._values(link)
        for _ in range(until.at_most):
            values = await self._values(link)
            if all(test(values) for test in self._ready):
                return values
            link.rest(until.every)
        raise NotReady("", f"not within {until.at_most} tries")

    async def _values(self, link: Link) -> Sequence[Raw]:
        found: list[Raw] = []
        for step, gap in zip(self._leg.steps, self._leg.gaps, strict=True):
            found.extend(await self._one(link, step, gap))
        return found

    async def _one(self, link: Link, step: Step, gap: float) -> Sequence[Raw]:
        left = [rule.at_most for rule in self._rules]
        while True:
            try:
                return await step.ask(link, self._timeout, gap)
            except (Refused, Garbled, Silent) as error:
                found = [n for n, rule in enumerate(self._rules) if left[n] and _fits(rule, error)]
                if not found:
                    raise
                left[found[0]] -= 1
                link.retries += 1
                if (pause := self._rules[found[0]].pause) is not None:
                    link.rest(pause)


def _fits(rule: grammar.Retry, error: LinkError) -> bool:
    if not isinstance(error, _OUTCOMES[rule.on]):
        return False
    return rule.code is None or (isinstance(error, Refused) and str(error.error) == rule.code)


def changed(request: grammar.Request) -> bool:
    """Whether a `send` changes the instrument: as it says; else, when nothing is read from its reply."""
    if request.send is None:
        return False
    return not request.fields if request.changes is None else request.changes
