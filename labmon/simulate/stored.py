"""Samples that a simulated instrument stores, and which of them it shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labmon.drivers import grammar
from labmon.drivers.records import Way
from labmon.model.reading import Raw

ROOM = 100
"""Samples that fit; then the oldest goes."""


@dataclass(frozen=True, slots=True)
class Block:
    """How a logger sends its samples: up to `most` in a reply, whose raw values `together` makes of theirs."""

    most: int
    together: Callable[[Sequence[Mapping[str, Raw]]], dict[str, Raw]]


class Stored:
    """The samples of one query, as its driver file says that they are read.

    A logger (`block`) has a place behind the samples that it sent last, and shows those.
    """

    def __init__(self, way: Way, record: grammar.Record, room: int = ROOM, block: Block | None = None) -> None:
        self.way = way
        self.block = block
        self._place = 0
        self._sent: Sequence[Mapping[str, Raw]] = []
        self.samples: deque[dict[str, Raw]] = deque(maxlen=room)
        self.queued = record.queue is not None
        """Whether the oldest is shown, and the next when it was popped."""
        self._known: list[str] = []
        self._numbered = record.number
        self._number = 0

    def add(self, raws: Mapping[str, Raw]) -> None:
        """Store a sample, with the number that follows; a full memory forgets its oldest."""
        sample = dict(raws)
        if self._numbered is not None:
            sample[self._numbered.field] = self._number
            self._number += 1
            if self._numbered.modulo is not None:
                self._number %= self._numbered.modulo
        if len(self.samples) == self.room:
            self._place = max(0, self._place - 1)
        self.samples.append(sample)

    @property
    def room(self) -> int:
        """Samples that fit."""
        return self.samples.maxlen or ROOM

    def pop(self) -> None:
        """The oldest goes; nothing happens where there is none."""
        if self.samples:
            self.samples.popleft()

    # ------------------------------------------------------------------ a logger

    def first(self) -> None:
        """Send the oldest samples."""
        self._place = 0
        self.next()

    def next(self) -> None:
        """Send the samples behind those sent last."""
        if self.block is not None:
            self._sent = list(self.samples)[self._place : self._place + self.block.most]
            self._place += len(self._sent)

    def repeat(self) -> None:
        """Send the same again; they are shown until others are."""

    def restart(self) -> None:
        """As just switched on: a logger has sent nothing."""
        self._place, self._sent = 0, []

    # ------------------------------------------------------------------

    def lose(self) -> None:
        """The memory is empty, and numbers begin anew."""
        self.restart()
        self._known = self._names()
        self.samples.clear()
        self._number = 0

    def shown(self, written: Mapping[int, int]) -> dict[str, Raw]:
        """What the instrument says now, by the registers that were written to; zeros where it has nothing."""
        self._known = self._names() or self._known
        if self.block is not None:
            return dict.fromkeys(self._known, 0) | self.block.together(self._sent)
        sample = self._selected(written)
        raws: dict[str, Raw] = dict(sample or {}) or dict.fromkeys(self._known, 0)
        if self.way.count is not None:
            raws[self.way.count] = len(self.samples)
        return raws

    def _names(self) -> list[str]:
        return list(self.samples[-1]) if self.samples else []

    def _selected(self, written: Mapping[int, int]) -> Mapping[str, Raw] | None:
        if not self.samples:
            return None
        if self.queued:
            return self.samples[0]
        if self.way.register is None:
            return self.samples[-1]
        index = written.get(self.way.register, self.way.newest)
        if index is None or index == self.way.newest:
            return self.samples[-1]
        place = index - self.way.first
        return self.samples[place] if 0 <= place < len(self.samples) else None
