"""Start and end of the daemon: it waits for nobody."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from known import Known
from rig import JournalFile, asked, command, daemon, device, on_tcp, serving, tcp_line, write_site
from servers.mail import MailServer

from labmon.model.event import EventKind
from labmon.model.exchange import Exchange
from labmon.model.reading import reason_code
from labmon.simulate.fault import Fault

pytestmark = [pytest.mark.xdist_group("heavy")]

Eventually = Callable[..., Any]
SECOND = 10**9


@contextmanager
def never_accepting() -> Iterator[int]:
    """A port behind which nobody takes or refuses a connection, as with a host that is switched off."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = []
        for _ in range(4):
            fill = socket.socket()
            fill.setblocking(False)
            fill.connect_ex(("127.0.0.1", port))
            waiting.append(fill)
        try:
            yield port
        finally:
            for fill in waiting:
                fill.close()


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


async def test_the_first_readings_come_within_a_second_whoever_is_absent(
    tmp_path: Path, eventually: Eventually
) -> None:
    silent = Known(1, fault=Fault("silent"))
    with never_accepting() as off:
        async with serving(on_tcp(silent)) as mute, serving(on_tcp(Known(1))) as line:
            site = write_site(
                tmp_path,
                lines=[
                    tcp_line(line.port, device("present", 1), name="present"),
                    tcp_line(mute.port, device("silent", 1, timeout="300 ms"), name="silent"),
                    tcp_line(closed_port(), device("refused", 1), name="refused"),
                    tcp_line(off, device("off", 1), device("off-2", 2), name="off"),
                    {
                        "id": "unplugged",
                        "serial": {"port": str(tmp_path / "no-port")},
                        "devices": [device("unplugged", 1)],
                    },
                ],
                mqtt={"host": "127.0.0.1", "port": closed_port()},
            )
            async with daemon(site) as process:
                journal = JournalFile(site)
                names = {"present", "silent", "refused", "off", "off-2", "unplugged"}
                wanted = {f"{name}.{query}" for name in names for query in ("values", "switches", "record")}
                await eventually(lambda: wanted <= first_times(journal).keys(), 20, "a first reading of every query")
                assert await process.stop() == 0
            assert process.faults() == []
    started = next(e.time for e in journal.events() if e.kind is EventKind.STARTED)
    late = {query: (time - started) / SECOND for query, (time, _) in first_times(journal).items()}
    # One that is there and says nothing is known by its timeouts only, which come one after the other.
    at_once = {query for query in wanted if not query.startswith("silent.")} | {"silent.values"}
    assert max(late[query] for query in at_once) < 1.0, late
    reasons = {query.split(".")[0]: reason for query, (_, reason) in first_times(journal).items() if "values" in query}
    assert reasons == {
        "present": "",
        "silent": "silent",
        "refused": "link-lost",
        "off": "link-lost",
        "off-2": "link-lost",
        "unplugged": "link-lost",
    }


def first_times(journal: JournalFile) -> dict[str, tuple[int, str]]:
    """When the first reading of each query was received, and its reason."""
    found: dict[str, tuple[int, str]] = {}
    if not journal.exists():
        return found
    for entry in journal.entries():
        if isinstance(entry.content, Exchange):
            reason = entry.content.readings[0].reason
            found.setdefault(
                entry.content.layout.query, (entry.content.received, reason_code(reason) if reason else "")
            )
    return found


async def test_sigterm_ends_it_whatever_hangs_and_nothing_is_lost(tmp_path: Path, eventually: Eventually) -> None:
    good, mute = Known(1, fixed=1000), Known(2)
    profile = {"version": 1, "reason": "r", "unit": "Cel", "limits": [{"level": "action", "high": 38.0}]}
    channels = [{"id": "temperature", "limits": "warm"}, {"id": "n"}]
    with never_accepting() as off:
        async with serving(on_tcp(good)) as line, serving(on_tcp(mute)) as other, MailServer() as mail:
            mail.hang = "data"
            email = {"host": "127.0.0.1", "port": mail.port, "tls": "none", "from": "labmon@lab.example"}
            site = write_site(
                tmp_path,
                profiles={"warm": profile},
                lines=[
                    tcp_line(line.port, device("good", 1, channels=channels)),
                    tcp_line(other.port, device("mute", 2, timeout="20 s", every={"values": "30 s"}), name="mute"),
                    tcp_line(off, device("off", 1), name="off"),
                ],
                mqtt={"host": "127.0.0.1", "port": off},
                notices={
                    "channels": [{"id": "mail", "email": email}],
                    "people": [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}],
                    "routes": [{"classes": ["action"], "to": ["lead"], "by": ["mail"]}],
                },
            )
            mute.fault = Fault("silent")
            async with daemon(site) as process:
                await eventually(lambda: mail.connections > 0, 15, "a mail is on its way, and hangs")
                await eventually(lambda: good.replies > 10)
                assert await process.stop(within=6.0) == 0
                mail.release()
            assert process.faults() == []
    journal = JournalFile(site)
    events = journal.events()
    assert events[-1].kind is EventKind.STOPPED
    polls = [e.content for e in journal.entries() if isinstance(e.content, Exchange)]
    polls = [exchange for exchange in polls if exchange.layout.query == "good.values"]
    assert good.replies - 1 <= len(polls) <= good.replies
    assert not [e for e in events if e.kind is EventKind.NOTICE and e.outcome == "accepted"]
    assert "exchanges and events were not written" not in process.text()


