"""labmon watch beside a real daemon, ingest, broker and mail server, each of which is killed -9."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from known import Known
from rig import JournalFile, Process, daemon, device, ingest, on_tcp, serving, tcp_line, write_site
from servers.mail import Mail, MailServer
from servers.mosquitto import Mosquitto
from servers.webhook import WebhookServer

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(90)]

Eventually = Callable[..., Any]
SILENT, INGEST, BROKER = "watch.gw-1.gateway-silent", "watch.gw-1.ingest-silent.local", "watch.broker"
WATCH = {
    "silent-after": "3 s",
    "offline-after": "400 ms",
    "ingest-after": "3 s",
    "path": "watch/journal.db",
}


@dataclass
class Stage:
    site: Path
    instrument: Known
    broker: Mosquitto
    mail: MailServer
    ping: WebhookServer
    gateway: Process
    ingest: Process
    watch: Process

    def mails(self, alarm: str) -> list[Mail]:
        return [mail for mail in self.mail.mails if f"Alarm {alarm}," in mail.text]

    def subjects(self) -> list[str]:
        return [mail.subject for mail in self.mail.mails]

    async def told(self, eventually: Eventually, alarm: str, count: int) -> Mail:
        """The last of so many mails about an alarm, when the watch has noted that it was taken."""
        await eventually(lambda: len(self.mails(alarm)) >= count, 20, f"{count} mails about {alarm}")
        await eventually(lambda: self.settled(), 10, "the notices' cursor")
        return self.mails(alarm)[-1]

    def settled(self) -> bool:
        journal = JournalFile(self.site)
        journal.path = self.site.parent / "watch" / "journal.db"
        seen = [e.seq for e in journal.entries() if getattr(e.content, "alarm", "") and not e.content.to]
        cursors = journal.cursors()
        return max(seen, default=0) <= max(
            (seq for name, seq in cursors.items() if name.startswith("notices.mail.duty")), default=0
        )

    async def restart_watch(self, eventually: Eventually, sees: bool = True) -> None:
        """Kill -9, start, and wait until it looks (and has a broker)."""
        words = "connected as" if sees else "looks at"
        before = self.watch.text().count(words)
        self.watch.kill()
        self.watch.start()
        await eventually(lambda: self.watch.text().count(words) > before)

    async def well(self, eventually: Eventually) -> None:
        """Return when the watch pings: it sees the gateway, and nothing is to be told."""
        before = len(self.ping.posts)
        await eventually(lambda: len(self.ping.posts) > before, 20, "a ping")


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    instrument = Known(1)
    with Mosquitto(folder) as broker:
        async with serving(on_tcp(instrument)) as line, MailServer() as mail, WebhookServer() as ping:
            (folder / "ping-url").write_text(f"{ping.url}&token=hunter2")
            (folder / "ping-url").chmod(0o600)
            email = {"host": "127.0.0.1", "port": mail.port, "tls": "none", "from": "labmon@lab.example"}
            site = write_site(
                folder,
                gateway={"id": "gw-1", "name": "Gateway in the corridor"},
                lines=[tcp_line(line.port, device("known-1", 1))],
                mqtt={"host": "127.0.0.1", "port": broker.port, "status-every": "300 ms"},
                stores=[{"id": "local", "sqlite": {"path": "store.db"}}],
                notices={
                    "channels": [{"id": "mail", "email": email}],
                    "people": [{"id": "duty", "name": "On Duty", "email": "duty@lab.example"}],
                    "routes": [{"classes": ["technical"], "to": ["duty"], "by": ["mail"]}],
                },
                watch=WATCH | {"ping": {"url": {"file": "ping-url"}, "every": "300 ms"}},
            )
            # The gateway tells nobody here: every mail is the watch's.
            quiet = folder / "gateway.yaml"
            quiet.write_text(json.dumps(json.loads(site.read_text()) | {"notices": {}}))
            async with (
                daemon(quiet) as gateway,
                ingest(site, "local") as storing,
                Process(folder / "watch.log", "watch", site) as watch,
            ):
                yield Stage(site, instrument, broker, mail, ping, gateway, storing, watch)
                for process in (watch, storing, gateway):
                    if process.running:
                        assert await process.stop() == 0
                    assert process.faults() == []
                    assert "hunter2" not in process.text()


async def test_each_silence_is_told_once_and_its_end_once_across_kill_9(tmp_path: Path, eventually: Eventually) -> None:
    async with stage(tmp_path) as run:
        await run.well(eventually)
        assert run.mail.mails == []

        run.gateway.kill()
        silent = await run.told(eventually, SILENT, 1)
        assert silent.subject == "TECHNICAL gateway gw-1 is silent, 1 device not monitored · Processing room"
        for words in (
            "its connection to the broker broke off at ",
            "Look at the instruments' own displays",
            "known-1 (Instrument known-1), Processing room",
            "Gateway in the corridor (gw-1)",
            "You will be told when it is over.",
            "Laboratory.",
        ):
            assert words in silent.text, words
        assert "labmon alarm ack" not in silent.text
        pings = len(run.ping.posts)
        await run.restart_watch(eventually)
        assert len(run.ping.posts) == pings, "who waits for the pings hears nothing meanwhile"
        run.gateway.start()
        back = await run.told(eventually, SILENT, 2)
        assert back.subject.startswith("CLEARED TECHNICAL gateway gw-1 is heard again after ")
        assert "it was started anew, at " in back.text
        await run.well(eventually)

        run.ingest.kill()
        quiet = await run.told(eventually, INGEST, 1)
        assert quiet.subject == "TECHNICAL ingest of gateway gw-1 into local is silent"
        await run.restart_watch(eventually)
        run.ingest.start()
        assert (await run.told(eventually, INGEST, 2)).subject.startswith("CLEARED ")
        await run.well(eventually)

        assert [len(run.mails(alarm)) for alarm in (SILENT, INGEST)] == [2, 2]
        assert len(run.mail.mails) == 4, run.subjects()

        run.broker.kill()
        blind = await run.told(eventually, BROKER, 1)
        assert blind.subject == "TECHNICAL the watch cannot see the gateways through the message broker"
        assert "not seen: gw-1" in blind.text
        await run.restart_watch(eventually, sees=False)
        run.broker.start()
        await run.told(eventually, BROKER, 2)
        await run.well(eventually)
        assert len(run.mails(BROKER)) == 2

        before = len(run.mails(SILENT))
        assert await run.gateway.stop() == 0
        stopped = await run.told(eventually, SILENT, before + 1)
        assert "it was stopped in the ordinary way, at " in stopped.text
