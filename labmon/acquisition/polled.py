"""What a line knows of the devices and queries that it polls: their place on the grid, their rest, their timeout."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Self

from labmon.acquisition.guards import ClockErrand, Errand, GuardErrand, Signs
from labmon.acquisition.plan import DevicePlan, QueryPlan
from labmon.acquisition.records import Records
from labmon.health.line import DeviceHealth
from labmon.links.link import Link, Memory, Request
from labmon.links.stream import Listener
from labmon.links.text import Prompted

SLOT = 0.02
"""Grid of due times in seconds: a wake-up costs more than the Modbus in it, so polls share them."""
FIRST = 0.4
"""The first poll of each query is spread over so many seconds after start."""
FAILURES = 3
"""Failures in a row after which a device rests."""
RESTS = (5.0, 10.0, 20.0, 30.0)
"""Rest periods; the last one repeats. The share of all probes in the line's time bounds what they cost."""
PROBE_FLOOR = 0.2
"""Seconds that a probe waits at least for its reply."""
FULL_PROBE = 3
"""Every so many probes one has the full timeout: for what came back slower than it was."""
SWAPPED = 5.0
"""Seconds in which nobody unplugs an instrument and plugs in another."""
STRETCH = 3.0
"""A device that answers late gets up to so many times its driver's timeout."""


class TimedLink:
    """The line's link as one device sees it: its own timeout, stretched where it answers late, cut for a probe."""

    def __init__(self, link: Link, fixed: float | None = None, gap: float = 0.0, default: float = math.inf) -> None:
        """`fixed` is what the site gives in the place of the driver's `default`; a longer one of a request stays."""
        self.link = link
        self.fixed = fixed
        self.default = default
        self.gap = gap
        self.stretch = 1.0
        self.retries = 0
        self.cap = math.inf

    @property
    def is_open(self) -> bool:
        """Whether the line is open."""
        return self.link.is_open

    @property
    def memory(self) -> Memory:
        """What is remembered of the connection."""
        return self.link.memory

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
        if not isinstance(request, Prompted):  # how often that is sent follows from its time
            if self.fixed is not None and (timeout <= self.default or timeout < self.fixed):
                timeout = self.fixed
            timeout *= self.stretch
        timeout = min(timeout, self.cap)
        return await self.link.exchange(request, timeout, gap=max(gap, self.gap))

    async def flush(self) -> None:
        """Wait until the line is quiet, and drop what came."""
        await self.link.flush()

    async def send_break(self, seconds: float) -> None:
        """Hold the line in BREAK."""
        await self.link.send_break(seconds)

    def listen(self, listener: Listener | None) -> None:
        """Give what comes unasked on the line to a listener."""
        self.link.listen(listener)

    def rest(self, seconds: float) -> None:
        """Send nothing until so many seconds after the last byte."""
        self.link.rest(seconds)

    def lengthen(self) -> bool:
        """Give a device that answers late more time, within bounds; False for a probe, and where it has it all."""
        if self.cap < math.inf or self.stretch >= STRETCH:
            return False
        self.stretch = min(self.stretch * 1.5, STRETCH)
        return True


