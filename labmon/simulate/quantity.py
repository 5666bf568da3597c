"""Values that move like the quantity that they are: a set point approached, noise, ambient air through an open door."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Quantity:
    """One quantity of a simulated instrument, advanced by time.

    It approaches `target` with time constant `tau` (seconds) and carries Gaussian noise of `noise`; counts are Poisson
    draws around the target instead.
    """

    target: float
    noise: float = 0.0
    tau: float = 60.0
    counts: bool = False
    chance: random.Random = field(default_factory=random.Random)
    held: float | None = None
    _level: float | None = None

    def step(self, seconds: float) -> None:
        """Let so much time pass."""
        if self._level is None:
            self._level = self.target
        self._level += (self.target - self._level) * (1 - math.exp(-seconds / self.tau)) if self.tau > 0 else 0.0

    def jump(self, value: float) -> None:
        """Be there at once."""
        self.target = self._level = value

    @property
    def value(self) -> float:
        """The value now, with noise."""
        if self.held is not None:
            return self.held
        level = self.target if self._level is None else self._level
        if self.counts:
            return float(_poisson(max(level, 0.0), self.chance))
        return level + (self.chance.gauss(0.0, self.noise) if self.noise else 0.0)


def _poisson(mean: float, chance: random.Random) -> int:
    if mean > 500:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Typical:
    """Where a quantity usually is, how much it moves, and where ambient air takes it."""

    target: float
    noise: float
    tau: float
    ambient: float | None = None
    counts: bool = False


TYPICAL = {
    ("incubator", "temperature"): Typical(37.0, 0.02, 40.0, 24.0),
    ("incubator", "co2"): Typical(5.0, 0.02, 25.0, 0.05),
    ("incubator", "o2"): Typical(5.0, 0.03, 30.0, 20.9),
    ("incubator", "humidity"): Typical(93.0, 0.3, 60.0, 45.0),
    ("co2-probe", "co2"): Typical(50_000.0, 120.0, 25.0, 450.0),
    ("ph-sensor", "ph"): Typical(7.2, 0.004, 120.0),
    ("ph-sensor", "temperature"): Typical(37.0, 0.02, 120.0),
    ("oxygen-sensor", "oxygen"): Typical(40.0, 0.3, 60.0),
    ("oxygen-sensor", "temperature"): Typical(37.0, 0.02, 120.0),
    ("room-pressure", "pressure"): Typical(15.0, 0.4, 3.0, 1.0),
    ("circulator", "temperature"): Typical(37.0, 0.03, 60.0),
    ("gas-flow", "mass-flow"): Typical(0.25, 0.002, 5.0),
    ("particle-counter", "counts-1"): Typical(12.0, 0.0, 5.0, counts=True),
    ("particle-counter", "counts-2"): Typical(0.05, 0.0, 5.0, counts=True),
    ("freezer", "thermocouple-7"): Typical(-80.0, 0.2, 300.0, 20.0),
}
"""By the driver's class and channel; what is not here stays where its example puts it."""
