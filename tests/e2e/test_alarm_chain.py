"""From a breach in an instrument to a person's mail, and back from the person's acknowledgement; across kill -9."""

from __future__ import annotations

import getpass
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from known import Known
from listener import PREFIX, Listener
from rig import JournalFile, Process, asked, command, daemon, device, on_tcp, serving, tcp_line, write_site
from servers.mail import Mail, MailServer
from servers.mosquitto import Mosquitto

from labmon.config.secrets import command_proof, derive_key, hash_pin, pin_parameters
from labmon.model.event import EventKind
from labmon.model.messages import Command

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(90)]

Eventually = Callable[..., Any]
ALARM = "known-1.temperature.action-high"
NORMAL, BREACH = 970, 1000
"""Replies that hold 37.0 and 40.0 degrees."""
PIN = "4711-0815"
PROFILE = {
    "version": 1,
    "reason": "Cells die above.",
    "unit": "Cel",
    "limits": [{"level": "action", "high": 38.0, "dead-band": 0.5}],
}


@dataclass
class Chain:
    site: Path
    instrument: Known
    broker: Mosquitto
    mail: MailServer
    listener: Listener
    daemon: Process
    pin_hash: str

    @property
    def journal(self) -> JournalFile:
        return JournalFile(self.site)

    def mails(self, about: str = "") -> list[Mail]:
        return [mail for mail in self.mail.mails if about in mail.text]

    async def polled(self, eventually: Eventually, more: int = 5) -> None:
        """Return when the daemon runs and has asked the instrument so many times more."""
        n = self.instrument.asked

        async def going() -> bool:
            return self.instrument.asked >= n + more and await asked(self.site) is not None

        await eventually(going, 15)

    async def alarm(self) -> dict[str, Any] | None:
        """The alarm as the daemon tells it."""
        found = [a for a in await asked(self.site, "alarms") or [] if a["alarm"] == ALARM]
        return found[0] if found else None


@asynccontextmanager
async def chain(folder: Path) -> AsyncIterator[Chain]:
    instrument = Known(1, fixed=NORMAL)
    pin_hash = hash_pin(PIN)
    (folder / "pin").write_text(pin_hash)
    (folder / "pin").chmod(0o600)
    with Mosquitto(folder) as broker:
        async with serving(on_tcp(instrument)) as line, MailServer() as mail, Listener(broker) as listener:
            email = {"host": "127.0.0.1", "port": mail.port, "tls": "none", "from": "labmon@lab.example"}
            site = write_site(
                folder,
                profiles={"warm": PROFILE},
                lines=[
                    tcp_line(
                        line.port,
                        device(
                            "known-1",
                            1,
                            asset="A-1",
                            instruction="Move the flasks.",
                            channels=[
                                {"id": "temperature", "place": "Shelf 2", "limits": "warm"},
                                {"id": "counts"},
                            ],
                        ),
                    )
                ],
                users=[
                    {"id": "duty", "name": "On Duty", "role": "operator", "system-user": getpass.getuser()},
                    {"id": "otto", "name": "Otto", "role": "operator", "pin": {"file": "pin"}},
                    {"id": "vera", "name": "Vera", "role": "viewer", "pin": {"file": "pin"}},
                ],
                mqtt={"host": "127.0.0.1", "port": broker.port},
                notices={
                    "channels": [{"id": "mail", "email": email}],
                    "people": [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}],
                    "routes": [{"classes": ["action"], "to": ["lead"], "by": ["mail"]}],
                },
            )
            async with daemon(site) as process:
                yield Chain(site, instrument, broker, mail, listener, process, pin_hash)
                assert await process.stop() == 0
                assert process.faults() == []


def alarm_events(run: Chain) -> list[tuple[EventKind, str]]:
    return [(e.kind, e.occurrence) for e in run.journal.events() if e.alarm == ALARM and e.state is not None]


async def test_from_breach_to_mail_to_acknowledgement_across_kill_9(tmp_path: Path, eventually: Eventually) -> None:
    async with chain(tmp_path) as run:
        await run.polled(eventually)
        assert ALARM not in run.listener.alarms
        assert not run.mail.mails

        run.instrument.fixed = BREACH
        await eventually(lambda: run.listener.state(ALARM) == "UNACK")
        raised = run.listener.alarms[ALARM][-1]
        assert raised is not None
        assert (raised.value, raised.limit, raised.unit, raised.measured) == (40.0, 38.0, "Cel", True)
        await eventually(lambda: run.mails())
        first = run.mails()[0]
        assert first.to == ["lead@lab.example"]
        for word in ("Instrument known-1", "A-1", "Processing room", "Shelf 2", "40.00", "38.00", "Move the flasks."):
            assert word in first.text, word
        assert f"labmon alarm ack {ALARM} --occurrence {raised.occurrence}" in first.text

        code, out, err = await command(
            *("alarm", "ack", ALARM, "--occurrence", raised.occurrence, "--reason", "flasks are moved"),
            *("--socket", run.site.with_name("control.sock")),
        )
        assert (code, err) == (0, "")
        assert "acknowledged" in out
        await eventually(lambda: run.listener.state(ALARM) == "ACKED")
        await eventually(lambda: len(run.mails()) == 2)
        assert "On Duty acknowledged it" in run.mails()[1].text
        assert "flasks are moved" in run.mails()[1].text

        # What tells that the mail went out must be on the disk too, or it would rightly be sent again.
        await eventually(lambda: notices(run) == 2)
        run.daemon.kill()
        before = len(run.listener.alarms[ALARM])
        run.daemon.start()
        await run.polled(eventually)
        now = await run.alarm()
        assert now is not None
        assert (now["state"], now["occurrence"]) == ("ACKED", raised.occurrence)
        await eventually(lambda: len(run.listener.alarms[ALARM]) > before, what="told again after the connect")
        assert {m.state.value if m else None for m in run.listener.alarms[ALARM][before:]} == {"ACKED"}

        run.instrument.fixed = NORMAL
        await eventually(lambda: run.listener.alarms[ALARM][-1] is None)
        last = run.listener.alarms[ALARM][-2]
        assert last is not None and last.state == "NORM"
        await eventually(lambda: len(run.mails()) == 3)
        assert "back in limits" in run.mails()[2].text
        assert await run.alarm() is None
        occurrence = raised.occurrence
        assert alarm_events(run) == [
            (EventKind.RAISED, occurrence),
            (EventKind.ACKNOWLEDGED, occurrence),
            (EventKind.CLEARED, occurrence),
        ]
        assert len(run.mail.mails) == 3, "nothing is told twice"


