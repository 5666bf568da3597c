"""Under a service manager, for which a datagram socket stands: ready, alive, stuck, stopped. Real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from known import Known
from rig import JournalFile, Process, asked, daemon, device, ingest, on_tcp, serving, tcp_line, write_site
from servers.mail import MailServer
from servers.mosquitto import Mosquitto, broker
from servers.scripted_http import Answer, ScriptedHttp

from labmon.model.event import EventKind
from labmon.model.exchange import Exchange
from labmon.simulate.fault import Fault

__all__ = ["broker"]

pytestmark = [pytest.mark.xdist_group("heavy")]

Eventually = Callable[..., Any]
INTERVAL = 0.4
"""Seconds within which the service manager of these tests wants to hear."""
STOP = 5.0
"""Seconds that the requirement gives; the unit's TimeoutStopSec kills after them."""


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "notify"
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def hear(self) -> list[str]:
        """Everything told so far, one message an item."""
        while True:
            try:
                self.told.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.told

    def alive(self) -> int:
        return self.hear().count("WATCHDOG=1")

    @property
    def ready(self) -> bool:
        return any(message.startswith("READY=1") for message in self.hear())

    def plant(self, name: str) -> Path:
        """Have a fault in the planted process from now on; the file that tells that somebody is caught in it."""
        (self.folder / name).touch()
        return self.folder / f"{name}.caught"

    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(INTERVAL * 1e6)), "PLANT": str(self.folder)}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


@asynccontextmanager
async def service(site: Path, manager: Manager, *, planted: bool = False) -> AsyncIterator[Process]:
    here = str(Path(__file__).parent)
    process = Process(site.with_name("daemon.log"), "run", site, environ={**manager.environ(), "PYTHONPATH": here})
    process.module = "planted" if planted else "labmon"
    async with process:
        yield process


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


async def test_ready_when_the_lines_have_begun_alive_while_it_runs_and_stopping_told(
    tmp_path: Path, manager: Manager, eventually: Eventually
) -> None:
    """Nobody is there: no instrument, no broker."""
    site = write_site(
        tmp_path,
        lines=[
            tcp_line(closed_port(), device("refused", 1), name="refused"),
            {"id": "unplugged", "serial": {"port": str(tmp_path / "no-port")}, "devices": [device("unplugged", 1)]},
        ],
        mqtt={"host": "127.0.0.1", "port": closed_port()},
    )
    async with service(site, manager) as process:
        await eventually(lambda: manager.ready, 15)
        assert await asked(site) is not None, "the local socket answers whom READY let go on"
        await eventually(lambda: manager.alive() > 5)
        os.kill(process.pid, signal.SIGHUP)
        alive = manager.alive()
        await eventually(lambda: manager.alive() > alive + 2, what="SIGHUP does not end it")
        assert await process.stop(STOP) == 0
    assert manager.hear()[-1] == "STOPPING=1\nSTATUS=stopping"
    assert process.faults() == []


async def test_a_loop_that_hangs_is_not_told_to_be_alive(
    tmp_path: Path, manager: Manager, eventually: Eventually
) -> None:
    async with serving(on_tcp(Known(66))) as line:
        site = write_site(tmp_path, lines=[tcp_line(line.port, device("planted", 66))])
        async with service(site, manager, planted=True) as process:
            await eventually(lambda: manager.ready and manager.alive() > 2, 15)
            caught = manager.plant("block")
            await eventually(caught.exists)
            before = manager.alive()
            hung = time.monotonic()
            await eventually(lambda: time.monotonic() > hung + 2 * INTERVAL)
            assert manager.alive() == before
            process.kill()


async def test_a_stuck_line_is_replaced_alone_and_only_a_replacement_that_sticks_withholds_the_watchdog(
    tmp_path: Path, manager: Manager, eventually: Eventually
) -> None:
    async with serving(on_tcp(Known(66))) as line, serving(on_tcp(Known(1))) as other:
        site = write_site(
            tmp_path,
            lines=[
                tcp_line(line.port, device("planted", 66, timeout="100 ms"), name="planted"),
                tcp_line(other.port, device("well", 1), name="well"),
            ],
        )

        async def faults() -> list[str]:
            found = await asked(site)
            return [row["text"] for row in found["alarms"] if row["alarm"] == "gateway.fault"] if found else []

        async with service(site, manager, planted=True) as process:
            await eventually(lambda: manager.ready and manager.alive() > 2, 15)
            caught = manager.plant("stick-once")
            await eventually(caught.exists)
            await eventually(faults, 20, "an alarm")
            (told,) = await faults()
            assert "line planted: stuck (no turn completed in" in told
            journal = JournalFile(site)
            told_of = await eventually(lambda: [e.time for e in journal.events() if e.kind is EventKind.FAULT])
            stuck = told_of[0]

            def values(name: str, after: int = 0) -> list[Exchange]:
                entries = [e.content for e in journal.entries() if isinstance(e.content, Exchange)]
                return [e for e in entries if e.layout.query == f"{name}.values" and e.time > after]

            await eventually(lambda: any(e.readings[0].value is not None for e in values("planted", stuck)), 10)
            assert any((e.readings[0].reason or "").startswith("internal") for e in values("planted"))
            await eventually(lambda: manager.alive() > 10)
            assert not [m for m in manager.hear() if "makes no progress" in m], "not withheld"
            assert "line planted: does not end, and is left behind" in process.text()

            manager.plant("stick")
            withheld = "STATUS=line planted makes no progress, and replacing it did not help"
            await eventually(lambda: withheld in manager.hear(), 20)
            assert "WATCHDOG=1" not in manager.hear()[manager.told.index(withheld) :]
            assert process.running
            assert await process.stop(STOP) == 0, "with tasks left behind that do not end"
        status = [e.readings[0].reason for e in values("well")]
        assert set(status) == {None}, "the other line never noticed"
        assert max(b.time - a.time for a, b in zip(values("well"), values("well")[1:], strict=False)) < 10**9
        assert journal.events()[-1].kind is EventKind.STOPPED


