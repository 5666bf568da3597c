"""How much a site writes, and how long its journal holds it: arithmetic only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from labmon.config.site import JournalConfig

DAY = 86400.0

# Measured on a journal of 20 000 entries: 30 to 31 bytes for an exchange, and each channel's raw value: 2 (16-bit), 4
# (float, 32-bit) or 8 bytes (no raw value), one more where a calibration rounds.
EXCHANGE_BYTES = 31.0
CHANNEL_BYTES = 5.0
ALLOWANCE = 1.05
"""For events, alarm states, readings with a reason, and pages that are not full."""
BESIDE_BYTES = 10_000_000
"""The write-ahead log and its index stand beside the journal's file, and count."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a site writes a day, and how many days of it the journal holds at most."""

    exchanges_per_day: float
    readings_per_day: float
    bytes_per_day: float
    usable_bytes: float
    keep: float
    """Seconds that readings shall be kept."""

    @property
    def days(self) -> float:
        """Days of readings that fit: as long may broker or store be away. Infinite when nothing is polled."""
        return self.usable_bytes / self.bytes_per_day if self.bytes_per_day else float("inf")

    @property
    def fits(self) -> bool:
        """Whether the readings fit for as long as they shall be kept."""
        return self.keep / DAY <= self.days

    @property
    def refusal(self) -> str:
        """What to tell when they do not fit; empty when they do. Belongs at `("journal", "keep-readings")`."""
        if self.fits:
            return ""
        return (
            f"{self.keep / DAY:,.4g} days of readings take {self.keep / DAY * self.bytes_per_day / 1e9:,.3g} GB, "
            f"the size given holds {self.days:,.3g} days"
        )


def capacity(queries: Iterable[tuple[int, float]], journal: JournalConfig) -> Capacity:
    """What queries write, each given as its number of recorded channels and its interval in seconds."""
    exchanges = readings = written = 0.0
    for channels, every in queries:
        a_day = DAY / every
        exchanges += a_day
        readings += a_day * channels
        written += a_day * (EXCHANGE_BYTES + CHANNEL_BYTES * channels)
    usable = max(0.0, journal.size - BESIDE_BYTES)
    return Capacity(exchanges, readings, written * ALLOWANCE, usable, journal.keep_readings)
