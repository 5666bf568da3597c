"""From entries of the journal to ranges that a store can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from labmon.journal.entries import Damaged, Entry
from labmon.model.exchange import Exchange, Layout
from labmon.model.messages import ChannelTag, RecordEntry, RecordRange

_KNOWN_LAYOUTS = 10_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A range ready to go. Without a payload it holds nothing to store: events, layouts, or what cannot be sent.

    `seqs` are the entries in the payload, `refused` those that cannot go out at all, with the reason.
    """

    first: int
    last: int
    payload: bytes | None = None
    seqs: frozenset[int] = frozenset()
    refused: dict[int, str] = field(default_factory=dict)


class RangeMaker:
    """Makes ranges of one journal. Keeps the tags of the layouts that it has seen."""

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._tags: dict[int, tuple[Layout, tuple[ChannelTag, ...]]] = {}

    def make(self, first: int, last: int, entries: Sequence[Entry]) -> list[Prepared]:
        """Ranges that cover `first` to `last` without a hole, from all entries that the journal has there.

        As few as the bounds of a message allow. An entry that cannot be sent is refused by itself.
        """
        if not entries:
            return [Prepared(first, last)]
        record: list[RecordEntry] = []
        channels: list[ChannelTag] = []
        refused: dict[int, str] = {}
        columns: dict[int, range] = {}
        for entry in entries:
            if isinstance(entry.content, Exchange):
                exchange = entry.content
                at = columns.get(id(exchange.layout))
                if at is None:
                    tags = self._tags_of(exchange.layout)
                    at = columns[id(exchange.layout)] = range(len(channels), len(channels) + len(tags))
                    channels += tags
                record.append(_record_entry(entry.seq, exchange, at))
            elif isinstance(entry.content, Damaged):
                refused[entry.seq] = f"damaged in the journal: {entry.content.why}"
        if not record:
            return [Prepared(first, last, refused=refused)]
        try:
            payload = RecordRange(self._journal, first, last, channels, record).encode()
        except Exception as error:  # noqa: BLE001 - one entry that cannot go must not hold up all others
            if len(entries) == 1:
                return [Prepared(first, last, refused={entries[0].seq: f"cannot be sent: {error}"})]
            half = len(entries) // 2
            middle = entries[half].seq
            return self.make(first, middle - 1, entries[:half]) + self.make(middle, last, entries[half:])
        return [Prepared(first, last, payload, frozenset(e.seq for e in record), refused)]

    def _tags_of(self, layout: Layout) -> tuple[ChannelTag, ...]:
        known = self._tags.get(id(layout))
        if known is not None:
            return known[1]
        if len(self._tags) >= _KNOWN_LAYOUTS:
            self._tags.clear()
        tags = tuple(ChannelTag(c.key, c.area, c.device, c.channel, c.kind, c.unit) for c in layout.columns)
        # The layout is kept with its tags, so that its id is not given to another one.
        self._tags[id(layout)] = (layout, tags)
        return tags


def _record_entry(seq: int, exchange: Exchange, columns: Sequence[int]) -> RecordEntry:
    readings = exchange.readings
    return RecordEntry(
        seq,
        exchange.time,
        exchange.received,
        columns,
        [r.value for r in readings],
        [r.reason for r in readings],
        [r.flags for r in readings],
        [r.raw for r in readings],
    )
