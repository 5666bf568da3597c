"""What a driver file says twice, nowhere or in contradiction: all that the grammar alone cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from labmon import units
from labmon.config.errors import Path, did_you_mean, one_of
from labmon.drivers import grammar
from labmon.drivers.check_channels import check_condition, check_sources
from labmon.drivers.check_guards import (
    NOW,
    check_alive,
    check_clock,
    check_guard,
    check_identity,
    check_params,
    check_same_channels,
)
from labmon.drivers.check_records import check_record, requests_of, setting_of
from labmon.drivers.check_requests import check_request
from labmon.drivers.check_unset import check_unset
from labmon.drivers.check_wire import check_wire
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.computed import operands
from labmon.drivers.examples import asked_of
from labmon.drivers.given import ANY, Param, Ref, applies, value_of
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.setting import Setting
from labmon.drivers.steps import Step
from labmon.drivers.streams import check_streams
from labmon.drivers.variants import exclusive, some_address, variants
from labmon.links.pattern import Pattern, PatternError

Report = Callable[..., None]
"""report(path, message, hint="", at_key=False)"""


def check(file: grammar.DriverFile, report: Report) -> None:
    """Report everything that is wrong in a file of the right form."""
    sound = True

    def noted(path: Path, message: str, hint: str = "", *, at_key: bool = False) -> None:
        nonlocal sound
        sound = False
        report(path, message, hint, at_key=at_key)

    _header(file, noted)
    _references(file, noted)
    check_params(file, noted)
    if not sound:
        return
    _channel_ids(file, noted)
    _units(file, noted)
    for params in variants(file):
        if not check_unset(file, params, noted):
            continue
        setting = Setting(file, file.framings[0], some_address(file), params)
        if not check_wire(setting, noted):
            continue
        for name, query in file.queries.items():
            if applies(query.when, params):
                _query(("queries", name), query, setting, noted)
        if file.identity is not None:
            check_identity(file.identity, setting, _conditions, noted)
        if file.guard is not None and applies(file.guard.when, params):
            check_guard(file.guard, setting, _conditions, noted)
        if file.clock is not None and applies(file.clock.when, params):
            check_clock(file.clock, setting, noted)
    check_same_channels(file, noted)
    _examples(file, noted)
    if sound:
        _compiles(file, noted)


def _header(file: grammar.DriverFile, report: Report) -> None:
    if {"text", "binary"} & set(file.framings) and len(set(file.framings)) > 1:
        report(("framings",), "a file speaks one of text, binary and Modbus", "make a file for each")
    for path, pattern in (
        (("address", "pattern"), file.address.pattern if file.address else None),
        (("frame", "error"), file.frame.error if file.frame else None),
    ):
        _regex(path, pattern, report)
    for name, given in (file.identity.expect if file.identity else {}).items():
        _regex(("identity", "expect", name), given if isinstance(given, str) else None, report)


def _regex(path: Path, pattern: str | None, report: Report) -> None:
    try:
        Pattern((pattern or "").encode())
    except PatternError as error:
        report(path, f"is no regular expression: {error}")


# ---------------------------------------------------------------- parameters


def _references(file: grammar.DriverFile, report: Report) -> None:
    for path, part in _walk(file, ()):
        if isinstance(part, Ref) and part.param not in file.params and not _is_moment(path, part.param):
            report((*path, "param"), f"no parameter {part.param}", _known(part.param, file.params))
        if path[-1:] == ("when",) and isinstance(part, dict):
            for name, wanted in part.items():
                _when((*path, name), file.params.get(name), name, wanted, file, report)


def _is_moment(path: Path, name: str) -> bool:
    return path[:2] == ("clock", "set") and name in NOW


def _when(path: Path, param: Param | None, name: str, wanted: Any, file: grammar.DriverFile, report: Report) -> None:
    if param is None:
        report(path, f"no parameter {name}", _known(name, file.params), at_key=True)
        return
    for value in wanted if isinstance(wanted, list) else [] if wanted == ANY else [wanted]:
        try:
            param.accept(name, value)
        except ValueError as error:
            report(path, str(error))


def _walk(part: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Every part of a file with its path."""
    yield path, part
    if isinstance(part, BaseModel):
        for name, info in type(part).model_fields.items():
            yield from _walk(getattr(part, name), (*path, info.alias or name))
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from _walk(value, (*path, key))
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from _walk(value, (*path, index))


