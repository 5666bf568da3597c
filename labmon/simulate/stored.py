"""Samples that a simulated instrument stores, and which of them it shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from labmon.drivers.records import Way
from labmon.model.reading import Raw

ROOM = 100
"""Samples that fit; then the oldest goes."""


class Stored:
    """The samples of one query, as its driver file says that they are read."""

    def __init__(self, way: Way, room: int = ROOM) -> None:
        self.way = way
        self.samples: deque[dict[str, Raw]] = deque(maxlen=room)
        self._fields: list[str] = []

    def add(self, raws: Mapping[str, Raw]) -> None:
        """Store a sample."""
        self.samples.append(dict(raws))
        self._fields = list(raws)

    def lose(self) -> None:
        """The memory is empty."""
        self.samples.clear()

    def written(self, table: str, address: int) -> bool:
        """Whether this write takes the oldest sample out of the queue; it does so then."""
        if self.way.pop != (table, address):
            return False
        if self.samples:
            self.samples.popleft()
        return True

    def shown(self, written: Mapping[int, int]) -> dict[str, Raw]:
        """What the instrument says now, by the registers that were written to; zeros where it has nothing."""
        sample = self._selected(written)
        raws: dict[str, Raw] = dict(sample or {}) or dict.fromkeys(self._fields, 0)
        if self.way.count is not None:
            raws[self.way.count] = len(self.samples)
        return raws

    def _selected(self, written: Mapping[int, int]) -> Mapping[str, Raw] | None:
        if not self.samples:
            return None
        if self.way.pop is not None:
            return self.samples[0]
        if self.way.register is None:
            return self.samples[-1]
        index = written.get(self.way.register, self.way.newest)
        if index is None or index == self.way.newest:
            return self.samples[-1]
        place = index - self.way.first
        return self.samples[place] if 0 <= place < len(self.samples) else None
