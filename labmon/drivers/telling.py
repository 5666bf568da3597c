"""Parts of a driver file in words: requests, conditions, when something applies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.given import Ref

_TABLES = {
    "coils": ("coil", "coils"),
    "discrete": ("discrete input", "discrete inputs"),
    "holding": ("holding register", "holding registers"),
    "input": ("input register", "input registers"),
}


def given(value: Any) -> str:
    """A value, or the parameter that it is left to: `{first-register}`."""
    return f"{{{value.param}}}" if isinstance(value, Ref) else str(value) or "empty"


def quoted(text: str) -> str:
    """Characters of a wire as a person can read and type them: control characters by their escapes."""
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + '"'


def request(one: grammar.Request) -> str:
    """What a request does, in words."""
    words = _asked(one)
    if one.until is not None:
        words += f"; again every {span(one.until.every)}, {one.until.at_most} times at most, until "
        words += " and ".join(condition(each) for each in one.until.conditions)
    return words + ("; once per connection" if one.once else "")


def _asked(one: grammar.Request) -> str:
    if one.wait is not None:
        return f"wait {span(one.wait)}"
    if one.call is not None:
        return f"call {one.call}, in Python"
    if one.send is not None:
        return f"send {quoted(one.send)}, {_answer(one)}"
    if one.listen is not None:
        return f"listen: it sends {_answer(one).removeprefix('answer ')} by itself"
    if one.write is not None:
        values = [one.value] if one.values is None else one.values
        name, names = _TABLES["coils" if one.write.startswith("coil") else "holding"]
        return f"write {', '.join(map(given, values))} to {name if len(values) == 1 else names} {given(one.at)}"
    if one.read == "identification":
        return f"read the device identification: {', '.join(one.fields)}"
    name, names = _TABLES[one.read or "holding"]
    if one.merge is not None:
        places = sorted(field.at for field in one.fields.values() if isinstance(field.at, int))
        return f"read {names} {', '.join(map(str, places))}, neighbours together"
    count = one.count or 0
    if count == 1:
        return f"read {name} {given(one.at)}"
    last = f" to {one.at + count - 1}" if isinstance(one.at, int) else ""
    return f"read {count} {names} from {given(one.at)}{last}"


def _answer(one: grammar.Request) -> str:
    if one.answer is not None:
        return "no answer"
    if one.reply is not None:
        return f"answer {quoted(one.reply)}"
    if one.pattern is not None:
        return f"answer like {given(one.pattern) if isinstance(one.pattern, Ref) else quoted(one.pattern)}"
    if one.columns is not None:
        return "answer in columns"
    return "answer in bytes" if one.bytes in (None, True) else f"answer of {one.bytes} bytes"


def allowed_write(one: grammar.AllowedWrite) -> str:
    """What a driver may write, and what that does."""
    if one.send is not None:
        return f"{quoted(one.send)}: {one.effect}"
    table, first = ("coil", one.coil) if one.coil is not None else ("holding register", one.holding)
    last = f" to {(first or 0) + one.count - 1}" if one.count > 1 else ""
    return f"{table} {first}{last}: {one.effect}"


def when(part: Mapping[str, Any] | None) -> str:
    """`only with quantity mass or volume`; nothing where it always applies."""
    words = []
    for name, wanted in (part or {}).items():
        values = wanted if isinstance(wanted, list) else [wanted]
        words.append(f"{name} {' or '.join(plain(value) for value in values)}")
    return f"only with {' and '.join(words)}" if words else ""


def plain(value: Any) -> str:
    """A parameter's value; a switch as on or off."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def condition(one: grammar.Condition) -> str:
    """`status bit 4 set`, `unit is not 32`: a condition in words."""
    if one.all is not None:
        return " and ".join(condition(inner) for inner in one.all)
    for name, words in (
        ("is_", "is"),
        ("is_not", "is not"),
        ("has", "has"),
        ("matches", "matches"),
        ("below", "below"),
        ("above", "above"),
    ):
        if (value := getattr(one, name)) is not None:
            return f"{one.field} {words} {_values(value)}"
    if one.other_than_set is not None:
        return f"{one.field} any bit but {_values(one.other_than_set) or 'none'} set"
    bits, word = (one.set, "set") if one.set is not None else (one.clear, "clear")
    return f"{one.field} bit {_values(bits)} {word}"


def _values(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " or ".join(f"{v:g}" if isinstance(v, float) else given(v) for v in values)


def span(seconds: float) -> str:
    """`12 ms`, `1.5 s`, `2 min`: a duration to three digits."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
