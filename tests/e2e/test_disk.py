"""A disk that is full, read-only, damaged or hangs stops neither polling nor alarms nor mails (design rule 4)."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from known import Known
from rig import JournalFile, Process, asked, daemon, device, on_tcp, serving, tcp_line, write_site
from servers.mail import MailServer

from labmon.acquisition.load import load
from labmon.daemon.daemon import Daemon
from labmon.journal.entries import EntryKind
from labmon.journal.store import Store
from labmon.model.event import EventKind
from labmon.model.exchange import Exchange

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(90)]

Eventually = Callable[..., Any]
ALARM = "known-1.temperature.action-high"
NORMAL, BREACH = 970, 1000
"""Replies that hold 37.0 and 40.0 degrees."""


@dataclass
class Bench:
    site: Path
    instrument: Known
    mail: MailServer
    daemon: Process

    @property
    def journal(self) -> JournalFile:
        return JournalFile(self.site)

    def mails(self, *words: str) -> list[str]:
        return [mail.text for mail in self.mail.mails if all(word in mail.text for word in words)]

    def breaches(self) -> list[str]:
        """Mails that tell of the breach, and not of its end."""
        return [text for text in self.mails("ABOVE ACTION", "40.00") if "CLEARED" not in text]

    async def running(self, eventually: Eventually) -> None:
        async def going() -> bool:
            found = await asked(self.site)
            return found is not None and found["polled"] > 0

        await eventually(going, 15)

    async def alarms(self) -> dict[str, str]:
        return {a["alarm"]: a["state"] for a in await asked(self.site, "alarms") or []}

    async def breach(self, eventually: Eventually) -> None:
        """Out of limits: the alarm is there, and the mail about it arrives."""
        self.instrument.fixed = BREACH

        async def raised() -> bool:
            return (await self.alarms()).get(ALARM) == "UNACK"

        await eventually(raised, 10)
        await eventually(self.breaches, 10, "a mail about the breach")

    async def polls_go_on(self, eventually: Eventually) -> None:
        """The instrument is asked as before, no tick is missed, and what it said is counted."""
        asked_before, before = self.instrument.asked, await asked(self.site)
        await eventually(lambda: self.instrument.asked >= asked_before + 5, 10)
        now = await asked(self.site)
        assert now["polled"] > before["polled"]
        assert now["missed"] == 0
        assert now["bad"] == 0

    async def journal_state(self) -> str:
        found = await asked(self.site)
        return found["journal"]["state"] if found else ""


@asynccontextmanager
async def bench(
    folder: Path, *wrapper: str, journal: str = "journal.db", prepare: Callable[[], None] | None = None
) -> AsyncIterator[Bench]:
    instrument = Known(1, fixed=NORMAL)
    async with serving(on_tcp(instrument)) as line, MailServer() as mail:
        site = write_bench(folder, line.port, mail.port, journal)
        if prepare is not None:
            prepare()
        process = daemon(site)
        process.wrapper = list(wrapper)
        async with process:
            yield Bench(site, instrument, mail, process)
            assert await process.stop() == 0
            assert process.faults() == []


def write_bench(folder: Path, port: int, mail: int, journal: str) -> Path:
    email = {"host": "127.0.0.1", "port": mail, "tls": "none", "from": "labmon@lab.example"}
    profile = {"version": 1, "reason": "Cells die above.", "unit": "Cel", "limits": [{"level": "action", "high": 38.0}]}
    channels = [{"id": "temperature", "limits": "warm"}, {"id": "n"}, {"id": "counts"}]
    return write_site(
        folder,
        profiles={"warm": profile},
        lines=[tcp_line(port, device("known-1", 1, channels=channels))],
        journal={"path": journal, "keep-readings": "1 h", "size": "1 GB", "commit-every": "200 ms"},
        notices={
            "channels": [{"id": "mail", "email": email}],
            "people": [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}],
            "routes": [{"classes": ["action", "technical"], "to": ["lead"], "by": ["mail"]}],
        },
    )


async def test_a_journal_that_cannot_be_made_stops_nothing(tmp_path: Path, eventually: Eventually) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    async with bench(tmp_path, journal="occupied/journal.db") as run:
        await run.running(eventually)
        await eventually(lambda: run.mails("TECHNICAL ALARM", "occupied"), 10, "a mail about the journal")
        assert (await run.alarms())["gateway.journal"] == "UNACK"
        await run.breach(eventually)
        assert "NOT JOURNALED" in run.mails("ABOVE ACTION")[0]
        await run.polls_go_on(eventually)


async def test_a_read_only_disk_stops_nothing(tmp_path: Path, eventually: Eventually) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o555)
    # To root every folder is writable, unless the right to override is taken away.
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    async with bench(tmp_path, *drop, journal="data/journal.db") as run:
        await run.running(eventually)
        assert await run.journal_state() == "failing"
        await run.breach(eventually)
        assert (await run.alarms())["gateway.journal"] == "UNACK"
        await run.polls_go_on(eventually)
        assert not list(folder.iterdir())


async def test_a_disk_that_fills_up_stops_nothing_and_loses_nothing_once_there_is_room(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with bench(tmp_path) as run:
        await run.running(eventually)
        await eventually(lambda: run.journal.exists() and run.journal.last() > 10)
        unlimited = resource.prlimit(run.daemon.pid, resource.RLIMIT_FSIZE)
        full = (4096, unlimited[1])
        resource.prlimit(run.daemon.pid, resource.RLIMIT_FSIZE, full)

        async def failing() -> bool:
            return await run.journal_state() == "failing"

        await eventually(failing, 10)
        await run.breach(eventually)
        await eventually(lambda: run.mails("TECHNICAL ALARM"), 10, "a mail about the journal")
        await run.polls_go_on(eventually)

        resource.prlimit(run.daemon.pid, resource.RLIMIT_FSIZE, unlimited)

        async def well() -> bool:
            return await run.journal_state() == "ok"

        await eventually(well, 35)
        run.instrument.fixed = None
        await eventually(lambda: run.instrument.n > 5)
        await eventually(lambda: run.mails("CLEARED", "38.00"), 10)
        assert len(run.breaches()) == 1, "told from memory, and not again from the journal"
    check_whole(run.journal, run.instrument)


def check_whole(journal: JournalFile, instrument: Known) -> None:
    """Nothing is lost: no gap, a reading of every reply, every event once."""
    entries = journal.entries()
    assert not [entry for entry in entries if entry.kind == EntryKind.GAP]
    polls = [e.content for e in entries if isinstance(e.content, Exchange)]
    polls = [exchange for exchange in polls if exchange.layout.query == "known-1.values"]
    assert sum(exchange.skipped for exchange in polls) == 0
    assert instrument.replies - 1 <= len(polls) <= instrument.replies, "the last reply may find the daemon gone"
    events = [(e.kind, e.alarm) for e in journal.events()]
    for kind in (EventKind.RAISED, EventKind.CLEARED):
        assert events.count((kind, ALARM)) == 1
    assert (EventKind.RAISED, "gateway.journal") in events, "it is over only after a minute without trouble"


async def test_a_damaged_journal_is_set_aside_and_told(tmp_path: Path, eventually: Eventually) -> None:
    def damage() -> None:
        (tmp_path / "journal.db").write_bytes(b"this was a journal once\n" * 500)

    async with bench(tmp_path, prepare=damage) as run:
        await run.running(eventually)
        assert await run.journal_state() == "ok"
        await run.breach(eventually)
        await run.polls_go_on(eventually)
    assert (tmp_path / "journal.db").read_bytes().startswith(b"SQLite")
    assert [path for path in tmp_path.iterdir() if path.read_bytes().startswith(b"this was") if path.is_file()]
    assert any(e.kind is EventKind.JOURNAL and "set aside" in e.detail for e in run.journal.events())


async def test_a_journal_that_is_overwritten_while_in_use_stops_nothing(tmp_path: Path, eventually: Eventually) -> None:
    async with bench(tmp_path) as run:
        await run.running(eventually)
        await eventually(lambda: run.journal.exists() and run.journal.last() > 10)
        overwrite(tmp_path)
        await run.breach(eventually)
        await run.polls_go_on(eventually)


def overwrite(folder: Path) -> None:
    for name in ("journal.db", "journal.db-wal"):
        with (folder / name).open("r+b") as file:
            file.write(os.urandom(max(8192, (folder / name).stat().st_size)))


async def test_alarms_of_a_journal_begun_anew_are_told(tmp_path: Path, eventually: Eventually) -> None:
    async with bench(tmp_path) as run:
        await run.running(eventually)
        await eventually(lambda: run.journal.exists() and run.journal.last() > 25, 20)
        await run.breach(eventually)
        run.instrument.fixed = NORMAL
        await eventually(lambda: run.mails("CLEARED", "38.00"), 10)
        before = (await asked(run.site))["journal"]["id"]
        overwrite(tmp_path)

        async def anew() -> bool:
            found = (await asked(run.site))["journal"]
            return found["state"] == "ok" and found["id"] not in (None, before)

        await eventually(anew, 20)
        assert len(run.breaches()) == 1
        run.instrument.fixed = BREACH
        await eventually(lambda: len(run.breaches()) == 2, 10, "a mail about the second breach")


async def test_a_hanging_disk_stops_nothing(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, hanging = threading.Event(), threading.Event()
    real = Store.commit

    def commit(self: Store, *arguments: Any, **named: Any) -> Any:
        if hanging.is_set():
            released.wait(60)
        return real(self, *arguments, **named)

    monkeypatch.setattr(Store, "commit", commit)
    instrument = Known(1, fixed=NORMAL)
    async with serving(on_tcp(instrument)) as line, MailServer() as mail:
        loaded = load(write_bench(tmp_path, line.port, mail.port, "journal.db"))
        assert not loaded.errors
        running = Daemon(loaded)
        task = asyncio.create_task(running.run())
        try:
            await eventually(lambda: running.journal.last_seq > 5)
            hanging.set()
            asked_before = instrument.asked
            instrument.fixed = BREACH
            await eventually(
                lambda: [m for m in mail.mails if "ABOVE ACTION" in m.text], 10, "a mail although the disk hangs"
            )
            await eventually(lambda: [m for m in mail.mails if "TECHNICAL ALARM" in m.text], 10)
            assert running.journal.health.state == "slow"
            await eventually(lambda: instrument.asked > asked_before + 5)
            assert running.pipeline.bad == 0
            assert all(d.missed_ticks == 0 for h in running.health.values() for d in h.devices.values())
            assert running.journal.backlog > 0
            hanging.clear()
            released.set()
            await eventually(lambda: running.journal.health.state == "ok" and running.journal.backlog < 5)
            assert running.journal.lost_exchanges == 0
            instrument.fixed = NORMAL
            await eventually(lambda: [m for m in mail.mails if "CLEARED" in m.text and "38.00" in m.text])
        finally:
            released.set()
            running.stop.set()
            await task
        assert len([m for m in mail.mails if "ABOVE ACTION" in m.text and "CLEARED" not in m.text]) == 1
    check_whole(JournalFile(tmp_path / "site.yaml"), instrument)


async def test_a_disk_that_hangs_for_ever_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    real = Store.commit
    monkeypatch.setattr(Store, "commit", lambda self, *a, **n: (released.wait(60), real(self, *a, **n))[1])
    instrument = Known(1, fixed=NORMAL)
    async with serving(on_tcp(instrument)) as line, MailServer() as mail:
        running = Daemon(load(write_bench(tmp_path, line.port, mail.port, "journal.db")))
        task = asyncio.create_task(running.run())
        await eventually(lambda: instrument.asked > 2)
        running.stop.set()
        done, _ = await asyncio.wait({task}, timeout=6.0)
        released.set()
        assert done
        await task
