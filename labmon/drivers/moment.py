"""The moment that a reply tells: from fields of many forms, by the instrument's clock, to UTC."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from calendar import timegm
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from labmon.drivers import grammar
from labmon.drivers.setting import Setting
from labmon.model.reading import Raw

_NS = 1_000_000_000
_FIRST, _LAST = 0, 253_402_300_799
"""1970 to 9999, in seconds."""
_CENTURY = 2000

Local = Callable[[Sequence[Raw]], int | None]
Moment = Callable[[Sequence[Raw]], "int | None"]
"""UTC nanoseconds, or None where the fields say no moment."""


def time_of(spec: grammar.TimeSpec, index: Mapping[str, int], setting: Setting) -> Moment:
    """The function that reads the moment of raw values. Raises ValueError for a zone that does not exist."""
    parts = grammar.TimeParts.model_construct({"unix"}, unix=spec) if isinstance(spec, str) else spec
    local = _local(parts, index)
    zone = zone_of(parts, setting)
    if zone is dt.UTC:
        return local

    def moment(raws: Sequence[Raw]) -> int | None:
        wall = local(raws)
        return None if wall is None else _utc(wall, zone)

    return moment


def zone_of(spec: grammar.TimeSpec, setting: Setting) -> dt.tzinfo:
    """The zone of the clock that made a moment. Raises ValueError for one that this machine does not know."""
    zone = "utc" if isinstance(spec, str) else str(setting.value(spec.zone) or "utc")
    name = setting.zone if zone == "site" else zone
    if name.upper() == "UTC":
        return dt.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name} is no time zone that this machine knows") from None


def fields_of_time(spec: grammar.TimeSpec) -> dict[str, str]:
    """Every field that a moment is made of, by the key that names it; `""` for a field alone."""
    if isinstance(spec, str):
        return {"": spec}
    given = spec.model_dump(exclude={"zone"}, exclude_none=True, by_alias=True)
    return {str(key): str(name) for key, name in given.items()}


def raws_of_time(spec: grammar.TimeSpec, moment: int, setting: Setting) -> dict[str, Raw]:
    """The way back, for simulators: raw values of the fields that say this moment (UTC nanoseconds).

    What they cannot hold (parts of a second) is cut off. Text fields get the seconds of the wall clock, which their
    `form` writes as a date or a time.
    """
    seconds, rest = divmod(moment, _NS)
    wall = dt.datetime.fromtimestamp(seconds, zone_of(spec, setting)).replace(tzinfo=None)
    naive = timegm(wall.timetuple())
    values: dict[str, Raw] = {
        "unix": naive, "text": naive, "date": naive - naive % 86400, "time": naive % 86400,
        "year": wall.year, "month": wall.month, "day": wall.day, "month-day": wall.month << 8 | wall.day,
        "hour": wall.hour, "minute": wall.minute, "second": wall.second,
        "hour-minute": wall.hour << 8 | wall.minute, "minute-second": wall.minute << 8 | wall.second,
        "millisecond": rest // 1_000_000,
    }  # fmt: skip
    return {name: values[key or "unix"] for key, name in fields_of_time(spec).items()}


def _utc(wall: int, zone: dt.tzinfo) -> int:
    """UTC nanoseconds of a wall clock's: of two the earlier, of none by the offset before the change."""
    seconds, rest = divmod(wall, _NS)
    try:
        naive = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
        offset = naive.replace(tzinfo=zone, fold=0).utcoffset() or dt.timedelta()
    except OverflowError:
        offset = dt.timedelta()
    return (seconds - round(offset.total_seconds())) * _NS + rest


def _local(parts: grammar.TimeParts, index: Mapping[str, int]) -> Local:
    """Nanoseconds since 1970 that the clock on the wall shows."""
    milli = None if parts.millisecond is None else index[parts.millisecond]
    whole = _seconds(parts, index)

    def local(raws: Sequence[Raw]) -> int | None:
        found = whole(raws)
        if found is None or milli is None:
            return found
        more = _number(raws[milli], 999)
        return None if more is None else found + more * 1_000_000

    return local


def _seconds(parts: grammar.TimeParts, index: Mapping[str, int]) -> Local:
    if (one := parts.unix or parts.text) is not None:
        at = index[one]
        return lambda raws: _unix(raws[at])
    if parts.date is not None and parts.time is not None:
        date, clock = index[parts.date], index[parts.time]
        return lambda raws: _added(_unix(raws[date]), raws[clock])
    names = ("year", "month", "day", "month_day", "hour", "minute", "second", "hour_minute", "minute_second")
    at_of = {name: index[field] for name in names if (field := getattr(parts, name)) is not None}

    def local(raws: Sequence[Raw]) -> int | None:
        values = {name: _number(raws[at], 0xFFFF) for name, at in at_of.items()}
        if None in values.values():
            return None
        given = {name: value for name, value in values.items() if value is not None}
        year = given["year"] + (_CENTURY if given["year"] < 100 else 0)
        month, day = divmod(given["month_day"], 256) if "month_day" in given else (given["month"], given["day"])
        hour, minute, second = given.get("hour", 0), given.get("minute", 0), given.get("second", 0)
        if "hour_minute" in given:
            hour, minute = divmod(given["hour_minute"], 256)
        if "minute_second" in given:
            minute, second = divmod(given["minute_second"], 256)
        try:
            moment = dt.datetime(year, month, day, hour, minute, second)
        except ValueError:
            return None
        return _bounded(timegm(moment.timetuple()))

    return local


def _bounded(seconds: int) -> int | None:
    return seconds * _NS if _FIRST <= seconds <= _LAST else None


def _unix(raw: Raw) -> int | None:
    if isinstance(raw, int):
        return _bounded(raw)
    if isinstance(raw, float) and _FIRST <= raw <= _LAST:
        # Decimals as they stand: 12.1 s are 12100000000 ns, not what the binary fraction nearest to 12.1 holds.
        return int(Decimal(repr(raw)) * _NS)
    return None


def _added(date: int | None, clock: Raw) -> int | None:
    # A text that holds no date was read as one of 1900: the time of day counts alone.
    return date + clock % 86_400 * _NS if date is not None and isinstance(clock, int) else None


def _number(raw: Raw, most: int) -> int | None:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or raw != raw:
        return None
    return int(raw) if 0 <= raw <= most and raw == int(raw) else None
