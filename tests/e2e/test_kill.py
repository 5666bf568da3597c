"""Broker, ingest, store and daemon are killed in turn and together while instruments are polled.

In the end every store holds each journaled reading once, as the instrument gave it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from known import Known, Served, sample, served
from rig import JournalFile, Process, daemon, device, ingest, on_pty, on_tcp, tcp_line, write_site
from servers.influx import InfluxV1
from servers.mosquitto import Mosquitto

from labmon.ingest.points import raw_text
from labmon.ingest.sqlite_readings import SqliteReadings
from labmon.journal.entries import Entry, EntryKind
from labmon.model.event import EventKind
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag

Eventually = Callable[..., Any]
Key = tuple[str, str, int]
"""Device, channel, time."""
GAIN, OFFSET = 1.25, -0.5


class Stored(NamedTuple):
    area: str
    kind: str
    unit: str
    value: float | None
    quality: int
    reason: str | None
    raw: str | None


STORES = ("influx", "local")
CURSORS = [f"record.{store}" for store in STORES]
CALIBRATED = [
    {"id": "n"},
    {"id": "warmth", "from": "temperature", "unit": "[degF]"},
    {
        "id": "force",
        "from": "pressure",
        "unit": "kPa",
        "calibration": {"gain": GAIN, "offset": OFFSET, "certificate": "CAL-1", "date": "2026-01-01"},
    },
    {"id": "guarded"},
]
RENAMED = {"warmth": "temperature", "force": "pressure"}


def in_site_units(channel: str, value: float) -> float:
    """A value of the driver as the site file wants it."""
    if channel == "warmth":
        return value * 9 / 5 + 32
    return value / 1000 * GAIN + OFFSET if channel == "force" else value


class Plant:
    """Three instruments, a broker, two stores, and labmon's processes."""

    def __init__(self, folder: Path) -> None:
        self.instruments = {"known-1": Known(1), "known-2": Known(2), "known-3": Known(7)}
        self.tcp = on_tcp(self.instruments["known-1"], self.instruments["known-2"])
        self.pty = on_pty(folder / "port", self.instruments["known-3"])
        self.broker = Mosquitto(folder)
        self.influx = InfluxV1(folder / "influx")
        self.folder = folder

    async def __aenter__(self) -> Plant:
        async with AsyncExitStack() as stack:
            await self.tcp.start()
            stack.push_async_callback(self.tcp.stop)
            await self.pty.start()
            stack.push_async_callback(self.pty.stop)
            stack.callback(self.broker.stop)
            stack.callback(self.influx.stop)
            await asyncio.gather(asyncio.to_thread(self.broker.start), asyncio.to_thread(self.influx.start))
            self.site = self._site()
            self.journal = JournalFile(self.site)
            self.daemon = await stack.enter_async_context(daemon(self.site))
            self.ingests = {s: await stack.enter_async_context(ingest(self.site, s)) for s in STORES}
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    def _site(self) -> Path:
        token = self.folder / "token"
        token.write_text(self.influx.token)
        token.chmod(0o600)
        influx = {"url": self.influx.url, "bucket": self.influx.bucket, "token": {"file": "token"}, "timeout": "2 s"}
        serial = {"port": str(self.folder / "port"), "baud": 115200}
        return write_site(
            self.folder,
            lines=[
                tcp_line(self.tcp.port, device("known-1", 1), device("known-2", 2, channels=CALIBRATED)),
                {"id": "serial", "serial": serial, "devices": [device("known-3", 7)]},
            ],
            mqtt={"host": "127.0.0.1", "port": self.broker.port},
            stores=[{"id": "influx", "influxdb": influx}, {"id": "local", "sqlite": {"path": "store.db"}}],
        )

    def beyond(self, seq: int, cursors: Iterable[str] = CURSORS) -> bool:
        """Whether these cursors have passed a seq."""
        known = self.journal.cursors()
        return all(known.get(name, 0) >= seq for name in cursors)

    def polled_since(self, counts: Mapping[str, int], more: int = 8) -> bool:
        return all(known.n >= counts[name] + more for name, known in self.instruments.items())

    @property
    def counts(self) -> dict[str, int]:
        return {name: known.n for name, known in self.instruments.items()}

    @property
    def processes(self) -> list[Process]:
        return [self.daemon, *self.ingests.values()]


