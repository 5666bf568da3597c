"""The way back, for simulators: from channel values, or reasons for none, to raw values of fields."""

from __future__ import annotations

import math
from collections.abc import Mapping

from labmon.drivers import grammar, meaning
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.template import TextField
from labmon.drivers.words import WordField
from labmon.model.reading import Raw, Reason, reason_code

_WHOLE = {"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "bit", "integer", "hex", "time", "word"}


def raws_of(
    query: grammar.Query,
    fields: Mapping[str, WordField | TextField],
    params: Mapping[str, ParamValue],
    values: Mapping[str, float | str],
    start: Mapping[str, Raw],
) -> dict[str, Raw]:
    """Raw values of all fields with which the channels have these values. See CompiledQuery.raws_of."""
    raws = dict(start)
    channels = {c.id: c for c in query.channels if applies(c.when, params)}
    for id_, value in values.items():
        if id_ not in channels or channels[id_].compute is not None:
            raise ValueError(f"channel {id_} is not of this query, or is computed")
        channel = channels[id_]
        field = fields[channel.from_ or id_]
        if isinstance(value, str):
            _make_bad(query, channel, field, params, reason_code(value), raws)
        elif channel.bit is not None:
            mask = 1 << channel.bit
            word = raws.get(field.name)
            word = word if isinstance(word, int) else 0
            on = bool(value) is (channel.true_when == "set")
            raws[field.name] = word | mask if on else word & ~mask
        else:
            raws[field.name] = _raw(channel, field, value, params)
    return raws


def _raw(channel: grammar.Channel, field: WordField | TextField, value: float, params: Mapping[str, ParamValue]) -> Raw:
    if channel.true_when == "clear":
        return int(not value)
    scale = float(value_of(channel.scale, params))
    raw = (value - float(value_of(channel.offset, params))) / scale
    return round(raw) if field.type in _WHOLE else raw


def _make_bad(
    query: grammar.Query,
    channel: grammar.Channel,
    field: WordField | TextField,
    params: Mapping[str, ParamValue],
    reason: str,
    raws: dict[str, Raw],
) -> None:
    """Change raw values so that the channel is bad for this reason. Raises ValueError where none does that."""
    for raw, meant in field.sentinels.items():
        if meant == reason:
            raws[field.name] = raw
            return
    for condition in [*channel.bad_when, *query.bad_when]:
        if condition.reason == reason and applies(condition.when, params):
            raws[condition.field] = _meeting(condition, raws.get(condition.field), params)
            return
    if reason == Reason.NOT_AVAILABLE and field.type in ("f32", "f64"):
        raws[field.name] = math.nan
        return
    raise ValueError(f"the driver file knows no way in which {channel.id} is {reason}")


def _meeting(condition: grammar.Condition, raw: Raw, params: Mapping[str, ParamValue]) -> Raw:
    """A raw value for which the condition holds."""
    word = raw if isinstance(raw, int) else 0
    if condition.set is not None:
        first = condition.set if isinstance(condition.set, int) else condition.set[0]
        return word | 1 << first
    if condition.clear is not None:
        return word & ~meaning.mask_of(condition.clear)
    if condition.has is not None:
        added = condition.has if isinstance(condition.has, str) else condition.has[0]
        return f"{raw} {added}" if raw else added
    if condition.is_ is not None:
        wanted = condition.is_[0] if isinstance(condition.is_, list) else value_of(condition.is_, params)
        return wanted if isinstance(wanted, (int, float, str)) else None
    if condition.is_not is not None:
        return "?" if isinstance(raw, str) else word ^ 1 if word else 0
    if condition.below is not None:
        return condition.below - 1
    return (condition.above or 0.0) + 1
