"""What a driver file says of a moment in a reply: in which fields it stands, and by whose clock."""

from __future__ import annotations

import zoneinfo
from typing import Annotated

from pydantic import AfterValidator, model_validator

from labmon.config.errors import did_you_mean
from labmon.config.types import Id, Strict
from labmon.drivers.given import Given

_CALENDAR = ("year", "month", "day", "month_day")
_CLOCK = ("hour", "minute", "second", "hour_minute", "minute_second")
_WORDS = ("utc", "site")


def _zone(name: str) -> str:
    if name in _WORDS or name in zoneinfo.available_timezones():
        return name
    hint = did_you_mean(name, [*_WORDS, *zoneinfo.available_timezones()])
    raise ValueError(f"{name} is no time zone: utc, site, or a name such as Europe/Berlin{'; ' if hint else ''}{hint}")


Zone = Annotated[str, AfterValidator(_zone)]


class TimeParts(Strict):
    """A moment that stands in one field or in several, and the zone of the clock that made it.

    A clock that is put back says one hour twice a year: the earlier moment is meant, always, so that a record that is
    read again has its time again. Records of that hour are told apart by their `key` alone: let it hold more than the
    time, or let the instrument run on UTC. A local time that does not exist counts by the offset before the change.
    """

    unix: Id | None = None
    """Field with seconds since 1970, with or without decimals."""
    text: Id | None = None
    """Text field of type time that holds date and time."""
    date: Id | None = None
    """Text field of type time that holds the date alone; `time` holds the rest."""
    time: Id | None = None
    """Text field of type time that holds the time of day alone."""
    year: Id | None = None
    """Year; 0 to 99 are of this century."""
    month: Id | None = None
    """Month, 1 to 12."""
    day: Id | None = None
    """Day of the month."""
    month_day: Id | None = None
    """Two in one register: month in the high byte, day in the low one."""
    hour: Id | None = None
    """Hour, 0 to 23."""
    minute: Id | None = None
    """Minute."""
    second: Id | None = None
    """Second."""
    hour_minute: Id | None = None
    """Two in one register: hour in the high byte, minute in the low one."""
    minute_second: Id | None = None
    """Two in one register: minute in the high byte, second in the low one."""
    millisecond: Id | None = None
    """Milliseconds beside any of these."""
    zone: Given[Zone] = "utc"
    """By which clock: utc, site (the site file's time zone), or a name such as Europe/Berlin."""

    @model_validator(mode="after")
    def _whole(self) -> TimeParts:
        given = self.model_fields_set - {"zone", "millisecond"}
        whole = given in ({"unix"}, {"text"}, {"date", "time"}) or (
            given & set(_CALENDAR) in ({"year", "month", "day"}, {"year", "month_day"})
            and given <= {*_CALENDAR, *_CLOCK}
            and given & set(_CLOCK)
            in (
                set(),
                {"hour"},
                {"hour", "minute"},
                {"hour", "minute", "second"},
                {"hour_minute"},
                {"hour_minute", "second"},
                {"hour", "minute_second"},
            )
        )
        if not whole:
            raise ValueError(
                "a time is unix, text, date and time, or year, month and day (or month-day) with hour, minute, second"
            )
        return self


TimeSpec = Id | TimeParts
"""A moment: a field with Unix seconds or a text field of type time (by UTC), or what it is made of."""
