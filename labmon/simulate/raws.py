"""What an instrument's registers and words hold at the start: as in an example, or so that nothing is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.examples import asked_of, payloads_of, target_of
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
