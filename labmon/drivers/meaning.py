"""From raw values to outcomes: conditions, sentinels, ranges and computed channels, each a function made once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labmon import units
from labmon.drivers import grammar
from labmon.drivers.driver import ChannelSpec, Outcome
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.model.reading import Flag, Raw, Reason, reason_text

Test = Callable[[Sequence[Raw]], bool]
Verdict = Callable[[Sequence[Raw]], str | None]
Make = Callable[[Sequence[Raw]], Outcome]
Computation = Callable[[Sequence[Outcome]], Outcome]

_MOST = sys.float_info.max
_RAW_TYPES = {
    "u8": "H", "i8": "h", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q",
    "f32": "f", "f64": "d",
    "bit": "H", "number": "d", "integer": "q", "hex": "q", "time": "q", "word": "q",
}  # fmt: skip


# ---------------------------------------------------------------- conditions


def test_of(condition: grammar.Condition, index: int, params: Mapping[str, ParamValue]) -> Test:
    """The test on the field at `index`. One that cannot be made (the field is missing, or no number) is true."""
    if condition.is_ is not None:
        wanted = _values(condition.is_, params)
        return lambda raws: raws[index] in wanted
    if condition.is_not is not None:
        allowed = _values(condition.is_not, params)
        return lambda raws: raws[index] not in allowed
    if condition.set is not None:
        mask = mask_of(condition.set)
        return lambda raws: not isinstance(raw := raws[index], int) or bool(raw & mask)
    if condition.clear is not None:
        needed = mask_of(condition.clear)
        return lambda raws: not isinstance(raw := raws[index], int) or raw & needed != needed
    if condition.has is not None:
        words = frozenset([condition.has] if isinstance(condition.has, str) else condition.has)
        return lambda raws: not words.isdisjoint(str(raws[index] or "").split())
    if condition.below is not None:
        lowest = condition.below
        return lambda raws: not isinstance(raw := raws[index], (int, float)) or not raw >= lowest
    highest = condition.above
    assert highest is not None
    return lambda raws: not isinstance(raw := raws[index], (int, float)) or not raw <= highest


def mask_of(bits: int | list[int]) -> int:
    """A word with these bits set."""
    return sum(1 << bit for bit in {*([bits] if isinstance(bits, int) else bits)})


def _values(given: Any, params: Mapping[str, ParamValue]) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list) else (value_of(given, params),)


def _refers(condition: grammar.Condition, params: Mapping[str, ParamValue]) -> bool:
    """Whether a condition that compares with an optional parameter has something to compare with."""
    given = condition.is_ if condition.is_not is None else condition.is_not
    return given is None or value_of(given, params) is not None


def tests(
    conditions: Sequence[grammar.Condition], index: Mapping[str, int], params: Mapping[str, ParamValue]
) -> list[Test]:
    """The tests that apply to a device with these parameters."""
    return [test_of(c, index[c.field], params) for c in conditions if applies(c.when, params) and _refers(c, params)]


def verdict(
    conditions: Sequence[grammar.BadWhen], index: Mapping[str, int], params: Mapping[str, ParamValue]
) -> Verdict | None:
    """The reason of the first condition that holds; None when there is no condition at all."""
    pairs = [
        (test_of(c, index[c.field], params), reason_text(Reason(c.reason), c.detail or ""))
        for c in conditions
        if applies(c.when, params) and _refers(c, params)
    ]
    if not pairs:
        return None

    def judge(raws: Sequence[Raw]) -> str | None:
        for test, reason in pairs:
            if test(raws):
                return reason
        return None

    return judge


# ---------------------------------------------------------------- channels


def spec_of(channel: grammar.Channel, type_: str | None, params: Mapping[str, ParamValue]) -> ChannelSpec:
    """What is told of a channel. `type_` is its field's, None for a computed one."""
    scale, offset = _scaling(channel, params)
    unit = units.unit(str(value_of(channel.unit, params)))
    states = channel.states or ({0: "no", 1: "yes"} if channel.bit is not None or type_ == "bit" else {})
    raw_type = "-" if type_ is None else "H" if channel.bit is not None else _RAW_TYPES.get(type_, "-")
    return ChannelSpec(
        channel.id, channel.name, unit.kind, unit.code, channel.decimals, states, raw_type, scale, offset
    )


