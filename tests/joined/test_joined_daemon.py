"""The daemon at its start and its end, when a part of it is missing, late or broken."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from joined_gateway import Room, room, running

from labmon.daemon.control import ask
from labmon.daemon.daemon import Daemon
from labmon.delivery.gateway import Delivery
from labmon.journal.errors import JournalUnavailable
from labmon.journal.store import Store
from labmon.model.event import AlarmState, EventKind
from labmon.notices.outbox import Notifier

HIGH = "probe-1.co2.action-high"


def states(daemon: Daemon) -> dict[str, AlarmState]:
    if daemon._pipeline is None:
        return {}
    return {view.alarm: view.state for view in daemon.pipeline.engine.views()}


def ready(daemon: Daemon) -> bool:
    return daemon._pipeline is not None and daemon.pipeline.polled > 0


async def acknowledged_and_out_of_service(made: Room, eventually: Any) -> str:
    """A run that ends with an acknowledged alarm, and another device out of service. Returns the occurrence."""
    async with running(made.daemon()) as daemon:
        await eventually(lambda: ready(daemon))
        made.probes["probe-1"].jump("co2", 120_000.0)
        await eventually(lambda: HIGH in states(daemon))
        view = next(v for v in daemon.pipeline.engine.views() if v.alarm == HIGH)
        await eventually(lambda: made.site.with_name("control.sock").exists())
        await made.ask("alarm-ack", alarm=HIGH, occurrence=view.occurrence, reason="seen")
        await made.ask("device-out-of-service", device="probe-2", seconds=3600, reason="cleaning")
        assert states(daemon)[HIGH] is AlarmState.ACKED
    return view.occurrence


@pytest.mark.parametrize("how", ["fails", "is slow"])
async def test_a_journal_that_opens_late_gives_back_what_it_remembers(
    tmp_path: Path, eventually: Any, how: str
) -> None:
    """Nothing is raised that was quiet, nothing forgotten that nobody has acknowledged."""
    async with room(tmp_path, "probe-1", "probe-2") as made:
        occurrence = await acknowledged_and_out_of_service(made, eventually)
        made.probes["probe-1"].jump("co2", 79_500.0)  # inside the dead-band: an alarm stays, and none is raised
        made.probes["probe-2"].jump("co2", 120_000.0)
        free = threading.Event()

        def late(*arguments: Any, **options: Any) -> Store:
            if how == "fails" and not free.is_set():
                raise JournalUnavailable("read-only for a while")
            free.wait(20)
            return Store.open(*arguments, **options)

        daemon = made.daemon()
        daemon.journal._committer._open_store = late
        async with running(daemon):
            await eventually(lambda: ready(daemon) and daemon.pipeline.polled > 4, 10)
            free.set()
            await eventually(lambda: states(daemon).get(HIGH) is AlarmState.ACKED)
            assert daemon.pipeline.engine.is_out_of_service("probe-2")
            assert next(v for v in daemon.pipeline.engine.views() if v.alarm == HIGH).occurrence == occurrence
            made.probes["probe-1"].jump("co2", 50_000.0)
            await eventually(lambda: HIGH not in states(daemon))
            made.probes["probe-1"].jump("co2", 120_000.0)
            await eventually(lambda: states(daemon).get(HIGH) is AlarmState.UNACK)
        raised = [e.occurrence for e in made.events(EventKind.RAISED) if e.alarm == HIGH]
        assert len(raised) == 2
        assert raised[0] == occurrence


async def test_a_condition_left_active_ends_although_it_was_told_before_the_journal_opened(
    tmp_path: Path, eventually: Any
) -> None:
    async with room(tmp_path, "probe-1") as made:
        await made.lines["probe-1"].stop()
        async with running(made.daemon()) as daemon:
            await eventually(lambda: "line.line-probe-1.lost" in states(daemon), 15)
        await made.lines["probe-1"].start()
        free = threading.Event()

        def late(*arguments: Any, **options: Any) -> Store:
            free.wait(20)
            return Store.open(*arguments, **options)

        daemon = made.daemon()
        daemon.journal._committer._open_store = late
        async with running(daemon):
            await eventually(lambda: ready(daemon) and daemon.pipeline.polled > 4, 10)
            free.set()
            await eventually(lambda: "line.line-probe-1.lost" in states(daemon))
            await eventually(lambda: daemon.pipeline.engine._delayed, what="it is on its way to its end")


async def test_a_damaged_journal_at_the_start_is_an_alarm(tmp_path: Path, eventually: Any) -> None:
    async with room(tmp_path, "probe-1") as made:
        tmp_path.joinpath("journal.db").write_bytes(b"not a database at all" * 100)
        async with running(made.daemon()) as daemon:
            await eventually(lambda: states(daemon).get("gateway.journal") is AlarmState.UNACK)
            await eventually(lambda: made.site.with_name("control.sock").exists())
        raised = made.events(EventKind.RAISED)
        assert [e.alarm for e in raised] == ["gateway.journal"]
        assert "set aside" in raised[0].detail
        assert len(made.events(EventKind.JOURNAL)) == 1


async def test_a_line_that_fails_is_one_alarm_is_built_anew_and_shows_no_old_value(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault comes back as often as the line is started; the other line goes on."""
    async with room(tmp_path, "probe-1", "probe-2") as made:
        daemon = made.daemon()
        monkeypatch.setattr("labmon.daemon.parts.RESTART", (0.05,))
        async with running(daemon):
            await eventually(lambda: ready(daemon))
            from labmon.acquisition.line import Line

            latest: dict[str, Any] = {}
            monkeypatch.setattr(daemon.pipeline, "live", lambda e: latest.__setitem__(e.layout.query.split(".")[0], e))
            advance = Line._poll

            async def broken(line: Line, poll: Any) -> None:
                if line.plan.id == "line-probe-1":
                    raise RuntimeError("a fault for the test")
                await advance(line, poll)

            monkeypatch.setattr(Line, "_poll", broken)
            await eventually(lambda: "line.line-probe-1.lost" in states(daemon), 15)
            assert latest["probe-1"].readings[0].reason.startswith("internal")
            assert latest["probe-2"].readings[0].value is not None
            monkeypatch.setattr(Line, "_poll", advance)
            await eventually(lambda: latest["probe-1"].readings[0].value is not None)
        assert [e.alarm for e in made.events(EventKind.RAISED)] == ["gateway.fault", "line.line-probe-1.lost"]
        faults = made.events(EventKind.FAULT)
        assert len(faults) > 1
        assert faults[0].detail == (
            "line line-probe-1: failed (RuntimeError: a fault for the test), starts again in 0.05 s"
        )


