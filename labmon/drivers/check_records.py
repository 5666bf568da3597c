"""What a driver file says of its records: fields that are there, writes that are declared, a count that is asked."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from labmon.config.errors import Path, did_you_mean, one_of
from labmon.drivers import grammar, records
from labmon.drivers.check_fields import check_time
from labmon.drivers.check_requests import check_request
from labmon.drivers.entries import form_of
from labmon.drivers.given import Ref, applies
from labmon.drivers.moment import fields_of_time
from labmon.drivers.setting import Setting

Report = Callable[..., None]


def requests_of(query: grammar.Query, path: Path) -> Iterator[tuple[Path, grammar.Request]]:
    """All requests whose replies hold fields of a query, with their places: the check's first."""
    if query.record is not None and query.record.check is not None:
        for index, request in enumerate(query.record.check.requests):
            yield (*path, "record", "check", "requests", index), request
    for index, request in enumerate(query.requests):
        yield (*path, "requests", index), request
    logger = query.record.logger if query.record is not None else None
    if logger is not None and logger.entries is not None:
        yield (*path, "record", "logger", "entries"), form_of(logger.entries)


def setting_of(query: grammar.Query, setting: Setting) -> Setting:
    """The setting in which the requests can be made: `{index}` stands for a record's index."""
    index = query.record.index if query.record is not None else None
    return setting if index is None else records.select(index, int(setting.value(index.first)), setting)[1]


def check_record(
    path: Path,
    query: grammar.Query,
    fields: Mapping[str, grammar.Field],
    setting: Setting,
    report: Report,
    conditions: Callable[..., None],
) -> None:
    """Report what is wrong with the record block of a query with these fields."""
    record = query.record
    if record is None:
        return
    place = (*path, "record")
    checked = _checked(record, setting)

    def known(at: Path, name: str, among: Mapping[str, grammar.Field], where: str = "") -> None:
        if name not in among:
            hint = did_you_mean(name, among) or one_of(list(among))
            report((*place, *at), f"no field {name}{where}", hint)

    check_time((*place, "time"), record.time, fields, report)
    for number, name in enumerate(record.key):
        known(("key", number), name, fields)
    if record.number is not None:
        known(("number", "field"), record.number.field, fields)
    if isinstance(record.interval, grammar.FieldRef):
        known(("interval", "field"), record.interval.field, fields)
    conditions((*place, "present-when"), record.present_when, fields, setting, report)
    if record.check is not None:
        conditions((*place, "check", "new-when"), record.check.new_when, checked, setting, report)
        if record.check.waiting is not None:
            known(("check", "waiting"), record.check.waiting, checked, " in the replies of the check")
    if record.index is not None:
        known(("index", "count"), record.index.count, checked, " in the replies of the check")
        _index((*place, "index"), record.index, setting, report)
    if record.logger is not None:
        _logger((*place, "logger"), query, record.logger, setting, report)
    if record.queue is not None:
        _queue((*place, "queue"), record.queue, setting, report)


def told_by_local_time(file: grammar.DriverFile) -> Iterator[tuple[Path, str, str]]:
    """Records that cannot be told apart in the hour that comes twice, when clocks are put back: place, words, hint."""
    for name, query in file.queries.items():
        record = query.record
        if record is None or isinstance(record.time, str) or not _turned(record.time.zone, file):
            continue
        if set(record.key) <= set(fields_of_time(record.time).values()):
            yield (
                ("queries", name, "record", "key"),
                "when clocks are put back one hour comes twice, and a record of the second may be taken for one of "
                "the first and be lost",
                "add a field that differs to the key (a number, a counter), or let the instrument run on UTC",
            )


def _turned(zone: object, file: grammar.DriverFile) -> bool:
    """Whether clocks of this zone can be put back."""
    if isinstance(zone, Ref):
        param = file.params.get(zone.param)
        given = [] if param is None else [param.default, param.example, *(param.choices or [])]
        return any(_turned(one, file) for one in given if one is not None)
    if zone == "utc":
        return False
    if zone == "site":
        return True
    try:
        place = zoneinfo.ZoneInfo(str(zone))
    except (ValueError, zoneinfo.ZoneInfoNotFoundError):
        return True
    return len({datetime(2026, month, 1, tzinfo=place).utcoffset() for month in range(1, 13)}) > 1


def _checked(record: grammar.Record, setting: Setting) -> dict[str, grammar.Field]:
    requests = record.check.requests if record.check is not None else []
    return {
        name: field
        for request in requests
        if applies(request.when, setting.params)
        for name, field in request.fields.items()
        if applies(field.when, setting.params)
    }


def _index(path: Path, index: grammar.RecordIndex, setting: Setting, report: Report) -> None:
    selected, _ = records.select(index, int(setting.value(index.first)), setting)
    for request in selected:
        check_request(path, request, setting, report)


def _queue(path: Path, queue: grammar.RecordQueue, setting: Setting, report: Report) -> None:
    check_request((*path, "pop"), queue.pop, setting, report)
    if queue.pop.fields:
        report((*path, "pop", "fields"), "a pop yields nothing that would be read", at_key=True)


def _logger(path: Path, query: grammar.Query, logger: grammar.RecordLogger, setting: Setting, report: Report) -> None:
    wanted = {n for r in query.requests if applies(r.when, setting.params) for n in r.fields}
    for name, request in (("first", logger.first), ("repeat", logger.repeat)):
        if request is None:
            continue
        check_request((*path, name), request, setting, report)
        if set(request.fields) != wanted:
            report((*path, name), f"has other fields than the query's requests: {', '.join(sorted(wanted)) or 'none'}")
    entries = logger.entries
    if entries is not None and entries.field not in wanted:
        report((*path, "entries", "field"), f"no field {entries.field} in the replies of the query's requests")
