"""What a simulated instrument says unasked: one frame of each stream query, at that query's interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from labmon.drivers.query import CompiledQuery

SHORTEST = 0.01
"""Seconds between two frames at least."""


class Streaming:
    """When each stream is due. The first frame is due at once, as when the instrument is switched on.

    However much time passes at a step, a stream is due once in it: what it would have said meanwhile nobody could have
    told apart.
    """

    def __init__(self, queries: Sequence[CompiledQuery]) -> None:
        self.queries = [query for query in queries if query.stream is not None]
        self.every = {query.name: query.every for query in self.queries}
        """Seconds between two frames of a stream."""
        self._left = dict.fromkeys(self.every, 0.0)

    def often(self, seconds: float) -> None:
        """Speak so often from now on. Raises ValueError for one that never speaks unasked, and too short a time."""
        if not self.queries:
            raise ValueError("it says nothing unasked")
        if not SHORTEST <= seconds < float("inf"):
            raise ValueError(f"{seconds:g} s is no interval of {SHORTEST:g} s or more")
        self.every = dict.fromkeys(self.every, seconds)
        self._left = {name: min(left, seconds) for name, left in self._left.items()}

    def restart(self) -> None:
        """As just switched on."""
        self._left = dict.fromkeys(self._left, 0.0)

    def due(self, seconds: float) -> Iterator[CompiledQuery]:
        """The streams that are due after so much more time."""
        for query in self.queries:
            left = self._left[query.name] - seconds
            if left > 0:
                self._left[query.name] = left
                continue
            every = self.every[query.name]
            self._left[query.name] = every + left % -every
            yield query


Say = Callable[[bytes], None]
"""Puts a frame of an instrument's own on the line."""