async def test_the_mail_that_hung_at_the_end_is_sent_after_the_next_start(
    tmp_path: Path, eventually: Eventually
) -> None:
    good = Known(1, fixed=1000)
    profile = {"version": 1, "reason": "r", "unit": "Cel", "limits": [{"level": "action", "high": 38.0}]}
    async with serving(on_tcp(good)) as line, MailServer() as mail:
        mail.hang = "greeting"
        email = {"host": "127.0.0.1", "port": mail.port, "tls": "none", "from": "labmon@lab.example"}
        site = write_site(
            tmp_path,
            profiles={"warm": profile},
            lines=[tcp_line(line.port, device("good", 1, channels=[{"id": "temperature", "limits": "warm"}]))],
            notices={
                "channels": [{"id": "mail", "email": email}],
                "people": [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}],
                "routes": [{"classes": ["action"], "to": ["lead"], "by": ["mail"]}],
            },
        )
        async with daemon(site) as process:
            await eventually(lambda: mail.connections > 0, 15)
            assert await process.stop(within=6.0) == 0
            mail.release()
            process.start()
            await eventually(lambda: mail.mails, 15)
            assert await process.stop() == 0
        assert len([m for m in mail.mails if "ABOVE ACTION" in m.text]) == 1


async def test_commands_at_the_gateway_work_without_broker_and_network(tmp_path: Path, eventually: Eventually) -> None:
    async with serving(on_tcp(Known(1))) as line:
        site = write_site(
            tmp_path,
            lines=[tcp_line(line.port, device("known-1", 1))],
            mqtt={"host": "127.0.0.1", "port": closed_port()},
        )
        path = ("--socket", site.with_name("control.sock"))
        async with daemon(site) as process:

            async def polled() -> bool:
                found = await asked(site)
                return found is not None and found["polled"] > 0

            await eventually(polled, 15)
            code, out, err = await command("status", *path)
            assert (code, err) == (0, "")
            for word in ("lab/gw-1", "JOURNAL   ok", "known-1  ok"):
                assert word in out, out
            assert (await command("alarm", "list", *path))[1] == "no alarm\n"
            out_of = ("device", "out-of-service", "known-1", "--for", "2 h", "--reason", "calibration", *path)
            code, out, err = await command(*out_of)
            assert (code, err) == (0, "")
            assert "out-of-service" in out

            def flagged() -> bool:
                last = [e.content for e in JournalFile(site).entries() if isinstance(e.content, Exchange)][-1]
                return all(r.flags & 16 for r in last.readings)

            await eventually(flagged)
            code, out, err = await command("device", "out-of-service", "known-9", *out_of[3:])
            assert (code, out) == (1, "")
            assert "no device known-9; there are known-1" in err
            code, out, err = await command("device", "in-service", "known-1", "--reason", "done", *path)
            assert (code, err) == (0, "")
            code, out, err = await command("alarm", "ack", "known-1.dead", "--reason", "r", *path)
            assert code == 1
            assert "no alarm known-1.dead to acknowledge" in err
            assert await process.stop() == 0
        code, out, err = await command("status", *path)
        assert code == 1
        assert process.faults() == []
        commands = [e for e in JournalFile(site).events() if e.kind is EventKind.COMMAND]
        assert [(e.command, e.user, e.detail[:7]) for e in commands] == [
            ("device-out-of-service", "duty", "done"),
            ("device-out-of-service", "duty", "refused"),
            ("device-in-service", "duty", "done"),
        ]


async def test_two_daemons_on_one_site_do_not_share_its_journal(tmp_path: Path, eventually: Eventually) -> None:
    async with serving(on_tcp(Known(1))) as line:
        site = write_site(tmp_path, lines=[tcp_line(line.port, device("known-1", 1))])
        async with daemon(site) as first:

            async def polled() -> bool:
                return await asked(site) is not None

            await eventually(polled, 15)
            code, _, err = await command("run", site)
            assert code == 1
            assert "another one answers" in err
            assert first.running
            assert await asked(site) is not None, "the first one still answers"
            assert await first.stop() == 0
        assert first.faults() == []
        started = [e for e in JournalFile(site).events() if e.kind is EventKind.STARTED]
        assert len(started) == 1