@pytest.mark.timeout(150)
@pytest.mark.xdist_group("heavy")
async def test_every_journaled_reading_is_stored_once_whatever_is_killed(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Plant(tmp_path) as plant:
        journal = plant.journal

        async def caught_up(*cursors: str) -> None:
            seq = await asyncio.to_thread(journal.last)
            await eventually(
                lambda: asyncio.to_thread(plant.beyond, seq, cursors or CURSORS), 40, f"cursors {cursors} beyond {seq}"
            )

        async def polling_goes_on() -> None:
            counts = plant.counts
            await eventually(lambda: plant.polled_since(counts), 15, "polling goes on")

        await eventually(journal.exists, 10)
        await polling_goes_on()
        await caught_up()

        plant.broker.kill()
        await polling_goes_on()
        await asyncio.to_thread(plant.broker.start)
        await caught_up()

        for process in plant.ingests.values():
            process.kill()
        await polling_goes_on()
        for process in plant.ingests.values():
            process.start()

        plant.influx.database.kill()
        await polling_goes_on()
        await caught_up("record.local")
        await asyncio.to_thread(plant.influx.database.start)
        await caught_up()

        plant.daemon.kill()
        plant.daemon.start()
        await polling_goes_on()

        plant.broker.kill()
        plant.influx.database.kill()
        plant.influx.shim.kill()
        for process in plant.processes:
            process.kill()
        for process in plant.processes:
            process.start()
        await polling_goes_on()
        await asyncio.gather(
            asyncio.to_thread(plant.broker.start),
            asyncio.to_thread(plant.influx.database.start),
        )
        await asyncio.to_thread(plant.influx.shim.start)
        last = await asyncio.to_thread(journal.last)
        await caught_up()

        assert await plant.daemon.stop() == 0
        for process in plant.ingests.values():
            assert await process.stop() == 0
        assert [fault for process in plant.processes for fault in process.faults()] == []

        entries = journal.entries()
        check_journal(entries, daemon_kills=2)
        for name, instrument in plant.instruments.items():
            check_served(name, instrument, entries)
        every, due = journaled(entries), journaled([entry for entry in entries if entry.seq <= last])
        assert len(due) > 2000
        for store, found in {"influx": in_influx(plant.influx), "local": in_sqlite(tmp_path / "store.db")}.items():
            keys = Counter(key for key, _ in found)
            assert max(keys.values()) == 1, f"{store}: a reading is there twice"
            rows = dict(found)
            assert not (due.keys() - rows.keys()), f"{store} lacks {len(due.keys() - rows.keys())} readings"
            assert not (rows.keys() - every.keys()), f"{store} has readings that were never journaled"
            wrong = {key: (row, every[key]) for key, row in rows.items() if row != every[key]}
            assert not wrong, f"{store}: {len(wrong)} differ, {next(iter(wrong.items()))}"


def check_journal(entries: list[Entry], daemon_kills: int) -> None:
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1)), "seqs are contiguous"
    assert not [entry for entry in entries if entry.kind == EntryKind.GAP]
    kinds = Counter(entry.content.kind for entry in entries if entry.kind == EntryKind.EVENT)
    assert kinds[EventKind.STARTED] == daemon_kills + 1
    assert kinds[EventKind.STOPPED] == 1
    assert not kinds[EventKind.GAP] and not kinds[EventKind.QUARANTINE]


def exchanges(entries: list[Entry], query: str) -> list[Exchange]:
    return [e.content for e in entries if isinstance(e.content, Exchange) and e.content.layout.query == query]


def check_served(device: str, instrument: Known, entries: list[Entry]) -> None:
    """Each journaled exchange is one reply of the instrument, whole and unmixed."""
    numbers: list[int] = []
    for exchange in exchanges(entries, f"{device}.values"):
        readings = {r.channel.split(".")[1]: r for r in exchange.readings}
        if readings["n"].value is None:
            assert {r.reason.split()[0] for r in exchange.readings} <= {"silent", "link-lost", "resting"}
            continue
        n = int(readings["n"].value)
        numbers.append(n)
        for channel, reading in readings.items():
            check_reading(channel, reading, served(n)[RENAMED.get(channel, channel)])
    assert all(a < b for a, b in pairwise(numbers)), "no reply counts twice, none comes out of order"
    assert numbers[-1] <= instrument.n
    # Only what a killed daemon had not committed is missing: a run of replies at each kill.
    holes = [(a, b) for a, b in pairwise([0, *numbers]) if b != a + 1]
    assert len(holes) <= 2, holes
    if device == "known-2":
        return
    for exchange in exchanges(entries, f"{device}.switches"):
        assert [r.value for r in exchange.readings] in ([1, 0, 1, 1], [None] * 4)
    times = []
    for exchange in exchanges(entries, f"{device}.record"):
        counts, flow = exchange.readings
        if counts.value is None:
            continue
        k = round((counts.value - 1) / 3)
        assert (counts.value, flow.value) == sample(k)
        assert counts.time == (instrument.first + 3 * k) * 10**9, "a record has the instrument's own time"
        times.append(counts.time)
    assert len(times) >= 3
    assert len(set(times)) == len(times), "a record asked for twice is one reading, also after a restart"


def check_reading(channel: str, reading: Any, want: Served) -> None:
    if want.value is None:
        assert (reading.value, reading.reason) == (None, want.reason)
        return
    assert reading.value == pytest.approx(in_site_units(channel, want.value), rel=1e-12, abs=1e-12), channel
    assert reading.flags == (Flag.WARNING if want.warned else 0)


def journaled(entries: list[Entry]) -> dict[Key, Stored]:
    """Every reading of the journal as a store should have it; none has the key of another."""
    found: dict[Key, Stored] = {}
    for entry in entries:
        if not isinstance(entry.content, Exchange):
            continue
        for column, r in zip(entry.content.layout.columns, entry.content.readings, strict=True):
            key = column.device, column.channel, r.time
            assert key not in found, f"two readings of {key}"
            raw = None if r.raw is None else raw_text(r.raw)
            found[key] = Stored(column.area, column.kind, column.unit, r.value, int(r.quality), r.reason, raw)
    return found


def in_influx(influx: InfluxV1) -> list[tuple[Key, Stored]]:
    found = []
    for point in influx.points("lab"):
        tags, fields = point.tags, point.fields
        assert tags["gateway"] == "gw-1"
        quality = fields["quality"]
        assert quality == int(quality)
        row = Stored(
            tags["area"],
            point.measurement,
            tags["unit"],
            fields.get("value"),
            int(quality),
            fields.get("reason"),
            fields.get("raw"),
        )
        found.append(((tags["device"], tags["channel"], point.time), row))
    return found


def in_sqlite(path: Path) -> list[tuple[Key, Stored]]:
    with SqliteReadings(path) as readings:
        rows = list(readings.select())
    assert {(row.site, row.gateway) for row in rows} == {("lab", "gw-1")}
    return [
        (
            (row.device, row.channel, row.time),
            Stored(row.area, row.kind, row.unit, row.value, int(row.quality), row.reason, row.raw),
        )
        for row in rows
    ]
