"""What one exchange with an instrument yields: the unit of the journal, of live and of record."""

from __future__ import annotations

from dataclasses import dataclass

from labmon.model.reading import Reading


@dataclass(frozen=True, slots=True)
class Column:
    """One channel in a layout, as it was when its readings were made.

    `raw_type` says how the raw value is packed: a struct code with byte order left out (`h H i I q Q f d`), or `s`
    for text, or `-` for none. `value == raw * scale + offset` is tried by the packer and costs no bytes when it holds.
    """

    key: str
    area: str
    device: str
    channel: str
    kind: str
    unit: str
    raw_type: str = "-"
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The channels of one query in their fixed order. Two layouts are the same when they compare equal."""

    query: str
    columns: tuple[Column, ...]


class Exchange:
    """One exchange: all readings share `time` and `received`, and stand in the order of the layout's columns.

    `skipped` counts ticks of this query that were not tried since the entry before (a resting device).
    """

    __slots__ = ("layout", "readings", "received", "skipped", "time")

    def __init__(self, layout: Layout, time: int, received: int, readings: list[Reading], skipped: int = 0) -> None:
        self.layout = layout
        self.time = time
        self.received = received
        self.readings = readings
        self.skipped = skipped
