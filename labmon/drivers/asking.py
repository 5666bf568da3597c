"""Requests of a driver file in their order, over one link, and the raw values of all their fields."""

from __future__ import annotations

from collections.abc import Sequence

from labmon.drivers import grammar
from labmon.drivers.conditions import FieldIndex
from labmon.drivers.course import Course, Leg, changed
from labmon.drivers.given import applies
from labmon.drivers.longest import longest
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step, steps
from labmon.links.errors import Refused
from labmon.links.link import Link
from labmon.model.reading import Raw


class Asking:
    """Requests in their order, over one link. `steps` are the exchanges that they make."""

    def __init__(self, requests: Sequence[grammar.Request], setting: Setting) -> None:
        timing = setting.file.timing
        self.timeout = timing.timeout
        asked = [request for request in requests if applies(request.when, setting.params)]
        legs: list[Leg] = []
        gap = timing.after_reply
        for request in asked:
            gap += request.wait or 0.0
            gaps = []
            made = tuple(steps(request, setting))
            for _ in made:
                gaps.append(gap)
                wrote = request.write is not None or changed(request)
                gap = max(timing.after_reply, timing.after_write if wrote else 0.0, request.after or 0.0)
            legs.append(Leg(request, made, request.timeout, tuple(gaps)))
        self.steps: tuple[Step, ...] = tuple(one for leg in legs for one in leg.steps)
        self._gaps = [one for leg in legs for one in leg.gaps]
        self._timeouts = [leg.timeout for leg in legs for _ in leg.steps]
        self._rest = gap if gap > timing.after_reply else 0.0
        self.longest = longest(legs, setting.file, self._rest)
        """What it takes at most."""
        self._course = Course(legs, setting, timing.timeout) if Course.needed(asked, setting.file) else None
        self._meanings = setting.file.frame.error_meanings if setting.file.frame else {}
        self.names = [f.name for s in self.steps for f in s.fields]
        self.index = FieldIndex([f for s in self.steps for f in s.fields])

    @property
    def pauses(self) -> Sequence[float]:
        """Seconds of silence that are demanded before each step; what the line itself needs is not among them."""
        return self._gaps

    async def raws(self, link: Link) -> Sequence[Raw]:
        """Ask all; the raw values of all fields. Raises what the link raises."""
        try:
            if self._course is not None:
                found: Sequence[Raw] = await self._course.raws(link)
            elif len(self.steps) == 1:
                found = await self.steps[0].ask(link, self._timeouts[0] or self.timeout, self._gaps[0])
            else:
                found = await self._all(link)
        except Refused as refused:
            if (meaning_ := self._meanings.get(str(refused.error))) is None:
                raise
            raise Refused(refused.error, meaning_) from refused
        if self._rest:
            link.rest(self._rest)
        return found

    async def _all(self, link: Link) -> list[Raw]:
        found: list[Raw] = []
        for one, timeout, gap in zip(self.steps, self._timeouts, self._gaps, strict=True):
            found.extend(await one.ask(link, timeout or self.timeout, gap))
        return found

    def decode(self, payloads: Sequence[bytes]) -> Sequence[Raw]:
        """Raw values from the payloads of all steps. Raises Garbled."""
        return [raw for one, payload in zip(self.steps, payloads, strict=True) for raw in one.decode(payload)]
