"""The journal's file: what is committed is read back, in one sequence, and traced to its configuration."""

import sqlite3
from pathlib import Path

import pytest
from journal_things import NOW, SECOND, event, exchange, group, layout, same

from labmon.journal.disk import look_at_disk
from labmon.journal.entries import Committed, Configuration, EntryKind, Gap, Group, RecordKey
from labmon.journal.errors import JournalInUse, JournalUnavailable, NewerJournal
from labmon.journal.reader import Reader
from labmon.journal.store import Store
from labmon.model.exchange import Exchange, Layout

MANY = 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_a_group_is_read_back_as_it_was(path: Path) -> None:
    form, raised = layout(), event()
    sent = [exchange(form, NOW + i * SECOND, i) for i in range(3)]
    with_it = Store.open(path)
    done = with_it.commit(
        group(sent, [raised], alarm_states={"a": b"1"}, record_keys={"p.records": RecordKey(NOW, "17")})
    )
    assert done == Committed(1, 5, [(5, raised)])
    assert with_it.trouble is None
    with_it.close()
    store = Store.open(path)
    entries = store.entries_after(0, 100, MANY)
    assert [e.seq for e in entries] == [1, 2, 3, 4, 5]
    assert [e.kind for e in entries] == [EntryKind.LAYOUT] + [EntryKind.READINGS] * 3 + [EntryKind.EVENT]
    assert entries[0].content == form
    assert all(same(e.content, x) for e, x in zip(entries[1:4], sent, strict=True))
    assert store.events_after(0, 10) == [(5, raised)]
    assert store.events_after(5, 10) == []
    assert store.alarm_states() == {"a": b"1"}
    assert store.latest_record("p.records") == RecordKey(NOW, "17")
    assert store.latest_record("other") is None
    assert store.last_seq() == 5
    store.close()


def test_a_layout_is_written_once_also_across_a_restart(path: Path) -> None:
    for round_ in range(2):
        store = Store.open(path)
        store.commit(group([exchange(layout("a.q")), exchange(layout("b.q")), exchange(layout("a.q"))]))
        store.commit(group([exchange(layout("b.q"))]))
        kinds = [e.kind for e in store.entries_after(0, 100, MANY)]
        assert kinds.count(EntryKind.LAYOUT) == 2, f"round {round_}"
        store.close()
    store = Store.open(path)
    other = Layout("a.q", layout("a.q").columns[:2])
    store.commit(group([exchange(other)]))
    assert [e.content for e in store.entries_after(10, 100, MANY) if e.kind == EntryKind.LAYOUT] == [other]
    store.close()


def test_ranges_are_bounded_in_count_and_bytes(path: Path) -> None:
    store = Store.open(path)
    store.commit(group([exchange(layout(), number=i) for i in range(1000)]))
    assert [e.seq for e in store.entries_after(0, 450, MANY)] == list(range(1, 451))
    size = store.entries_after(1, 1, MANY)[0].size
    assert len(store.entries_after(1, 1000, 10 * size)) == 10
    assert len(store.entries_after(1, 1000, 0)) == 1
    assert len(store.entries_after(995, 1000, MANY)) == 6
    assert store.entries_after(1001, 10, MANY) == []
    store.close()


def test_events_come_in_order_with_gaps_among_them(path: Path) -> None:
    store = Store.open(path)
    first, second = event("first"), event("second")
    gap = Gap("the buffer was full", 3, 12, NOW, NOW + SECOND)
    store.commit(group([exchange(layout())], [first]))
    done = store.commit(group([exchange(layout())], [second], gaps=[(NOW + 5, gap)]))
    assert [seq for seq, _ in done.events] == [4, 6]
    events = store.events_after(0, 10)
    assert [seq for seq, _ in events] == [3, 4, 6]
    assert events[0][1] == first and events[2][1] == second
    assert "12 readings" in events[1][1].detail and "the buffer was full" in events[1][1].detail
    assert events == [*store.events_after(0, 2), *store.events_after(4, 2)]
    assert store.entries_after(3, 1, MANY)[0].content == gap
    store.close()


def test_a_failed_commit_leaves_nothing(path: Path) -> None:
    store = Store.open(path)
    store.commit(group([exchange(layout())], alarm_states={"a": b"1"}))
    broken = group([exchange(layout("b.q"))], [event()], alarm_states={"a": b"2"}, cursors={"x": 1})
    broken.quarantined.append(("influx", 1, "why", 2**70))  # no such time: fails after everything else was written
    with pytest.raises(OverflowError):
        store.commit(broken)
    assert store.last_seq() == 2
    assert store.alarm_states() == {"a": b"1"}
    assert store.cursors() == {}
    broken.quarantined.clear()
    assert store.commit(broken).first == 3
    kinds = [e.kind for e in store.entries_after(2, 10, MANY)]
    assert kinds == [EntryKind.LAYOUT, EntryKind.READINGS, EntryKind.EVENT]
    store.close()


