"""`labmon demo`: facility, broker, daemon, ingest and store on one machine, and a live picture of it all."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType
from rich.live import Live as Screen

from labmon.demo.broker import Broker, find_broker
from labmon.demo.facility import Facility, free_port, write_site
from labmon.demo.mailbox import Mailbox
from labmon.demo.scenario import EXPECTED, LAST_EXPECTED, SCENES
from labmon.demo.tally import Tally, tally
from labmon.demo.view import Facts, picture
from labmon.demo.watch import Watch
from labmon.health.clock import kernel_clock
from labmon.journal.errors import JournalError

STEP = 0.5
"""Seconds between two steps of the simulated quantities and of the picture."""
DRAIN = 15.0
"""Seconds that delivery may take at the end to bring what was polled into the store."""


class Demo:
    """One run. `seconds` None: until Ctrl-C."""

    def __init__(self, folder: Path, seconds: float | None, quiet: bool) -> None:
        self.folder = folder
        self.seconds = seconds
        self.quiet = quiet
        self.stop = asyncio.Event()
        self.children: dict[str, asyncio.subprocess.Process] = {}
        self.facts = Facts()
        self.influx = _influx()
        self.console = Console() if not quiet else Console(width=150, file=io.StringIO())
        self.last: RenderableType = ""
        self.status: dict[str, Any] = {"missed": 0, "lost": {"exchanges": 0}}
        """What the daemon last said of itself."""
        self.drained = False
        """Whether every store has confirmed what the journal held when the play was over."""

    async def run(self) -> dict[str, Any]:
        """Run, clean up, and return what happened as one JSON-ready object."""
        found = await asyncio.to_thread(find_broker, self.folder, _cache())
        self.broker = broker = Broker(found, self.folder, free_port())
        self.mailbox = Mailbox(free_port())
        site = write_site(self.folder, broker.port, self.mailbox._controller.port, found.protocol, self.influx)
        self.facility = Facility(site)
        self.plant = self.facility.plan.plant
        self.watch = Watch(self.plant, self.facts, broker.port, found.protocol)
        clock = "synchronised" if kernel_clock().synchronised else "not synchronised"
        self.head = f"broker {found.name}   store {'InfluxDB' if self.influx else 'SQLite'}   clock {clock}"
        began = time.monotonic()
        result: Tally | None = None
        try:
            self.mailbox.start()
            await self.facility.start()
            await broker.start()
            await self._spawn("ingest", "ingest", str(site), "--log", "warning")
            await self._spawn("daemon", "run", str(site))
            await self.watch.start()
            await self._play(began)
            await self._drain()
            await self._end("daemon")
            result = await asyncio.to_thread(self._tally, time.monotonic() - began)
        finally:
            await self._clean_up()
        return result.to_dict()

    async def _clean_up(self) -> None:
        """End everything, whatever becomes of each. Raises what went wrong first."""
        async with contextlib.AsyncExitStack() as ends:  # the last one first
            ends.callback(self.mailbox.stop)
            ends.push_async_callback(self.facility.stop)
            ends.push_async_callback(self.broker.stop)
            for name in self.children:
                ends.push_async_callback(self._end, name)
            ends.push_async_callback(self.watch.stop)

    async def _spawn(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            self.children[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "labmon", *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def _end(self, name: str) -> None:
        process = self.children.pop(name, None)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 8)
        except TimeoutError:
            process.kill()
            await process.wait()
        if process.returncode not in (0, -signal.SIGTERM):
            raise RuntimeError(f"{name} ended with {process.returncode}:\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    # ------------------------------------------------------------------ the play

    async def _play(self, began: float) -> None:
        """Let the scenes happen and show the picture, until the time is over, Ctrl-C, or a child has died."""
        scenes = list(SCENES)
        last = time.monotonic()
        with self._screen() as screen:
            while not self.stop.is_set():
                now = time.monotonic()
                elapsed = now - began
                if self.seconds is not None and elapsed >= self.seconds:
                    return
                while scenes and scenes[0].second <= elapsed:
                    scene = scenes.pop(0)
                    self.facts.story.append(f"{scene.second:.0f} s: {scene.text}")
                    await scene.deed(self.facility)
                self.facility.advance(now - last)
                last = now
                self._check_children()
                self._count()
                self.last = self._picture(elapsed)
                if screen is not None:
                    screen.update(self.last, refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stop.wait(), STEP)

    def _screen(self) -> Any:
        if self.quiet:
            return contextlib.nullcontext(None)
        return Screen(console=self.console, screen=self.console.is_terminal, auto_refresh=False)

    def _picture(self, elapsed: float) -> RenderableType:
        return picture(self.plant, self.facts, self.mailbox.mails, elapsed, self.head, self.console.width)

    def draw(self, path: Path) -> None:
        """Write the picture as it was last to an SVG file."""
        console = Console(record=True, width=150, file=io.StringIO())
        console.print(self.last)
        # Without the fonts that rich would fetch from elsewhere: the picture must show without a network.
        form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        console.save_svg(str(path), title="labmon demo", code_format=form)

    def _check_children(self) -> None:
        self.broker.check()
        for name, process in self.children.items():
            if process.returncode is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self._tail(name)}")

    def _count(self) -> None:
        self.facts.counters = {
            "readings": self.watch.readings,
            "events": self.watch.events,
            "notices": self.mailbox.count,
        }

    # ------------------------------------------------------------------ the count at the end

    async def _drain(self) -> None:
        """Wait until every store has confirmed what was read up to now, also what waits in memory for its commit."""
        deadline = time.monotonic() + DRAIN
        goal: int | None = None
        while time.monotonic() < deadline:
            status = await asyncio.to_thread(self._status)
            if status is not None:
                self.status = status
                journal = status["journal"]
                goal = journal["last"] + journal["backlog"] if goal is None else goal
                cursors = status["cursors"].values()
                if cursors and all(journal["last"] - behind >= goal for behind in cursors):
                    self.drained = True
                    return
            await asyncio.sleep(0.1)

    def _status(self) -> dict[str, Any] | None:
        import socket

        with contextlib.suppress(OSError, orjson.JSONDecodeError), socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(3)
            sock.connect(str(self.folder / "control.sock"))
            sock.sendall(b'{"verb":"status"}\n')
            data = b""
            while not data.endswith(b"\n"):
                part = sock.recv(1 << 20)
                if not part:
                    return None
                data += part
            answer: dict[str, Any] = orjson.loads(data)
            result: dict[str, Any] = answer["result"]
            return result
        return None

    def _tally(self, seconds: float) -> Tally:
        expected = EXPECTED if seconds >= LAST_EXPECTED else ()
        counted = tally(self.folder, self.status, self.influx is None, expected, self.mailbox.count, seconds)
        counted.ok = counted.ok and self.drained
        return counted


def _influx() -> dict[str, str] | None:
    url, token = os.environ.get("INFLUX_URL"), os.environ.get("INFLUX_TOKEN")
    if not url or not token:
        return None
    return {
        "url": url,
        "token": token,
        "org": os.environ.get("INFLUX_ORG", "-"),
        "bucket": os.environ.get("INFLUX_BUCKET", "labmon"),
    }


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labmon"


async def play(seconds: float | None, as_json: bool, svg: Path | None = None) -> int:
    """Run the demonstration; returns the exit code.

    0 when all was stored, nothing lost, and every expected alarm came.
    """
    folder = Path(tempfile.mkdtemp(prefix="labmon-demo-"))
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    try:
        demo = Demo(folder, seconds, quiet=as_json)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN or number is not signal.SIGHUP:  # nohup ignores it
                loop.add_signal_handler(number, demo.stop.set)
        result = await demo.run()
    except (RuntimeError, OSError, sqlite3.Error, JournalError) as error:
        sys.stderr.write(f"labmon demo: {error}\n")
        if as_json:
            sys.stdout.write(orjson.dumps({"ok": False, "error": str(error)}).decode() + "\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if svg is not None:
        demo.draw(svg)
    if as_json:
        sys.stdout.write(orjson.dumps(result).decode() + "\n")
    else:
        for mail in demo.mailbox.mails:
            sys.stdout.write(f"--- notice to {mail.to}\n{mail.subject}\n\n{mail.text}\n")
        sys.stdout.write("  ".join(f"{k} {v}" for k, v in result.items()) + "\n")
    return 0 if result["ok"] else 1
