"""A reading: one channel at one moment, a value or the reason why there is none."""

from __future__ import annotations

from enum import IntEnum, IntFlag, StrEnum

Raw = int | float | str | None


class Reason(StrEnum):
    """Why a reading has no value. A reading's reason is one of these, optionally followed by ` (detail)`."""

    SILENT = "silent"
    """Nothing, or nothing complete, arrived within the timeout."""
    GARBLED = "garbled"
    """Bytes arrived that were not a valid reply to the request."""
    REFUSED = "refused"
    """The instrument answered with an error of its own; the detail names it."""
    LINK_LOST = "link-lost"
    """The serial port or connection is not open."""
    RESTING = "resting"
    """Not asked: the device rests after repeated failures."""
    NO_SENSOR = "no-sensor"
    """The instrument says that its sensor is missing or broken."""
    OVER_RANGE = "over-range"
    UNDER_RANGE = "under-range"
    NOT_AVAILABLE = "not-available"
    """The instrument has no value for this quantity."""
    NOT_READY = "not-ready"
    """Warming up, initialising, calibrating."""
    NOT_RELIABLE = "not-reliable"
    """The instrument's own status says that the value must not be used."""
    IMPLAUSIBLE = "implausible"
    """Outside the range that the driver file calls physically possible."""
    WRONG_INSTRUMENT = "wrong-instrument"
    """What answered does not identify itself as what the site file names."""
    WRONG_MODE = "wrong-mode"
    """The instrument is set to another unit or mode than the driver file expects."""
    NO_DATA = "no-data"
    """An empty queue or record slot."""
    INPUT_BAD = "input-bad"
    """Computed channel: one of its inputs has no value."""
    INTERNAL = "internal"
    """A fault in labmon itself; never the instrument's."""


class Flag(IntFlag):
    """Why a value is uncertain. A value with any flag is evaluated like a good one and shown as uncertain."""

    CLOCK = 1
    """The system time was not synchronised."""
    MAP_NOT_PROVEN = 2
    """A generic driver: the register map was never shown to be right."""
    WARNING = 4
    """The instrument itself reports a warning that concerns this value."""
    CALIBRATION_DUE = 8
    OUT_OF_SERVICE = 16
    """The device is out of service (commissioning, maintenance)."""
    TEST = 32
    """Injected for a test of the alarm chain."""
    DETECTED_LATE = 64
    """A stored record fetched after an outage."""


class Quality(IntEnum):
    """Quality of a reading, with the numbers stored in the `quality` field."""

    BAD = 0
    UNCERTAIN = 1
    GOOD = 2


class Reading:
    """One channel at one moment.

    Exactly one of `value` (in the channel's unit) and `reason` is set. `time` is the moment of acquisition, or the
    instrument's own time for a record; `received` is ours; both UTC nanoseconds. `raw` is what the instrument sent
    before scaling, conversion and calibration. Plain slots: the cheapest object that still has names (see bench/).
    """

    __slots__ = ("channel", "flags", "raw", "reason", "received", "time", "value")

    def __init__(
        self,
        channel: str,
        time: int,
        received: int,
        value: float | None,
        reason: str | None,
        flags: int = 0,
        raw: Raw = None,
    ) -> None:
        if (value is None) is (reason is None):
            raise ValueError(f"reading of {channel}: exactly one of value and reason must be given")
        self.channel = channel
        self.time = time
        self.received = received
        self.value = value
        self.reason = reason
        self.flags = flags
        self.raw = raw

    @property
    def quality(self) -> Quality:
        """Good, uncertain (a value with flags) or bad (no value)."""
        if self.value is None:
            return Quality.BAD
        return Quality.UNCERTAIN if self.flags else Quality.GOOD

    def __repr__(self) -> str:
        what = self.reason if self.value is None else f"{self.value!r}"
        return f"Reading({self.channel} {what} flags={self.flags} time={self.time} raw={self.raw!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reading):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


def quality_of(value: float | None, flags: int) -> Quality:
    """Quality of a value with its flags, without a Reading."""
    if value is None:
        return Quality.BAD
    return Quality.UNCERTAIN if flags else Quality.GOOD


def reason_code(reason: str) -> str:
    """The code of a reason, without its detail: `refused (2 illegal data address)` -> `refused`."""
    return reason.split(" ", 1)[0]


def reason_text(code: Reason, detail: str = "") -> str:
    """A reason with an optional detail (cut at 120 characters), as it stands in a reading."""
    return f"{code.value} ({detail[:120]})" if detail else code.value
