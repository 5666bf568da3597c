"""sd_notify without a systemd: a datagram socket stands for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from labmon.health.notify import READY, WATCHDOG, notify, reloading, status, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = f"@labmon-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path.replace("@", "\0") if path.startswith("@") else path)
        server.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield server


def test_states_go_as_one_message(manager: socket.socket) -> None:
    assert notify(READY, status("in  service\nnow"))
    assert notify(WATCHDOG)
    assert manager.recv(1000) == b"READY=1\nSTATUS=in service now"
    assert manager.recv(1000) == b"WATCHDOG=1"


def test_reloading_names_the_moment(manager: socket.socket) -> None:
    assert notify(reloading())
    first, second = manager.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, moment = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert int(moment) > 0


def test_a_manager_that_does_not_read_holds_up_nobody(manager: socket.socket) -> None:
    """Its queue is full after some messages: they are refused at once."""
    assert not all(notify(WATCHDOG) for _ in range(10_000))


@pytest.mark.parametrize("address", [None, "", "nonsense", "/no/such/socket", "@nobody-is-there", "/" + "x" * 200])
def test_without_a_manager_nothing_is_told_and_nothing_raised(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify(READY)


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 30.0),
        ("500000", "own", 0.5),
        ("30000000", "1", None),
        (None, None, None),
        ("", None, None),
        ("soon", None, None),
        ("0", None, None),
        ("-1", None, None),
    ],
)
def test_the_watchdogs_interval(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, expected: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(os.getpid()) if value == "own" else value)
    assert watchdog_interval() == expected
