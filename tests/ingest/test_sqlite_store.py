"""The embedded store: same promise as any other, and a file that people can read."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ranges import GATEWAY, HUMIDITY, SECOND, TEMPERATURE, channel, entry, record, simple, start_of

from labmon.ingest.sqlite_readings import SqliteReadings, StoredReading
from labmon.ingest.sqlite_store import SqliteStore
from labmon.ingest.store import StoreError, Written
from labmon.model.reading import Flag, Quality
from labmon.model.record import RecordRange

NOW = 1_700_000_000_123_456_789


@contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        store.close()


def readings(path: Path, **wanted: object) -> list[StoredReading]:
    with SqliteReadings(path) as stored:
        return list(stored.select(**wanted))  # type: ignore[arg-type]


def count(path: Path) -> int:
    with SqliteReadings(path) as stored:
        return stored.count()


def test_readings_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "store.db"
    made = record(
        [
            entry(1, NOW, (37.0, None), (None, "no-sensor (1)"), raw=(3700, "E\x02\\")),
            entry(2, NOW + 1, (1e-300,), None, (int(Flag.CLOCK),), (2**64 - 1,), (0,)),
        ]
    )
    with opened(path) as store:
        assert store.write(RecordRange.decode(made.encode()), "lab", GATEWAY) == Written(3)
    place = ("lab", GATEWAY, "suite-1", "incubator-1")
    humidity, first, second = readings(path)
    assert humidity == StoredReading(
        NOW, NOW + 1000, *place, "humidity", "relative-humidity", "%{RH}", None, "no-sensor (1)",
        Quality.BAD, 0, "E\\x02\\\\",
    )  # fmt: skip
    assert first == StoredReading(
        NOW, NOW + 1000, *place, "temperature", "temperature", "Cel", 37.0, None, Quality.GOOD, 0, "3700"
    )
    assert second == StoredReading(
        NOW + 1,
        NOW + 1001,
        *place,
        "temperature",
        "temperature",
        "Cel",
        1e-300,
        None,
        Quality.UNCERTAIN,
        1,
        str(2**64 - 1),
    )


def test_people_read_a_view_with_iso_times(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        store.write(record([entry(1, NOW, (37.0, None), (None, "silent"))]), "lab", GATEWAY)
    with closing(sqlite3.connect(tmp_path / "store.db")) as file:
        names = [column[0] for column in file.execute("SELECT * FROM readings").description]
        rows = file.execute(
            "SELECT time, device, channel, value, unit, quality, reason, received FROM readings"
        ).fetchall()
    assert names[:9] == ["time", "site", "gateway", "area", "device", "channel", "kind", "value", "unit"]
    when, received = "2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.123457789Z"
    assert sorted(rows) == [
        (when, "incubator-1", "humidity", None, "%{RH}", "bad", "silent", received),
        (when, "incubator-1", "temperature", 37.0, "Cel", "good", None, received),
    ]


def test_writing_twice_is_once_and_costs_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        made = simple(50)
        store.write(made, "lab", GATEWAY)
        before = (tmp_path / "store.db-wal").stat().st_size
        assert store.write(made, "lab", GATEWAY) == Written(100)
        assert (tmp_path / "store.db-wal").stat().st_size == before
        other = dataclasses.replace(made, journal="another", first=41, entries=made.entries[40:])
        store.write(other, "lab", GATEWAY)
    assert count(tmp_path / "store.db") == 100


def test_another_gateway_site_device_or_channel_is_another_reading(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        one = record([entry(1, NOW, (1.0, 2.0))])
        store.write(one, "lab", GATEWAY)
        store.write(one, "lab", "gw-2")
        store.write(one, "plant", GATEWAY)
        store.write(
            record([entry(1, NOW, (3.0,))], channel("incubator-2", "temperature", "temperature", "Cel")), "lab", GATEWAY
        )
    assert count(tmp_path / "store.db") == 7
    assert [r.value for r in readings(tmp_path / "store.db", site="lab", gateway="gw-2")] == [2.0, 1.0]
    assert [r.value for r in readings(tmp_path / "store.db", device="incubator-2")] == [3.0]


def test_a_channel_keeps_its_history_when_unit_and_area_change(tmp_path: Path) -> None:
    kelvin = dataclasses.replace(TEMPERATURE, unit="K", area="suite-2")
    with opened(tmp_path / "store.db") as store:
        store.write(record([entry(1, NOW, (37.0,))], TEMPERATURE), "lab", GATEWAY)
        store.write(record([entry(2, NOW + SECOND, (310.15,))], kelvin), "lab", GATEWAY)
    found = readings(tmp_path / "store.db", channel="temperature")
    assert [(r.value, r.unit, r.area) for r in found] == [(37.0, "Cel", "suite-1"), (310.15, "K", "suite-2")]


def test_the_last_to_write_a_moment_wins(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        store.write(record([entry(1, NOW, (37.0,))], HUMIDITY), "lab", GATEWAY)
        store.write(record([entry(1, NOW, (None,), ("silent",))], HUMIDITY), "lab", GATEWAY)
    [found] = readings(tmp_path / "store.db")
    assert (found.value, found.reason, found.quality) == (None, "silent", Quality.BAD)


def test_selection_by_time_and_number(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        store.write(simple(10, start=NOW), "lab", GATEWAY)
    found = readings(tmp_path / "store.db", channel="temperature", since=NOW + 4 * SECOND, limit=3)
    assert [r.value for r in found] == [20.5, 20.625, 20.75]


def test_nothing_stored_yet(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was stored there yet"):
        SqliteReadings(tmp_path / "store.db")


def another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE people (name TEXT)")


def later_schema(path: Path) -> None:
    with opened(path) as store:
        store.write(simple(1), "lab", GATEWAY)
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path: path.write_bytes(b"this is no database" * 100), "file is not a database"),
        (lambda path: path.mkdir(), "unable to open database file"),
        (another_program, "is the SQLite file of another program"),
        (later_schema, "has schema 99, this labmon knows 1"),
    ],
)
def test_what_somebody_must_mend(tmp_path: Path, spoil: Callable[[Path], object], text: str) -> None:
    path = tmp_path / "store.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with opened(path) as store, pytest.raises(StoreError, match=text) as error:
        store.write(simple(3), "lab", GATEWAY)
    assert error.value.kind == "denied"
    assert str(path) in error.value.text
    assert not path.is_file() or path.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with opened(tmp_path / "file" / "store.db") as store, pytest.raises(StoreError, match="File exists") as error:
        store.write(simple(3), "lab", GATEWAY)
    assert error.value.kind == "denied"


def test_a_full_disk_denies_and_keeps_nothing_of_the_range(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    start = start_of(5000)
    with opened(path) as store:
        store.write(simple(3, start=start), "lab", GATEWAY)
        assert store._file is not None
        store._file.execute("PRAGMA max_page_count = 10")
        with pytest.raises(StoreError, match="database or disk is full") as error:
            store.write(simple(5000, start=start), "lab", GATEWAY)
        assert error.value.kind == "denied"
        assert count(path) == 6
        # With room again it goes on by itself; the ids of the transaction that was undone are not used.
        assert store.write(simple(5000, start=start), "lab", GATEWAY) == Written(10000)
    assert count(path) == 10000


def test_ids_made_in_a_transaction_that_failed_are_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        store.write(simple(1), "lab", GATEWAY)
        assert store._file is not None
        store._file.execute("PRAGMA max_page_count = 10")
        many = [channel(f"d-{i}", "c", "k", "u") for i in range(2000)]
        new = record([entry(i + 1, NOW + i, (float(i),), columns=(i,)) for i in range(2000)], *many)
        with pytest.raises(StoreError):
            store.write(new, "lab", GATEWAY)
        store.write(record([entry(1, NOW, (5.0,))], many[7]), "lab", GATEWAY)
    assert [r.device for r in readings(tmp_path / "store.db", channel="c")] == ["d-7"]


def test_a_locked_file_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with opened(path) as store:
        store.write(simple(1), "lab", GATEWAY)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked") as error:
                store.write(simple(2), "lab", GATEWAY)
        assert error.value.kind == "unavailable"
        assert store.write(simple(2), "lab", GATEWAY) == Written(4)


@pytest.mark.parametrize("round_", range(10))
def test_several_writers_make_and_share_the_file(tmp_path: Path, round_: int) -> None:
    path = tmp_path / "store.db"
    together = threading.Barrier(4)
    troubles: list[StoreError] = []

    def write(gateway: str) -> None:
        with opened(path) as store:
            together.wait()
            for first in range(1, 101, 10):
                while True:
                    try:
                        store.write(simple(10, first=first, start=NOW + first * SECOND), "lab", gateway)
                    except StoreError as error:
                        troubles.append(error)
                    else:
                        break

    threads = [threading.Thread(target=write, args=(f"gw-{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(path) == 4 * 200
    # To wait for another's transaction is all that may happen; a denial would be told to the gateway.
    assert {error.kind for error in troubles} <= {"unavailable"}


def test_abort_ends_and_refuses(tmp_path: Path) -> None:
    with opened(tmp_path / "store.db") as store:
        store.abort()
        with pytest.raises(StoreError, match="stopped") as error:
            store.write(simple(1), "lab", GATEWAY)
    assert error.value.kind == "unavailable"


def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    program = """
import sys; sys.path[:0] = sys.argv[2:]
from pathlib import Path
from ranges import simple, SECOND
from labmon.ingest.sqlite_store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
first = 1
while True:
    store.write(simple(20, first=first, start=first * SECOND), "lab", "gw-1")
    first += 20
    print(first, flush=True)
"""
    folders = [str(Path(__file__).parent), os.getcwd()]
    with subprocess.Popen([sys.executable, "-c", program, path, *folders], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = 0
        for line in child.stdout:
            said = int(line)
            if said > 200:
                child.send_signal(signal.SIGKILL)
    assert count(path) >= 2 * (said - 1)
    with opened(path) as store:
        assert store.write(simple(20, first=9000, start=9000 * SECOND), "lab", GATEWAY) == Written(40)
    assert count(path) % 40 == 0
