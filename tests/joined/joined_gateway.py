"""A whole daemon in the test's own event loop, on a site of simulated CO2 probes; one TCP line each."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labmon.acquisition.load import Loaded, load
from labmon.daemon.control import ask
from labmon.daemon.daemon import Daemon
from labmon.journal.entries import Configuration
from labmon.journal.reader import Reader
from labmon.model.event import Event, EventKind
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import TcpLine
from labmon.simulate.made import instruments_of


def write_site(folder: Path, ports: Mapping[str, int], **parts: Any) -> Path:
    """A line `line-<device>` with one probe for each of `ports`; its CO2 is an action alarm above 8 % at once."""
    site: dict[str, Any] = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1", "clock": {"trusted": "test"}},
        "areas": [{"id": "room", "name": "Processing room", "grade": "C"}],
        "profiles": {
            "co2": {
                "version": 1,
                "reason": "test",
                "unit": "%{CO2}",
                "limits": [{"level": "action", "high": 8.0, "dead-band": 0.1}],
            }
        },
        "lines": [
            {
                "id": f"line-{name}",
                "tcp": {"host": "127.0.0.1", "port": port},
                "framing": "modbus-rtu",
                "devices": [
                    {
                        "id": name,
                        "name": name,
                        "driver": "vaisala/gmp25x",
                        "area": "room",
                        "address": 240,
                        "every": {"co2": "200 ms"},
                        "channels": [{"id": "co2", "unit": "%{CO2}", "limits": "co2"}],
                    }
                ],
            }
            for name, port in ports.items()
        ],
        "users": [{"id": "duty", "name": "On Duty", "role": "engineer", "system-user": getpass.getuser()}],
        "journal": {"path": "journal.db", "keep-readings": "1 h", "size": "1 GB", "commit-every": "100 ms"},
        "socket": "control.sock",
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps(site | parts, indent=1))  # JSON is YAML
    return path


@dataclass
class Room:
    """The probes with their lines, and the site file."""

    site: Path
    probes: dict[str, Instrument]
    lines: dict[str, TcpLine]

    def loaded(self) -> Loaded:
        found = load(self.site)
        assert not found.errors, found.errors
        return found

    def daemon(self) -> Daemon:
        return Daemon(self.loaded())

    async def ask(self, verb: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(ask, self.site.with_name("control.sock"), verb, **arguments)

    def _read(self, what: Callable[[Reader], Any]) -> Any:
        reader = Reader.at(self.site.with_name("journal.db"))
        try:
            return what(reader)
        finally:
            reader.close()

    def events(self, kind: EventKind) -> list[Event]:
        return [e for _, e in self._read(lambda reader: reader.events_after(0, 10**6)) if e.kind is kind]

    def configurations(self) -> list[Configuration]:
        return [e.content for e in self._read(lambda reader: reader.configurations())]


@asynccontextmanager
async def room(folder: Path, *names: str, **parts: Any) -> AsyncIterator[Room]:
    """Probes at 5 % CO2."""
    ports = {}
    async with AsyncExitStack() as stack:
        for name in names:
            ports[name] = await _free_port()
        made = Room(write_site(folder, ports, **parts), {}, {})
        plan = made.loaded().plan
        assert plan is not None
        for line in plan.lines:
            instruments = instruments_of(line)
            name = line.devices[0].id
            made.probes[name] = instruments.by_device[name]
            made.probes[name].jump("co2", 50_000.0)
            made.lines[name] = TcpLine(instruments.line, ports[name])
            await made.lines[name].start()
            stack.push_async_callback(made.lines[name].stop)
        yield made


async def _free_port() -> int:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[Daemon]:
    """The daemon at work; ended in time by the stop that a signal sets."""
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        daemon.stop.set()
        async with asyncio.timeout(6.0):
            await task
