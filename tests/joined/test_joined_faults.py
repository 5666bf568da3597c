"""A fault planted in every task of the daemon: each is an alarm that names the part, and the part works again."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from joined_gateway import room, running

from labmon.daemon.clock import ClockWatch
from labmon.daemon.control import ControlSocket
from labmon.daemon.daemon import Daemon
from labmon.daemon.outside import Outside
from labmon.daemon.polling import Polling
from labmon.daemon.watchdog import Watchdog
from labmon.delivery.alarms import AlarmPublisher
from labmon.delivery.commands import CommandReceiver
from labmon.delivery.events import EventSender
from labmon.delivery.gateway import Delivery
from labmon.delivery.live import LivePublisher
from labmon.delivery.pins import PinPublisher
from labmon.delivery.record import RecordSender
from labmon.delivery.status import StatusPublisher
from labmon.journal.committer import Committer
from labmon.model.event import EventKind
from labmon.mqtt.connection import Connection
from labmon.mqtt.inbox import Inbox
from labmon.notices.channel import NoticeChannel
from labmon.notices.outbox import Notifier

TASKS: dict[str, tuple[Any, str]] = {
    "line line-probe-1": (Polling, "run"),
    "alarms": (Daemon, "_ticks"),
    "clock": (ClockWatch, "run"),
    "watchdog": (Watchdog, "look"),
    "certificates": (Daemon, "_certificates"),
    "outside": (Outside, "connect"),
    "journal": (Committer, "_take"),
    "alarms to mqtt": (AlarmPublisher, "_run"),
    "record sender": (RecordSender, "_run"),
    "record cursors": (RecordSender, "_save"),
    "used command ids": (CommandReceiver, "_load"),
    "pins to mqtt": (PinPublisher, "_run"),
    "live to mqtt": (LivePublisher, "_run"),
    "health to mqtt": (Delivery, "_watch_health"),
    "status to mqtt": (StatusPublisher, "_run"),
    "events to mqtt": (EventSender, "_run"),
    "event cursor": (EventSender, "_keep_saving"),
    "mqtt labmon-lab-gw-1-record": (Connection, "_run"),
    "mqtt labmon-lab-gw-1-live": (Connection, "_run"),
    "mqtt inbox labmon-lab-gw-1-record": (Inbox, "run"),
    "mqtt inbox labmon-lab-gw-1-live": (Inbox, "run"),
    "notices": (Notifier, "_feed"),
    "notices mail": (NoticeChannel, "_run"),
}
OF_THE_TEST = {"start", "stop"}
MORE = {
    "mqtt": {"host": "127.0.0.1", "port": 1},
    "stores": [{"id": "local", "sqlite": {"path": "readings.db"}}],
    "notices": {
        "people": [{"id": "duty", "name": "Duty", "email": "duty@example.com"}],
        "channels": [{"id": "mail", "email": {"host": "127.0.0.1", "port": 1, "from": "labmon@example.com"}}],
        "routes": [{"classes": ["technical"], "to": ["duty"], "by": ["mail"]}],
    },
}


def plant(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: Counter[str]) -> None:
    """The first call on each object fails; those after it do not."""
    right = getattr(owner, name)
    failed: list[Any] = []

    def planted(self: Any, *arguments: Any, **options: Any) -> Any:
        calls[f"{owner.__name__}.{name}"] += 1
        if not any(one is self for one in failed):
            failed.append(self)
            raise RuntimeError("planted")
        return right(self, *arguments, **options)

    monkeypatch.setattr(owner, name, planted)


def kind_of(name: str) -> str:
    """A task's name without what is made anew at each start."""
    return name.rpartition("-")[0] if name.startswith("mqtt ") and name.count("-") > 3 else name


async def test_a_crash_of_any_task_is_an_alarm_and_a_restart_of_that_part(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labmon.daemon.parts.RESTART", (0.05,))
    monkeypatch.setattr("labmon.tasks.kept.RESTART", (0.05,))
    calls: Counter[str] = Counter()
    for owner, name in set(TASKS.values()):
        plant(monkeypatch, owner, name, calls)
    asyncio.get_running_loop().set_exception_handler(None)
    mine = asyncio.all_tasks()
    async with room(tmp_path, "probe-1", **MORE) as made:
        others = asyncio.all_tasks()
        async with running(made.daemon()) as daemon:
            await eventually(lambda: len(daemon.fault_alarm._faults) >= len(TASKS), 20)
            told = {kind_of(part) for part in daemon.fault_alarm._faults}
            assert told == set(TASKS)
            await eventually(lambda: calls["Watchdog.look"] > 2)
            await eventually(lambda: all(count >= 2 for count in calls.values()), what=f"each runs again: {calls}")
            await eventually(lambda: daemon.pipeline.polled > 3)
            await eventually(lambda: daemon.journal.last_seq > 10)
            # Whoever adds a task plants a fault in it here.
            running_now = {kind_of(t.get_name()) for t in asyncio.all_tasks() - mine - others}
            unknown = {name for name in running_now - set(TASKS) - OF_THE_TEST if not name.startswith("Task-")}
            assert not unknown, unknown
            active, detail = daemon.fault_alarm.now()
            assert active
            assert "planted" in detail
        raised = [e.alarm for e in made.events(EventKind.RAISED)]
        assert raised.count("gateway.fault") == 1
        events = [e.detail for e in made.events(EventKind.FAULT)]
        assert {kind_of(detail.partition(":")[0]) for detail in events} == set(TASKS)
        assert all("planted" in detail for detail in events)


async def test_a_conversation_on_the_local_socket_that_fails_is_told_and_the_next_one_works(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.get_running_loop().set_exception_handler(None)
    async with room(tmp_path, "probe-1") as made, running(made.daemon()) as daemon:
        await eventually(lambda: made.site.with_name("control.sock").exists())
        calls: Counter[str] = Counter()
        plant(monkeypatch, ControlSocket, "_answer", calls)
        with pytest.raises(ConnectionError):
            await made.ask("status")
        await eventually(lambda: daemon.fault_alarm.now()[0])
        assert (await made.ask("status"))["gateway"] == "gw-1"