def _scaling(channel: grammar.Channel, params: Mapping[str, ParamValue]) -> tuple[float, float]:
    if channel.true_when == "clear":
        return -1.0, 1.0
    return float(value_of(channel.scale, params)), float(value_of(channel.offset, params))


def channel(
    one: grammar.Channel,
    at: int,
    sentinels: Mapping[Raw, str],
    index: Mapping[str, int],
    params: Mapping[str, ParamValue],
) -> Make:
    """The function that makes a channel's outcome of the raw values; its field stands at `at`."""
    scale, offset = _scaling(one, params)
    low, high = one.range or (-_MOST, _MOST)
    bad = verdict(one.bad_when, index, params)
    warn = tests(one.warn_when, index, params)
    states, otherwise = one.states, one.otherwise
    bit = one.bit

    def no_value(raw: Raw) -> Outcome:
        """Why a raw value that fits nowhere is none."""
        if raw is None:
            return Outcome(None, reason_text(Reason.NOT_AVAILABLE))
        if isinstance(raw, str):
            reason = sentinels.get(raw)
            return Outcome(None, reason_text(Reason(reason or Reason.IMPLAUSIBLE), raw))
        if raw != raw:
            return Outcome(None, reason_text(Reason(_nan_reason(sentinels))), 0, raw)
        return Outcome(None, reason_text(Reason.IMPLAUSIBLE, f"{raw * scale + offset:g}"), 0, raw)

    def make(raws: Sequence[Raw]) -> Outcome:
        raw = raws[at]
        if bit is not None and isinstance(raw, int):
            raw = raw >> bit & 1
        if bad is not None and (reason := bad(raws)) is not None:
            return Outcome(None, reason, 0, None if isinstance(raw, str) else raw)
        if raw is None or isinstance(raw, str):
            return no_value(raw)
        if sentinels and raw in sentinels:
            return Outcome(None, reason_text(Reason(sentinels[raw])), 0, raw)
        value = raw * scale + offset
        if not low <= value <= high:
            return no_value(raw)
        if states is not None and value not in states and otherwise != "keep":
            return Outcome(None, reason_text(Reason(otherwise), f"unknown state {value:g}"), 0, raw)
        flags = 0
        for test in warn:
            if test(raws):
                flags = int(Flag.WARNING)
        return Outcome(value, None, flags, raw)

    def plain(raws: Sequence[Raw]) -> Outcome:
        """The same for a number to which no rule applies: most channels of most instruments."""
        raw = raws[at]
        if raw is None or isinstance(raw, str):
            return no_value(raw)
        value = raw * scale + offset
        return Outcome(value, None, 0, raw) if low <= value <= high else no_value(raw)

    ruled = bad is not None or warn or sentinels or states is not None or bit is not None
    return make if ruled else plain


def _nan_reason(sentinels: Mapping[Raw, str]) -> str:
    for raw, reason in sentinels.items():
        if isinstance(raw, float) and math.isnan(raw):
            return reason
    return Reason.NOT_AVAILABLE


# ---------------------------------------------------------------- computed channels


def operands(compute: grammar.Compute) -> list[str]:
    """Ids of the channels that a computation takes, in the order in which `computation` wants them."""
    if compute.scale is not None:
        return [compute.scale.of]
    if compute.counts_per_volume is not None:
        c = compute.counts_per_volume
        return [name for name in (c.counts, c.volume, c.time, c.flow) if name is not None]
    return list(compute.sum or compute.difference or compute.ratio or [])


def computation(
    one: grammar.Channel,
    compute: grammar.Compute,
    spec: ChannelSpec,
    inputs: Sequence[tuple[int, ChannelSpec]],
    params: Mapping[str, ParamValue],
) -> Computation:
    """The function that makes a computed channel's outcome of the outcomes before it.

    Raises ValueError (UnknownUnit, IncompatibleUnits) when units do not fit.
    """
    function = _function(compute, spec, [s for _, s in inputs], params)
    low, high = one.range or (-_MOST, _MOST)

    def make(outcomes: Sequence[Outcome]) -> Outcome:
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
        if not low <= value <= high:
            return Outcome(None, reason_text(Reason.IMPLAUSIBLE, f"{value:g}"))
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
    if len({source.unit for source in inputs}) != 1:
        raise ValueError("the channels that are computed with must have one unit")
    if compute.sum is not None:
        return lambda *values: math.fsum(values)
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
