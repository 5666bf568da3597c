"""What a line watches of an instrument besides its readings: how it is set, its clock, whether it measures."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from labmon.acquisition.recorder import Recorder
from labmon.drivers.driver import Answer, DeviceClock, Guard, Identified, Outcome, Sign, Turn
from labmon.health.line import DeviceHealth
from labmon.links.errors import LinkError
from labmon.links.link import Link
from labmon.model.event import EventKind
from labmon.model.reading import Flag, Raw, Reason, reason_text

_NS = 1_000_000_000


@dataclass(slots=True, eq=False)
class GuardErrand:
    """The settings of one instrument: asked at each connect before its first query, and from time to time."""

    device: str
    guard: Guard
    due: float = math.inf
    known: bool = False
    """Whether it was asked since the instrument was identified."""
    wrong: str = ""
    """What is set otherwise than it must be; empty where all is as expected."""

    @property
    def every(self) -> float:
        """Interval in seconds."""
        return self.guard.every

    async def run(self, link: Link, recorder: Recorder) -> None:
        """Ask, tell changes, and whether the values may be used. Raises what the link raises."""
        settings = await self.guard.ask(link)
        self.known, self.wrong = True, settings.wrong
        _tell_changes(recorder, self.device, settings.watched)
        recorder.condition(f"{self.device}.wrong-settings", bool(self.wrong), self.wrong or "set as expected")


@dataclass(slots=True, eq=False)
class ClockErrand:
    """The clock of one instrument, compared with the gateway's, and set where the site file says so."""

    device: str
    clock: DeviceClock
    may_set: bool
    health: DeviceHealth
    failed: str = ""
    """Why it could not be set when that was last tried: told once."""
    due: float = math.inf

    @property
    def every(self) -> float:
        """Interval in seconds."""
        return self.clock.every

    async def run(self, link: Link, recorder: Recorder) -> None:
        """Ask, tell how far off it is, and set it. Raises what the link raises."""
        off = await self._measure(link)
        if recorder.flags(self.device) & Flag.CLOCK:
            return  # nobody can say whose clock is right
        if (off is None or abs(off) > self.clock.at_most) and self.may_set and self.clock.can_be_set:
            off = await self._set(link, recorder, off)
        self._judge(recorder, off)

    def _judge(self, recorder: Recorder, off: float | None) -> None:
        alarm = f"{self.device}.clock-drift"
        if off is None:
            recorder.condition(alarm, True, "shows no time")
        else:
            far = abs(off) > self.clock.at_most
            recorder.condition(alarm, far, f"{_off(off)}, {self.clock.at_most:g} s at most" if far else "in time")

    async def _measure(self, link: Link) -> float | None:
        """Seconds that it is ahead of the gateway's clock at the middle of the request; None where it shows no time."""
        before = time.time_ns()
        shown = await self.clock.ask(link)
        middle = (before + time.time_ns()) // 2
        self.health.clock_drift = None if shown is None else (shown - middle) / _NS
        return self.health.clock_drift

    async def _set(self, link: Link, recorder: Recorder, off: float | None) -> float | None:
        was = "showed no time" if off is None else f"was {_off(off)}"
        try:
            await self.clock.set(link, time.time_ns())
        except LinkError as error:
            if self.failed != error.reason:
                recorder.told(self.device, f"the clock {was}; setting it: {error.reason}", EventKind.DEVICE_CLOCK)
            self.failed = error.reason
            self._judge(recorder, off)
            raise
        self.failed = ""
        recorder.told(self.device, f"the clock {was}, and was set", EventKind.DEVICE_CLOCK)
        return await self._measure(link)


Errand = GuardErrand | ClockErrand
"""What is asked of an instrument besides its queries. `due` is infinite until it is identified."""


@dataclass(slots=True)
class Signs:
    """Values that must change, with the moment at which each was first seen as it is."""

    seen: dict[str, tuple[Raw, float]] = field(default_factory=dict)

    def still(self, signs: Sequence[Sign], now: float) -> str:
        """What has not changed for too long, in words; empty where everything lives. `now` in monotonic seconds."""
        still = []
        for name, raw, within in signs:
            last, since = self.seen.get(name, (None, now))
            if name not in self.seen or raw != last:
                self.seen[name] = raw, now
            elif now - since >= within:
                still.append(f"{name} not updated for {now - since:.0f} s")
        return ", ".join(still)


def without_values(answer: Answer, reason: Reason, detail: str) -> Answer:
    """The same answer with no value to be used, for a reason; numbers stay as raw values."""
    text = reason_text(reason, detail)
    outcomes = [
        Outcome(None, text if o.value is not None else o.reason, 0, None if isinstance(o.raw, str) else o.raw)
        for o in answer.outcomes
    ]
    return replace(answer, outcomes=outcomes)


def without_records(turn: Turn, reason: Reason, detail: str) -> Turn:
    """The same turn, none of whose records has a value to be used."""
    records = [without_values(record, reason, detail) for record in turn.records]
    shown = None if turn.shown is None else without_values(turn.shown, reason, detail)
    return replace(turn, records=records, shown=shown)


def tell_identity(recorder: Recorder, device: str, found: Identified) -> None:
    """Tell when an instrument says other things of itself than before: another one of its kind, or other firmware."""
    name = f"{device}.identity"
    now = f"{found.text} (variant {found.variant})" if found.variant else found.text
    before = recorder.setting(name)
    if before == now or (before is None and not recorder.remembers):
        return
    recorder.told(device, f"{before} -> {now}" if before is not None else "", EventKind.IDENTITY, {name: now})


def _tell_changes(recorder: Recorder, device: str, watched: Mapping[str, Raw]) -> None:
    name = f"{device}.settings"
    before = recorder.setting(name)
    if before is None and not recorder.remembers:
        return  # the last known values come later: a change must not be taken for the first look
    known: dict[str, Raw] = orjson.loads(before) if before is not None else {}
    now = {field: _kept(raw) for field, raw in watched.items()}
    if known == now:
        return
    changes = [f"{key} {known[key]} -> {raw}" for key, raw in now.items() if key in known and known[key] != raw]
    recorder.told(device, ", ".join(changes), EventKind.SETTINGS, {name: orjson.dumps(now).decode()})


def _kept(raw: Raw) -> Raw:
    """As it comes back from the journal: a float that is no number, and one too large an integer, as text."""
    if isinstance(raw, float) and not math.isfinite(raw):
        return str(raw)
    return raw if not isinstance(raw, int) or abs(raw) < 2**63 else str(raw)


def _off(seconds: float) -> str:
    """How far off, in words: `75 s ahead`."""
    return f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"
