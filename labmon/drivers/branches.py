"""Which parts of a driver file its examples show, and which they do not.

A branch is whatever makes a reply mean something else: a condition, a sentinel, an error reply, a choice of a
parameter, another source of a channel. Wrong bits and turned polarities hide where no bytes show them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from labmon.config.errors import ConfigError, Path
from labmon.drivers import examples, grammar, telling
from labmon.drivers.check_records import requests_of
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.conditions import FieldIndex, fields_of, test_of
from labmon.drivers.given import ParamValue, Ref, applies
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.load import DriverLoad
from labmon.drivers.query import CompiledQuery
from labmon.drivers.setting import Setting, sentinels_of
from labmon.links.errors import LinkError
from labmon.model.reading import Raw


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a file that no example shows."""

    path: Path
    what: str


@dataclass(frozen=True, slots=True)
class _Shown:
    """What one example shows: the device, and raw values by field where its replies could be decoded."""

    example: grammar.Example
    setting: Setting | None
    raws: Mapping[str, Raw]
    index: FieldIndex

    @property
    def params(self) -> Mapping[str, ParamValue]:
        return self.setting.params if self.setting is not None else {}


def unshown(driver: CompiledDriver) -> list[Branch]:
    """Branches without an example, in the order of the file. Queries without one at all are told by the loader."""
    shown = [_shown(driver, example) for example in driver.file.examples]
    found: list[Branch] = []
    for name, query in driver.file.queries.items():
        mine = [one for one in shown if one.example.query == name and one.example.readings is not None]
        if mine:
            found += _of_query(("queries", name), query, mine)
            if query.record is not None:
                every = [one for one in shown if one.example.query == name]
                found += _absent(("queries", name, "record", "present-when"), query.record.present_when, every)
    identity = driver.file.identity
    if identity is not None:
        found += _of_identity(identity, [one for one in shown if one.example.identity])
    found += _of_errors(driver.file, shown)
    found += _of_choices(driver.file, shown)
    return _once(found)


def without_example(load: DriverLoad) -> list[ConfigError]:
    """What of a loaded file no example shows, whole queries included, each at its place."""
    if load.driver is None or load.source is None:
        return []
    if load.driver.generic:
        return sorted(load.warnings)  # what it means is the site file's, and no example can show it
    told = [load.source.error(branch.path, branch.what) for branch in unshown(load.driver)]
    return sorted([*load.warnings, *told])


def _once(found: Sequence[Branch]) -> list[Branch]:
    """What several channels of a query say in the same words is one branch, at its first place."""
    places: dict[tuple[Any, ...], list[Branch]] = {}
    for branch in found:
        places.setdefault((*branch.path[:2], branch.what), []).append(branch)
    return [
        Branch(same[0].path, same[0].what + (f" (here and at {len(same) - 1} more)" if len(same) > 1 else ""))
        for same in places.values()
    ]


def _shown(driver: CompiledDriver, example: grammar.Example) -> _Shown:
    framing = example.framing or driver.framings[0]
    try:
        setting = driver.setting(framing, example.address, example.params)
    except ValueError:
        return _Shown(example, None, {}, FieldIndex([]))
    try:
        target = examples.target_of(driver, example)
        if examples.by_calls(target):
            return _called(driver, target, example, setting)
        payloads = examples.payloads_of(target.steps, example, framing)
        index = FieldIndex([field for step in target.steps for field in step.fields])
        if isinstance(target, CompiledQuery):
            return _Shown(example, setting, target.raws(payloads), index)
        if isinstance(target, CompiledIdentity):
            return _Shown(example, setting, dict(zip(index, target.raws(payloads), strict=True)), index)
    except (LinkError, ValueError):
        pass  # a reply that fails, as it is meant to
    return _Shown(example, setting, {}, FieldIndex([]))


def _called(driver: CompiledDriver, target: examples.Target, example: grammar.Example, setting: Setting) -> _Shown:
    index = FieldIndex([field for step in target.steps for field in step.fields])
    try:
        found = examples.called(target, examples.talk_of(driver, example, setting.framing))
    except Exception:  # noqa: BLE001 - a reply that fails, as it is meant to, or a driver's fault: its test tells that
        return _Shown(example, setting, {}, FieldIndex([]))
    return _Shown(example, setting, dict(zip(index, found, strict=True)), index)


# ---------------------------------------------------------------- one query


def _of_query(path: Path, query: grammar.Query, shown: Sequence[_Shown]) -> Iterator[Branch]:
    yield from _sentinels(requests_of(query, path), shown)
    yield from _conditions((*path, "bad-when"), query.bad_when, shown)
    for index, channel in enumerate(query.channels):
        place = (*path, "channels", index)
        mine = [one for one in shown if applies(channel.when, one.params)]
        if not any(isinstance((one.example.readings or {}).get(channel.id), float) for one in mine):
            yield Branch(place, f"no example in which {channel.id} has a value{_when(channel.when)}")
        yield from _sources((*place, "from"), channel, mine)
        yield from _conditions((*place, "bad-when"), channel.bad_when, mine)
        yield from _conditions((*place, "warn-when"), channel.warn_when, mine)


