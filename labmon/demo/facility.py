"""The simulated facility: the site file of the demonstration with free ports filled in, and its instruments."""

from __future__ import annotations

import contextlib
import getpass
import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from labmon.acquisition.load import Loaded, load
from labmon.acquisition.plan import LinePlan
from labmon.config.shipped import shipped
from labmon.links.endpoint import TcpEndpoint
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import PtyLine, SimulatedLine, TcpLine
from labmon.simulate.made import instruments_of

_UNGIVEN = range(20000, 32768)
"""Below the ports that Linux chooses for connections."""


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago.

    One that the kernel gives to nobody by itself, for a moment later it may have.
    """
    with socket.socket() as probe:
        for port in (*random.sample(_UNGIVEN, 50), 0):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found: int = probe.getsockname()[1]
                return found
    raise OSError("no TCP port of loopback is free")


def write_site(folder: Path, broker: int, mail: int, protocol: str, influx: Mapping[str, str] | None) -> Path:
    """`config/demo.yaml` with this run's ports, ptys, files and login name, as a site file of its own."""
    yaml = YAML(typ="rt")
    site: Any = yaml.load(shipped("config") / "demo.yaml")
    for line in site["lines"]:
        if "tcp" in line:
            line["tcp"] = {"host": "127.0.0.1", "port": free_port()}
        else:
            line["serial"]["port"] = str(folder / f"tty-{line['id']}")
    site["mqtt"] |= {"host": "127.0.0.1", "port": broker, "protocol": protocol}
    if influx is None:
        site["stores"] = [{"id": "local", "sqlite": {"path": str(folder / "store.db")}}]
    else:
        token = folder / "influx-token"
        token.touch(0o600)
        token.write_text(influx["token"])
        site["stores"] = [
            {
                "id": "influx",
                "influxdb": {
                    "url": influx["url"],
                    "org": influx.get("org", "-"),
                    "bucket": influx.get("bucket", "labmon"),
                    "token": {"file": str(token)},
                },
            }
        ]
    for channel in site["notices"]["channels"]:
        if "email" in channel:
            channel["email"] |= {"host": "127.0.0.1", "port": mail}
    for user in site["users"]:
        if "system-user" in user:
            user["system-user"] = getpass.getuser()
    site["journal"]["path"] = str(folder / "journal.db")
    site["socket"] = str(folder / "control.sock")
    path = folder / "site.yaml"
    yaml.dump(site, path)
    return path


class Facility:
    """All simulated lines of a site, by line id, and all instruments, by device id."""

    def __init__(self, site: Path) -> None:
        self.loaded: Loaded = load(site)
        if self.loaded.errors or self.loaded.plan is None:
            raise RuntimeError("\n".join(str(e) for e in self.loaded.errors))
        self.plan = self.loaded.plan
        self.instruments: dict[str, Instrument] = {}
        self.lines: dict[str, SimulatedLine] = {}
        for plan in self.plan.lines:
            self.lines[plan.id] = self._line(plan)

    def _line(self, plan: LinePlan) -> SimulatedLine:
        made = instruments_of(plan)
        self.instruments |= made.by_device
        if isinstance(plan.endpoint, TcpEndpoint):
            return TcpLine(made.line, plan.endpoint.port)
        return PtyLine(made.line, Path(plan.endpoint.port))

    async def start(self) -> None:
        """Serve every line; doors are closed, and the culture room counts what a grade B room in use does."""
        for device, instrument in self.instruments.items():
            if instrument.driver.id == "thermo/cytomat":
                instrument.jump("door", 0)
            if device == "counter-b":
                instrument.jump("counts-1", 900.0)
                instrument.jump("counts-2", 6.0)
        for line in self.lines.values():
            await line.start()

    async def stop(self) -> None:
        """Unplug every line."""
        for line in self.lines.values():
            await line.stop()

    def advance(self, seconds: float) -> None:
        """Let all quantities move for so long."""
        for instrument in self.instruments.values():
            instrument.advance(seconds)
