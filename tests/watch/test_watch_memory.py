"""Alarms of the watch, their journal and their mails: over restarts, without a disk, with other gateways."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from servers.mail import MailServer
from watch_site import site

from labmon.acquisition.load import Loaded
from labmon.watch.memory import Memory

SILENT = "watch.gw-1.gateway-silent"
INGEST = "watch.gw-1.ingest-silent.influx"


@asynccontextmanager
async def memory(loaded: Loaded) -> AsyncIterator[Memory]:
    assert loaded.site is not None
    assert loaded.plan is not None
    if not (loaded.path.parent / "watch").exists():
        (loaded.path.parent / "watch").mkdir()
    made = Memory(loaded.path.parent, loaded.site, loaded.plan.plant, loaded.site.watch.gateways or [])
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_what_was_told_is_not_told_again_and_its_end_is(tmp_path: Path, eventually: Any) -> None:
    async with MailServer() as mail:
        loaded = site(tmp_path, mail.port)
        async with memory(loaded) as first:
            first.condition(SILENT, True, "gone")
            first.learn("gw-1", ["influx"])
            first.condition(INGEST, True, "nothing heard")
            await eventually(lambda: len(mail.mails) == 2)
        async with memory(loaded) as second:
            assert second.standing() == {SILENT, INGEST}
            second.condition(SILENT, True, "gone still")
            second.condition(INGEST, True, "nothing heard")
            second.condition(SILENT, False, "back")

            def over() -> bool:
                second.tick()
                return second.standing() == {INGEST}

            await eventually(over)
            await eventually(lambda: len(mail.mails) == 3)
        assert mail.mails[2].subject.startswith("CLEARED TECHNICAL gateway gw-1 is heard again")


async def test_what_could_not_be_sent_is_sent_after_the_next_start(tmp_path: Path, eventually: Any) -> None:
    async with MailServer() as mail:
        await mail.kill()
        loaded = site(tmp_path, mail.port)
        async with memory(loaded) as first:
            first.condition(SILENT, True, "gone")
            await eventually(lambda: first._notifier._channels["mail"]._condition.down)
        await mail.start()
        async with memory(loaded):
            await eventually(lambda: mail.mails)
        assert len(mail.mails) == 1


async def test_a_store_learned_later_changes_nothing_of_what_stands(tmp_path: Path, eventually: Any) -> None:
    async with MailServer() as mail:
        async with memory(site(tmp_path, mail.port)) as made:
            made.condition(SILENT, True, "gone")
            made.condition(SILENT, False, "back")
            made.learn("gw-1", ["influx"])
            made.learn("gw-1", ["influx"])
            made.learn("gw-2", ["influx", "local"])
            assert made.standing() == {SILENT}

            def over() -> bool:
                made.tick()
                return not made.standing()

            await eventually(over)
            made.condition("watch.gw-2.ingest-silent.local", True, "nothing heard")
            await eventually(lambda: len(mail.mails) >= 2)
        assert len({mail.subject for mail in mail.mails}) == len(mail.mails)


async def test_a_gateway_that_is_watched_no_more_is_said_so(tmp_path: Path, eventually: Any) -> None:
    async with MailServer() as mail:
        async with memory(site(tmp_path, mail.port)) as first:
            first.condition(SILENT, True, "gone")
            await eventually(lambda: len(mail.mails) == 1)
        async with memory(site(tmp_path, mail.port, watch={"gateways": ["gw-2"]})) as second:
            await eventually(lambda: len(mail.mails) == 2)
            assert second.standing() == set()
        assert mail.mails[1].subject.startswith("NO LONGER WATCHED")


async def test_without_a_disk_it_tells_from_memory(tmp_path: Path, eventually: Any) -> None:
    (tmp_path / "watch").write_text("in the way")
    async with MailServer() as mail, memory(site(tmp_path, mail.port)) as made:
        made.condition(SILENT, True, "gone")
        made.tick()
        await eventually(lambda: len(mail.mails) == 2)
        texts = {m.subject: m.text for m in mail.mails}
        assert set(texts) == {"TECHNICAL gateway gw-1 is silent", "TECHNICAL the watch cannot write its journal"}
        assert "NOT JOURNALED: sent from the watch's memory" in texts["TECHNICAL gateway gw-1 is silent"]


async def test_a_journal_that_opens_late_is_taken_up(tmp_path: Path, eventually: Any) -> None:
    async with MailServer() as mail:
        loaded = site(tmp_path, mail.port)
        async with memory(loaded) as first:
            first.learn("gw-1", ["influx"])
            first.condition(INGEST, True, "nothing heard")
            first.condition(SILENT, True, "gone")
            await eventually(lambda: len(mail.mails) == 2)
        with (tmp_path / "watch" / "journal.db.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            async with memory(loaded) as second:
                assert second.standing() == set()
                second.condition(SILENT, True, "gone")
                fcntl.flock(lock, fcntl.LOCK_UN)
                await eventually(lambda: INGEST in second.standing(), 15)
                assert {SILENT, INGEST} <= second.standing()
