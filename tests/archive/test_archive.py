"""Backup, proof and restore of a journal and the files of its site."""

import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from journal.journal_things import event, exchange, group, layout

from labmon.acquisition.load import load
from labmon.archive.backup import make_backup
from labmon.archive.manifest import JOURNAL, MANIFEST, SITE, BackupError, digest
from labmon.archive.restore import restore
from labmon.archive.verify import verify
from labmon.journal.entries import RecordKey
from labmon.journal.reader import Reader
from labmon.journal.store import Store
from labmon.model.event import EventKind

DRIVERS = Path(__file__).parents[1] / "e2e" / "drivers"


def site_folder(folder: Path, journal: str = "journal.db") -> Path:
    """A site with its own drivers and a secret; JSON is YAML."""
    folder.mkdir()
    shutil.copytree(DRIVERS, folder / "drivers")
    (folder / "token").write_text("swordfish-7731\n")
    (folder / "token").chmod(0o600)
    site = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "drivers": ["drivers"],
        "areas": [{"id": "room", "name": "Processing room"}],
        "lines": [],
        "mqtt": {"host": "127.0.0.1", "user": "gw-1", "password": {"file": "token"}},
        "journal": {"path": journal},
        "socket": "control.sock",
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps(site))
    return path


def filled(site: Path, entries: int = 50) -> None:
    store = Store.open(site.with_name("journal.db"))
    form = layout()
    for number in range(entries):
        store.commit(group([exchange(form, number=number)]))
    store.commit(
        group(
            events=[event()],
            alarm_states={"incubator-1.temperature.action-high": b"acked"},
            record_keys={"counter-1.newest": RecordKey(7, "7/1")},
            cursors={"record.influx": 20, "alarms": 30},
        )
    )
    store.quarantine("influx", {12: "400"}, 1)
    store.close()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = site_folder(tmp_path / "gateway")
    filled(path)
    return path


@pytest.fixture
def backup(site: Path, tmp_path: Path) -> Path:
    (tmp_path / "stick").mkdir()
    return make_backup(load(site), tmp_path / "stick")[0]


def test_a_backup_is_sound_and_says_what_is_in_it(backup: Path) -> None:
    found = verify(backup)
    assert found.faults == []
    assert found.notes == []
    assert (found.entries, found.readings, found.events, found.damaged) == (52, 200, 1, 0)
    assert found.manifest.secrets == ["file token"]
    assert {file.origin for file in found.manifest.files} >= {"journal.db", "site.yaml"}
    assert any(file.origin.startswith("drivers/") for file in found.manifest.files)


def test_no_secret_is_in_a_backup(backup: Path) -> None:
    for path in backup.rglob("*"):
        if path.is_file():
            assert b"swordfish-7731" not in path.read_bytes(), path


def test_a_backup_taken_while_the_journal_is_written_is_of_one_moment(site: Path, tmp_path: Path) -> None:
    store = Store.open(site.with_name("journal.db"))
    done, form = threading.Event(), layout()
    written = 0

    def write() -> None:
        nonlocal written
        while not done.is_set():
            # The cursor tells what the journal held: in a copy of one moment it is the last entry.
            committed = store.commit(group([exchange(form, number=written)]))
            assert committed.last is not None
            store.advance("witness", committed.last)
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not written and writer.is_alive():
            pass
        backups = []
        for number in range(5):
            before, folder = written, tmp_path / str(number)
            folder.mkdir()
            backups.append(make_backup(load(site), folder)[0])
            while written < before + 3 and writer.is_alive():
                pass
    finally:
        done.set()
        writer.join()
        store.close()
    for backup in backups:
        found = verify(backup)
        assert found.faults == []
        assert found.entries == found.manifest.last
        assert found.manifest.last - found.manifest.cursors["witness"] in (0, 1)
    lasts = [verify(backup).manifest.last for backup in backups]
    assert lasts == sorted(set(lasts))


