"""Ranges of readings for the tests."""

from __future__ import annotations

import time
from collections.abc import Sequence

from labmon.model.ids import channel_key
from labmon.model.reading import Raw
from labmon.model.record import ChannelTag, RecordEntry, RecordRange

SECOND = 10**9
GATEWAY = "gw-1"


def channel(device: str, name: str, kind: str, unit: str, area: str = "suite-1") -> ChannelTag:
    return ChannelTag(channel_key(device, name), area, device, name, kind, unit)


TEMPERATURE = channel("incubator-1", "temperature", "temperature", "Cel")
HUMIDITY = channel("incubator-1", "humidity", "relative-humidity", "%{RH}")


def entry(
    seq: int,
    when: int,
    values: Sequence[float | None],
    reasons: Sequence[str | None] | None = None,
    flags: Sequence[int] | None = None,
    raw: Sequence[Raw] | None = None,
    columns: Sequence[int] | None = None,
) -> RecordEntry:
    width = len(values)
    return RecordEntry(
        seq,
        when,
        when + 1000,
        columns or tuple(range(width)),
        values,
        reasons or (None,) * width,
        flags or (0,) * width,
        raw or (None,) * width,
    )


def record(entries: Sequence[RecordEntry], *channels: ChannelTag, journal: str = "journal-1") -> RecordRange:
    return RecordRange(journal, entries[0].seq, entries[-1].seq, channels or (TEMPERATURE, HUMIDITY), entries)


def start_of(count: int) -> int:
    """A whole second so long ago that `count` seconds from it on are past; never across midnight UTC.

    InfluxDB 1.x checks types per shard, and a shard is a day.
    """
    now = time.time_ns()
    day = 86400 * SECOND
    start = (now // SECOND - count - 5) * SECOND
    return start if start // day == now // day else (now // day) * day - (count + 5) * SECOND


def simple(count: int, *, first: int = 1, start: int | None = None, journal: str = "journal-1") -> RecordRange:
    """`count` entries a second apart: a temperature that rises, and a humidity that nobody answers for."""
    start = start_of(count) if start is None else start
    return record(
        [
            entry(first + i, start + i * SECOND, (20.0 + i / 8, None), (None, "silent"), raw=(2000 + i, None))
            for i in range(count)
        ],
        journal=journal,
    )
