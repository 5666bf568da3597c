"""What a driver gives to a line: queries, each with its channels, and answers with one outcome per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from labmon.drivers.given import ParamValue
from labmon.links.link import Link
from labmon.links.stream import StreamForm
from labmon.model.reading import Raw


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """One channel that a query yields, as the driver file declares it."""

    id: str
    name: str
    kind: str
    """Quantity kind of the units table (temperature, ratio-co2, particle-concentration, state, ...)."""
    unit: str
    """UCUM code of the values that `ask` returns."""
    decimals: int = 2
    states: Mapping[int, str] = field(default_factory=dict)
    """Names of the numbers, for an enum or a bit."""
    raw_type: str = "-"
    """How the raw value is packed (see model.exchange.Column)."""
    scale: float = 1.0
    offset: float = 0.0
    """value == raw * scale + offset where the driver file says no more than that."""
    derived: bool = False
    """Whether it is computed from other channels, whose quality it takes over."""
    particle_size: float | None = None
    """Size in um; the counts are of particles of this size and above."""


class Outcome(NamedTuple):
    """One channel of an answer: `value` (in the spec's unit) xor `reason`, flags, and the raw value as sent."""

    value: float | None
    reason: str | None
    flags: int = 0
    raw: Raw = None


class Sign(NamedTuple):
    """A raw value that changes as long as the instrument measures; `within` so many seconds."""

    field: str
    raw: Raw
    within: float


@dataclass(slots=True)
class Answer:
    """What one query yielded: outcomes in the order of the query's channels.

    For a record: `time` is the instrument's own (UTC ns) and `key` identifies the record, so that one polled twice is
    one reading; `number` runs on from record to record, and `interval` is the time in seconds that one is after the
    other, where the instrument says so. Without a record (`present` is false) there is nothing to be read as a sample.
    """

    outcomes: Sequence[Outcome]
    time: int | None = None
    key: str | None = None
    number: int | None = None
    interval: float | None = None
    present: bool = True
    signs: Sequence[Sign] = ()
    """Raw values that must change from time to time, or the instrument measures no more."""


Last = tuple[int, str]
"""Time (UTC ns) and key of the last record that was taken."""


@dataclass(slots=True)
class Turn:
    """What one turn of reading brought: new records, the oldest first."""

    records: list[Answer]
    more: bool = False
    """Whether there are more to be read now."""
    lost: str = ""
    """Why records before the first of these are missing, where the instrument no longer has the one taken last."""
    absent: bool = False
    """Whether the instrument said that it has no record at all."""
    shown: Answer | None = None
    """The record taken last, where it was read again."""


class RecordReader(Protocol):
    """Reads the stored records of one device, each once and in their order, a bounded number per turn."""

    @property
    def confirms(self) -> bool:
        """Whether reading on takes away what was read: the next turn may come only when that is on the disk."""
        ...

    @property
    def numbered(self) -> tuple[int, int | None] | None:
        """Where the records are numbered: the place of the number within the key, and how many numbers there are."""
        ...

    async def turn(self, link: Link, last: Last | None) -> Turn:
        """Read what came after the `last` record taken. Raises what Query.ask raises; nothing is taken then."""
        ...

    def forget(self) -> None:
        """The connection or the instrument began anew: whatever was known of its state is not known."""
        ...


class WrongInstrument(Exception):
    """What answered is not the instrument that the driver file describes; `found` is what it said of itself."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found!r}, expected {expected!r}")
        self.found = found
        self.expected = expected


class Query(Protocol):
    """One exchange (or a declared short sequence of them) and all channels that its reply yields."""

    @property
    def name(self) -> str:
        """Name within the driver file."""
        ...

    @property
    def every(self) -> float:
        """Default interval in seconds."""
        ...

    @property
    def channels(self) -> tuple[ChannelSpec, ...]:
        """The channels, in the order of the outcomes."""
        ...

    @property
    def kind(self) -> Literal["live", "record", "stream"]:
        """Whether the readings are of now, the instrument's own stored sample, or come by themselves (StreamQuery)."""
        ...

    async def ask(self, link: Link) -> Answer:
        """Ask once, without retry.

        Raises Silent, Garbled, Refused or LinkLost (labmon.links.errors) when there is no reply at all; a reply that
        says that a value is bad is an outcome with a reason.
        """
        ...


class StreamQuery(Query, Protocol):
    """A query of kind stream: its values come by themselves. `ask` waits for one frame, for who wants one."""

    @property
    def stream(self) -> StreamForm | None:
        """How its frames are known."""
        ...

    @property
    def silence(self) -> float | None:
        """Seconds without a frame after which it is silent; None: three times its interval."""
        ...

    @property
    def addressed(self) -> bool:
        """Whether each frame says which device it comes from."""
        ...

    def decode(self, payloads: Sequence[bytes]) -> Answer:
        """What the payload of one frame says. Raises Garbled."""
        ...


class Identified(NamedTuple):
    """What the instrument says of itself, and the variant that it is thereby; empty where the driver has none."""

    text: str
    variant: str = ""


class Identity(Protocol):
    """The query that tells which instrument it is. Asked on every (re)connect of a device."""

    @property
    def variants(self) -> Mapping[str, Mapping[str, ParamValue]]:
        """Parameters that each variant decides, by its name; channels and units are the same with all of them."""
        ...

    async def check(self, link: Link) -> Identified:
        """Return what the instrument says of itself. Raises WrongInstrument, or what Query.ask raises."""
        ...


class Settings(NamedTuple):
    """How the instrument is set."""

    watched: Mapping[str, Raw]
    """Raw values whose change is told, by field; None for one that the instrument does not give."""
    wrong: str = ""
    """What is set otherwise than it must be for values to be used; empty where all is as expected."""


class Guard(Protocol):
    """The query that tells how the instrument is set. Asked on every (re)connect, and from time to time."""

    @property
    def every(self) -> float:
        """Interval in seconds."""
        ...

    async def ask(self, link: Link) -> Settings:
        """Ask once; raises what Query.ask raises."""
        ...


class DeviceClock(Protocol):
    """The instrument's own clock."""

    @property
    def every(self) -> float:
        """Interval in seconds."""
        ...

    @property
    def at_most(self) -> float:
        """Seconds that it may be off."""
        ...

    @property
    def can_be_set(self) -> bool:
        """Whether the driver knows how."""
        ...

    async def ask(self, link: Link) -> int | None:
        """The time that it shows (UTC ns), None where that is none; raises what Query.ask raises."""
        ...

    async def set(self, link: Link, now: int) -> None:
        """Set it to this time (UTC ns); raises what Query.ask raises, and ValueError where it cannot be set."""
        ...


@dataclass(frozen=True, slots=True)
class SerialDefaults:
    """Serial settings of an instrument as delivered; where its speed is not `known`, `baud` is no more than usual."""

    baud: int = 9600
    bits: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stop: Literal[1, 2] = 1
    rtscts: bool = False
    known: bool = True


class Driver(Protocol):
    """One kind of instrument. A YAML file compiles to this; a Python driver offers the same."""

    @property
    def id(self) -> str:
        """`maker/model`, the path below a drivers folder without `.yaml`."""
        ...

    @property
    def title(self) -> str:
        """Maker and models, for people."""
        ...

    @property
    def framings(self) -> tuple[str, ...]:
        """Framings it can speak, the preferred first: modbus-rtu, modbus-ascii, modbus-tcp, text."""
        ...

    @property
    def serial(self) -> SerialDefaults:
        """Serial settings as delivered."""
        ...

    @property
    def proven(self) -> bool:
        """Whether every query has an example, in a map of the file's own. Otherwise only a generic one is served."""
        ...

    @property
    def generic(self) -> bool:
        """Whether the site file gives the map: it loads into service unproven, and its readings say so."""
        ...

    @property
    def seen_on_hardware(self) -> bool:
        """Whether at least one example is printed or recorded rather than composed."""
        ...

    @property
    def source_text(self) -> str:
        """The driver file's text (or the Python driver's source), for the configuration entry of the journal."""
        ...

    def queries(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> Sequence[Query]:
        """The queries for one device. Raises ValueError when address or params do not fit the driver."""
        ...

    def identity(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> Identity | None:
        """The identity check for one device, where the instrument offers one."""
        ...

    def guard(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> Guard | None:
        """What watches the settings of one device, where the driver does. Raises ValueError as `queries`."""
        ...

    def clock(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> DeviceClock | None:
        """The clock of one device, where the driver reads it. Raises ValueError as `queries`."""
        ...
