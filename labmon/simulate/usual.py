"""Where a quantity of an instrument usually is: by its kind, the instrument's class and the channel's name.

So that an instrument whose driver file nobody has seen before behaves as well. Nothing here is a limit, or a fact about
an instrument: these are the values that a healthy room or device shows, for simulators only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labmon import units
from labmon.drivers.driver import ChannelSpec
from labmon.simulate.quantity import Typical

SETPOINT = re.compile(r"(^|-)(set-?point|set|nominal|target)(-|$)|alarm|limit")
LIMIT = re.compile(r"alarm|limit")
CULTURE = "incubator|shaker|bioreactor|fermenter|cell"
COLD = "freezer|ult"
ROOM = "room|wall|air|hvac|clean|transmitter|particle|ambient"


@dataclass(frozen=True, slots=True)
class _Rule:
    """The first rule whose kind, class and name fit tells. Figures are in `unit`."""

    kind: str
    unit: str
    target: float
    noise: float
    tau: float
    ambient: float | None = None
    class_: str = ""
    name: str = ""


_RULES = (
    _Rule("temperature", "Cel", 8.0, 0.1, 600.0, 12.0, name="dew|frost"),
    _Rule("temperature", "Cel", -190.0, 0.5, 900.0, -120.0, class_="cryo|nitrogen|ln2"),
    _Rule("temperature", "Cel", -80.0, 0.2, 300.0, 20.0, class_=COLD),
    _Rule("temperature", "Cel", 5.0, 0.1, 300.0, 15.0, class_="fridge|refrigerator|cold"),
    _Rule("temperature", "Cel", 37.0, 0.02, 40.0, 24.0, class_=CULTURE),
    _Rule("temperature", "Cel", 37.0, 0.02, 120.0, class_="ph-|oxygen|cell-density|conductivity"),
    _Rule("temperature", "Cel", 37.0, 0.03, 60.0, class_="circulator|bath|chiller"),
    _Rule("temperature", "Cel", 21.0, 0.05, 300.0, 24.0),
    _Rule("temperature-difference", "Cel{delta}", 0.0, 0.05, 60.0),
    _Rule("relative-humidity", "%{RH}", 93.0, 0.3, 60.0, 45.0, class_=CULTURE),
    _Rule("relative-humidity", "%{RH}", 45.0, 0.3, 300.0, 60.0),
    _Rule("ratio-co2", "%{CO2}", 5.0, 0.02, 25.0, 0.045, class_=CULTURE + "|probe"),
    _Rule("ratio-co2", "[ppm]{CO2}", 600.0, 8.0, 600.0, 450.0),
    _Rule("ratio-o2", "%{O2}", 5.0, 0.03, 30.0, 20.9, class_=CULTURE),
    _Rule("ratio-o2", "%{O2}", 20.9, 0.02, 60.0, 20.9),
    _Rule("oxygen-saturation", "%{sat}", 40.0, 0.3, 60.0, 100.0),
    _Rule("pressure", "Pa", 15.0, 0.4, 3.0, 1.0, class_="room-pressure|differential"),
    _Rule("pressure", "hPa", 1013.0, 0.3, 3600.0),
    _Rule("ph", "[pH]", 7.2, 0.004, 120.0),
    _Rule("mass-concentration", "ug/m3", 3.0, 0.3, 120.0, 12.0, name="pm|dust"),
    _Rule("mass-concentration", "mg/L", 2.8, 0.03, 60.0, 6.7),
    _Rule("amount-concentration", "mmol/L", 10.0, 0.1, 600.0),
    _Rule("cell-concentration", "{cells}/mL", 1.5e6, 2e4, 3600.0),
    _Rule("volume-flow", "L/min", 28.3, 0.05, 5.0, class_="particle"),
    _Rule("volume-flow", "L/min", 0.25, 0.002, 5.0),
    _Rule("standard-flow", "L{std}/min", 0.25, 0.002, 5.0),
    _Rule("speed", "m/s", 0.45, 0.01, 5.0, 0.2),
    _Rule("rotational-speed", "{rev}/min", 120.0, 0.3, 3.0),
    _Rule("mass", "g", 100.0, 0.0, 1.0),
    _Rule("length", "cm", 50.0, 0.1, 3600.0),
    _Rule("frequency", "Hz", 50.0, 0.01, 10.0),
    _Rule("voltage", "V", 5.0, 0.002, 10.0),
    _Rule("current", "mA", 12.0, 0.01, 10.0),
    _Rule("resistance", "Ohm", 110.0, 0.02, 60.0),
    _Rule("conductivity", "mS/cm", 15.0, 0.05, 120.0),
    _Rule("power", "W", 40.0, 0.5, 20.0),
    _Rule("ratio", "%", 50.0, 0.2, 60.0),
)
_STILL = ("state", "time", "cfu", "cfu-concentration", "count", "particle-concentration", "volume")
"""Kinds that do not move by themselves: words, times, and what is counted (see `expected`)."""


def usual(spec: ChannelSpec, class_: str, start: float | None, low: float, high: float) -> Typical | None:
    """How a channel moves, in its own unit; None for one that does not.

    `start`: its value in an example of a good reply, which is where it stays unless the class says more. `low`, `high`:
    what is possible at all.
    """
    rule = next((r for r in _RULES if r.kind == spec.kind and _fits(r, spec.id, class_)), None)
    if spec.kind in _STILL or spec.states or rule is None:
        return None if start is None or spec.states else Typical(start, 0.0, 1.0)
    scale, offset = units.linear(rule.unit, spec.unit)
    target = rule.target * scale + offset
    ambient = None if rule.ambient is None else rule.ambient * scale + offset
    if start is not None and (not (rule.class_ or rule.name) or LIMIT.search(spec.id)):
        target = start
    if not low <= target <= high:
        target, ambient = start if start is not None else (max(low, -1e6) + min(high, 1e6)) / 2, None
    if ambient is not None and not low <= ambient <= high:
        ambient = None
    if SETPOINT.search(spec.id):
        return Typical(target, 0.0, 0.0)
    noise = rule.noise * abs(scale)
    # A small instrument has small noise: a flow of a few millilitres does not move by as many.
    return Typical(target, min(noise, 0.02 * abs(target)) if target == start and target else noise, rule.tau, ambient)


def _fits(rule: _Rule, name: str, class_: str) -> bool:
    if rule.name and not re.search(rule.name, name):
        return False
    return not rule.class_ or re.search(rule.class_, class_) is not None


# ---------------------------------------------------------------- particles

_MONITORING: Mapping[tuple[str, str], tuple[float, float]] = {
    # Annex 1 (2022) Table 5: most particles per m3 of at least 0.5 um and 5 um. Grade D in operation: none is given.
    ("A", "at-rest"): (3_520, 29),
    ("A", "in-operation"): (3_520, 29),
    ("B", "at-rest"): (3_520, 29),
    ("B", "in-operation"): (352_000, 2_930),
    ("C", "at-rest"): (352_000, 2_930),
    ("C", "in-operation"): (3_520_000, 29_300),
    ("D", "at-rest"): (3_520_000, 29_300),
}
SHARE = 0.1
"""A room that keeps its limits has about a tenth of them."""
_SLOPE = 2.08
"""ISO 14644-1: concentration falls with this power of the particle size."""
LITRES = 28.3
"""Volume of a sample of which nothing is known: one minute at one cubic foot per minute."""


def expected(grade: str, state: str, size: float) -> float:
    """Particles per m3 of at least `size` um in a room of this grade that keeps its limits.

    Raises ValueError for a grade that does not exist, and for D in operation, for which no figure is given.
    """
    limits = _MONITORING.get((grade, state))
    if limits is None:
        known = ", ".join(f"{g} {s}" for g, s in _MONITORING)
        raise ValueError(f"there is no figure for grade {grade} {state}; there are {known}")
    small, large = limits
    if size >= 5.0:
        return SHARE * large * math.pow(5.0 / size, _SLOPE)
    return SHARE * max(small * math.pow(0.5 / size, _SLOPE), large)


def sizes(names: Sequence[str], known: Sequence[float | None]) -> list[float]:
    """Particle sizes in um of the size channels of one sample: as known, as their names say, else as is common."""
    common = {1: (0.5,), 2: (0.5, 5.0), 3: (0.5, 1.0, 5.0), 4: (0.5, 1.0, 3.0, 5.0)}.get(
        len(names), (0.3, 0.5, 1.0, 3.0, 5.0, 10.0, 15.0, 25.0)
    )
    found = []
    for at, (name, size) in enumerate(zip(names, known, strict=True)):
        if size is None and (written := re.search(r"(\d+(?:\.\d+)?) ?(?:um|µm|μm|micron)", name)):
            size = float(written[1]) or None
        found.append(size if size is not None else common[min(at, len(common) - 1)])
    return found
