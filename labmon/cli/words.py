"""Spans, moments and sizes as people read them."""

from __future__ import annotations

import datetime as dt

_STEPS = ((86400.0, "d", 3600.0, "h"), (3600.0, "h", 60.0, "min"))


def span(seconds: float) -> str:
    """`3 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    seconds = max(0.0, seconds)
    for size, name, below, small in _STEPS:
        if seconds >= size:
            whole, rest = int(seconds // size), int(seconds % size // below)
            return f"{whole} {name} {rest} {small}" if rest else f"{whole} {name}"
    return f"{int(seconds // 60)} min" if seconds >= 60 else f"{seconds:.0f} s"


def age(moment: int | None, now: int) -> str:
    """How long ago a moment was, both UTC ns; `-` where there is none."""
    return "-" if moment is None else span((now - moment) / 1e9)


def local(moment: int) -> str:
    """A moment (UTC ns) in the zone of this machine."""
    return f"{dt.datetime.fromtimestamp(moment / 1e9).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def size(count: float) -> str:
    """`512 B`, `12 MB`, `3.4 GB`."""
    for name in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {name}" if count >= 10 or name == "B" else f"{count:.1f} {name}"
        count /= 1000
    return f"{count:.1f} TB"


def many(count: int, one: str, more: str = "") -> str:
    """`1 entry`, `3 entries`, with the plural given or made by an s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"
