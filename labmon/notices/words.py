"""Values, limits, times and durations as staff read them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from labmon.model.plant import Channel
from labmon.units import UnknownUnit, unit

_SECOND = 1_000_000_000
_MOST_DECIMALS = 6


def symbol(code: str) -> str:
    """Display symbol of a UCUM code; the code itself where the table has none."""
    try:
        return unit(code).symbol
    except UnknownUnit:
        return code


def number(value: float, decimals: int) -> str:
    """A number with fixed decimals; digits in groups of three from 10 000 on."""
    text = f"{value:,.{decimals}f}"
    return text.replace(",", " ") if abs(value) >= 10_000 else text.replace(",", "")


def decimals_to_tell(value: float, limit: float, decimals: int) -> int:
    """The fewest decimals, at least `decimals`, that tell a value from the limit that it differs from."""
    while decimals < _MOST_DECIMALS and value != limit and number(value, decimals) == number(limit, decimals):
        decimals += 1
    return decimals


def quantity(value: float, code: str, channel: Channel | None, decimals: int | None = None) -> str:
    """A value with its unit, or the name of the state that it stands for."""
    if channel is not None and value.is_integer() and (name := channel.states.get(int(value))):
        return name
    if decimals is None:
        decimals = channel.decimals if channel is not None else 2
    return f"{number(value, decimals)} {symbol(code)}".rstrip()


def duration(seconds: float) -> str:
    """`45 s`, `25 min`, `6 h 5 min`, `3 d 2 h`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def between(start: int, end: int) -> str:
    """The duration between two moments (UTC ns)."""
    return duration((end - start) / _SECOND)


class SiteClock:
    """Moments in the site's time zone, always with the zone's name, and in UTC."""

    def __init__(self, timezone: str) -> None:
        try:
            self._zone: ZoneInfo | None = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            # A gateway without zone data still tells the right moment.
            self._zone = None

    def _local(self, moment: int) -> datetime:
        return utc(moment).astimezone(self._zone) if self._zone is not None else utc(moment)

    def full(self, moment: int) -> str:
        """`2026-11-22 03:12:05 CET (02:12:05 UTC)`; with the date of UTC where it is another one."""
        local, world = self._local(moment), utc(moment)
        text = f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"
        if not local.utcoffset():
            return text
        date = "" if local.date() == world.date() else f"{world:%Y-%m-%d} "
        return f"{text} ({date}{world:%H:%M:%S} UTC)"

    def short(self, moment: int, now: int) -> str:
        """`03:12`, with the date where that is not today's, and with the zone in an hour that comes twice."""
        local = self._local(moment)
        date = "" if local.date() == self._local(now).date() else f"{local:%Y-%m-%d} "
        return f"{date}{local:%H:%M}{_which(local)}"


def _which(local: datetime) -> str:
    """What tells the two passes of an hour apart, when clocks are set back: ` CEST` or ` CET`; else nothing."""
    first, second = local.replace(fold=0), local.replace(fold=1)
    if first.utcoffset() == second.utcoffset():
        return ""
    return f" {local.tzname()}" if first.tzname() != second.tzname() else f" {local:%z}"


def utc(moment: int) -> datetime:
    """A moment (UTC ns) to the second."""
    return datetime.fromtimestamp(moment // _SECOND, UTC)
