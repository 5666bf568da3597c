"""The way back, for simulators: from channel values, or reasons for none, to raw values of fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from labmon.drivers import grammar, meaning
from labmon.drivers.conditions import FieldIndex, bit_numbers, fields_of, mask_of, tests, text_of
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.meaning import AnyField
from labmon.model.reading import Raw, Reason, reason_code

_ROUNDS = 8
"""How often conditions that speak of one another are gone through."""


def raws_of(
    query: grammar.Query,
    fields: Mapping[str, AnyField],
    params: Mapping[str, ParamValue],
    values: Mapping[str, float | str],
    start: Mapping[str, Raw],
) -> dict[str, Raw]:
    """Raw values of all fields with which the channels have these values. See CompiledQuery.raws_of."""
    back = _Back(query.bad_when, fields, params, dict(start))
    channels = {c.id: c for c in query.channels if applies(c.when, params)}
    for id_, value in values.items():
        if id_ not in channels or channels[id_].compute is not None:
            raise ValueError(f"channel {id_} is not of this query, or is computed")
        if isinstance(value, str):
            back.make_bad(channels[id_], reason_code(value))
        else:
            back.make_good(channels[id_], value)
    return back.raws


def well_of(
    query: grammar.Query, fields: Mapping[str, AnyField], params: Mapping[str, ParamValue], start: Mapping[str, Raw]
) -> dict[str, Raw]:
    """The raw values of `start`, changed so that no condition takes a value away or warns, as far as that can be."""
    back = _Back(query.bad_when, fields, params, dict(start))
    channels = [c for c in query.channels if applies(c.when, params)]
    conditions: list[grammar.Condition] = [*query.bad_when]
    for channel in channels:
        conditions += [*channel.bad_when, *channel.warn_when]
    conditions = [c for c in conditions if set(fields_of(c)) <= set(fields)]
    for _ in range(_ROUNDS):
        holding = [c for c in conditions if back.holds(c)]
        if not holding:
            break
        for condition in holding:
            back.unmeet(condition)
    return back.raws


def meeting(
    conditions: Sequence[grammar.Condition],
    fields: Mapping[str, AnyField],
    params: Mapping[str, ParamValue],
    start: Mapping[str, Raw],
) -> dict[str, Raw]:
    """The raw values of `start`, changed so that all conditions hold. Raises ValueError where none are known."""
    back = _Back([], fields, params, dict(start))
    for condition in conditions:
        if applies(condition.when, params):
            back.meet(condition)
    if not all(back.holds(condition) for condition in conditions if applies(condition.when, params)):
        raise ValueError("no raw values are known that meet all of the conditions")
    return back.raws


class _Back:
    """Raw values of one reply that are being changed."""

    def __init__(
        self,
        bad_when: Sequence[grammar.BadWhen],
        fields: Mapping[str, AnyField],
        params: Mapping[str, ParamValue],
        raws: dict[str, Raw],
    ) -> None:
        self.raws = raws
        self._bad_when = bad_when
        self._fields = fields
        self._params = params
        self._index = FieldIndex(list(fields.values()))

    def holds(self, condition: grammar.Condition) -> bool:
        """Whether a condition that takes a value away does so now."""
        return all(test(self._ordered()) for test in tests([condition], self._index, self._params)) and applies(
            condition.when, self._params
        )

    def make_good(self, channel: grammar.Channel, value: float) -> None:
        """Let the channel have this value."""
        source = self._source(channel)
        field = self._fields[source.field]
        if channel.bit is not None:
            mask = 1 << bit_numbers(channel.bit, field.bits)[0]
            word = self._word(field.name)
            on = bool(value) is (channel.true_when == "set")
            self.raws[field.name] = word | mask if on else word & ~mask
            return
        if channel.true_when == "clear":
            self.raws[field.name] = int(not value)
            return
        if channel.max_age is not None and meaning.judge_of(
            channel.model_copy(update={"bad_when": []}), self._index, self._params
        )(self._ordered()):  # type: ignore[misc]
            self.raws[channel.max_age.field] = 0
        for by in channel.scale_by:
            if applies(by.when, self._params):
                value /= self._factor(by)
        if channel.unit_by is not None:
            unit_scale, unit_offset = self._unit(channel.unit_by, str(value_of(channel.unit, self._params)))
            value = (value - unit_offset) / unit_scale
        scale = float(value_of(channel.scale if source.scale is None else source.scale, self._params))
        offset = float(value_of(channel.offset if source.offset is None else source.offset, self._params))
        raw = (value - offset) / scale
        self.raws[field.name] = round(raw) if field.whole else raw

    def make_bad(self, channel: grammar.Channel, reason: str) -> None:
        """Let the channel be bad for this reason. Raises ValueError where no raw value does that."""
        field = self._fields[self._source(channel).field]
        for raw, meant in field.sentinels.items():
            if meant == reason:
                self.raws[field.name] = raw
                return
        for condition in [*channel.bad_when, *self._bad_when]:
            if condition.reason == reason and applies(condition.when, self._params):
                self.meet(condition)
                return
        if reason == Reason.NOT_AVAILABLE and not field.whole and field.raw_type in ("f", "d"):
            self.raws[field.name] = math.nan
            return
        if reason == Reason.NOT_RELIABLE and channel.max_age is not None:
            scale = {"ms": 1000.0, "s": 1.0, "min": 1 / 60, "h": 1 / 3600}[channel.max_age.unit]
            self.raws[channel.max_age.field] = math.ceil(channel.max_age.at_most * scale) + 1
            return
        if reason == Reason.WRONG_MODE and channel.unit_by is not None:
            self.raws[channel.unit_by.field] = _another(channel.unit_by.codes)
            return
        coded = next((by for by in channel.scale_by if by.codes and applies(by.when, self._params)), None)
        if reason == Reason.WRONG_MODE and coded is not None:
            self.raws[coded.field] = _another(coded.codes or {})
            return
        raise ValueError(f"the driver file knows no way in which {channel.id} is {reason}")

    # ------------------------------------------------------------------ what the channel rests on

    def _source(self, channel: grammar.Channel) -> grammar.Source:
        """The field that the channel comes from now; where none of them counts, the first one is let count."""
        sources = meaning.sources(channel, self._params)
        for source in sources:
            if self._holds(_conditions(source)):
                return source
        for condition in _conditions(sources[0]):
            self.meet(condition)
        if not self._holds(_conditions(sources[0])):
            raise ValueError(f"no raw values are known with which {channel.id} comes from {sources[0].field}")
        return sources[0]

    def _holds(self, conditions: Sequence[grammar.Condition]) -> bool:
        made = tests(conditions, self._index, self._params, missing=False)
        raws = self._ordered()
        return all(test(raws) for test in made)

    def _ordered(self) -> list[Raw]:
        return [self.raws.get(name) for name in self._fields]

    def _factor(self, by: grammar.ScaleBy) -> float:
        factor = meaning.factor_of(by, self._index)(self._ordered())
        if isinstance(factor, str) or factor == 0.0:
            # Such a factor as leaves the value as it is, or the first that the file knows.
            if by.codes:
                self.raws[by.field] = next(iter(by.codes))
            else:
                self.raws[by.field] = 0 if by.as_ == "power-of-ten" else 1
            factor = meaning.factor_of(by, self._index)(self._ordered())
        if isinstance(factor, str) or factor == 0.0:
            raise ValueError(f"no raw value of {by.field} is known with which the channel has values")
        return factor

    def _unit(self, by: grammar.UnitBy, unit: str) -> tuple[float, float]:
        scales = meaning.unit_scales(by, unit)
        if self.raws.get(by.field) not in scales:
            self.raws[by.field] = next((code for code, named in by.codes.items() if named == unit), next(iter(scales)))
        return scales[self.raws[by.field]]

    # ------------------------------------------------------------------ conditions

    def _word(self, name: str) -> int:
        raw = self.raws.get(name)
        return raw if isinstance(raw, int) else 0

    def meet(self, condition: grammar.Condition) -> None:
        """Change raw values so that the condition holds. Raises ValueError where no value is known."""
        for inner in condition.all or []:
            if applies(inner.when, self._params):
                self.meet(inner)
        if condition.field is not None and not self._holds([condition]):
            self.raws[condition.field] = self._meeting(condition, self.raws.get(condition.field))
        if not self._holds([condition]):
            raise ValueError(f"no raw values are known that meet the condition on {', '.join(fields_of(condition))}")

    def unmeet(self, condition: grammar.Condition) -> None:
        """Change raw values so that the condition does not hold, where one is known."""
        if condition.all is not None:
            applying = [inner for inner in condition.all if applies(inner.when, self._params)]
            if applying:
                self.unmeet(applying[-1])
        if condition.field is not None:
            self.raws[condition.field] = self._other(condition, self.raws.get(condition.field))

    def _other(self, condition: grammar.Condition, raw: Raw) -> Raw:
        """A raw value for which the condition does not hold."""
        field = self._fields[condition.field or ""]
        word = raw if isinstance(raw, int) else 0
        if condition.set is not None:
            return word & ~mask_of(condition.set, field.bits)
        if condition.clear is not None:
            return word | mask_of(condition.clear, field.bits)
        if condition.other_than_set is not None:
            return word & mask_of(condition.other_than_set, field.bits)
        if condition.is_ is not None:
            return self._unlike(condition.is_, field, raw)
        if condition.is_not is not None:
            wanted = condition.is_not if isinstance(condition.is_not, list) else [condition.is_not]
            return next((v for one in wanted if (v := value_of(one, self._params)) is not None), raw)
        if condition.has is not None:
            gone = {condition.has} if isinstance(condition.has, str) else set(condition.has)
            return " ".join(word for word in str(raw or "").split() if word not in gone) or None
        if condition.matches is not None:
            return next((text for text in ("?", "", *_texts(field)) if not self._matches(condition, text)), raw)
        if condition.below is not None:
            return math.ceil(condition.below) if field.whole else condition.below
        above = condition.above or 0.0
        return math.floor(above) if field.whole else above

    def _meeting(self, condition: grammar.Condition, raw: Raw) -> Raw:
        """A raw value for which the condition holds."""
        field = self._fields[condition.field or ""]
        word = raw if isinstance(raw, int) else 0
        if condition.set is not None:
            return word | 1 << bit_numbers(condition.set, field.bits)[0]
        if condition.clear is not None:
            return word & ~mask_of(condition.clear, field.bits)
        if condition.other_than_set is not None:
            known = mask_of(condition.other_than_set, field.bits)
            return word | 1 << next(bit for bit in range(64) if not known >> bit & 1)
        if condition.has is not None:
            added = condition.has if isinstance(condition.has, str) else condition.has[0]
            return f"{raw} {added}" if raw else added
        if condition.is_ is not None:
            wanted = condition.is_[0] if isinstance(condition.is_, list) else value_of(condition.is_, self._params)
            return wanted if isinstance(wanted, (int, float, str)) else None
        if condition.is_not is not None:
            return self._unlike(condition.is_not, field, raw)
        if condition.matches is not None:
            return next((text for text in _texts(field) if self._matches(condition, text)), raw)
        if condition.below is not None:
            return math.ceil(condition.below) - 1 if field.whole else condition.below - 1
        above = condition.above or 0.0
        return math.floor(above) + 1 if field.whole else above + 1

    def _matches(self, condition: grammar.Condition, text: str) -> bool:
        return grammar.pattern_of(condition.matches or "").fullmatch(text_of(text)) is not None

    def _unlike(self, given: Any, field: AnyField, raw: Raw) -> Raw:
        unwanted = given if isinstance(given, list) else [value_of(given, self._params)]
        if isinstance(raw, str) or any(isinstance(one, str) for one in unwanted):
            return next((text for text in ("?", "??", *_texts(field)) if text not in unwanted), None)
        return next(number for number in range(len(unwanted) + 1) if number not in unwanted)


def _conditions(source: grammar.Source) -> Sequence[grammar.Condition]:
    if source.if_ is None:
        return []
    return source.if_ if isinstance(source.if_, list) else [source.if_]


def _texts(field: AnyField) -> list[str]:
    """Texts that the field may hold, as far as the file tells."""
    codes = getattr(field, "codes", {})
    return [*codes, *(raw for raw in field.sentinels if isinstance(raw, str))]


def _another(codes: Mapping[Any, Any]) -> Raw:
    """A code that is none of these."""
    if any(isinstance(code, str) for code in codes):
        return next(text for text in ("?", "??") if text not in codes)
    return next(number for number in range(len(codes) + 1) if number not in codes)
