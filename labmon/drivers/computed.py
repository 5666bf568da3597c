"""Computed channels: from outcomes of channels that stand before them to one more, a function made once."""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from labmon import units
from labmon.drivers import grammar
from labmon.drivers.conditions import FieldIndex, tests
from labmon.drivers.driver import ChannelSpec, Outcome
from labmon.drivers.given import ParamValue, value_of
from labmon.drivers.meaning import judge_of
from labmon.model.reading import Flag, Raw, Reason, reason_text

Computation = Callable[[Sequence[Outcome], Sequence[Raw]], Outcome]

_MOST = sys.float_info.max
_WATER_A, _WATER_B = 17.62, 243.12
"""Magnus coefficients over water, WMO-No. 8, annex 4.B: e(t) = 6.112 hPa * exp(17.62 t / (243.12 + t))."""
_WATER_FROM, _WATER_TO = -45.0, 60.0
"""Temperatures (Cel) for which they are given."""


class OutOfDomain(ValueError):
    """Inputs for which a function is not defined."""


def operands(compute: grammar.Compute) -> list[str]:
    """Ids of the channels that a computation takes, in the order in which `computation` wants them."""
    if compute.scale is not None:
        return [compute.scale.of]
    if compute.table is not None:
        return [compute.table.of]
    if compute.dew_point is not None:
        return [compute.dew_point.temperature, compute.dew_point.humidity]
    if compute.counts_per_volume is not None:
        c = compute.counts_per_volume
        return [name for name in (c.counts, c.volume, c.time, c.flow) if name is not None]
    return list(compute.sum or compute.difference or compute.ratio or compute.product or compute.mean or [])


def computation(
    one: grammar.Channel,
    compute: grammar.Compute,
    spec: ChannelSpec,
    inputs: Sequence[tuple[int, ChannelSpec]],
    index: FieldIndex,
    params: Mapping[str, ParamValue],
) -> Computation:
    """The function that makes a computed channel's outcome of the outcomes before it and of the raw values.

    Raises ValueError (UnknownUnit, IncompatibleUnits) when units do not fit.
    """
    function = _function(compute, spec, [s for _, s in inputs], params)
    low, high = one.range or (-_MOST, _MOST)
    bad = judge_of(one, index, params)
    warn = tests(one.warn_when, index, params)
    states, otherwise = one.states, one.otherwise

    def make(outcomes: Sequence[Outcome], raws: Sequence[Raw]) -> Outcome:
        if bad is not None and (reason := bad(raws)) is not None:
            return Outcome(None, reason)
        flags = 0
        values = []
        for at, source in inputs:
            outcome = outcomes[at]
            if outcome.value is None:
                return Outcome(None, reason_text(Reason.INPUT_BAD, source.id))
            flags |= outcome.flags
            values.append(outcome.value)
        try:
            value = function(*values)
        except ZeroDivisionError:
            return Outcome(None, reason_text(Reason.NOT_AVAILABLE, "division by zero"))
        except OutOfDomain as error:
            return Outcome(None, reason_text(Reason.NOT_AVAILABLE, str(error)))
        except (ArithmeticError, ValueError):
            return Outcome(None, reason_text(Reason.IMPLAUSIBLE, "beyond all numbers"))
        if not low <= value <= high:
            return Outcome(None, reason_text(Reason.IMPLAUSIBLE, f"{value:g}"))
        if states is not None and value not in states and otherwise != "keep":
            if not isinstance(otherwise, int):
                return Outcome(None, reason_text(Reason(otherwise), f"unknown state {value:g}"))
            value = float(otherwise)
        if any(test(raws) for test in warn):
            flags |= int(Flag.WARNING)
        return Outcome(value, None, flags)

    return make


def _function(
    compute: grammar.Compute, spec: ChannelSpec, inputs: Sequence[ChannelSpec], params: Mapping[str, ParamValue]
) -> Callable[..., float]:
    if compute.scale is not None:
        by, plus = float(value_of(compute.scale.by, params)), float(value_of(compute.scale.plus, params))
        return lambda value: value * by + plus
    if compute.counts_per_volume is not None:
        return _per_volume(spec, inputs)
    if compute.product is not None:
        return lambda *values: math.prod(values)
    if compute.table is not None:
        return _table(compute.table)
    if compute.dew_point is not None:
        return _dew_point(spec, inputs)
    if len({source.unit for source in inputs}) != 1:
        raise ValueError("the channels that are computed with must have one unit")
    if compute.sum is not None:
        return lambda *values: math.fsum(values)
    if compute.mean is not None:
        return lambda *values: math.fsum(values) / len(values)
    if compute.difference is not None:
        return lambda a, b: a - b
    percent, _ = units.linear("%", spec.unit)
    return lambda a, b: a / b * 100.0 * percent


def _per_volume(spec: ChannelSpec, inputs: Sequence[ChannelSpec]) -> Callable[..., float]:
    units.linear(inputs[0].unit, "{#}")
    to_unit, _ = units.linear("{#}/m3", spec.unit)
    if len(inputs) == 2:
        to_m3, _ = units.linear(inputs[1].unit, "m3")
        factor = to_unit / to_m3
        return lambda counts, volume: counts / volume * factor
    to_s, _ = units.linear(inputs[1].unit, "s")
    to_flow, _ = units.linear(inputs[2].unit, "m3/s")
    factor = to_unit / (to_s * to_flow)
    return lambda counts, seconds, flow: counts / (seconds * flow) * factor


def _table(table: grammar.Table) -> Callable[..., float]:
    xs = [point[0] for point in table.points]
    ys = [point[1] for point in table.points]

    def interpolated(x: float) -> float:
        if not xs[0] <= x <= xs[-1]:
            raise OutOfDomain(f"{x:g} is outside of the table")
        at = min(bisect_right(xs, x), len(xs) - 1)
        share = (x - xs[at - 1]) / (xs[at] - xs[at - 1])
        return ys[at - 1] * (1.0 - share) + ys[at] * share

    return interpolated


def _dew_point(spec: ChannelSpec, inputs: Sequence[ChannelSpec]) -> Callable[..., float]:
    scale, offset = units.linear(inputs[0].unit, "Cel")
    percent, _ = units.linear(inputs[1].unit, "%{RH}")
    back_scale, back_offset = units.linear("Cel", spec.unit)

    def dew_point(temperature: float, humidity: float) -> float:
        t, share = temperature * scale + offset, humidity * percent / 100.0
        if not _WATER_FROM <= t <= _WATER_TO or not share > 0.0:
            raise OutOfDomain(f"no dew point at {t:g} Cel and {share * 100:g} %")
        gamma = math.log(share) + _WATER_A * t / (_WATER_B + t)
        return _WATER_B * gamma / (_WATER_A - gamma) * back_scale + back_offset

    return dew_point
