"""Requests of a driver file in their order, over one link, and the raw values of all their fields."""

from __future__ import annotations

from collections.abc import Sequence

from labmon.drivers import grammar
from labmon.drivers.conditions import FieldIndex
from labmon.drivers.given import applies
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
        found: list[Step] = []
        self._timeouts: list[float | None] = []
        self._gaps: list[float] = []
        gap = timing.after_reply
        for request in requests:
            if not applies(request.when, setting.params):
                continue
            gap += request.wait or 0.0
            for one in steps(request, setting):
                found.append(one)
                self._timeouts.append(request.timeout)
                self._gaps.append(gap)
                changed = request.write is not None or changes(request)
                gap = max(timing.after_reply, timing.after_write if changed else 0.0, request.after or 0.0)
        self.steps: tuple[Step, ...] = tuple(found)
        self._rest = gap if gap > timing.after_reply else 0.0
        self._meanings = setting.file.frame.error_meanings if setting.file.frame else {}
        self.names = [f.name for s in self.steps for f in s.fields]
        self.index = FieldIndex([f for s in self.steps for f in s.fields])

    @property
    def pauses(self) -> Sequence[float]:
        """Seconds of silence that are demanded before each step; what the line itself needs is not among them."""
        return self._gaps

    async def raws(self, link: Link) -> Sequence[Raw]:
        """Ask all; the raw values of all fields."""
        found: list[Raw] = []
        try:
            for one, timeout, gap in zip(self.steps, self._timeouts, self._gaps, strict=True):
                values = await one.ask(link, timeout or self.timeout, gap)
                if len(self.steps) == 1 and not self._rest:
                    return values
                found.extend(values)
            if self._rest:
                link.rest(self._rest)
        except Refused as refused:
            if (meaning_ := self._meanings.get(str(refused.error))) is None:
                raise
            raise Refused(refused.error, meaning_) from refused
        return found

    def decode(self, payloads: Sequence[bytes]) -> Sequence[Raw]:
        """Raw values from the payloads of all steps. Raises Garbled."""
        return [raw for one, payload in zip(self.steps, payloads, strict=True) for raw in one.decode(payload)]


def changes(request: grammar.Request) -> bool:
    """Whether a `send` changes the instrument: as it says; else, when nothing is read from its reply."""
    if request.send is None:
        return False
    return not request.fields if request.changes is None else request.changes
