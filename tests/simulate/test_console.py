"""`labmon simulate`: one instrument as a process of its own, moved by commands on its stdin."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import labmon
from labmon.cli import main
from labmon.drivers.catalogue import Catalogue
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.errors import Silent
from labmon.links.opening import open_link


class Simulator:
    def __init__(self, process: asyncio.subprocess.Process, where: str) -> None:
        self.process = process
        self.where = where

    async def say(self, text: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{text}\n".encode())
        await self.process.stdin.drain()
        return (await asyncio.wait_for(self.process.stdout.readline(), 10)).decode().strip()


@asynccontextmanager
async def simulating(
    *arguments: object, stdin: int = asyncio.subprocess.PIPE, verb: tuple[str, ...] = ("simulate",)
) -> AsyncIterator[Simulator]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "labmon", *verb, *map(str, arguments)),
        cwd=Path(labmon.__file__).parent.parent,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        first = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert " on " in first, (await process.stderr.read()).decode()
        yield Simulator(process, first.rpartition(" on ")[2].strip())
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert errors == b""


async def test_it_obeys(tmp_path: Path) -> None:
    driver = Catalogue().get("delta-ohm/hd402st")
    (query,) = driver.queries("modbus-rtu", 1, {})
    query._asking.timeout = 0.3
    port = tmp_path / "port"
    async with simulating("delta-ohm/hd402st", "--pty", port, "--set", "pressure=12.5") as simulator:
        assert simulator.where == str(port)
        link = await open_link(SerialEndpoint(str(port), 19200), "modbus-rtu")
        try:

            async def pressure() -> float | str | None:
                (outcome,) = (await query.ask(link)).outcomes
                return outcome.reason if outcome.value is None else outcome.value

            assert await pressure() == pytest.approx(12.5, abs=2.5)
            assert await simulator.say("set pressure -30") == "pressure is -30"
            assert await pressure() == pytest.approx(-30, abs=2.5)
            assert await simulator.say("bad pressure not-reliable") == "pressure is not-reliable"
            assert str(await pressure()).startswith("not-reliable")
            await simulator.say("set pressure 5")
            assert await simulator.say("silent") == "answers: silent"
            with pytest.raises(Silent):
                await query.ask(link)
            assert await simulator.say("ok") == "answers: ok"
            await link.settle()
            assert await pressure() == pytest.approx(5, abs=2.5)
            assert re.fullmatch(r"pressure -?\d+(\.\d+)?", await simulator.say("show"))
            for wrong in ("dance", "set pressure", "set pressure much", "set pressure nan", "set x 1", "late soon"):
                assert await simulator.say(wrong), wrong
            assert await pressure() == pytest.approx(5, abs=2.5)
        finally:
            await link.close()
        assert simulator.process.stdin is not None
        simulator.process.stdin.write(b"quit\n")
        assert await asyncio.wait_for(simulator.process.wait(), 10) == 0
    assert not port.exists() and not port.is_symlink()


async def test_driver_simulate_serves_a_file_with_its_faults_and_takes_them_back() -> None:
    (query,) = Catalogue().get("delta-ohm/hd402st").queries("modbus-rtu", 9, {})
    query._asking.timeout = 0.3
    file = Path(labmon.__file__).parent.parent / "drivers" / "delta-ohm" / "hd402st.yaml"
    options = (
        "--port",
        "pty",
        "--address",
        9,
        "--set",
        "pressure=12.5",
        "--fault",
        "stuck pressure",
        "--fault",
        "silent",
    )
    async with simulating(file, *options, verb=("driver", "simulate")) as simulator:
        link = await open_link(SerialEndpoint(simulator.where, 19200), "modbus-rtu")
        try:
            with pytest.raises(Silent):
                await query.ask(link)
            assert await simulator.say("ok") == "answers: ok"
            await link.settle()
            seen = {(await query.ask(link)).outcomes[0].value for _ in range(5)}
            assert len(seen) == 1, "stuck"
            assert await simulator.say("sentinel pressure") == "pressure is not-available"
            assert (await query.ask(link)).outcomes[0].reason == "not-available"
            assert (await simulator.say("reboot 0.5 lose")).startswith("starts again in 0.5 s")
            with pytest.raises(Silent):
                await query.ask(link)
            await link.settle()
            for command, said in (
                ("door open", "the door is open"),
                ("grade B in-operation", "a room of grade B in-operation"),
                ("clock -90", "the clock is ahead by -90 s"),
                ("usual", "back to the usual"),
                ("says errors 0", "errors says 0"),
            ):
                assert await simulator.say(command) == said
            for wrong in ("grade D in-operation", "clock much", "door ajar", "reboot -1", "stuck x", "says errors x"):
                assert await simulator.say(wrong), wrong
        finally:
            await link.close()


@pytest.mark.parametrize("given", ["pty:", "tcp:x", "tcp:70000", "usb", "tcp:-1", ""])
def test_a_port_that_is_none(given: str) -> None:
    done = CliRunner().invoke(main, ["driver", "simulate", "delta-ohm/hd402st", "--port", given])
    assert done.exit_code == 2
    assert "write pty, pty:NAME, tcp or tcp:PORT" in done.output


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--framing", "modbus-tcp"), "does not speak modbus-tcp"),
        (("--address", "900"), "address 900"),
        (("--param", "x=1"), "unknown parameter"),
        (("--fault", "dance"), "what is dance?"),
        (("--set", "pressure=many"), "many"),
    ],
)
def test_what_does_not_fit_the_driver_is_wrong_input(wrong: tuple[str, str], said: str) -> None:
    done = CliRunner().invoke(main, ["driver", "simulate", "delta-ohm/hd402st", *wrong])
    assert done.exit_code == 2
    assert said in done.output


async def test_without_stdin_it_serves_until_it_is_told_to_stop() -> None:
    (query,) = Catalogue().get("delta-ohm/hd402st").queries("modbus-rtu", 7, {})
    options = ("--tcp", 0, "--framing", "modbus-rtu", "--address", 7)
    async with simulating("delta-ohm/hd402st", *options, stdin=asyncio.subprocess.DEVNULL) as simulator:
        host, _, port = simulator.where.rpartition(":")
        link = await open_link(TcpEndpoint(host, int(port)), "modbus-rtu")
        try:
            assert (await query.ask(link)).outcomes[0].value is not None
        finally:
            await link.close()


async def test_a_taken_port_is_told() -> None:
    async with simulating("delta-ohm/hd402st", "--tcp", 0) as first:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "labmon", "simulate", "delta-ohm/hd402st"),
            *("--tcp", first.where.rpartition(":")[2]),
            cwd=Path(labmon.__file__).parent.parent,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
        out, errors = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, out) == (1, b"")
        assert errors.startswith(b"labmon simulate: ")
        assert b"Traceback" not in errors