def test_a_cursor_never_goes_back_nor_beyond_the_end(path: Path) -> None:
    store = Store.open(path)
    store.commit(group([exchange(layout(), number=i) for i in range(9)]))
    assert store.cursor("record.influx") == 0
    store.advance("record.influx", 7)
    store.advance("record.influx", 5)
    assert store.cursor("record.influx") == 7
    with pytest.raises(ValueError, match="the last entry is 10"):
        store.advance("record.influx", 11)
    store.advance("notices.mail", 2)
    assert store.cursors() == {"record.influx": 7, "notices.mail": 2}
    store.drop_cursor("notices.mail")
    assert store.cursors() == {"record.influx": 7}
    store.close()


def test_refused_entries_are_shown_with_the_reason(path: Path) -> None:
    store = Store.open(path)
    sent = [exchange(layout(), number=i) for i in range(3)]
    store.commit(group(sent))
    store.quarantine("influx", {2: "field type conflict", 4: "x" * 2000, 99: "no such entry"}, NOW)
    store.quarantine("influx", {2: "said again"}, NOW + 1)
    store.quarantine("sqlite", {3: "other"}, NOW)
    shown = store.quarantined("influx")
    assert [(q.seq, q.store, q.why[:19], q.time) for q in shown] == [
        (2, "influx", "field type conflict", NOW),
        (4, "influx", "x" * 19, NOW),
        (99, "influx", "no such entry", NOW),
    ]
    assert shown[0].entry is not None and same(shown[0].entry.content, sent[0])
    assert shown[2].entry is None
    assert [q.seq for q in store.quarantined()] == [2, 3, 4, 99]
    store.release("influx", [2, 99])
    assert [q.seq for q in store.quarantined()] == [3, 4]
    store.close()


def test_each_reading_can_be_traced_to_the_texts_it_was_made_with(path: Path) -> None:
    first = Configuration("0.1.0", "root", "site.yaml", "labmon: 1\n", {"vaisala/gmp25x": "driver: 1\n", "x/y": "z"})
    second = Configuration("0.1.1", "duty", "site.yaml", "labmon: 1\n# ü\n", {"vaisala/gmp25x": "driver: 1\n"})
    store = Store.open(path)
    for configuration in (first, second, first):
        store.commit(group([exchange(layout())], configurations=[(NOW, configuration)]))
    assert [e.content for e in store.configurations()] == [first, second, first]
    assert [e.seq for e in store.configurations()] == [1, 4, 6]
    store.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM document").fetchone() == (4,)
    plain.close()


def test_a_reader_in_another_connection_sees_what_is_committed(path: Path) -> None:
    store = Store.open(path)
    reader = Reader.at(path)
    assert reader.journal == store.journal and len(store.journal) == 16
    assert reader.entries_after(0, 10, MANY) == []
    store.commit(group([exchange(layout())], [event()]))
    assert [e.seq for e in reader.entries_after(0, 10, MANY)] == [1, 2, 3]
    with pytest.raises(JournalUnavailable):
        reader.query("DELETE FROM entry")
    reader.close()
    store.close()


def test_one_writer_at_a_time(path: Path) -> None:
    store = Store.open(path)
    with pytest.raises(JournalInUse, match="in use by process"):
        Store.open(path)
    store.close()
    Store.open(path).close()


def test_an_empty_group_writes_nothing(path: Path) -> None:
    store = Store.open(path)
    assert store.commit(Group()) == Committed(None, None, [])
    assert not Group() and group([exchange(layout())])
    store.close()


def test_an_older_journal_opens_and_a_newer_one_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labmon.journal import schema

    with monkeypatch.context() as old:
        old.setattr(schema, "STEPS", schema.STEPS[:1])
        plain = schema.connect(path, writable=True)
        schema.prepare(plain)
        plain.execute("INSERT INTO cursor VALUES ('record.influx', 3)")
        plain.execute("INSERT INTO alarm_state VALUES ('a', x'01')")
        journal = plain.execute("SELECT value FROM meta WHERE name = 'journal'").fetchone()[0]
        assert plain.execute("PRAGMA user_version").fetchone() == (1,)
        with pytest.raises(sqlite3.OperationalError):
            plain.execute("SELECT * FROM quarantine")
        plain.close()
    store = Store.open(path)
    assert store.trouble is None
    assert (store.journal, store.cursors(), store.alarm_states()) == (journal, {"record.influx": 3}, {"a": b"\x01"})
    store.quarantine("influx", {1: "why"}, NOW)
    assert isinstance(store.entries_after(0, 1, 1), list)
    store.close()

    before = path.read_bytes()
    with monkeypatch.context() as old:
        old.setattr(schema, "STEPS", schema.STEPS[:1])
        with pytest.raises(NewerJournal, match="schema 3, this labmon knows up to 1"):
            Store.open(path)
    assert path.read_bytes() == before
    Store.open(path).close()


