"""The count at the end of a demonstration: every reading that the journal holds against what the store has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labmon.ingest.sqlite_readings import SqliteReadings
from labmon.journal.entries import EntryKind
from labmon.journal.reader import Reader
from labmon.model.event import Event, EventKind
from labmon.model.exchange import Exchange

PAGE = 2000


@dataclass(slots=True)
class Tally:
    """What happened. Every counter with `lost` in its name must be 0."""

    ok: bool
    seconds: float
    readings_polled: int
    readings_stored: int
    readings_bad: int
    alarms: int
    notices: int
    polls_missed: int
    not_yet_confirmed: int
    lost_readings: int
    lost_in_journal: int
    lost_refused: int
    lost_alarms: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def tally(
    folder: Path, status: dict[str, Any], store_is_local: bool, expected: Sequence[str], notices: int, seconds: float
) -> Tally:
    """Compare journal and store after the daemon has ended. `status` is the last that the daemon said of itself.

    A reading is lost when its entry is confirmed and the store does not hold it. With a store elsewhere the
    confirmations alone are counted. Ended before the daemon made a journal, there is nothing to count.
    """
    if not (folder / "journal.db").exists():
        return Tally(False, round(seconds, 1), 0, 0, 0, 0, notices, 0, 0, 0, 0, 0, [])
    with closing(Reader.at(folder / "journal.db")) as reader:
        confirmed = min((seq for name, seq in reader.cursors().items() if name.startswith("record.")), default=0)
        polled = late = bad = gaps = 0
        wanted: set[tuple[str, str, int]] = set()
        raised: set[str] = set()
        alarms = 0
        for seq, content in _entries(reader):
            if isinstance(content, Exchange):
                polled += len(content.readings)
                bad += sum(r.value is None for r in content.readings)
                if seq > confirmed:
                    late += len(content.readings)
                else:
                    wanted |= {
                        (c.device, c.channel, r.time)
                        for c, r in zip(content.layout.columns, content.readings, strict=True)
                    }
            elif isinstance(content, Event):
                if content.kind is EventKind.RAISED:
                    alarms += 1
                    raised.add(content.alarm)
                gaps += content.kind is EventKind.GAP
        refused = len(reader.quarantined(None))
    stored = polled - late
    lost = 0
    if store_is_local and (folder / "store.db").exists():
        with SqliteReadings(folder / "store.db") as readings:
            held = {(r.device, r.channel, r.time) for r in readings.select()}
        stored, lost = len(held), len(wanted - held)
    missing = [alarm for alarm in expected if alarm not in raised]
    return Tally(
        ok=not (lost or gaps or refused or missing or status["lost"]["exchanges"]) and polled > 0,
        seconds=round(seconds, 1),
        readings_polled=polled,
        readings_stored=stored,
        readings_bad=bad,
        alarms=alarms,
        notices=notices,
        polls_missed=status["missed"],
        not_yet_confirmed=late,
        lost_readings=lost,
        lost_in_journal=gaps + status["lost"]["exchanges"],
        lost_refused=refused,
        lost_alarms=missing,
    )


def _entries(reader: Reader) -> Iterator[tuple[int, object]]:
    after = 0
    while entries := reader.entries_after(after, PAGE, 1 << 24):
        for entry in entries:
            if entry.kind in (EntryKind.READINGS, EntryKind.EVENT):
                yield entry.seq, entry.content
        after = entries[-1].seq