def notices(run: Chain) -> int:
    """How many accepted notices the cursor of their reader has passed."""
    cursors = run.journal.cursors()
    events = run.journal.events()
    acknowledged = [e for e in events if e.kind is EventKind.ACKNOWLEDGED]
    if not acknowledged or cursors.get("notices.mail.lead", 0) < _seq(run, EventKind.ACKNOWLEDGED):
        return 0
    return len([e for e in events if e.kind is EventKind.NOTICE and e.outcome == "accepted"])


def _seq(run: Chain, kind: EventKind) -> int:
    return next(e.seq for e in run.journal.entries() if getattr(e.content, "kind", None) is kind)


async def test_a_proven_command_by_mqtt_acknowledges_and_is_never_taken_twice(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with chain(tmp_path) as run:
        await run.polled(eventually)
        run.instrument.fixed = BREACH
        await eventually(lambda: run.listener.state(ALARM) == "UNACK")
        raised = run.listener.alarms[ALARM][-1]
        assert raised is not None
        good = proven(run, Command("ack-1", "otto", "", time.time_ns(), ALARM, raised.occurrence, reason="seen"))

        async def refused(command: Command, verb: str = "alarm-ack") -> str:
            had = len(run.listener.replies.get(command.id, ()))
            await run.listener.send(verb, command)
            await eventually(lambda: len(run.listener.replies.get(command.id, ())) > had)
            reply = run.listener.replies[command.id][-1]
            assert not reply.ok
            return reply.text

        assert "wrong proof" in await refused(replace(good, id="other-id"))
        assert "wrong proof" in await refused(replace(good, reason="another"))
        assert "unknown user" in await refused(proven(run, replace(good, id="nobody", user="mallory")))
        assert "viewer" in await refused(proven(run, replace(good, id="viewer-1", user="vera")))
        assert "occurrence" in await refused(proven(run, replace(good, id="past-1", occurrence="past")))
        assert "unknown command" in await refused(proven(run, replace(good, id="verb-1"), "stop"), "stop")
        assert run.listener.state(ALARM) == "UNACK"

        await run.listener.send("alarm-ack", good)
        await eventually(lambda: "ack-1" in run.listener.replies and run.listener.replies["ack-1"][-1].ok)
        await eventually(lambda: run.listener.state(ALARM) == "ACKED")
        assert "used before" in await refused(good)

        await eventually(lambda: done(run))
        run.daemon.kill()
        run.daemon.start()
        await run.polled(eventually)
        await eventually(lambda: asked(run.site))

        async def refused_again() -> bool:
            """A command is lost where the daemon does not listen yet."""
            had = len(run.listener.replies["ack-1"])
            await run.listener.send("alarm-ack", good)
            await run.polled(eventually, 2)
            return len(run.listener.replies["ack-1"]) > had

        await eventually(refused_again, 20)
        assert "used before" in run.listener.replies["ack-1"][-1].text

        journaled = [e for e in run.journal.events() if e.kind is EventKind.COMMAND]
        assert [(e.user, e.detail) for e in journaled if e.detail == "done"] == [("otto", "done")]
        for why in ("wrong proof", "unknown user", "viewer", "occurrence", "unknown command", "used before"):
            assert [e for e in journaled if e.detail.startswith("refused") and why in e.detail], why
        assert [k for k, _ in alarm_events(run)].count(EventKind.ACKNOWLEDGED) == 1


def done(run: Chain) -> bool:
    return any(e.kind is EventKind.COMMAND and e.detail == "done" for e in run.journal.events())


def proven(run: Chain, command: Command, verb: str = "alarm-ack") -> Command:
    """The command with the proof of somebody who knows the PIN."""
    key = derive_key(PIN, pin_parameters(run.pin_hash))
    proof = command_proof(
        key,
        gateway=PREFIX,
        verb=verb,
        id=command.id,
        user=command.user,
        time=command.time,
        alarm=command.alarm,
        occurrence=command.occurrence,
        device=command.device,
        reason=command.reason,
        until=command.until,
    )
    return replace(command, proof=proof)