async def test_a_link_that_cannot_be_made_costs_its_own_line(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import labmon.daemon.polling as module

    make = module.make_link

    def one_fails(endpoint: Any, *arguments: Any, **options: Any) -> Any:
        if endpoint.port == broken:
            raise ValueError("no such link")
        return make(endpoint, *arguments, **options)

    async with room(tmp_path, "probe-1", "probe-2") as made:
        broken = made.lines["probe-1"].port
        monkeypatch.setattr(module, "make_link", one_fails)
        async with running(made.daemon()) as daemon:
            await eventually(lambda: ready(daemon))
            await eventually(lambda: "line.line-probe-1.lost" in states(daemon), 15)


NOTICES = {
    "people": [{"id": "duty", "name": "Duty", "email": "duty@example.com"}],
    "channels": [{"id": "mail", "email": {"host": "127.0.0.1", "port": 1, "from": "labmon@example.com"}}],
    "routes": [{"classes": ["action", "alert", "technical"], "to": ["duty"], "by": ["mail"]}],
}


@pytest.mark.parametrize("part", ["delivery", "notices"])
async def test_a_consumer_that_cannot_be_made_stops_no_poll_and_is_an_alarm(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("cannot be made")

    monkeypatch.setattr(Delivery if part == "delivery" else Notifier, "__init__", fails)
    more = {"mqtt": {"host": "127.0.0.1", "port": 1}, "notices": NOTICES}
    async with room(tmp_path, "probe-1", **more) as made, running(made.daemon()) as daemon:
        await eventually(lambda: ready(daemon))
        told = daemon.pipeline.engine._alarms["gateway.broker" if part == "delivery" else "gateway.notices.mail"]
        assert told.level is True
        assert told.detail == "cannot be made"


@pytest.mark.parametrize("part", ["delivery", "notices"])
async def test_a_consumer_that_cannot_be_started_stops_no_poll(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("cannot be started")

    monkeypatch.setattr(Delivery if part == "delivery" else Notifier, "start", fails)
    more = {"mqtt": {"host": "127.0.0.1", "port": 1}, "notices": NOTICES}
    async with room(tmp_path, "probe-1", **more) as made, running(made.daemon()) as daemon:
        await eventually(lambda: ready(daemon))
        await eventually(lambda: made.site.with_name("control.sock").exists())


async def test_a_socket_that_cannot_be_made_stops_no_poll(tmp_path: Path, eventually: Any) -> None:
    async with room(tmp_path, "probe-1", socket="/proc/labmon/control.sock") as made, running(made.daemon()) as daemon:
        await eventually(lambda: ready(daemon))


async def test_a_socket_that_could_not_be_made_is_there_as_soon_as_it_can_be(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labmon.daemon.control.AGAIN", 0.05)
    in_the_way = tmp_path / "run"
    in_the_way.write_text("no folder")
    async with room(tmp_path, "probe-1", socket="run/control.sock") as made, running(made.daemon()) as daemon:
        await eventually(lambda: ready(daemon))
        in_the_way.unlink()
        path = in_the_way / "control.sock"
        await eventually(path.is_socket)
        assert (await asyncio.to_thread(ask, path, "status"))["gateway"] == "gw-1"
        await eventually(lambda: "control socket" not in daemon.parts.names())
    assert not path.exists()


async def test_what_leaves_the_gateway_is_there_once_when_its_start_fails_at_the_end(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labmon.daemon.parts.RESTART", (0.05,))
    watch, calls = Daemon.watch_certificates, 0

    def fails_once(daemon: Daemon) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("planted")
        watch(daemon)

    monkeypatch.setattr(Daemon, "watch_certificates", fails_once)
    made_of: list[Any] = []
    for kind in (Delivery, Notifier):
        right = kind.start

        def counted(self: Any, right: Any = right) -> Any:
            made_of.append(type(self))
            return right(self)

        monkeypatch.setattr(kind, "start", counted)
    more = {"mqtt": {"host": "127.0.0.1", "port": 1}, "notices": NOTICES}
    async with room(tmp_path, "probe-1", **more) as made, running(made.daemon()) as daemon:
        await eventually(lambda: "certificates" in daemon.parts.names())
        assert "outside: failed" in daemon.fault_alarm.now()[1]
        assert made_of == [Delivery, Notifier]


async def test_a_client_that_does_not_read_its_answers_holds_up_no_stop(tmp_path: Path, eventually: Any) -> None:
    async with room(tmp_path, "probe-1") as made:
        with socket.socket(socket.AF_UNIX) as client:
            async with running(made.daemon()) as daemon:
                await eventually(lambda: ready(daemon) and made.site.with_name("control.sock").exists())
                client.connect(str(made.site.with_name("control.sock")))
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    for _ in range(100_000):
                        client.send(b'{"verb":"status"}\n' * 100)
                        await asyncio.sleep(0)
                polled = daemon.pipeline.polled
                await eventually(lambda: daemon.pipeline.polled > polled + 1)
        assert made.events(EventKind.STOPPED)


async def test_a_stop_in_the_middle_of_the_start_ends_cleanly(tmp_path: Path) -> None:
    async with room(tmp_path, "probe-1") as made:
        daemon = made.daemon()
        daemon.stop.set()
        async with running(daemon):
            pass
        assert made.events(EventKind.STOPPED)


async def test_the_journal_names_every_text_that_limits_come_from(tmp_path: Path, eventually: Any) -> None:
    async with room(tmp_path, "probe-1") as made:
        loaded = made.loaded()
        async with running(made.daemon()) as daemon:
            await eventually(lambda: ready(daemon))
        (configuration,) = made.configurations()
        assert configuration.site == made.site.read_text()
        assert configuration.profiles == loaded.profiles
        assert loaded.profiles
        assert all(Path(path).read_text() == text for path, text in configuration.profiles.items())