def _known(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    return did_you_mean(word, known) or one_of(list(known))


# ---------------------------------------------------------------- channels


def _channel_ids(file: grammar.DriverFile, report: Report) -> None:
    seen: dict[str, list[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]] = {}
    for name, query in file.queries.items():
        for index, channel in enumerate(query.channels):
            before = seen.setdefault(channel.id, [])
            if not all(exclusive(q, query.when) or exclusive(c, channel.when) for q, c in before):
                report(("queries", name, "channels", index, "id"), f"a second channel {channel.id}")
            before.append((query.when, channel.when))


def _units(file: grammar.DriverFile, report: Report) -> None:
    for name, query in file.queries.items():
        for index, channel in enumerate(query.channels):
            path: Path = ("queries", name, "channels", index, "unit")
            codes: list[Any] = [channel.unit]
            if isinstance(channel.unit, Ref):
                path = ("params", channel.unit.param, "choices")
                param = file.params[channel.unit.param]
                codes = list(param.choices or [])
                given = param.example if param.default is None else param.default
                if not codes and given is not None:
                    # Any unit of the table: what a site gives is checked when its device is made.
                    key = "example" if param.default is None else "default"
                    path, codes = ("params", channel.unit.param, key), [given]
                elif not codes:
                    report(("params", channel.unit.param), "a parameter that is a unit names its choices")
            for at, code in enumerate(codes):
                try:
                    units.unit(str(code))
                except units.UnknownUnit as error:
                    report((*path, at) if path[-1] == "choices" else path, str(error))


def _query(path: Path, query: grammar.Query, setting: Setting, report: Report) -> None:
    fields: dict[str, grammar.Field] = {}
    asked = setting_of(query, setting)
    for at, request in requests_of(query, path):
        if not applies(request.when, setting.params):
            continue
        check_request(at, request, asked, report)
        for name, field in request.fields.items():
            if not applies(field.when, setting.params):
                continue
            if name in fields:
                report((*at, "fields", name), f"a second field {name} in this query", at_key=True)
            fields[name] = field
    _conditions((*path, "bad-when"), query.bad_when, fields, setting, report)
    before: dict[str, str] = {}
    for index, channel in enumerate(query.channels):
        if applies(channel.when, setting.params):
            _channel((*path, "channels", index), channel, fields, before, setting, report)
            before[channel.id] = str(value_of(channel.unit, setting.params))
    check_alive(path, query, fields, report)
    check_record(path, query, fields, setting, report, _conditions)


def _channel(
    path: Path,
    channel: grammar.Channel,
    fields: Mapping[str, grammar.Field],
    before: Mapping[str, str],
    setting: Setting,
    report: Report,
) -> None:
    _conditions((*path, "bad-when"), channel.bad_when, fields, setting, report)
    _conditions((*path, "warn-when"), channel.warn_when, fields, setting, report)
    if channel.compute is not None:
        missing = [name for name in operands(channel.compute) if name not in before]
        for name in missing:
            report((*path, "compute"), f"no channel {name} stands before this one", _known(name, before))
        return
    check_sources(path, channel, fields, setting, report)


def _conditions(
    path: Path,
    conditions: Sequence[grammar.Condition],
    fields: Mapping[str, grammar.Field],
    setting: Setting,
    report: Report,
) -> None:
    for index, condition in enumerate(conditions):
        check_condition((*path, index), condition, fields, setting, report)


# ---------------------------------------------------------------- examples


def _examples(file: grammar.DriverFile, report: Report) -> None:
    for index, example in enumerate(file.examples):
        path: Path = ("examples", index)
        block = _beside(file, example)
        if example.query is None and block is None:
            report(path, f"the file has no {asked_of(example)}")
            continue
        if example.query is not None and example.query not in file.queries:
            report((*path, "query"), f"no query {example.query}", _known(example.query, file.queries))
            continue
        if example.framing is not None and example.framing not in file.framings:
            report((*path, "framing"), f"not among the framings {', '.join(file.framings)}")
        written = example.set_clock is None
        if (
            example.origin.composed is not None
            and example.fails is None
            and written
            and "raws" not in example.model_fields_set
        ):
            report(path, "a composed example gives the raw values that its bytes are composed of", "add `raws`")
        query = file.queries[example.query] if example.query else None
        requests = [request for _, request in requests_of(query, ())] if query else block.requests if block else []
        fields = {name for request in requests for name in request.fields}
        for name in example.raws:
            if name not in fields:
                report((*path, "raws", name), f"no field {name}", _known(name, sorted(fields)), at_key=True)
        ids = [c.id for c in query.channels] if query else []
        for name in example.readings or {}:
            if name not in ids:
                report((*path, "readings", name), f"no channel {name}", _known(name, ids), at_key=True)
        for place, name in enumerate(example.warned):
            if name not in ids:
                report((*path, "warned", place), f"no channel {name}", _known(name, ids))


def _beside(
    file: grammar.DriverFile, example: grammar.Example
) -> grammar.Identity | grammar.Guard | grammar.Clock | grammar.ClockSet | None:
    """What an example of no query asks; None where the file does not have it."""
    if example.identity:
        return file.identity
    if example.guard:
        return file.guard
    if example.clock or file.clock is None:
        return file.clock
    return file.clock.set_ if example.set_clock is not None else None


_ITSELF = "the driver"


def _compiles(file: grammar.DriverFile, report: Report) -> None:
    """What only making the queries brings to light: units that do not go together, devices that cannot be."""
    for index, example in enumerate(file.examples):
        try:
            CompiledDriver(_ITSELF, file, "").setting(
                example.framing or file.framings[0], example.address, example.params
            )
        except ValueError as error:
            report(("examples", index), str(error))
    for params in variants(file):
        setting = Setting(file, file.framings[0], some_address(file), params)
        driver = CompiledDriver(_ITSELF, file, "")
        asked: dict[str, Sequence[Step]] = {}
        for name, query in file.queries.items():
            if applies(query.when, setting.params):
                try:
                    asked[name] = driver.query(name, setting).steps
                except ValueError as error:
                    report(("queries", name), str(error), at_key=True)
        if file.identity is not None:
            asked[""] = CompiledIdentity(file.identity, setting).steps
        check_streams(file, asked, setting, report)
