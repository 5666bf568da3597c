"""labmon's own processes as the tests run them, and the site files that they run on."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import labmon
from labmon.daemon.control import ask
from labmon.journal.entries import Entry
from labmon.journal.errors import JournalUnavailable
from labmon.journal.reader import Reader
from labmon.simulate.framing import Rtu, Tcp
from labmon.simulate.line import Instruments, PtyLine, TcpLine

DRIVERS = Path(__file__).with_name("drivers")
FAULTS = ("Traceback", "fault in labmon", "never retrieved", "never awaited", "Warning:", "CRITICAL")
"""What must not stand in any log."""


class Process:
    """One `labmon` command as a process of its own. Every start appends to the same log."""

    def __init__(self, log: Path, *arguments: object, environ: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.arguments = [str(a) for a in arguments]
        self.environ = dict(environ or {})
        self.module = "labmon"
        """What is run; it has labmon's command line."""
        self.wrapper: list[str] = []
        """A command that becomes this one."""
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Process:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        if kind is not None:
            print(f"--- {self.log.name}\n{self.text()[-6000:]}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running
        environ = {**os.environ, **self.environ, "PYTHONUNBUFFERED": "1"}
        environ.pop("JOURNAL_STREAM", None)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-W", "error", "-m", self.module, *self.arguments],
                cwd=Path(labmon.__file__).parent.parent,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        assert self.running, f"it had ended by itself:\n{self.text()[-3000:]}"
        self._process.kill()
        self._process.wait()

    async def stop(self, within: float = 5.0) -> int:
        """SIGTERM; the exit code. Fails when it has not ended `within` seconds."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, within)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def faults(self) -> list[str]:
        """Lines of the log that tell of a fault in labmon."""
        return [line for line in self.text().splitlines() if any(fault in line for fault in FAULTS)]


async def command(*arguments: object) -> tuple[int, str, str]:
    """Run one `labmon` command to its end: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "labmon", *map(str, arguments)),
        cwd=Path(labmon.__file__).parent.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


def daemon(site: Path, **options: Any) -> Process:
    return Process(site.with_name("daemon.log"), "run", site, **options)


def ingest(site: Path, store: str) -> Process:
    return Process(site.with_name(f"ingest-{store}.log"), "ingest", site, "--store", store)


def write_site(folder: Path, **parts: Any) -> Path:
    """A site file with one area, journal and socket in `folder`; `parts` are added or replace."""
    site: dict[str, Any] = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1", "clock": {"trusted": "test"}},
        "drivers": [str(DRIVERS)],
        "areas": [{"id": "room", "name": "Processing room", "grade": "C"}],
        "lines": [],
        "users": [{"id": "duty", "name": "On Duty", "role": "engineer", "system-user": getpass.getuser()}],
        "journal": {"path": "journal.db", "keep-readings": "1 h", "size": "1 GB", "commit-every": "200 ms"},
        "socket": "control.sock",
    }
    site |= parts
    path = folder / "site.yaml"
    path.write_text(json.dumps(site, indent=1))  # JSON is YAML
    return path


def tcp_line(port: int, *devices: dict[str, Any], name: str = "tcp") -> dict[str, Any]:
    return {"id": name, "tcp": {"host": "127.0.0.1", "port": port}, "devices": list(devices)}


def device(name: str, unit: int, **more: Any) -> dict[str, Any]:
    own = {"id": name, "name": f"Instrument {name}", "driver": "test/known", "area": "room", "address": unit}
    return own | more


def on_tcp(*instruments: Any, port: int = 0) -> TcpLine:
    return TcpLine(Instruments(Tcp(), instruments), port)


@asynccontextmanager
async def serving(line: TcpLine) -> AsyncIterator[TcpLine]:
    await line.start()
    try:
        yield line
    finally:
        await line.stop()


def on_pty(link: Path, *instruments: Any) -> PtyLine:
    return PtyLine(Instruments(Rtu(), instruments), link)


class JournalFile:
    """A journal as it lies on the disk, read beside the daemon that writes it."""

    def __init__(self, site: Path) -> None:
        self.path = site.with_name("journal.db")

    def _with(self, read: Callable[[Reader], Any]) -> Any:
        reader = Reader.at(self.path)
        try:
            return read(reader)
        finally:
            reader.close()

    def exists(self) -> bool:
        """Whether there is one yet, with its tables."""
        try:
            return self.path.exists() and self.last() >= 0
        except JournalUnavailable:
            return False

    def last(self) -> int:
        return int(self._with(lambda reader: reader.last_seq()))

    def cursors(self) -> dict[str, int]:
        return dict(self._with(lambda reader: reader.cursors()))

    def entries(self) -> list[Entry]:
        return list(self._with(lambda reader: reader.entries_after(0, 10**9, 2**60)))

    def events(self) -> list[Any]:
        return [event for _, event in self._with(lambda reader: reader.events_after(0, 10**9))]


def told(site: Path, verb: str = "status", **arguments: Any) -> Any:
    """What the daemon says on its socket; None while none answers."""
    try:
        return ask(site.with_name("control.sock"), verb, **arguments)
    except ConnectionError:
        return None


async def asked(site: Path, verb: str = "status", **arguments: Any) -> Any:
    """As `told`, without standing in the way of the simulated instruments."""
    return await asyncio.to_thread(lambda: told(site, verb, **arguments))
