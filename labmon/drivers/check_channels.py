"""What a channel comes from, and the conditions under which it counts: names, bits and types that go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from labmon import units
from labmon.config.errors import Path, did_you_mean, one_of
from labmon.drivers import grammar
from labmon.drivers.given import applies, value_of
from labmon.drivers.meaning import unit_scales
from labmon.drivers.setting import Setting

Report = Callable[..., None]
Fields = Mapping[str, grammar.Field]

_NO_BITS = ("f32", "f64", "number", "ascii", "text", "word", "words", "time")
_TEXTS = ("ascii", "text", "words")
_WIDTHS = {
    "u8": 8, "i8": 8, "u16": 16, "i16": 16, "u24": 24, "i24": 24, "u32": 32, "i32": 32, "u64": 64, "i64": 64,
    "bit": 1, "bool": 1, "hex": 64, "integer": 64,
}  # fmt: skip


def known(word: str, words: Any) -> str:
    """A hint with the nearest of the known words, or with all of them."""
    return did_you_mean(word, words) or one_of(list(words))


def width_of(field: grammar.Field) -> int | None:
    """How many bits a field's value has; None for one that has none."""
    if field.as_ is not None:
        return None if field.as_.startswith("f") else int(field.as_[1:])
    if field.part is not None:
        return field.part[1] - field.part[0] + 1
    return _WIDTHS.get(field.type)


def check_condition(path: Path, condition: grammar.Condition, fields: Fields, setting: Setting, report: Report) -> None:
    """Report what is wrong with one condition, for a device with these settings."""
    if not applies(condition.when, setting.params):
        return
    for index, inner in enumerate(condition.all or []):
        check_condition((*path, "all", index), inner, fields, setting, report)
    if condition.field is None:
        return
    field = fields.get(condition.field)
    if field is None:
        report((*path, "field"), f"no field {condition.field}", known(condition.field, fields))
        return
    for key, bits in (("set", condition.set), ("clear", condition.clear), ("other-than-set", condition.other_than_set)):
        if bits is None:
            continue
        if field.type in _NO_BITS or width_of(field) is None:
            report((*path, "field"), f"field {condition.field} of type {field.type} has no bits")
            return
        listed = bits if isinstance(bits, list) else [bits]
        for index, bit in enumerate(listed):
            place = (*path, key, index) if isinstance(bits, list) else (*path, key)
            check_bit(place, bit, condition.field, field, report)
    if condition.has is not None and field.type != "words":
        report((*path, "field"), f"`has` needs a field of type words; {condition.field} is {field.type}")
    if condition.matches is not None and field.type not in (*_TEXTS, "word"):
        report((*path, "field"), f"`matches` needs a field that is text; {condition.field} is {field.type}")


def check_bit(path: Path, bit: int | str, name: str, field: grammar.Field, report: Report) -> None:
    """Report a bit that the field does not have."""
    if isinstance(bit, str):
        if bit not in (field.bits or {}):
            report(path, f"field {name} names no bit {bit}", known(bit, field.bits or {}))
        return
    width = width_of(field)
    if width is not None and bit >= width:
        report(path, f"field {name} has bits 0 to {width - 1} only")


def check_sources(path: Path, channel: grammar.Channel, fields: Fields, setting: Setting, report: Report) -> None:
    """Report what is wrong with the fields that a channel comes from, and with what they are scaled by."""
    listed = isinstance(channel.from_, list)
    sources = [(n, s) for n, s in enumerate(channel.sources) if applies(s.when, setting.params)]
    if not sources:
        report((*path, "from"), "no field is left for a device with these parameters")
    for index, source in sources:
        place = (*path, "from", index, "field") if listed else (*path, "from" if channel.from_ else "id")
        if source.field not in fields:
            report(place, f"no field {source.field} in the replies of this query", known(source.field, fields))
            continue
        _source(place, path, source.field, channel, fields[source.field], report)
        conditions = source.if_ if isinstance(source.if_, list) else [source.if_] if source.if_ else []
        for n, condition in enumerate(conditions):
            at = (*path, "from", index, "if", n) if isinstance(source.if_, list) else (*path, "from", index, "if")
            check_condition(at, condition, fields, setting, report)
        if not conditions and index < len(channel.sources) - 1 and listed:
            report((*path, "from", index), "always counts, so that those after it never do", "give it `if`")
    _scaled(path, channel, fields, setting, report)


def _source(place: Path, path: Path, name: str, channel: grammar.Channel, field: grammar.Field, report: Report) -> None:
    if field.type in _TEXTS or (field.type == "word" and not field.codes):
        report(place, f"field {name} is text; a channel is a number")
    if channel.bit is not None:
        if field.type in ("f32", "f64", "number", "ascii", "time") or width_of(field) is None:
            report((*path, "bit"), f"field {name} of type {field.type} has no bits")
        else:
            check_bit((*path, "bit"), channel.bit, name, field, report)
    if channel.true_when == "clear" and channel.bit is None and field.type not in ("bit", "bool"):
        report((*path, "true-when"), "only a bit can be true when clear")


def _scaled(path: Path, channel: grammar.Channel, fields: Fields, setting: Setting, report: Report) -> None:
    if channel.states is not None and (channel.scale_by or channel.unit_by):
        report((*path, "states"), "a state is not scaled by what the instrument says", at_key=True)
    for index, by in enumerate(channel.scale_by):
        if applies(by.when, setting.params):
            _by((*path, "scale-by", index), by.field, by.codes, fields, report)
    if channel.unit_by is not None:
        place = (*path, "unit-by")
        _by(place, channel.unit_by.field, channel.unit_by.codes, fields, report)
        for code in channel.unit_by.codes:
            alone = channel.unit_by.model_copy(update={"codes": {code: channel.unit_by.codes[code]}})
            try:
                unit_scales(alone, units.unit(str(value_of(channel.unit, setting.params))).code)
            except ValueError as error:
                report((*place, "codes", code), str(error))
    if channel.max_age is not None:
        place = (*path, "max-age")
        _by(place, channel.max_age.field, None, fields, report)


def _by(path: Path, name: str, codes: Mapping[Any, Any] | None, fields: Fields, report: Report) -> None:
    field = fields.get(name)
    if field is None:
        report((*path, "field"), f"no field {name}", known(name, fields))
        return
    textual = field.type in (*_TEXTS, "word") and not field.codes
    if codes is None and textual:
        report((*path, "field"), f"field {name} is text, not a number")
    for code in codes or {}:
        if isinstance(code, str) is not textual:
            what = "text" if textual else "a number"
            report((*path, "codes", code), f"field {name} is {what}; this code is not", at_key=True)


def same_names(file: grammar.DriverFile) -> Iterator[tuple[Path, str, str]]:
    """Channels of one query that people cannot tell apart: place, words, hint."""
    for name, query in file.queries.items():
        seen: dict[str, str] = {}
        for index, channel in enumerate(query.channels):
            if channel.when is not None:
                continue
            if channel.name in seen:
                yield (
                    ("queries", name, "channels", index, "name"),
                    f"channels {seen[channel.name]} and {channel.id} are both called {channel.name}",
                    "with `repeat` put `#` into the name, and quotes around it: a blank and # begin a comment",
                )
                break
            seen[channel.name] = channel.id
