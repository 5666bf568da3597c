"""Conditions on the fields of a reply, each a function made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.text_field import TextField
from labmon.drivers.words import WordField
from labmon.model.reading import Raw, Reason, reason_text

Test = Callable[[Sequence[Raw]], bool]
Verdict = Callable[[Sequence[Raw]], str | None]
Told = Callable[[Sequence[Raw]], str]

_MOST_TEXT = 1000
"""Characters of a text that a regular expression is tried on."""


class FieldIndex(dict[str, int]):
    """Field -> its place among the raw values of a query. `bits`: the names that fields give their bits."""

    def __init__(self, fields: Sequence[WordField | TextField]) -> None:
        super().__init__((field.name, at) for at, field in enumerate(fields))
        self.bits: dict[str, Mapping[str, int]] = {f.name: f.bits for f in fields if f.bits}


def fields_of(condition: grammar.Condition) -> Iterator[str]:
    """Every field that a condition tests."""
    if condition.field is not None:
        yield condition.field
    for inner in condition.all or []:
        yield from fields_of(inner)


def bit_numbers(bits: Any, names: Mapping[str, int]) -> list[int]:
    """Numbers of bits that are given by number or by name. Raises KeyError for a name that the field does not give."""
    return [names[bit] if isinstance(bit, str) else bit for bit in (bits if isinstance(bits, list) else [bits])]


def mask_of(bits: Any, names: Mapping[str, int] | None = None) -> int:
    """A word with these bits set."""
    return sum(1 << bit for bit in {*bit_numbers(bits, names or {})})


def names_in(index: Mapping[str, int], field: str | None) -> Mapping[str, int]:
    """The names that a field gives its bits."""
    return index.bits.get(field or "", {}) if isinstance(index, FieldIndex) else {}


def test_of(
    condition: grammar.Condition,
    index: Mapping[str, int],
    params: Mapping[str, ParamValue],
    *,
    missing: bool = True,
) -> Test:
    """The test. One that cannot be made, because the field has no value or no number, is `missing`.

    That is true for whatever takes a value away, and false for what lets one count.
    """
    if condition.all is not None:
        inner = [
            test_of(c, index, params, missing=missing)
            for c in condition.all
            if applies(c.when, params) and _refers(c, params)
        ]
        return lambda raws: all(test(raws) for test in inner)
    at = index[condition.field or ""]
    if condition.is_ is not None:
        wanted = _values(condition.is_, params)
        return lambda raws: raws[at] in wanted
    if condition.is_not is not None:
        allowed = _values(condition.is_not, params)
        if missing:
            return lambda raws: raws[at] not in allowed
        return lambda raws: (raw := raws[at]) is not None and raw == raw and raw not in allowed
    if condition.has is not None:
        words = frozenset([condition.has] if isinstance(condition.has, str) else condition.has)
        return lambda raws: not words.isdisjoint(str(raws[at] or "").split())
    if condition.matches is not None:
        pattern = grammar.pattern_of(condition.matches)
        return lambda raws: pattern.fullmatch(text_of(raws[at])) is not None
    return _of_bits(condition, at, names_in(index, condition.field), missing) or _of_size(condition, at, missing)


def _of_bits(condition: grammar.Condition, at: int, names: Mapping[str, int], missing: bool) -> Test | None:
    if condition.set is not None:
        mask = mask_of(condition.set, names)
        return lambda raws: bool(raw & mask) if isinstance(raw := raws[at], int) else missing
    if condition.clear is not None:
        needed = mask_of(condition.clear, names)
        return lambda raws: raw & needed != needed if isinstance(raw := raws[at], int) else missing
    if condition.other_than_set is not None:
        known = mask_of(condition.other_than_set, names)
        return lambda raws: bool(raw & ~known) if isinstance(raw := raws[at], int) else missing
    return None


def _of_size(condition: grammar.Condition, at: int, missing: bool) -> Test:
    if condition.below is not None:
        lowest = condition.below
        if missing:
            return lambda raws: not isinstance(raw := raws[at], (int, float)) or not raw >= lowest
        return lambda raws: isinstance(raw := raws[at], (int, float)) and raw < lowest
    highest = condition.above
    assert highest is not None
    if missing:
        return lambda raws: not isinstance(raw := raws[at], (int, float)) or not raw <= highest
    return lambda raws: isinstance(raw := raws[at], (int, float)) and raw > highest


def text_of(raw: Raw) -> bytes:
    """A raw value as the text that `matches` tests."""
    return b"" if raw is None else str(raw)[:_MOST_TEXT].encode("latin-1", "replace")


def _values(given: Any, params: Mapping[str, ParamValue]) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list) else (value_of(given, params),)


def _refers(condition: grammar.Condition, params: Mapping[str, ParamValue]) -> bool:
    """Whether a condition that compares with an optional parameter has something to compare with."""
    given = condition.is_ if condition.is_not is None else condition.is_not
    return given is None or value_of(given, params) is not None


def tests(
    conditions: Sequence[grammar.Condition],
    index: Mapping[str, int],
    params: Mapping[str, ParamValue],
    *,
    missing: bool = True,
) -> list[Test]:
    """The tests that apply to a device with these parameters."""
    return [
        test_of(c, index, params, missing=missing) for c in conditions if applies(c.when, params) and _refers(c, params)
    ]


def verdict(
    conditions: Sequence[grammar.BadWhen], index: Mapping[str, int], params: Mapping[str, ParamValue]
) -> Verdict | None:
    """The reason of the first condition that holds; None when there is no condition at all."""
    rules: list[tuple[Test, str | Told]] = [
        (test_of(c, index, params), _told(c, index))
        for c in conditions
        if applies(c.when, params) and _refers(c, params)
    ]
    if not rules:
        return None

    def judge(raws: Sequence[Raw]) -> str | None:
        for test, reason in rules:
            if test(raws):
                return reason if isinstance(reason, str) else reason(raws)
        return None

    return judge


def _told(condition: grammar.BadWhen, index: Mapping[str, int]) -> str | Told:
    """The reason with its detail: the file's own, or the names of the bits that are as they should not be."""
    reason = Reason(condition.reason)
    names = names_in(index, condition.field)
    wanted = next(
        (bits for bits in (condition.set, condition.clear, condition.other_than_set) if bits is not None), None
    )
    if condition.detail is not None or condition.field is None or wanted is None:
        return reason_text(reason, condition.detail or "")
    if not names and condition.other_than_set is None:
        return reason_text(reason)
    at, flip = index[condition.field], -1 if condition.clear is not None else 0
    mask = mask_of(wanted, names)
    if condition.other_than_set is not None:
        mask = ~mask & (1 << 64) - 1
    by_number = {number: name for name, number in names.items()}

    def told(raws: Sequence[Raw]) -> str:
        raw = raws[at]
        word = (raw ^ flip) & mask if isinstance(raw, int) else 0
        found = [by_number.get(n, f"bit {n}") for n in range(word.bit_length()) if word >> n & 1]
        return reason_text(reason, ", ".join(found))

    return told
