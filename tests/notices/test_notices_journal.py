"""The notifier on the real journal: what it was told stays told over a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from notice_bench import FAST, NOON, USERS, configure, event, mail_channel, make_plant
from servers.mail import MailServer

from labmon.alarms.engine import AlarmEngine
from labmon.config.site import NoticesConfig
from labmon.journal.committer import Pace
from labmon.journal.writer import JournalWriter
from labmon.model.event import AlarmState
from labmon.notices.notice import AlarmNow
from labmon.notices.outbox import Notifier


@asynccontextmanager
async def gateway(path: Path, config: NoticesConfig) -> Any:
    plant = make_plant()
    journal = JournalWriter(path, pace=Pace(commit_every=0.02))
    await journal.start()
    views: Callable[[], Sequence[AlarmNow]] = AlarmEngine([], plant, {}, mono=0.0, now=NOON).views
    notifier = Notifier(
        plant,
        config,
        journal,
        views,
        lambda *_: None,
        lambda record: journal.record([record]),
        lambda _: "",
        users=USERS,
        clock=lambda: NOON,
        timing=replace(FAST, look=0.05),
    )
    notifier.start()
    try:
        yield journal
    finally:
        await notifier.stop()
        await journal.stop()


async def test_over_a_restart_on_the_real_journal(tmp_path: Path, eventually: Any) -> None:
    async with MailServer() as server:
        config = configure([mail_channel(server.port)])
        async with gateway(tmp_path / "journal.db", config) as journal:
            journal.record([event("raised")])
            await eventually(lambda: len(server.mails) == 1)

            async def recorded() -> bool:
                events = [e for _, e in await journal.events_after(0, 100)]
                return [e.to for e in events if e.outcome == "accepted"] == ["duty", "lead"]

            await eventually(recorded)
        async with gateway(tmp_path / "journal.db", config) as journal:
            journal.record([event("cleared", 5, state=AlarmState.NORM)])
            await eventually(lambda: len(server.mails) == 2)
            assert await journal.cursor("notices.mail.duty") > 0
    assert [mail.subject.split()[0] for mail in server.mails] == ["ACTION", "CLEARED"]