def _sources(path: Path, channel: grammar.Channel, shown: Sequence[_Shown]) -> Iterator[Branch]:
    """Each field that the channel can come from."""
    if not isinstance(channel.from_, list):
        return
    for index, source in enumerate(channel.from_):
        said = source.if_ if isinstance(source.if_, list) else [source.if_] if source.if_ is not None else []
        if not any(
            applies(source.when, one.params) and all(holds(each, one.raws, one.index, one.params) for each in said)
            for one in shown
        ):
            words = " and ".join(telling.condition(each) for each in said)
            yield Branch(
                (*path, index), f"no example in which {channel.id} is {source.field}, when {words or 'it may'}"
            )


def _absent(path: Path, conditions: Sequence[grammar.Condition], shown: Sequence[_Shown]) -> Iterator[Branch]:
    for index, one in enumerate(conditions):
        told = [each for each in shown if one.field in each.raws and applies(one.when, each.params)]
        if all(holds(one, each.raws, each.index, each.params) for each in told):
            yield Branch((*path, index), f"no example in which there is no record: not {telling.condition(one)}")


def _sentinels(requests: Iterable[tuple[Path, grammar.Request]], shown: Sequence[_Shown]) -> Iterator[Branch]:
    for at, request in requests:
        for name, field in request.fields.items():
            for index, sentinel in enumerate(field.sentinels):
                alone = field.model_copy(update={"sentinels": [sentinel]})
                if not any(_is_sentinel(one, name, alone) for one in shown):
                    place = (*at, "fields", name, "sentinels", index)
                    yield Branch(place, f"no example in which {name} is {telling.given(sentinel.raw)}")


def _is_sentinel(one: _Shown, name: str, field: grammar.Field) -> bool:
    if one.setting is None or name not in one.raws:
        return False
    raw = one.raws[name]
    return any(raw == word or (raw != raw and word != word) for word in sentinels_of(field, one.setting))


def _conditions(path: Path, conditions: Sequence[grammar.Condition], shown: Sequence[_Shown]) -> Iterator[Branch]:
    for index, condition in enumerate(conditions):
        if not any(
            applies(condition.when, one.params) and holds(condition, one.raws, one.index, one.params) for one in shown
        ):
            words = f"no example in which {telling.condition(condition)}{_when(condition.when)}"
            yield Branch((*path, index), words)


def holds(
    condition: grammar.Condition, raws: Mapping[str, Raw], index: FieldIndex, params: Mapping[str, ParamValue]
) -> bool:
    """Whether a condition holds for these raw values; not where a field of it is missing."""
    if any(raws.get(name) is None for name in fields_of(condition)):
        return False
    return test_of(condition, index, params)([raws.get(name) for name in index])


def _when(part: Mapping[str, Any] | None) -> str:
    return f" ({words})" if (words := telling.when(part)) else ""


# ---------------------------------------------------------------- identity, errors, parameters


def _of_identity(identity: grammar.Identity, shown: Sequence[_Shown]) -> Iterator[Branch]:
    if not any(one.example.found is not None for one in shown):
        yield Branch(("identity",), "no example of the identity")
    refused = [one for one in shown if one.example.fails == "wrong-instrument"]
    if identity.expect and not any(_named(identity, one) for one in refused):
        yield Branch(("identity", "expect"), "no example of an instrument that is not as expected")
    yield from _conditions(("identity", "wrong-when"), identity.wrong_when, refused)


def _named(identity: grammar.Identity, one: _Shown) -> bool:
    return any(name in one.raws for name in identity.expect)


def _of_errors(file: grammar.DriverFile, shown: Sequence[_Shown]) -> Iterator[Branch]:
    frame = file.frame
    if frame is None:
        return
    fails = {one.example.fails for one in shown}
    if frame.error is not None and "refused" not in fails:
        yield Branch(("frame", "error"), "no example in which the instrument refuses")
    if frame.checksum and "garbled" not in fails:
        yield Branch(("frame", "checksum"), "no example of a reply with a wrong checksum")


def _of_choices(file: grammar.DriverFile, shown: Sequence[_Shown]) -> Iterator[Branch]:
    used = [one.params for one in shown if one.example.fails is None]
    decoding = set(_decoding(file))
    for name, param in file.params.items():
        if name not in decoding:
            continue
        choices = param.choices or ([False, True] if param.type == "switch" else [])
        for index, choice in enumerate(choices):
            if not any(params.get(name) == choice for params in used):
                place = ("params", name, "choices", index) if param.choices else ("params", name)
                yield Branch(place, f"no example with {name} {telling.plain(choice)}")


def _decoding(part: Any, key: str = "") -> Iterator[str]:
    """Parameters on which more depends than the name of a unit."""
    if isinstance(part, Ref):
        if key != "unit":
            yield part.param
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            if name == "when":
                yield from getattr(part, name) or {}
            elif name != "examples":
                yield from _decoding(getattr(part, name), name)
    elif isinstance(part, dict):
        for value in part.values():
            yield from _decoding(value, key)
    elif isinstance(part, list):
        for value in part:
            yield from _decoding(value, key)
    elif isinstance(part, str) and key in ("send", "reply", "pattern"):
        yield from re.findall(r"\{([a-z0-9-]+)", part)
