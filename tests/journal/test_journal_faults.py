"""Kill -9, damage and full disks: nothing reported as written is lost, nothing is read back wrong, nothing stops."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from journal_things import NOW, SECOND, event, exchange, group, layout, same

from labmon.journal.entries import Damaged, EntryKind, RecordKey
from labmon.journal.errors import JournalDamaged, JournalError, JournalUnavailable
from labmon.journal.reader import Reader
from labmon.journal.schema import PAGE
from labmon.journal.store import Store
from labmon.model.event import Event
from labmon.model.exchange import Exchange, Layout

MANY = 10**9

COMMITS = """
import sys
from journal_things import NOW, event, exchange, group, layout
from labmon.journal.store import Store

store = Store.open(sys.argv[1])
number = int.from_bytes(store.alarm_states().get("a", b""), "big")
while True:
    number += 1
    sent = [exchange(layout(f"d{i}.all", 20), NOW + number, number + i) for i in range(20)]
    done = store.commit(group(sent, [event(str(number))], alarm_states={"a": number.to_bytes(8, "big")}))
    print(number, done.first, done.last, flush=True)
"""

FULL = """
import asyncio, json, resource, sys
from journal_things import NOW, event, exchange, layout
from labmon.journal.committer import Pace
from labmon.journal.watch import Callbacks
from labmon.journal.writer import JournalWriter

async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)

async def main():
    health, trouble = [], []
    pace = Pace(commit_every=0.01, retry_first=0.01, retry_most=0.05)
    callbacks = Callbacks(
        on_health=lambda h: health.append(h.state), on_trouble=lambda es: trouble.extend(e.detail for e in es)
    )
    writer = JournalWriter(sys.argv[1], callbacks, pace=pace)
    await writer.start()
    room = 600_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    sent = 0
    while writer.health.state == "ok":
        for _ in range(50):
            writer.append(exchange(layout(channels=20), NOW + sent, sent))
            sent += 1
        await asyncio.sleep(0.01)
    writer.record([event("while full")], {"a": b"1"})
    writer.flush()
    await until(lambda: trouble == ["while full"])
    writer.append(exchange(layout(channels=20), NOW + sent, sent))
    sent += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.wait_for(writer.flushed(), 20)
    unwritten = await writer.stop()
    print(json.dumps({"sent": sent, "health": health, "trouble": trouble, "unwritten": unwritten}))

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def environment() -> dict[str, str]:
    here = Path(__file__)
    return {**os.environ, "PYTHONPATH": f"{here.parent}:{here.parents[2]}"}


def test_a_commit_is_flushed_to_the_disk(path: Path) -> None:
    store = Store.open(path)
    assert store.query("PRAGMA synchronous") == [(2,)]
    assert store.query("PRAGMA journal_mode") == [("wal",)]
    store.close()


def test_kill_9_loses_nothing_that_was_reported(path: Path) -> None:
    chance = random.Random(5)
    last_seq = 0
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITS, str(path)], stdout=subprocess.PIPE, text=True, env=environment()
        ) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(chance.randrange(3, 30))]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        reported = [tuple(map(int, line.split())) for line in lines if line.count(" ") == 2 and line.strip()]
        store = Store.open(path)
        assert store.trouble is None
        entries = store.entries_after(0, 10**6, MANY)
        assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
        number, first, last = reported[-1]
        assert entries[-1].seq >= last and first > last_seq
        events = [e for e in entries if isinstance(e.content, Event)]
        numbers = [int(e.content.detail) for e in events if isinstance(e.content, Event)]
        assert numbers == list(range(1, len(numbers) + 1)) and numbers[-1] >= number
        readings = [e.content for e in entries if isinstance(e.content, Exchange)]
        assert len(readings) == 20 * len(numbers), "a commit is whole or not there"
        assert int.from_bytes(store.alarm_states()["a"], "big") == numbers[-1]
        assert same(readings[-1], exchange(layout("d19.all", 20), NOW + numbers[-1], numbers[-1] + 19))
        last_seq = entries[-1].seq
        store.close()


def written(path: Path) -> tuple[str, dict[int, object]]:
    """A journal of some pages, and its contents by seq."""
    store = Store.open(path)
    for i in range(20):
        sent = [exchange(layout(f"d{k}.all", 20), NOW + i * SECOND, i + k) for k in range(8)]
        store.commit(group(sent, [event(str(i))], alarm_states={"a": b"acked"}, record_keys={"q": RecordKey(1, "k")}))
    contents = {e.seq: e.content for e in store.entries_after(0, 10**6, MANY)}
    journal = store.journal
    store.close()
    return journal, contents


def equal(a: object, b: object) -> bool:
    return same(a, b) if isinstance(a, Exchange) else a == b


def foreign_database(path: Path) -> None:
    path.unlink()
    plain = sqlite3.connect(path)
    plain.execute("CREATE TABLE somebody_elses (x)")
    plain.commit()
    plain.close()