@dataclass(slots=True, eq=False)
class PolledQuery:
    """One query's place on the grid."""

    plan: QueryPlan
    device: PolledDevice
    due: float
    phase: float
    skipped: int = 0
    signs: Signs = field(default_factory=Signs)
    """Values that must change, as they were last seen."""
    records: Records | None = None
    """Of a query that reads stored records."""
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
class PolledDevice:
    """What the line knows of one device."""

    plan: DevicePlan
    link: TimedLink
    health: DeviceHealth
    polls: list[PolledQuery] = field(default_factory=list)
    """Queries that are asked."""
    streams: list[PolledQuery] = field(default_factory=list)
    """Queries whose values come by themselves; `due` is when they are looked after."""
    queries: list[PolledQuery] = field(default_factory=list)
    """All, in the order of the plan."""
    failures: int = 0
    rest: int = -1
    """Index into the rest periods; -1: not resting."""
    probe_at: float = 0.0
    probes: int = 0
    identified: bool = False
    wrong: str = ""
    slowest: float = 0.0
    heard: float = -math.inf
    """When it last answered (monotonic)."""
    reason: str = ""
    told_alive: bool = False
    """Whether the alarm engine knows, since start, that it answers (an alarm may have been left active)."""
    asked: DevicePlan = field(init=False)
    """How it is asked now: its plan, or that of the variant that it is."""
    guard: GuardErrand | None = field(init=False)
    errands: list[Errand] = field(init=False)
    """What is asked besides the queries: its settings, its clock."""

    def __post_init__(self) -> None:
        """Ask it plainly at first."""
        self._ask_as(self.plan)

    @property
    def known(self) -> bool:
        """Whether it is known who it is and how it is set, as far as it can be asked."""
        return self.identified and (self.guard is None or self.guard.known)

    @property
    def resting(self) -> bool:
        """Whether its ticks are not tried now."""
        return self.rest >= 0

    @classmethod
    def starting(cls, plan: DevicePlan, link: TimedLink, health: DeviceHealth, now: float) -> Self:
        """A device at the start of its line: its queries spread over the first moments and over their intervals."""
        device = cls(plan, link, health)
        device.forget_identity(now)
        for query in plan.queries:
            share = zlib.crc32(query.layout.query.encode()) / 2**32
            first = now + min(FIRST, query.every) * share
            phase = round(share * query.every / SLOT) * SLOT
            records = Records(query) if query.query.kind == "record" else None
            poll = PolledQuery(query, device, math.ceil(first / SLOT) * SLOT, phase, records=records)
            device.queries.append(poll)
            (device.streams if query.query.kind == "stream" else device.polls).append(poll)
        return device

    @property
    def tired(self) -> bool:
        """Whether it has failed so often in a row that it shall rest."""
        return self.failures >= FAILURES

    def become(self, variant: str) -> None:
        """Ask from now on as the variant that it says it is; an empty one is the plain device."""
        self.health.variant = variant
        asked = self.plan.variants.get(variant, self.plan)
        if asked is self.asked:
            return
        for poll, query in zip(self.queries, asked.queries, strict=True):
            poll.plan = query
            if poll.records is not None:
                poll.records.read_as(query)
        self._ask_as(asked)

    def _ask_as(self, asked: DevicePlan) -> None:
        self.asked = asked
        self.guard = None if asked.guard is None else GuardErrand(asked.id, asked.guard)
        self.errands = [] if self.guard is None else [self.guard]
        if asked.clock is not None:
            self.errands.append(ClockErrand(asked.id, asked.clock, asked.set_clock, self.health))

    def forget_identity(self, now: float) -> None:
        """It has to be asked again who it is, where it can be, how it is set, and where its records stand."""
        self.identified = self.plan.identity is None
        for poll in self.polls:
            if poll.records is not None:
                poll.records.forget()
        if self.guard is not None:
            self.guard.known = False
        for errand in self.errands:
            errand.due = now if self.identified else math.inf

    def identified_as(self, variant: str, now: float) -> None:
        """It is the right instrument: what is asked besides its queries is due."""
        self.identified, self.wrong = True, ""
        self.become(variant)
        for errand in self.errands:
            errand.due = now

    def may_be_another(self, now: float) -> bool:
        """Whether it failed, and was silent for so long that another instrument may have taken its place."""
        return self.failures > 0 and now - self.heard > SWAPPED

    def answered(self, seconds: float, now: float) -> None:
        """It answered after so many seconds: its failures are over."""
        self.heard = now
        self.slowest = max(seconds, self.slowest * 0.999)
        self.failures = 0
        self.reason = ""

    def grant_time(self) -> bool:
        """It answers late and is not dead: a longer timeout, and no rest. False where it has all that it may have."""
        if not self.link.lengthen():
            return False
        self.failures = min(self.failures, FAILURES - 1)
        return True

    def lie_down(self, now: float) -> None:
        """Begin to rest."""
        self.rest = 0
        self.probe_at = now + RESTS[0]
        self.forget_identity(now)
        self.told_alive = False

    def rest_on(self, now: float) -> None:
        """Rest for longer: a probe failed."""
        self.rest = min(self.rest + 1, len(RESTS) - 1)
        self.probe_at = now + RESTS[self.rest]

    def wake(self, now: float) -> None:
        """Rest no more; every query is due."""
        self.rest = -1
        for poll in self.polls:
            poll.at_once(now)

    def next_probe(self) -> float:
        """Count a probe; the longest time that it may wait for its reply, in seconds."""
        self.probes += 1
        return math.inf if self.probes % FULL_PROBE == 0 else max(PROBE_FLOOR, 4 * self.slowest)
