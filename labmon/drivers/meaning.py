"""From raw values to outcomes: sentinels, scales, ranges and states of a channel, a function made once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence

from labmon import units
from labmon.drivers import conditions, grammar
from labmon.drivers.conditions import FieldIndex, mask_of, test_of, tests, verdict
from labmon.drivers.driver import ChannelSpec, Outcome
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.text_field import TextField
from labmon.drivers.words import WordField
from labmon.model.reading import Flag, Raw, Reason, reason_text

__all__ = ["FieldIndex", "channel", "mask_of", "spec_of", "test_of", "tests", "unit_scales", "verdict"]

Make = Callable[[Sequence[Raw]], Outcome]
AnyField = WordField | TextField
Factor = Callable[[Sequence[Raw]], "float | str"]
"""A factor that the instrument says, or the reason why it says none."""
Linear = Callable[[Sequence[Raw]], "tuple[float, float] | str"]

_MOST = sys.float_info.max
_MOST_EXPONENT = 30


def sources(one: grammar.Channel, params: Mapping[str, ParamValue]) -> list[grammar.Source]:
    """The fields that a channel may come from on a device with these parameters."""
    return [source for source in one.sources if applies(source.when, params)]


def spec_of(one: grammar.Channel, fields: Sequence[AnyField], params: Mapping[str, ParamValue]) -> ChannelSpec:
    """What is told of a channel. `fields` are those that it may come from, none for a computed one."""
    first = sources(one, params)[0] if fields else None
    scale, offset = _scaling(one, first, params)
    unit = units.unit(str(value_of(one.unit, params)))
    is_bit = one.bit is not None or any(isinstance(f, WordField) and f.type in ("bit", "bool") for f in fields)
    states = one.states or ({0: "no", 1: "yes"} if is_bit else {})
    return ChannelSpec(
        one.id,
        one.name,
        unit.kind,
        unit.code,
        one.decimals,
        states,
        _raw_type(one, fields),
        scale,
        offset,
        derived=one.compute is not None,
        particle_size=one.particle_size,
    )


def _raw_type(one: grammar.Channel, fields: Sequence[AnyField]) -> str:
    if one.bit is not None:
        return "H"
    types = {"q" if f.part is not None else f.raw_type for f in fields}
    if len(types) > 1:
        return "d"
    return next(iter(types), "-")


def _scaling(
    one: grammar.Channel, source: grammar.Source | None, params: Mapping[str, ParamValue]
) -> tuple[float, float]:
    if one.true_when == "clear":
        return -1.0, 1.0
    scale = one.scale if source is None or source.scale is None else source.scale
    offset = one.offset if source is None or source.offset is None else source.offset
    return float(value_of(scale, params)), float(value_of(offset, params))


def channel(
    one: grammar.Channel, fields: Mapping[str, AnyField], index: FieldIndex, params: Mapping[str, ParamValue]
) -> Make:
    """The function that makes a channel's outcome of the raw values."""
    choices: list[tuple[list[conditions.Test], Make]] = []
    given = sources(one, params)
    mixed = _raw_type(one, [fields[source.field] for source in given]) == "d" and len(given) > 1
    for source in given:
        make = _adjusted(one, source, fields, index, params)
        wanted = source.if_ if isinstance(source.if_, list) else [source.if_] if source.if_ else []
        choices.append((tests(wanted, index, params, missing=False), make))
    if len(choices) == 1 and not choices[0][0]:
        return choices[0][1]

    def make_first(raws: Sequence[Raw]) -> Outcome:
        for wanted, make in choices:
            if all(test(raws) for test in wanted):
                outcome = make(raws)
                if mixed and isinstance(outcome.raw, int):
                    return outcome._replace(raw=float(outcome.raw))
                return outcome
        return Outcome(None, reason_text(Reason.WRONG_MODE))

    return make_first


def _adjusted(
    one: grammar.Channel,
    source: grammar.Source,
    fields: Mapping[str, AnyField],
    index: FieldIndex,
    params: Mapping[str, ParamValue],
) -> Make:
    """The channel from one field, with the factors and the unit that the instrument says."""
    factors = [factor_of(f, index) for f in one.scale_by if applies(f.when, params)]
    unit = str(value_of(one.unit, params))
    linear = None if one.unit_by is None else _linear(one.unit_by, unit, index)
    if not factors and linear is None:
        return _from_field(one, source, fields[source.field], index, params, one.range)
    unscaled = _from_field(one, source, fields[source.field], index, params, None)
    low, high = one.range or (-_MOST, _MOST)

    def make(raws: Sequence[Raw]) -> Outcome:
        outcome = unscaled(raws)
        value = outcome.value
        if value is None:
            return outcome
        for factor in factors:
            by = factor(raws)
            if isinstance(by, str):
                return Outcome(None, by, 0, outcome.raw)
            value *= by
        if linear is not None:
            converted = linear(raws)
            if isinstance(converted, str):
                return Outcome(None, converted, 0, outcome.raw)
            value = value * converted[0] + converted[1]
        if not low <= value <= high:
            return Outcome(None, reason_text(Reason.IMPLAUSIBLE, f"{value:g}"), 0, outcome.raw)
        return Outcome(value, None, outcome.flags, outcome.raw)

    return make