DAMAGE: dict[str, Any] = {
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a page": lambda path: os.truncate(path, path.stat().st_size - PAGE),
    "cut in the first page": lambda path: os.truncate(path, 100),
    "not a database": lambda path: path.write_bytes(b"journal: yes\n" * 5000),
    "another database": foreign_database,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "header overwritten": lambda path: path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_journal_is_set_aside_and_a_new_one_begun(path: Path, what: str) -> None:
    journal, _ = written(path)
    DAMAGE[what](path)
    damaged = path.read_bytes()
    store = Store.open(path)
    assert store.trouble is not None and "set aside as journal.db.damaged-" in store.trouble
    assert store.journal != journal and store.last_seq() == 0
    (aside,) = path.parent.glob("journal.db.damaged-*Z")
    assert aside.name in store.trouble
    assert aside.read_bytes() == damaged
    assert store.commit(group([exchange(layout())])).first == 1
    store.close()
    again = Store.open(path)
    assert again.trouble is None and again.last_seq() == 2
    again.close()


def test_the_log_of_a_damaged_journal_goes_with_it(path: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "running.db")
    store.commit(group([exchange(layout())]))
    log = (tmp_path / "running.db-wal").read_bytes()
    store.close()
    path.write_bytes(b"\xff" * 5000)
    path.with_name("journal.db-wal").write_bytes(log)
    store = Store.open(path)
    assert store.last_seq() == 0
    (aside,) = tmp_path.glob("journal.db.damaged-*-wal")
    assert aside.name in {f"{name}-wal" for name in str(store.trouble).replace(",", "").split()}
    store.close()


def test_an_empty_file_becomes_a_journal_and_that_is_told(path: Path) -> None:
    path.touch()
    store = Store.open(path)
    assert "was empty" in str(store.trouble) and store.last_seq() == 0
    store.close()


def test_alarm_states_survive_damage_elsewhere(path: Path) -> None:
    written(path)
    store = Store.open(path)
    page = store.query("SELECT rootpage FROM sqlite_master WHERE name = 'entry'")[0][0]
    store.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * PAGE : (page - 1) * PAGE + 8] = b"\xff" * 8
    path.write_bytes(content)
    store = Store.open(path)
    assert store.trouble is not None and "could not be taken over" not in store.trouble
    assert store.alarm_states() == {"a": b"acked"} and store.latest_record("q") == RecordKey(1, "k")
    store.close()


def test_a_flipped_bit_is_never_read_as_a_value(path: Path) -> None:
    _, contents = written(path)
    events = {seq: content for seq, content in contents.items() if isinstance(content, Event)}
    sound = path.read_bytes()
    chance = random.Random(7)
    outcomes = {"whole": 0, "entry": 0, "file": 0}
    for _ in range(100):
        content = bytearray(sound)
        at = chance.randrange(len(content))
        content[at] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            store = Store.open(path)
        except JournalUnavailable as error:
            assert "use a later labmon" in str(error), "the schema version itself was hit"
            continue
        try:
            if store.trouble is not None:
                outcomes["file"] += 1
                continue
            entries = store.entries_after(0, 10**6, MANY)
            told = dict(store.events_after(0, 1000))
        except JournalDamaged:
            outcomes["file"] += 1
            continue
        finally:
            store.close()
        wrong = [e for e in entries if not equal(contents.get(e.seq), e.content)]
        assert all(isinstance(e.content, Damaged) for e in wrong), (at, wrong)
        assert len(entries) == len(contents)
        damaged = {e.seq for e in wrong}
        assert {seq: event for seq, event in told.items() if seq not in damaged} == {
            seq: event for seq, event in events.items() if seq not in damaged
        }
        assert all("cannot be read" in event.detail for seq, event in told.items() if seq in damaged)
        outcomes["entry" if wrong else "whole"] += 1
    assert outcomes["entry"] and outcomes["file"] and outcomes["whole"], outcomes


def test_a_damaged_layout_condemns_its_readings_only(path: Path) -> None:
    store = Store.open(path)
    store.commit(group([exchange(layout("a.all")), exchange(layout("b.all"))]))
    store.close()
    content = path.read_bytes()
    assert content.count(b'"a.all"') == 1
    path.write_bytes(content.replace(b'"a.all"', b'"c.all"'))
    store = Store.open(path)
    assert store.trouble is None
    found = [type(e.content) for e in store.entries_after(0, 10, MANY)]
    assert found == [Damaged, Damaged, Layout, Exchange]
    store.commit(group([exchange(layout("a.all"))]))
    assert [e.kind for e in store.entries_after(4, 10, MANY)] == [EntryKind.LAYOUT, EntryKind.READINGS]
    store.close()


@pytest.mark.parametrize("where", ["missing/journal.db", "file/journal.db", "directory"])
def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(JournalUnavailable):
        Store.open(tmp_path / where)
    assert sorted(p for p in tmp_path.iterdir() if p.suffix != ".lock") == before


def test_a_full_file_takes_nothing_by_halves_and_goes_on_when_there_is_room(path: Path) -> None:
    store = Store.open(path)
    store.commit(group([exchange(layout())], alarm_states={"a": b"1"}))
    pages = store.query("PRAGMA page_count")[0][0]
    store.query(f"PRAGMA max_page_count = {pages + 2}")
    much = group([exchange(layout("b.all", 20), NOW, i) for i in range(2000)], [event()], alarm_states={"a": b"2"})
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match="full"):
            store.commit(much)
        assert store.last_seq() == 2 and store.alarm_states() == {"a": b"1"}
    store.query("PRAGMA max_page_count = 1000000")
    assert store.commit(much).last == 2 + 1 + 2000 + 1
    store.close()


def test_a_disk_without_room_stops_no_alarm_and_loses_nothing(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=50, env=environment()
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["health"] == ["failing", "ok"]
    assert (result["trouble"], result["unwritten"]) == (["while full"], 0)
    store = Store.open(path)
    entries = store.entries_after(0, 10**6, MANY)
    times = [e.time for e in entries if e.kind == EntryKind.READINGS]
    assert times == [NOW + i for i in range(result["sent"])]
    assert [e.detail for _, e in store.events_after(0, 10)] == ["while full"]
    store.close()


def test_a_reader_of_something_else_says_so(path: Path) -> None:
    for content in (b"", b"not a database, but long enough to be looked at" * 100):
        path.write_bytes(content)
        with pytest.raises(JournalError):
            Reader.at(path)