def test_a_migration_that_fails_leaves_the_older_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labmon.journal import schema

    store = Store.open(path)
    store.commit(group([exchange(layout())]))
    store.close()
    with monkeypatch.context() as later:
        later.setattr(schema, "STEPS", [*schema.STEPS, ("CREATE TABLE later (x)", "CREATE TABLE entry (again)")])
        with pytest.raises(JournalUnavailable):
            Store.open(path)
    store = Store.open(path)
    assert store.trouble is None
    assert isinstance(store.entries_after(1, 1, MANY)[0].content, Exchange)
    store.close()


def test_what_waits_is_counted_with_its_oldest(path: Path) -> None:
    store = Store.open(path)
    assert (store.oldest_after(0), store.events_waiting(0), store.quarantine_counts()) == (None, (0, None), {})
    store.commit(group([exchange(layout(), NOW)], [event(time=NOW + 5)]))  # 1 layout, 2 readings, 3 event
    store.commit(Group(gaps=[(NOW + 9, Gap("full", 1, 4, NOW + 7, NOW + 8))]))  # 4
    store.commit(group([exchange(layout(), NOW + SECOND)], [event(time=NOW + SECOND)]))  # 5 readings, 6 event
    assert store.oldest_after(0) == store.oldest_after(1) == NOW
    assert store.oldest_after(4) == NOW + SECOND
    assert store.oldest_after(6) is None
    assert store.events_waiting(0) == (3, NOW + 5)
    assert store.events_waiting(3) == (2, NOW + 7)
    assert store.events_waiting(6) == (0, None)
    store.quarantine("b", {2: "no", 5: "no"}, NOW)
    store.quarantine("a", {2: "no"}, NOW)
    assert store.quarantine_counts() == {"a": 1, "b": 2}
    store.close()


def test_the_disk_is_looked_at_also_before_there_is_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "later" / "journal.db"
    before = look_at_disk(path)
    assert (before.used, before.read_only) == (0, False)
    assert 0 < before.free <= before.total
    path.parent.mkdir()
    store = Store.open(path)
    assert look_at_disk(path).used >= path.stat().st_size > 0
    store.close()


MS = 10**6


def session(path: Path, now: int, *groups: Group) -> int:
    store = Store.open(path)
    number = store.begin_session(now)
    for one in groups:
        store.commit(one)
    store.close()
    return number


def test_the_number_of_a_run_grows_whatever_the_clock_says(path: Path) -> None:
    """A gateway without a battery starts in the past; an older run's last will must not stand above it."""
    written = group(events=[event()])
    numbers = [session(path, now, written) for now in (NOW, NOW - 3600 * SECOND, 0, NOW + SECOND, NOW + SECOND)]
    assert numbers == [NOW // MS, NOW // MS + 1, NOW // MS + 2, NOW // MS + 1000, NOW // MS + 1001]


def test_a_full_disk_keeps_no_journal_from_opening(path: Path) -> None:
    """The number is written with the first commit, and by nothing before."""
    assert session(path, NOW) == NOW // MS
    assert session(path, 0) == 0, "nothing was written"
    assert session(path, 5 * MS, group(events=[event()])) == 5
    assert session(path, 0) == 6


def test_a_number_that_cannot_be_one_is_not_believed(path: Path) -> None:
    session(path, NOW, group(events=[event()]))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 'x' WHERE name = 'session'")
    db.close()
    assert session(path, NOW) == NOW // MS


def test_settings_of_instruments_are_remembered_and_taken_over_from_a_damaged_journal(path: Path) -> None:
    store = Store.open(path)
    assert store.settings() == {}
    store.commit(Group(settings={"a.settings": '{"hash":1}', "b.settings": "{}"}))
    store.commit(Group(settings={"a.settings": '{"hash":2}'}))
    kept = {"a.settings": '{"hash":2}', "b.settings": "{}"}
    assert store.settings() == kept
    store.close()
    store = Store.open(path)
    assert store.settings() == kept
    store.close()
    store = Store.open(path, condemned="for a test")
    assert store.trouble is not None
    assert store.settings() == kept
    store.close()
