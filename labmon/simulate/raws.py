"""What an instrument's registers and words hold at the start: as in an example, or so that nothing is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from labmon.drivers import grammar, meaning
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.conditions import FieldIndex, fields_of, mask_of
from labmon.drivers.examples import asked_of, payloads_of, target_of
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.query import CompiledQuery
from labmon.drivers.steps import Step
from labmon.links.errors import LinkError
from labmon.model.reading import Raw

_NUMBERS = (
    "u8",
    "i8",
    "u16",
    "i16",
    "u32",
    "i32",
    "u64",
    "i64",
    "f32",
    "f64",
    "bit",
    "number",
    "integer",
    "hex",
    "bcd",
)
_ROUNDS = 8


class Asked(Protocol):
    """What is asked of an instrument: a query, its identity, guard or clock."""

    @property
    def steps(self) -> Sequence[Step]:
        """The requests, in order."""
        ...

    @property
    def fields(self) -> Sequence[str]:
        """Names of all fields of the replies."""
        ...


def shown(
    driver: CompiledDriver, what: str, target: Asked, params: Mapping[str, object]
) -> tuple[dict[str, Raw], list[bytes]]:
    """Raw values and payloads of the reply that the examples show of an instrument with which all is well.

    `what` is `query` and its name, or identity, guard, clock. The first with the device's own parameters and a value
    for each channel; else the first that has most of that. Empty where there is none.
    """
    best: tuple[int, dict[str, Raw], list[bytes]] = (-1, {}, [])
    for example in driver.file.examples:
        asked = asked_of(example) if example.query is None else f"query {example.query}"
        if asked != what or example.fails is not None:
            continue
        good = sum(not isinstance(value, str) for value in (example.readings or {}).values())
        rank = 2 * good + 2 * (not example.warned) + (dict(example.params) == dict(params))
        if rank <= best[0]:
            continue
        try:
            made: Any = target_of(driver, example)
            payloads = payloads_of(made.steps, example, example.framing or driver.framings[0])
            raws = made.raws(payloads)
        except (LinkError, ValueError):
            continue
        named = raws if isinstance(raws, Mapping) else dict(zip(made.fields, raws, strict=True))
        same = [s.fields for s in made.steps] == [s.fields for s in target.steps]
        best = rank, {n: raw for n, raw in named.items() if n in target.fields}, payloads if same else []
    return best[1], best[2]


def completed(steps: Sequence[Step], raws: Mapping[str, Raw]) -> dict[str, Raw]:
    """The same with something in every field that a reply cannot do without."""
    found = dict(raws)
    for one in steps:
        for field in one.fields:
            if found.get(field.name) is None and field.name not in found:
                found[field.name] = _something(field)
    return found


def _something(field: object) -> Raw:
    type_ = getattr(field, "type", "")
    codes = getattr(field, "codes", None)
    if codes:
        first: Raw = next(iter(codes.values()))
        return first
    if type_ in _NUMBERS:
        return 0
    if type_ == "time":
        return int(time.time())
    return {"word": "A", "text": "x", "ascii": "x"}.get(type_)


def well(
    query: CompiledQuery, file: grammar.Query, raws: Mapping[str, Raw], params: Mapping[str, ParamValue]
) -> dict[str, Raw]:
    """The same raw values, changed so that no condition of the query makes a channel bad."""
    found = dict(raws)
    for _ in range(_ROUNDS):
        index = FieldIndex([field for one in query.steps for field in one.fields])
        values = [found.get(name) for name in query.fields]
        holding = [
            c
            for c in _conditions(file, params)
            if set(fields_of(c)) <= set(index) and meaning.test_of(c, index, params)(values)
        ]
        if not holding:
            break
        for condition in holding:
            one = (condition.all or [condition])[0]  # one of them that does not hold is enough
            if one.field is not None:
                names = index.bits.get(one.field, {})
                found[one.field] = _other(one, found.get(one.field), names, params)
    return found


def _conditions(query: grammar.Query, params: Mapping[str, ParamValue]) -> list[grammar.Condition]:
    channels = [c for c in query.channels if applies(c.when, params)]
    everything: list[grammar.Condition] = [*query.bad_when, *(c for channel in channels for c in channel.bad_when)]
    everything += [c for channel in channels for c in channel.warn_when]
    return [c for c in everything if applies(c.when, params)]


def _other(condition: grammar.Condition, raw: Raw, names: Mapping[str, int], params: Mapping[str, ParamValue]) -> Raw:
    """A raw value for which the condition does not hold."""
    word = raw if isinstance(raw, int) else 0
    if condition.is_ is not None:
        unwanted = _several(condition.is_, params)
        return next((n for n in range(len(unwanted) + 1) if n not in unwanted), 0)
    if condition.is_not is not None:
        wanted = _several(condition.is_not, params)
        return wanted[0] if wanted else raw
    if condition.set is not None:
        return word & ~mask_of(condition.set, names)
    if condition.clear is not None:
        return word | mask_of(condition.clear, names)
    if condition.other_than_set is not None:
        return word & mask_of(condition.other_than_set, names)
    if condition.matches is not None:
        return None
    if condition.has is not None:
        gone = {condition.has} if isinstance(condition.has, str) else set(condition.has)
        return " ".join(w for w in str(raw or "").split() if w not in gone) or None
    if condition.below is not None:
        return condition.below
    return condition.above if condition.above is not None else raw


def _several(given: object, params: Mapping[str, ParamValue]) -> list[Raw]:
    value = given if isinstance(given, list) else [value_of(given, params)]
    return [v for v in value if isinstance(v, (int, float, str))]


def stamp(time_: object, moment: float) -> dict[str, Raw]:
    """The fields that tell an instrument's time at a moment (Unix seconds); `time_` is the file's word for it."""
    return {time_: int(moment)} if isinstance(time_, str) else {}


def typed(before: Raw, text: str) -> Raw:
    """A raw value as typed: of the kind that the field holds now. Raises ValueError for another."""
    if isinstance(before, str):
        return text
    if isinstance(before, float):
        return float(text)
    try:
        return int(text, 0)
    except ValueError:
        return float(text)
