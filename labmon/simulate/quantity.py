"""Values that move like the quantity that they are: a set point approached, noise, ambient air through an open door."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_DRAWN = 500.0
"""Above this mean a Poisson draw is a normal one: nobody could tell them apart, and it takes one step."""


@dataclass(slots=True)
class Quantity:
    """One quantity of a simulated instrument, advanced by time.

    It approaches `target` with time constant `tau` (seconds) and carries Gaussian noise of `noise`; counts are Poisson
    draws around the target instead. `held`: the value is stuck there, whatever happens.
    """

    target: float
    noise: float = 0.0
    tau: float = 60.0
    counts: bool = False
    chance: random.Random = field(default_factory=random.Random)
    held: float | None = None
    low: float = -math.inf
    high: float = math.inf
    """What it can be at all: noise does not lead out of it."""
    level: float = field(init=False)
    """Where it is, without noise."""

    def __post_init__(self) -> None:
        self.level = self.target

    def step(self, seconds: float) -> None:
        """Let so much time pass."""
        if self.tau > 0:
            self.level += (self.target - self.level) * (1 - math.exp(-seconds / self.tau))

    def jump(self, value: float) -> None:
        """Be there at once, and free again if it was stuck."""
        self.target = self.level = value
        self.held = None

    @property
    def value(self) -> float:
        """The value now, with noise."""
        if self.held is not None:
            return self.held
        if self.counts:
            return float(poisson(max(self.level, 0.0), self.chance))
        noise = self.chance.gauss(0.0, self.noise) if self.noise else 0.0
        return min(max(self.level + noise, self.low), self.high)


def poisson(mean: float, chance: random.Random) -> int:
    """A number of events that are independent of one another, `mean` in the long run."""
    if mean > MOST_DRAWN:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def cumulative(means: Sequence[float], chance: random.Random) -> list[float]:
    """Counts of one sample in size channels that each count everything at least as large, the smallest size first."""
    counts: list[float] = []
    above = larger = 0.0
    for mean in reversed(means):
        above += poisson(max(mean - larger, 0.0), chance)
        larger = max(larger, mean)
        counts.append(above)
    return counts[::-1]


@dataclass(frozen=True, slots=True)
class Typical:
    """Where a quantity usually is, how much it moves, and where ambient air takes it."""

    target: float
    noise: float
    tau: float
    ambient: float | None = None
    counts: bool = False
