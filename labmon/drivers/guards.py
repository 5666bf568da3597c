"""How an instrument is set, and its clock: the guard and the clock of a driver file for one device."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo

from labmon.drivers import grammar, meaning
from labmon.drivers.asking import Asking
from labmon.drivers.conditions import fields_of
from labmon.drivers.driver import Settings
from labmon.drivers.given import ParamValue, applies
from labmon.drivers.moment import time_of, zone_of
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step
from labmon.links.link import Link
from labmon.model.reading import Raw

_NS = 1_000_000_000


class _Asked:
    """What is asked beside the queries; `steps`, `fields`, `raws` and `encode` as those of a query."""

    def __init__(self, requests: Sequence[grammar.Request], setting: Setting) -> None:
        self._asking = Asking(requests, setting)
        self.steps: Sequence[Step] = self._asking.steps
        self.timeout = self._asking.timeout
        self.longest = self._asking.longest

    @property
    def fields(self) -> list[str]:
        """Names of all fields, in the order of raw values."""
        return self._asking.names

    def raws(self, payloads: Sequence[bytes]) -> dict[str, Raw]:
        """Raw values by field name, from the payloads of the steps. Raises Garbled."""
        return dict(zip(self.fields, self._asking.decode(payloads), strict=True))

    def encode(self, raws: Mapping[str, Raw]) -> list[bytes]:
        """The payload of each step's reply with these raw values."""
        return [one.encode(raws) for one in self.steps]


class CompiledGuard(_Asked):
    """The guard of a driver file for one device (labmon.drivers.driver.Guard)."""

    def __init__(self, guard: grammar.Guard, setting: Setting) -> None:
        super().__init__(guard.requests, setting)
        self.every = guard.every
        index = self._asking.index
        self._watch = [(name, index[name]) for name in guard.watch if name in index]
        self._expect = [
            (one, index[next(fields_of(one))], test)
            for one in guard.expect
            if applies(one.when, setting.params)
            for test in meaning.tests([one], index, setting.params)
        ]

    async def ask(self, link: Link) -> Settings:
        """Ask once (see labmon.drivers.driver.Guard.ask)."""
        return self.judge(await self._asking.raws(link))

    def decode(self, payloads: Sequence[bytes]) -> Settings:
        """As ask, from payloads. Raises Garbled."""
        return self.judge(self._asking.decode(payloads))

    def judge(self, raws: Sequence[Raw]) -> Settings:
        """The settings that the raw values of all fields make. A setting that has no value is not as expected."""
        wrong = [
            one.detail or f"{one.field} is {raws[at]}"
            for one, at, holds in self._expect
            if raws[at] is None or not holds(raws)
        ]
        return Settings({name: raws[at] for name, at in self._watch}, "; ".join(wrong))


class CompiledClock(_Asked):
    """The clock of a driver file for one device (labmon.drivers.driver.DeviceClock)."""

    def __init__(self, clock: grammar.Clock, setting: Setting) -> None:
        super().__init__(clock.requests, setting)
        self.every = clock.every
        self.at_most = clock.at_most
        self.can_be_set = clock.set_ is not None
        self._setting = setting
        self._set = clock.set_.requests if clock.set_ is not None else []
        self._time = time_of(clock.time, self._asking.index, setting)
        self._zone = zone_of(clock.time, setting)

    async def ask(self, link: Link) -> int | None:
        """Ask once (see labmon.drivers.driver.DeviceClock.ask)."""
        return self.judge(await self._asking.raws(link), time.time_ns())

    def decode(self, payloads: Sequence[bytes]) -> int | None:
        """As ask, from payloads. Raises Garbled."""
        return self.judge(self._asking.decode(payloads))

    def judge(self, raws: Sequence[Raw], now: int | None = None) -> int | None:
        """The time that the raw values of all fields make (UTC ns); None where they make none.

        Of a local time that comes twice, when clocks are put back, the one that is nearer to `now` (UTC ns) is meant.
        """
        found = self._time(raws)
        return found if found is None or now is None or self._zone is UTC else _nearest(found, now, self._zone)

    async def set(self, link: Link, now: int) -> None:
        """Set it (see labmon.drivers.driver.DeviceClock.set)."""
        await self.setting(now).raws(link)

    def setting(self, now: int) -> Asking:
        """The requests that set it to a time (UTC ns). Raises ValueError where the file has none."""
        if not self.can_be_set:
            raise ValueError("this clock cannot be set")
        return Asking(self._set, replace(self._setting, params={**self._setting.params, **now_params(now, self._zone)}))


def _nearest(found: int, now: int, zone: tzinfo) -> int:
    """Of the moments (UTC ns) at which clocks in this zone show the same, the one that is nearest to `now`."""
    shown = datetime.fromtimestamp(found // _NS, zone)
    other = round(shown.replace(fold=1 - shown.fold).timestamp()) * _NS + found % _NS
    same = datetime.fromtimestamp(other // _NS, zone).replace(tzinfo=None) == shown.replace(tzinfo=None)
    return other if same and abs(other - now) < abs(found - now) else found


def now_params(now: int, zone: tzinfo = UTC) -> dict[str, ParamValue]:
    """A time (UTC ns) as the parameters that requests which set a clock may use, to the nearest second."""
    at = datetime.fromtimestamp((now + _NS // 2) // _NS, zone)
    seconds = timegm(at.timetuple())
    return {
        "now-unix": seconds,
        "now-unix-high": seconds >> 16 & 0xFFFF,
        "now-unix-low": seconds & 0xFFFF,
        "now-year": at.year,
        "now-month": at.month,
        "now-day": at.day,
        "now-hour": at.hour,
        "now-minute": at.minute,
        "now-second": at.second,
        "now-month-day": at.month << 8 | at.day,
        "now-minute-second": at.minute << 8 | at.second,
    }
