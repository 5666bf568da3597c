"""The latest so many of a measured quantity, in fixed memory, and their quantiles."""

from __future__ import annotations

import math
from array import array

SIZE = 256


class Ring:
    """Keeps the latest 256 numbers."""

    __slots__ = ("_count", "_values")

    def __init__(self) -> None:
        self._values = array("d", bytes(8 * SIZE))
        self._count = 0

    def add(self, value: float) -> None:
        """Take one in; the oldest leaves."""
        self._values[self._count % SIZE] = value
        self._count += 1

    def __len__(self) -> int:
        return min(self._count, SIZE)

    def quantiles(self, *shares: float) -> list[float | None]:
        """For each share the smallest kept number that this share of them does not exceed; None when empty."""
        kept = sorted(self._values[: len(self)])
        if not kept:
            return [None for _ in shares]
        return [kept[max(0, math.ceil(share * len(kept)) - 1)] for share in shares]
