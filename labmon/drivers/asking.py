"""Requests of a driver file in their order, over one link, and the raw values of all their fields."""

from __future__ import annotations

from collections.abc import Sequence

from labmon.drivers import grammar
from labmon.drivers.conditions import FieldIndex
from labmon.drivers.given import applies
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step, Write, step
from labmon.links.errors import Refused
from labmon.links.link import Link
from labmon.model.reading import Raw


class Asking:
    """Requests in their order, over one link."""

    def __init__(self, requests: Sequence[grammar.Request], setting: Setting) -> None:
        timing = setting.file.timing
        self.steps: tuple[Step, ...] = tuple(step(r, setting) for r in requests if applies(r.when, setting.params))
        self.timeout = timing.timeout
        self._gaps = [timing.after_reply] + [
            max(timing.after_reply, timing.after_write) if isinstance(before, Write) else timing.after_reply
            for before in self.steps[:-1]
        ]
        self._meanings = setting.file.frame.error_meanings if setting.file.frame else {}
        self.names = [f.name for s in self.steps for f in s.fields]
        self.index = FieldIndex([f for s in self.steps for f in s.fields])

    async def raws(self, link: Link) -> Sequence[Raw]:
        """Ask all; the raw values of all fields."""
        found: list[Raw] = []
        try:
            for one, gap in zip(self.steps, self._gaps, strict=True):
                values = await one.ask(link, self.timeout, gap)
                if len(self.steps) == 1:
                    return values
                found.extend(values)
        except Refused as refused:
            if (meaning_ := self._meanings.get(str(refused.error))) is None:
                raise
            raise Refused(refused.error, meaning_) from refused
        return found

    def decode(self, payloads: Sequence[bytes]) -> Sequence[Raw]:
        """Raw values from the payloads of all steps. Raises Garbled."""
        return [raw for one, payload in zip(self.steps, payloads, strict=True) for raw in one.decode(payload)]
