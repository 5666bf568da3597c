"""Ports and connections over a reload: given free before they are taken, also by a line that does not end."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from joined_gateway import room, running
from reload_room import Site, command, line, polled, rewrite

from labmon.acquisition.line import Line
from labmon.daemon.lines import Lines


async def test_a_port_goes_from_one_line_to_another(tmp_path: Path, eventually: Any) -> None:
    """A converter that serves one connection: the second one is never open beside the first."""
    async with room(tmp_path, "probe-1", "probe-2") as made:
        ports = {name: one.port for name, one in made.lines.items()}
        most = 0
        async with running(made.daemon()) as daemon:
            await eventually(lambda: all(polled(daemon, n) > 0 for n in ports) and daemon.reload._ready.is_set())

            def swap(site: Site) -> None:
                line(site, "probe-1")["tcp"]["port"] = ports["probe-2"]
                line(site, "probe-2")["tcp"]["port"] = ports["probe-1"]

            for one in made.lines.values():

                class Counted(set):  # type: ignore[type-arg]
                    def add(self, transport: object) -> None:
                        nonlocal most
                        super().add(transport)
                        most = max(most, sum(not t.is_closing() for t in self))

                one._open = Counted(one._open)
            rewrite(made, swap)
            found = await command(made)
            assert f"line line-probe-1: changed (endpoint 127.0.0.1:{ports['probe-2']}), restarted" in found.stdout
            await eventually(lambda: all(polled(daemon, name) > 2 for name in ports))
            assert most == 1
            status = await made.ask("status")
            assert {row["line"]: row["endpoint"] for row in status["lines"]} == {
                "line-probe-1": f"127.0.0.1:{ports['probe-2']}",
                "line-probe-2": f"127.0.0.1:{ports['probe-1']}",
            }


async def test_a_line_that_does_not_end_is_left_behind_without_its_port(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labmon.daemon.lines.END", 0.1)
    async with room(tmp_path, "stuck", "fine") as made, running(made.daemon()) as daemon:
        await eventually(lambda: all(polled(daemon, n) > 0 for n in made.lines) and daemon.reload._ready.is_set())
        polling = daemon.lines._polled["line-stuck"]
        old = polling.line
        assert old is not None
        go, held = asyncio.Event(), asyncio.Event()

        async def deaf(self: Line) -> None:
            held.set()
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue

        with monkeypatch.context() as patched:
            patched.setattr(old, "_turn", deaf.__get__(old))
            await asyncio.wait_for(held.wait(), 5)
            rewrite(made, lambda site: line(site, "stuck").update(quiet="10 ms"))
            found = await command(made)
            assert found.exit_code == 0
            assert not old.link.is_open
            await eventually(lambda: polled(daemon, "stuck") > 2 and polled(daemon, "fine") > 2)
            assert daemon.parts.left_behind() == ["line line-stuck"]
            go.set()
            await eventually(lambda: not daemon.parts.left_behind())
        before = polled(daemon, "stuck")
        await eventually(lambda: polled(daemon, "stuck") > before + 1)


async def test_the_service_manager_is_told_when_it_begins_and_when_it_is_over(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        async with room(tmp_path, "probe-1") as made:
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
            async with running(made.daemon()) as daemon:
                await eventually(lambda: polled(daemon, "probe-1") > 0 and daemon.reload._ready.is_set())
                for change in (lambda: None, lambda: made.site.write_text("labmon: 2\n")):
                    change()
                    _messages(manager)
                    daemon.reload.signalled()
                    found: list[str] = []
                    await eventually(
                        lambda found=found: found.extend(_messages(manager)) or any("READY" in m for m in found)
                    )
                    begun, done = found[0].splitlines(), found[-1].splitlines()
                    assert begun[0] == "RELOADING=1"
                    assert begun[1].startswith("MONOTONIC_USEC=")
                    assert done == ["READY=1", "STATUS=in service"]


def _messages(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            message = manager.recv(4096).decode()
        except BlockingIOError:
            return found
        if "WATCHDOG" not in message:
            found.append(message)


async def test_a_fault_while_lines_end_starts_them_again(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left unpolled, whichever of the lines the fault is in."""
    async with room(tmp_path, "one", "two") as made, running(made.daemon()) as daemon:
        await eventually(lambda: all(polled(daemon, n) > 0 for n in made.lines) and daemon.reload._ready.is_set())
        end = Lines.end

        async def broken(lines: Lines, name: str) -> None:
            if name == "line-two":
                await asyncio.sleep(0.05)  # it is still on its way when the fault of the other is there
            await end(lines, name)
            if name == "line-one":
                raise ZeroDivisionError("planted")

        rewrite(made, lambda site: [entry.update(quiet="10 ms") for entry in site["lines"]])
        with monkeypatch.context() as patched:
            patched.setattr(Lines, "end", broken)
            assert (await command(made)).exit_code == 1
        before = {name: polled(daemon, name) for name in made.lines}
        await eventually(lambda: all(polled(daemon, name) > before[name] + 1 for name in made.lines))
