"""Record ranges as InfluxDB line protocol.

One line is one reading: measurement per quantity kind; tags site, gateway, area, device, channel, unit; fields `value`
(float, absent when bad), `quality` (float: 2 good, 1 uncertain, 0 bad), `raw` and `reason` (strings); time in
nanoseconds. Fields are never integers: the first type that a field has is the type of the field for ever.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from labmon.ingest.store import Refused
from labmon.model.reading import Raw, quality_of
from labmon.model.record import ChannelTag, RecordEntry, RecordRange

_CACHED_PREFIXES = 100_000
_NAMED_CHANNELS = 4
_TAG_SPECIAL = re.compile(r"([,= ])")
_NAME_SPECIAL = re.compile(r"([, ])")
# A tag cannot hold a line break, and a backslash before a comma, space or equals sign cannot be told from an escape.
_NO_TAG = re.compile(r"[\x00-\x1f\x7f\\]")
# Within a string, servers differ on a raw line break: some end the line there and drop the rest without a word.
_CONTROL = re.compile(r"[\\\x00-\x1f\x7f]")
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


class NotWritable(ValueError):
    """A reading that line protocol cannot say."""


@dataclass(frozen=True, slots=True)
class Line:
    """One reading as line protocol, with the journal entry and the channel that it comes from."""

    seq: int
    channel: str
    text: str


Why = tuple[int, str, str]
"""A refused reading: seq of its journal entry, channel key, why."""


class LineEncoder:
    """Turns ranges into lines. Keeps the escaped tags of each channel that it has seen, bounded."""

    def __init__(self) -> None:
        self._prefixes: dict[tuple[str, str, ChannelTag], str] = {}

    def lines(self, record: RecordRange, site: str, gateway: str, refused: list[Why]) -> Iterator[Line]:
        """One line per reading, in the order of the range; a reading that cannot be a line is added to `refused`."""
        prefixes: dict[int, str] = {}
        for entry in record.entries:
            for position, column in enumerate(entry.columns):
                tag = record.channels[column]
                try:
                    if (prefix := prefixes.get(column)) is None:
                        prefix = prefixes[column] = self._prefix(site, gateway, tag)
                    text = f"{prefix} {_fields(entry, position)} {entry.time}"
                except NotWritable as why:
                    refused.append((entry.seq, tag.key, str(why)))
                else:
                    yield Line(entry.seq, tag.key, text)

    def _prefix(self, site: str, gateway: str, tag: ChannelTag) -> str:
        key = (site, gateway, tag)
        if (known := self._prefixes.get(key)) is not None:
            return known
        if len(self._prefixes) >= _CACHED_PREFIXES:
            self._prefixes.clear()
        if tag.kind.startswith("#"):
            raise NotWritable(f"kind {tag.kind!r} would be a comment")
        # Sorted by name, as InfluxDB keeps them.
        tags = (
            ("area", tag.area),
            ("channel", tag.channel),
            ("device", tag.device),
            ("gateway", gateway),
            ("site", site),
            ("unit", tag.unit),
        )
        words = [_escaped("kind", tag.kind, _NAME_SPECIAL)]
        words += [f"{name}={_escaped(name, value, _TAG_SPECIAL)}" for name, value in tags]
        prefix = self._prefixes[key] = ",".join(words)
        return prefix


def refusals(refused: Iterable[Why]) -> tuple[Refused, ...]:
    """One refusal per journal entry, in order of seq, naming the channels (the first few) and why."""
    by_seq: dict[int, dict[str, list[str]]] = {}
    for seq, channel, why in refused:
        by_seq.setdefault(seq, {}).setdefault(why, []).append(channel)
    return tuple(
        Refused(seq, "; ".join(f"{_named(channels)}: {why}" for why, channels in whys.items()))
        for seq, whys in sorted(by_seq.items())
    )


def _named(channels: list[str]) -> str:
    more = len(channels) - _NAMED_CHANNELS
    return ", ".join(channels[:_NAMED_CHANNELS]) + (f" and {more} more" if more > 0 else "")


def _escaped(name: str, value: str, special: re.Pattern[str]) -> str:
    if not value:
        raise NotWritable(f"{name} is empty")
    if _NO_TAG.search(value):
        raise NotWritable(f"{name} {value!r} holds a backslash or a control character")
    return special.sub(r"\\\1", value)


def _fields(entry: RecordEntry, position: int) -> str:
    value, reason = entry.values[position], entry.reasons[position]
    quality = int(quality_of(value, entry.flags[position]))
    if value is not None:
        # float() also of what is one already: an integer here would be written as `5`, which is a float to a server,
        # but a bool or a Decimal would not.
        number = float(value)
        if not math.isfinite(number):
            raise NotWritable(f"value {number} is no number")
        text = f"value={number!r},quality={quality}"
    else:
        text = f"quality={quality}"
    raw = entry.raw[position]
    if raw is not None:
        text += f',raw="{_quoted(raw_text(raw))}"'
    if reason is not None:
        text += f',reason="{_quoted(printable(reason))}"'
    return text


def raw_text(raw: Raw) -> str:
    """The raw value as stored: text printable, integers in decimal, floats as their shortest exact decimal."""
    return printable(raw) if isinstance(raw, str) else repr(raw)


def printable(text: str) -> str:
    r"""Text in which control characters are written as `\n`, `\r`, `\t` or `\x02`, and a backslash as two."""
    return _CONTROL.sub(lambda m: _ESCAPES.get(m[0]) or f"\\x{ord(m[0]):02x}", text)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
