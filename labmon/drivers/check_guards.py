"""Identity, guard, clock and signs of life: what the grammar alone cannot see of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labmon.config.errors import Path, did_you_mean, one_of
from labmon.drivers import grammar
from labmon.drivers.check_fields import check_time
from labmon.drivers.check_requests import check_request
from labmon.drivers.given import ParamValue, applies, value_of
from labmon.drivers.guards import now_params
from labmon.drivers.setting import Setting
from labmon.drivers.variants import variants

Report = Callable[..., None]
Conditions = Callable[[Path, Sequence[grammar.Condition], Mapping[str, grammar.Field], Setting, Report], None]
"""Reports what is wrong with conditions on these fields."""

NOW = now_params(0)
"""Parameters that requests which set a clock may use, besides those of the file."""
_TEXTS = ("ascii", "text", "word", "words")


def check_params(file: grammar.DriverFile, report: Report) -> None:
    """Report what variants say of parameters, and parameters that take a name which is another's."""
    for name in file.params:
        if name in NOW:
            report(("params", name), f"{name} is the name of a moment, for setting clocks", at_key=True)
    for index, variant in enumerate(file.identity.variants if file.identity else ()):
        path: Path = ("identity", "variants", index)
        for name, value in variant.params.items():
            if name not in file.params:
                report((*path, "params", name), f"no parameter {name}", _known(name, file.params), at_key=True)
                continue
            try:
                file.params[name].accept(name, value)
            except ValueError as error:
                report((*path, "params", name), str(error))


def check_identity(identity: grammar.Identity, setting: Setting, conditions: Conditions, report: Report) -> None:
    """Report what is wrong with an identity, for a device with these settings."""
    fields = _fields(("identity",), identity.requests, setting, report)
    for index, name in enumerate(identity.show):
        _field(("identity", "show", index), name, fields, report)
    for name in identity.expect:
        if name not in fields:
            report(("identity", "expect", name), f"no field {name}", _known(name, fields), at_key=True)
    conditions(("identity", "wrong-when"), identity.wrong_when, fields, setting, report)
    for index, test in enumerate(identity.self_test):
        _self_test(("identity", "self-test", index), test, fields, report)
    names: list[str] = []
    for index, variant in enumerate(identity.variants):
        path: Path = ("identity", "variants", index)
        conditions((*path, "when"), variant.when, fields, setting, report)
        if variant.name in names:
            report((*path, "name"), f"a second variant {variant.name}")
        names.append(variant.name)
        if not variant.when and variant is not identity.variants[-1]:
            report(path, "fits every instrument, so that those after it are never chosen", "give it conditions")


def _self_test(path: Path, test: grammar.SelfTest, fields: Mapping[str, grammar.Field], report: Report) -> None:
    field = _field((*path, "field"), test.field, fields, report)
    if field is None:
        return
    wanted = test.near if test.is_ is None else test.is_
    if isinstance(wanted, str) is not (field.type in _TEXTS):
        place = "is" if test.near is None else "near"
        report((*path, place), f"field {test.field} of type {field.type} is never {wanted!r}")
    elif not wanted:
        report(path, "this value is the same in every byte order, and proves nothing")


def check_same_channels(file: grammar.DriverFile, report: Report) -> None:
    """Report variants with other channels than the plain device: what is recorded cannot follow the instrument."""
    for index, variant in enumerate(file.identity.variants if file.identity else ()):
        for params in variants(file):
            plain, other = _channels(file, params), _channels(file, {**params, **variant.params})
            if plain != other:
                differs = next((a or b for a, b in _pairs(plain, other) if a != b), "")
                report(
                    ("identity", "variants", index, "params"),
                    f"variant {variant.name} would have other channels, or another order or unit of them: {differs}",
                    "a variant changes only how values are read",
                )
                break


def _channels(file: grammar.DriverFile, params: Mapping[str, ParamValue]) -> list[str]:
    return [
        f"{channel.id} in {value_of(channel.unit, params)} of {name}"
        for name, query in file.queries.items()
        if applies(query.when, params)
        for channel in query.channels
        if applies(channel.when, params)
    ]


def _pairs(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, str]]:
    size = max(len(a), len(b))
    return list(zip([*a, *[""] * (size - len(a))], [*b, *[""] * (size - len(b))], strict=True))


def check_guard(guard: grammar.Guard, setting: Setting, conditions: Conditions, report: Report) -> None:
    """Report what is wrong with a guard, for a device with these settings."""
    fields = _fields(("guard",), guard.requests, setting, report)
    anywhere = {name for request in guard.requests for name in request.fields}
    for index, name in enumerate(guard.watch):
        if name not in anywhere:  # one that other devices of the kind have is not watched on this one
            _field(("guard", "watch", index), name, fields, report)
    conditions(("guard", "expect"), guard.expect, fields, setting, report)


def check_clock(clock: grammar.Clock, setting: Setting, report: Report) -> None:
    """Report what is wrong with a clock, for a device with these settings."""
    fields = _fields(("clock",), clock.requests, setting, report)
    check_time(("clock", "time"), clock.time, fields, report)
    if clock.set_ is not None:
        moment = Setting(setting.file, setting.framing, setting.address, {**setting.params, **NOW})
        _fields(("clock", "set"), clock.set_.requests, moment, report)


def check_alive(path: Path, query: grammar.Query, fields: Mapping[str, grammar.Field], report: Report) -> None:
    """Report signs of life that are no fields of their query."""
    if query.alive and query.kind == "record":
        report((*path, "alive"), "a sample that the instrument stored is no sign of its life now")
    for index, one in enumerate(query.alive):
        _field((*path, "alive", index, "field"), one.field, fields, report)


def _fields(
    path: Path, requests: Sequence[grammar.Request], setting: Setting, report: Report
) -> dict[str, grammar.Field]:
    """The fields of requests that apply; what is wrong with the requests is reported."""
    fields: dict[str, grammar.Field] = {}
    for index, request in enumerate(requests):
        if applies(request.when, setting.params):
            check_request((*path, "requests", index), request, setting, report)
            for name, field in request.fields.items():
                if name in fields:
                    report((*path, "requests", index, "fields", name), f"a second field {name}", at_key=True)
                if applies(field.when, setting.params):
                    fields[name] = field
    return fields


def _field(path: Path, name: str, fields: Mapping[str, grammar.Field], report: Report) -> grammar.Field | None:
    if name not in fields:
        report(path, f"no field {name}", _known(name, fields))
    return fields.get(name)


def _known(word: str, known: Mapping[str, Any]) -> str:
    return did_you_mean(word, known) or one_of(list(known))