def damaged_byte(backup: Path) -> None:
    with (backup / JOURNAL).open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def changed_entry(backup: Path) -> None:
    """Somebody changes a reading, and the manifest to fit."""
    db = sqlite3.connect(backup / JOURNAL)
    body = bytearray(db.execute("SELECT body FROM entry WHERE seq = 30").fetchone()[0])
    body[-6] ^= 1
    db.execute("UPDATE entry SET body = ? WHERE seq = 30", (bytes(body),))
    db.commit()
    db.close()
    manifest = json.loads((backup / MANIFEST).read_text())
    for file in manifest["files"]:
        file["size"], file["sha256"] = digest(backup / file["name"])
    (backup / MANIFEST).write_text(json.dumps(manifest))


def site_with_a_mistake(backup: Path) -> None:
    text = (backup / SITE).read_text().replace('"areas"', '"area"')
    (backup / SITE).write_text(text)
    manifest = json.loads((backup / MANIFEST).read_text())
    for file in manifest["files"]:
        file["size"], file["sha256"] = digest(backup / file["name"])
    (backup / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damaged_byte, "journal.db: is not what was written (SHA-256)"),
        (changed_entry, "journal.db: entry 30: checksum does not match"),
        (lambda b: (b / JOURNAL).unlink(), "journal.db: No such file or directory"),
        (lambda b: os.truncate(b / JOURNAL, 4096), "journal.db: has 4096 bytes"),
        (lambda b: (b / "files" / "stray.yaml").write_text("x"), "files/stray.yaml: is not in the manifest"),
        (site_with_a_mistake, "area"),
        (lambda b: (b / SITE).write_text("{}"), "site.yaml: has 2 bytes"),
    ],
)
def test_what_is_wrong_with_a_backup_is_told_and_it_is_not_restored(
    backup: Path, tmp_path: Path, damage: Any, told: str
) -> None:
    damage(backup)
    faults = verify(backup).faults
    assert any(told in fault for fault in faults), faults
    (tmp_path / "new").mkdir()
    with pytest.raises(BackupError):
        restore(backup, tmp_path / "new" / "site.yaml", aside=False, site_too=True, who="qa")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "{" * 5000, '{"v": 2}', "\x00", "x" * 5_000_000],
)
def test_what_is_no_manifest_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BackupError) as refused:
        verify(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / MANIFEST))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["../x.yaml", "/etc/passwd", "files/../../x", ".hidden", "a/b/c"])
def test_a_manifest_cannot_name_a_file_outside_the_backup(backup: Path, name: str) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    manifest["files"][-1]["name"] = name
    (backup / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match="name"):
        verify(backup)


def test_a_dead_card_a_new_gateway(site: Path, backup: Path, tmp_path: Path) -> None:
    shutil.rmtree(site.parent)
    new = tmp_path / "new" / "site.yaml"
    new.parent.mkdir()
    done = restore(backup, new, aside=False, site_too=True, who="qa")
    placed = {str(path.relative_to(new.parent)) for path in done.placed}
    assert placed >= {"site.yaml"} | {str(path.relative_to(DRIVERS.parent)) for path in DRIVERS.rglob("*.yaml")}
    assert load(new).errors == []
    store = Store.open(new.with_name("journal.db"))
    try:
        assert store.trouble is None
        assert store.journal == done.journal != done.manifest.journal
        assert store.alarm_states() == {"incubator-1.temperature.action-high": b"acked"}
        assert store.latest_record("counter-1.newest") == RecordKey(7, "7/1")
        assert store.cursors() == {"record.influx": 20, "alarms": 30}
        assert [refused.seq for refused in store.quarantined()] == [12]
        assert store.last_seq() == done.manifest.last + 1
        told = store.events_after(done.manifest.last, 10)[0][1]
        assert told.kind is EventKind.JOURNAL
        assert told.user == "qa"
        assert done.manifest.journal in told.detail
        assert done.journal in told.detail
    finally:
        store.close()


