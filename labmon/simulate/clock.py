"""A simulated instrument's own clock: it is off, it drifts, and it can be set as its driver file says."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from labmon.drivers.guards import CompiledClock
from labmon.drivers.steps import Write
from labmon.drivers.text_step import Text, Untold

AWAY = 5
"""Seconds by which the time that it is set to may differ from ours; what says another time, it does not understand."""
DAY = 86400.0


class Clock:
    """`ahead` seconds before ours, and `drift` seconds more each day, also after it was set."""

    def __init__(self, compiled: CompiledClock | None) -> None:
        self.ahead = 0.0
        self.drift = 0.0
        self._set = compiled if compiled is not None and compiled.can_be_set else None
        self._made: dict[int, _Setting] = {}
        self._left: set[int] = set()
        """The seconds that all requests which set it agree with, as far as they have come."""

    @property
    def time(self) -> float:
        """Unix seconds that it shows."""
        return time.time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self.ahead += self.drift * seconds / DAY

    # ------------------------------------------------------------------ being set

    def known(self) -> Set[bytes]:
        """The text requests that set it, as they stand on the wire now."""
        return {frame for one in self._around().values() for frame in one.frames}

    def told(self, frame: bytes) -> bytes | None:
        """What it says to a text request that sets it; None where nothing is said, or it is another request."""
        around = self._around()
        fitting = {second: one.frames.index(frame) for second, one in around.items() if frame in one.frames}
        if not fitting:
            return None
        at = min(fitting.values())
        self._narrow(fitting, at, last=at + 1 == len(next(iter(around.values())).frames))
        step = around[next(iter(fitting))].texts[at]
        return step.framed(step.encode({})) or None

    def written(self, table: str, address: int, value: int) -> bool:
        """Whether a write is one of those that set it: it is taken over with the last of them."""
        around, one = self._around(), (table, address, value)
        fitting = {second: setting.writes.index(one) for second, setting in around.items() if one in setting.writes}
        if not fitting:
            return False
        at = min(fitting.values())
        self._narrow(fitting, at, last=at + 1 == len(next(iter(around.values())).writes))
        return True

    def _narrow(self, fitting: Collection[int], at: int, *, last: bool) -> None:
        """One more of the requests has come; parts of a time, such as its hour, fit many seconds."""
        self._left = set(fitting) if at == 0 else self._left & set(fitting)
        if last and self._left:
            now = time.time()
            self.ahead = min(self._left, key=lambda second: abs(second - now)) - now
            self._left = set()

    def _around(self) -> Mapping[int, _Setting]:
        """What sets it to each second that is not far from now."""
        if self._set is None:
            return {}
        now = round(time.time())
        wanted = range(now - AWAY, now + AWAY + 1)
        self._made = {s: self._made.get(s) or _Setting.made(self._set, s) for s in wanted}
        return self._made


@dataclass(frozen=True, slots=True)
class _Setting:
    """The requests that set a clock to one second."""

    texts: Sequence[Text | Untold]
    frames: Sequence[bytes]
    writes: Sequence[tuple[str, int, int]]

    @classmethod
    def made(cls, clock: CompiledClock, second: int) -> _Setting:
        steps = clock.setting(second * 1_000_000_000).steps
        texts = [one for one in steps if isinstance(one, Text | Untold)]
        writes = [
            (one.table, one.address + n, value)
            for one in steps
            if isinstance(one, Write)
            for n, value in enumerate(one.values)
        ]
        return cls(texts, [one.request.encode(0) for one in texts], writes)
