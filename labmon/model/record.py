"""`P/record` and `P/record/stored/<store>`: ranges of the journal on their way to a store, and its confirmations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

from labmon.model.ids import channel_key
from labmon.model.reading import Raw, Reason, reason_text
from labmon.model.wire import MAX_SEQ, MAX_TIME, VERSION, Fields, MessageError, checked_text, dumps, loads

MAX_RECORD_BYTES: Final = 4 * 2**20
MAX_ENTRIES: Final = 20_000
MAX_CHANNELS: Final = 50_000
MAX_LAYOUTS: Final = 20_000
MAX_COLUMNS: Final = 4096
MAX_REASON: Final = 400
MAX_RAW: Final = 4096
MAX_REFUSED: Final = 20_000
MAX_FLAGS: Final = 2**31 - 1

_VALUE_TYPES: Final[set[type]] = {float, int, type(None)}
_REASON_TYPES: Final[set[type]] = {str, type(None)}
_RAW_TYPES: Final[set[type]] = {float, int, str, type(None)}


@dataclass(frozen=True, slots=True)
class ChannelTag:
    """A channel as it was when its readings were made; site and gateway stand in the topic.

    `kind` is the quantity kind, `unit` a UCUM code.
    """

    key: str
    area: str
    device: str
    channel: str
    kind: str
    unit: str


@dataclass(slots=True)
class RecordEntry:
    """One exchange with an instrument. `columns` are indexes into the range's channels.

    `values`, `reasons`, `flags` and `raw` have one item per column; exactly one of value and reason is not None.
    `time` and `received` are UTC ns.
    """

    seq: int
    time: int
    received: int
    columns: Sequence[int]
    values: Sequence[float | None]
    reasons: Sequence[str | None]
    flags: Sequence[int]
    raw: Sequence[Raw]


@dataclass(slots=True)
class RecordRange:
    """All readings of the journal from seq `first` to seq `last`, both included.

    A seq of the range without an entry is of another kind (an event, a layout, a configuration) or expired: it is
    confirmed with the rest and has nothing to store.
    """

    journal: str
    first: int
    last: int
    channels: Sequence[ChannelTag]
    entries: Sequence[RecordEntry]

    path: ClassVar[str] = "record"

    def encode(self) -> bytes:
        """JSON bytes. Raises MessageError for what no reader would take.

        Entries with the same columns share one layout; what is the same for all columns of an entry, or absent, is
        not repeated. A value that is no finite number becomes a bad one, never null without a reason.
        """
        layouts: dict[tuple[int, ...], int] = {}
        entries = []
        for entry in self.entries:
            columns = tuple(entry.columns)
            layout = layouts.setdefault(columns, len(layouts))
            entries.append(_encode_entry(entry, layout, len(columns)))
        payload = dumps(
            {
                "v": VERSION,
                "journal": self.journal,
                "first": self.first,
                "last": self.last,
                "channels": [(c.area, c.device, c.channel, c.kind, c.unit) for c in self.channels],
                "layouts": list(layouts),
                "entries": entries,
            },
            self.path,
        )
        if len(payload) > MAX_RECORD_BYTES:
            raise MessageError(self.path, f"{len(payload)} bytes, at most {MAX_RECORD_BYTES} are read")
        return payload

    @classmethod
    def decode(cls, payload: bytes) -> RecordRange:
        """The inverse of encode. Raises MessageError naming what is wrong and where."""
        fields = loads(payload, cls.path, MAX_RECORD_BYTES)
        journal = fields.text("journal", 64)
        first, last = fields.seq("first"), fields.seq("last")
        if last < first:
            raise MessageError("record.last", f"{last} comes before first {first}")
        channels = tuple(_channel(c, i) for i, c in enumerate(fields.items("channels", MAX_CHANNELS)))
        layouts = [_layout(c, i, len(channels)) for i, c in enumerate(fields.items("layouts", MAX_LAYOUTS))]
        entries: list[RecordEntry] = []
        after = first - 1
        for index, item in enumerate(fields.items("entries", MAX_ENTRIES)):
            entry = _decode_entry(item, f"record.entries[{index}]", layouts)
            if not after < entry.seq <= last:
                raise MessageError(f"record.entries[{index}].seq", f"{entry.seq} is not between {after + 1} and {last}")
            after = entry.seq
            entries.append(entry)
        fields.done()
        return cls(journal, first, last, channels, tuple(entries))


def _encode_entry(entry: RecordEntry, layout: int, width: int) -> dict[str, Any]:
    values, reasons, flags, raw = entry.values, entry.reasons, entry.flags, entry.raw
    if not width == len(values) == len(reasons) == len(flags) == len(raw) or not width:
        raise MessageError(f"record entry {entry.seq}", "values, reasons, flags and raw must have one item per column")
    if not _finite(values):
        values, reasons = _bad_made_plain(entry.seq, values, reasons)
    elif reasons.count(None) != width:
        raise MessageError(f"record entry {entry.seq}", "a value and a reason for the same column")
    if not 0 <= entry.time <= MAX_TIME:
        raise MessageError(f"record entry {entry.seq}", f"time {entry.time} is not that of a reading")
    item: dict[str, Any] = {"seq": entry.seq, "time": entry.time, "layout": layout, "values": values}
    if entry.received != entry.time:
        item["received"] = entry.received
    if (good := reasons.count(None)) != width:
        item["reasons"] = reasons[0] if good == 0 and reasons.count(reasons[0]) == width else reasons
    if (plain := flags.count(flags[0])) != width or flags[0]:
        item["flags"] = flags[0] if plain == width else flags
    if raw.count(None) != width:
        item["raw"] = raw if _finite(raw) else [_plain_raw(entry.seq, x) for x in raw]
    return item


def _finite(numbers: Sequence[Any]) -> bool:
    """Whether all are surely finite numbers; the sum answers for twenty of them in one step."""
    try:
        return math.isfinite(sum(numbers))
    except (TypeError, OverflowError):
        return False


def _bad_made_plain(
    seq: int, values: Sequence[float | None], reasons: Sequence[str | None]
) -> tuple[list[float | None], list[str | None]]:
    plain_values: list[float | None] = []
    plain_reasons: list[str | None] = []
    for value, reason in zip(values, reasons, strict=True):
        if (value is None) is (reason is None):
            raise MessageError(f"record entry {seq}", "exactly one of value and reason must be given")
        if value is not None and not math.isfinite(value):
            value, reason = None, reason_text(Reason.INTERNAL, f"{value} is no number")
        plain_values.append(value)
        plain_reasons.append(None if reason is None else checked_text(reason, f"record entry {seq}", MAX_REASON))
    return plain_values, plain_reasons


def _plain_raw(seq: int, raw: Raw) -> Raw:
    if isinstance(raw, str):
        return checked_text(raw, f"record entry {seq} raw", MAX_RAW, empty=True)
    if isinstance(raw, float) and not math.isfinite(raw):
        return repr(raw)
    if isinstance(raw, int) and not -(2**63) <= raw < 2**64:
        return repr(raw)
    return raw


@lru_cache(maxsize=MAX_CHANNELS)
def _known_tag(area: str, device: str, channel: str, kind: str, unit: str) -> ChannelTag:
    """The same channels come with every range: each is checked once."""
    for text in (area, device, channel, kind, unit):
        checked_text(text, "record.channels", 64)
    return ChannelTag(channel_key(device, channel), area, device, channel, kind, unit)


def _channel(data: object, index: int) -> ChannelTag:
    path = f"record.channels[{index}]"
    if not isinstance(data, list) or len(data) != 5:
        raise MessageError(path, "an array of area, device, channel, kind and unit is expected")
    try:
        return _known_tag(*data)
    except MessageError as error:
        raise MessageError(path, error.problem) from None
    except TypeError:
        raise MessageError(path, "only strings are read") from None


def _layout(data: object, index: int, channels: int) -> tuple[int, ...]:
    path = f"record.layouts[{index}]"
    if not isinstance(data, list) or not 0 < len(data) <= MAX_COLUMNS:
        raise MessageError(path, f"an array of 1 to {MAX_COLUMNS} indexes is expected")
    if set(map(type, data)) != {int} or min(data) < 0 or max(data) >= channels:
        raise MessageError(path, f"not all are indexes of the {channels} channels")
    if len(set(data)) != len(data):
        raise MessageError(path, "a channel occurs twice")
    return tuple(data)


def _decode_entry(item: object, path: str, layouts: list[tuple[int, ...]]) -> RecordEntry:
    fields = Fields(item, path)
    seq, time = fields.integer("seq", 1, MAX_SEQ), fields.integer("time", 0, MAX_TIME)
    received = fields.integer("received", 0, MAX_TIME) if fields.has("received") else time
    columns = layouts[fields.integer("layout", 0, len(layouts) - 1)]
    width = len(columns)
    values = _list_of(fields.take("values"), f"{path}.values", width, _VALUE_TYPES)
    if int in set(map(type, values)):
        values = [float(value) if type(value) is int else value for value in values]
    reasons = _spread(fields.get("reasons"), f"{path}.reasons", width, _REASON_TYPES, None)
    if values.count(None) or reasons.count(None) != width:
        _check_reasons(path, values, reasons)
    flags = _spread(fields.get("flags"), f"{path}.flags", width, {int}, 0)
    if min(flags) < 0 or max(flags) > MAX_FLAGS:
        raise MessageError(f"{path}.flags", f"not between 0 and {MAX_FLAGS}")
    raw: Sequence[Raw] = (None,) * width
    if (given := fields.get("raw")) is not None:
        raw = _list_of(given, f"{path}.raw", width, _RAW_TYPES)
        if str in set(map(type, raw)) and any(isinstance(x, str) and len(x) > MAX_RAW for x in raw):
            raise MessageError(f"{path}.raw", f"a string of more than {MAX_RAW} characters")
    fields.done()
    return RecordEntry(seq, time, received, columns, values, reasons, flags, raw)


def _check_reasons(path: str, values: Sequence[float | None], reasons: Sequence[str | None]) -> None:
    for value, reason in zip(values, reasons, strict=True):
        if (value is None) is (reason is None):
            raise MessageError(path, "each column has exactly one of value and reason")
        if reason is not None:
            checked_text(reason, f"{path}.reasons", MAX_REASON)


def _list_of(data: object, path: str, width: int, types: set[type]) -> list[Any]:
    if not isinstance(data, list) or len(data) != width:
        raise MessageError(path, f"an array of {width} is expected, one item per column")
    if not set(map(type, data)) <= types:
        raise MessageError(path, f"only {', '.join(sorted(t.__name__ for t in types))} are read")
    return data


def _spread(data: object, path: str, width: int, types: set[type], absent: Any) -> Sequence[Any]:
    """A list of one item per column; a single item stands for all of them, nothing for `absent`."""
    if data is None:
        return (absent,) * width
    if not isinstance(data, list) and type(data) in types:
        return (data,) * width
    return _list_of(data, path, width, types)


@dataclass(slots=True)
class Stored:
    """What a store says of a range: everything from `first` to `last` is stored, except the refused entries.

    `refused` holds (seq, why) of entries, or single points of them, that the store will never take. With `error`
    nothing of the range is stored, it stays at the gateway, and somebody has to act (a token, a bucket).
    """

    journal: str
    first: int
    last: int
    refused: Sequence[tuple[int, str]] = ()
    error: str | None = None

    path: ClassVar[str] = "stored"

    def encode(self) -> bytes:
        """JSON bytes; long texts are cut. Raises MessageError for more than MAX_REFUSED refused entries."""
        if len(self.refused) > MAX_REFUSED:
            raise MessageError(self.path, f"{len(self.refused)} refused, at most {MAX_REFUSED} are read")
        return dumps(
            {
                "v": VERSION,
                "journal": self.journal,
                "first": self.first,
                "last": self.last,
                "refused": [{"seq": seq, "why": why[:MAX_REASON] or "?"} for seq, why in self.refused],
                "error": None if self.error is None else self.error[:MAX_REASON] or "?",
            },
            self.path,
        )

    @classmethod
    def decode(cls, payload: bytes) -> Stored:
        """The inverse of encode. Raises MessageError."""
        fields = loads(payload, cls.path, MAX_RECORD_BYTES)
        journal, first, last = fields.text("journal", 64), fields.seq("first"), fields.seq("last")
        if last < first:
            raise MessageError("stored.last", f"{last} comes before first {first}")
        refused = []
        for index, item in enumerate(fields.items("refused", MAX_REFUSED) if fields.has("refused") else ()):
            one = Fields(item, f"stored.refused[{index}]")
            refused.append((one.integer("seq", first, last), one.text("why", MAX_REASON)))
            one.done()
        error = fields.text("error", MAX_REASON) if fields.has("error") else None
        fields.done()
        return cls(journal, first, last, tuple(refused), error)