async def test_everything_hangs_and_sigterm_ends_it_in_time_with_nothing_lost(
    tmp_path: Path, manager: Manager, broker: Mosquitto, eventually: Eventually
) -> None:
    """A silent device in mid-exchange, a stalled broker, a mail server that says nothing, names that hang, a line
    whose task cannot be ended: all at once."""
    good, mute = Known(1, fixed=1000), Known(2, fault=Fault("silent"))
    profile = {"version": 1, "reason": "r", "unit": "Cel", "limits": [{"level": "action", "high": 38.0}]}
    channels = [{"id": "temperature", "limits": "warm"}, {"id": "n"}]
    async with (
        serving(on_tcp(good)) as line,
        serving(on_tcp(mute)) as silent,
        serving(on_tcp(Known(66))) as sticking,
        MailServer() as mail,
    ):
        mail.hang = "greeting"
        email = {"host": "127.0.0.1", "port": mail.port, "tls": "none", "from": "labmon@lab.example"}
        named = [
            {"id": f"named-{n}", "tcp": {"host": f"hangs-{n}", "port": 502}, "devices": [device(f"named-{n}", 1)]}
            for n in range(8)
        ]
        site = write_site(
            tmp_path,
            profiles={"warm": profile},
            lines=[
                tcp_line(line.port, device("good", 1, channels=channels)),
                tcp_line(silent.port, device("mute", 2, timeout="20 s", every={"values": "30 s"}), name="mute"),
                tcp_line(sticking.port, device("stuck", 66), name="stuck"),
                *named,
            ],
            mqtt={"host": "127.0.0.1", "port": broker.port},
            stores=[{"id": "local", "sqlite": {"path": "readings.db"}}],
            notices={
                "channels": [
                    {"id": "mail", "email": email},
                    {"id": "hook", "webhook": {"url": "http://hangs-hook:80/"}},
                ],
                "people": [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}],
                "routes": [{"classes": ["action"], "to": ["lead"], "by": ["mail", "hook"]}],
            },
        )
        manager.plant("stick")
        async with service(site, manager, planted=True) as process:
            names = [f"hangs-{n}" for n in range(8)] + ["hangs-hook", "stick"]
            await eventually(lambda: all((tmp_path / f"{name}.caught").exists() for name in names), 20)
            await eventually(lambda: mail.connections > 0, 15)
            await eventually(lambda: "connected as" in process.text())
            broker.freeze()
            replies = good.replies
            await eventually(lambda: good.replies > replies + 10)
            assert await process.stop(STOP) == 0
            broker.thaw()
            mail.release()
        assert not [line for line in process.faults() if "stuck" not in line], process.faults()
    journal = JournalFile(site)
    polls = [e.content for e in journal.entries() if isinstance(e.content, Exchange)]
    polls = [exchange for exchange in polls if exchange.layout.query == "good.values"]
    assert good.replies - 1 <= len(polls) <= good.replies
    events = journal.events()
    assert events[-1].kind is EventKind.STOPPED
    assert [e.alarm for e in events if e.kind is EventKind.RAISED and e.alarm.startswith("good.")]
    assert "were not written" not in process.text()


async def test_a_signal_while_it_starts_ends_it_cleanly(tmp_path: Path, eventually: Eventually) -> None:
    """As soon as the command has begun, and at later moments of the start; SIGHUP meanwhile is no end."""
    site = write_site(tmp_path, lines=[tcp_line(closed_port(), device("refused", 1))])
    for moment in (0.0, 0.1, 0.2, 0.35, 0.5):
        async with Process(site.with_name(f"{moment}.log"), "run", site) as process:
            await eventually(lambda: handles(process.pid, signal.SIGTERM), 15)
            begun = time.monotonic()
            await eventually(lambda: time.monotonic() >= begun + moment)  # noqa: B023
            os.kill(process.pid, signal.SIGHUP)
            assert await process.stop(STOP) == 0, process.text()
            assert process.faults() == []


def handles(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("frozen", [False, True])
async def test_ingest_is_ready_alive_and_ends_in_time_though_store_and_broker_hang(
    tmp_path: Path, manager: Manager, broker: Mosquitto, eventually: Eventually, frozen: bool
) -> None:
    with ScriptedHttp(otherwise=Answer(204, hang=True)) as store:
        token = tmp_path / "token"
        token.write_text("t")
        token.chmod(0o600)
        async with serving(on_tcp(Known(1))) as line:
            site = write_site(
                tmp_path,
                lines=[tcp_line(line.port, device("good", 1))],
                mqtt={"host": "127.0.0.1", "port": broker.port},
                stores=[
                    {
                        "id": "influx",
                        "influxdb": {
                            "url": store.url,
                            "org": "o",
                            "bucket": "b",
                            "token": {"file": "token"},
                            "timeout": "60 s",
                        },
                    }
                ],
            )
            async with daemon(site) as gateway:
                process = ingest(site, "influx")
                process.environ = manager.environ()
                async with process:
                    await eventually(lambda: manager.ready, 15)
                    await eventually(lambda: store.requests, 20, "the store has taken a request, and says nothing")
                    alive = manager.alive()
                    await eventually(lambda: manager.alive() > alive + 3)
                    if frozen:
                        broker.freeze()
                    assert await process.stop(STOP) == 0
                    broker.thaw()
                assert manager.hear()[-1] == "STOPPING=1\nSTATUS=stopping"
                assert process.faults() == []
                assert await gateway.stop(STOP) == 0