def factor_of(by: grammar.ScaleBy, index: Mapping[str, int]) -> Factor:
    """The factor that a field says; a reason where it says none."""
    at = index[by.field]
    if by.codes is not None:
        codes: dict[Raw, float] = dict(by.codes.items())
        return lambda raws: codes[raw] if (raw := raws[at]) in codes else _unknown(by.field, raw)
    none = reason_text(Reason.NOT_AVAILABLE, by.field)

    def factor(raws: Sequence[Raw]) -> float | str:
        raw = raws[at]
        if isinstance(raw, str) or raw is None or not -_MOST <= raw <= _MOST:
            return none
        if by.as_ == "factor":
            return float(raw)
        if by.as_ == "divisor":
            return 1.0 / raw if raw and abs(raw) > 1e-300 else none
        return 10.0**raw if abs(raw) <= _MOST_EXPONENT else none

    return factor


def unit_scales(by: grammar.UnitBy, unit: str) -> dict[Raw, tuple[float, float]]:
    """Code -> scale and offset to the channel's unit. Raises UnknownUnit, IncompatibleUnits."""
    return {code: units.linear(named, unit) for code, named in by.codes.items()}


def _linear(by: grammar.UnitBy, unit: str, index: Mapping[str, int]) -> Linear:
    scales, at = unit_scales(by, unit), index[by.field]
    return lambda raws: scales[raw] if (raw := raws[at]) in scales else _unknown(by.field, raw)


def _unknown(field: str, raw: Raw) -> str:
    return reason_text(Reason.WRONG_MODE, f"{field} {raw}" if raw is not None else field)


def _too_old(one: grammar.MaxAge, index: Mapping[str, int]) -> conditions.Verdict:
    at = index[one.field]
    scale, _ = units.linear(one.unit, "s")
    most = one.at_most

    def judge(raws: Sequence[Raw]) -> str | None:
        raw = raws[at]
        if not isinstance(raw, (int, float)) or not raw * scale >= 0:
            return reason_text(Reason.NOT_RELIABLE, "its age is not known")
        age = raw * scale
        return None if age <= most else reason_text(Reason.NOT_RELIABLE, f"{age:g} s old")

    return judge


def judge_of(one: grammar.Channel, index: FieldIndex, params: Mapping[str, ParamValue]) -> conditions.Verdict | None:
    """The reason why there is no value whatever the field says: the channel's conditions and its age."""
    bad = verdict(one.bad_when, index, params)
    if one.max_age is None:
        return bad
    old = _too_old(one.max_age, index)
    return old if bad is None else lambda raws: bad(raws) or old(raws)


def _from_field(
    one: grammar.Channel,
    source: grammar.Source,
    field: AnyField,
    index: FieldIndex,
    params: Mapping[str, ParamValue],
    bounds: Sequence[float] | None,
) -> Make:
    at, sentinels = index[source.field], field.sentinels
    scale, offset = _scaling(one, source, params)
    low, high = bounds or (-_MOST, _MOST)
    bad = judge_of(one, index, params)
    warn = tests(one.warn_when, index, params)
    states, otherwise = one.states, one.otherwise
    bit = None if one.bit is None else conditions.bit_numbers(one.bit, field.bits)[0]

    def no_value(raw: Raw) -> Outcome:
        """Why a raw value that fits nowhere is none."""
        if raw is None:
            return Outcome(None, reason_text(Reason.NOT_AVAILABLE))
        if isinstance(raw, str):
            if (reason := sentinels.get(raw)) is not None:
                return Outcome(None, reason_text(Reason(reason), raw))
            if isinstance(otherwise, int):
                return Outcome(float(otherwise), None)
            return Outcome(None, reason_text(Reason.IMPLAUSIBLE if otherwise == "keep" else Reason(otherwise), raw))
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
            outcome = no_value(raw)
            if outcome.value is None:
                return outcome
            value = outcome.value
            raw = None
        else:
            if sentinels and raw in sentinels:
                return Outcome(None, reason_text(Reason(sentinels[raw])), 0, raw)
            value = raw * scale + offset
            if not low <= value <= high:
                return no_value(raw)
            if states is not None and value not in states and otherwise != "keep":
                if not isinstance(otherwise, int):
                    return Outcome(None, reason_text(Reason(otherwise), f"unknown state {value:g}"), 0, raw)
                value = float(otherwise)
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