@pytest.mark.skipif(os.getuid() != 0 and "CI" not in os.environ, reason="LOUD: giving files away needs root")
def test_what_root_restores_is_the_daemons_to_read_and_write(backup: Path, tmp_path: Path) -> None:
    new = tmp_path / "new" / "site.yaml"
    new.parent.mkdir(mode=0o750)
    os.chown(new.parent, 0, 12345)
    assert any(path.is_dir() for path in DRIVERS.iterdir()), "there is a folder in a folder"
    restore(backup, new, aside=False, site_too=True, who="qa")
    for path in new.parent.rglob("*"):
        found = path.stat()
        assert (found.st_gid, found.st_mode & 0o777) == (12345, 0o750 if path.is_dir() else 0o640), path


def test_a_disk_that_fills_up_on_the_way_is_not_left_full(backup: Path, tmp_path: Path, monkeypatch: Any) -> None:
    new = tmp_path / "new" / "site.yaml"
    new.parent.mkdir()

    def fills_up(source: Path, target: Path) -> None:
        target.write_bytes(b"x")
        if target.suffix == ".restoring":
            raise OSError(28, "No space left on device", str(target))
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", fills_up)
    with pytest.raises(BackupError, match="No space left"):
        restore(backup, new, aside=False, site_too=True, who="qa")
    assert not list(new.parent.glob("*.restoring"))
    assert not new.with_name("journal.db").exists()


def test_a_journal_that_is_there_is_not_overwritten(site: Path, backup: Path) -> None:
    before = site.with_name("journal.db").read_bytes()
    with pytest.raises(BackupError, match="--set-aside"):
        restore(backup, site, aside=False, site_too=True, who="qa")
    assert site.with_name("journal.db").read_bytes() == before
    done = restore(backup, site, aside=True, site_too=True, who="qa")
    assert done.placed == []
    assert done.aside is not None
    old = Reader.at(done.aside)
    try:
        assert old.journal == done.manifest.journal
        assert old.last_seq() == done.manifest.last
    finally:
        old.close()


def test_a_site_file_that_differs_is_not_overwritten(site: Path, backup: Path) -> None:
    site.write_text(site.read_text().replace("Laboratory", "Laboratory 2"))
    site.with_name("journal.db").unlink()
    with pytest.raises(BackupError, match="--journal-only"):
        restore(backup, site, aside=False, site_too=True, who="qa")
    assert not site.with_name("journal.db").exists()
    assert restore(backup, site, aside=False, site_too=False, who="qa").placed == []
    assert "Laboratory 2" in site.read_text()


def test_a_journal_is_not_restored_to_another_gateway(backup: Path, tmp_path: Path) -> None:
    other = site_folder(tmp_path / "other")
    other.write_text(other.read_text().replace('"gw-1"}', '"gw-2"}'))
    with pytest.raises(BackupError, match="lab/gw-2, the backup of lab/gw-1"):
        restore(backup, other, aside=False, site_too=False, who="qa")
    assert not other.with_name("journal.db").exists()


def test_a_journal_in_use_is_not_replaced(site: Path, backup: Path) -> None:
    store = Store.open(site.with_name("journal.db"))
    try:
        with pytest.raises(BackupError, match="in use by process"):
            restore(backup, site, aside=True, site_too=True, who="qa")
        store.commit(group(events=[event()]))
    finally:
        store.close()


def test_a_disk_without_room_is_told_and_nothing_is_left(site: Path, tmp_path: Path, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(BackupError, match="make room"):
        make_backup(load(site), tmp_path)
    monkeypatch.undo()
    with pytest.raises(BackupError, match="No such file or directory"):
        make_backup(load(site), tmp_path / "not-mounted")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(BackupError, match="No space left"):
        make_backup(load(site), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gateway"]


def test_a_site_whose_journal_never_was_cannot_be_backed_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="has the daemon"):
        make_backup(load(site_folder(tmp_path / "gateway")), tmp_path)
