"""`labmon simulate`: one instrument, moved by time and by commands on stdin."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from labmon.drivers.catalogue import Catalogue
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.links.opening import Framing
from labmon.simulate.fault import FAULTS, Fault
from labmon.simulate.instrument import Instrument, framing_of
from labmon.simulate.line import Instruments, PtyLine, TcpLine

HELP = f"""\
set CHANNEL VALUE     let a channel be there and stay around it
bad CHANNEL REASON    let a channel have no value (no-sensor, not-ready, ...)
ambient CHANNEL       let a channel drift to what it is in the room
usual                 let every channel drift back
{" | ".join(FAULTS)}
                      how it answers; late takes seconds, refuse a code
show                  its values now
quit
"""
STEP = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; texts as typed."""

    driver: str
    tcp: int | None
    link: Path | None
    framing: str | None
    address: str | None
    params: Mapping[str, str]
    values: Mapping[str, str]
    folders: tuple[Path, ...] = ()


def make(wanted: Wanted) -> tuple[Instrument, TcpLine | PtyLine]:
    """The instrument and its line. Raises ValueError or LookupError for what does not fit."""
    driver = _driver(wanted)
    framing = wanted.framing or _framing(driver, wanted.tcp is not None)
    if framing not in get_args(Framing):
        raise ValueError(f"no framing is called {framing}; there are {', '.join(get_args(Framing))}")
    address: int | str | None = wanted.address
    if wanted.address is not None and wanted.address.lstrip("-").isdigit():
        address = int(wanted.address)
    params = {name: _param(driver, name, text) for name, text in wanted.params.items()}
    instrument = Instrument(driver, framing, address, params)
    for channel, text in wanted.values.items():
        instrument.jump(channel, float(text))
    instruments = Instruments(framing_of(framing, [instrument]), [instrument])
    if wanted.tcp is not None:
        return instrument, TcpLine(instruments, wanted.tcp)
    return instrument, PtyLine(instruments, wanted.link)


def _driver(wanted: Wanted) -> CompiledDriver:
    if wanted.driver.endswith((".yaml", ".yml")):
        loaded = load_driver(Path(wanted.driver))
        if loaded.driver is None:
            raise ValueError("\n".join(map(str, loaded.errors)))
        return loaded.driver
    return Catalogue(wanted.folders).get(wanted.driver)


def _framing(driver: CompiledDriver, tcp: bool) -> str:
    return next((f for f in driver.framings if (f == "modbus-tcp") is tcp), driver.framings[0])


def _param(driver: CompiledDriver, name: str, text: str) -> Any:
    declared = driver.file.params.get(name)
    if declared is None or declared.type == "text":
        return text
    if declared.type == "switch":
        return text in ("true", "yes", "on", "1")
    return int(text) if declared.type == "integer" else float(text)


def obey(instrument: Instrument, line: str) -> str:
    """Carry out one command; the answer to it. Raises ValueError."""
    words = line.split()
    if not words:
        return ""
    verb, rest = words[0], words[1:]
    if verb in FAULTS:
        instrument.fault = Fault.parse(line)
        return f"answers: {line.strip()}"
    if verb == "set" and len(rest) == 2:
        instrument.jump(rest[0], float(rest[1]))
        return f"{rest[0]} is {rest[1]}"
    if verb == "bad" and len(rest) == 2:
        instrument.make_bad(rest[0], rest[1])
        return f"{rest[0]} is {rest[1]}"
    if verb == "ambient" and len(rest) == 1:
        instrument.to_ambient(rest[0])
        return f"{rest[0]} drifts"
    if verb == "usual":
        instrument.to_usual()
        return "back to the usual"
    if verb == "show":
        return "  ".join(f"{name} {value:.6g}" for name, value in instrument.channels().items())
    raise ValueError(f"what is {line.strip()}? `help` lists the commands")


async def serve(wanted: Wanted) -> int:
    """Serve until SIGTERM, SIGINT or `quit`. Stdin at its end leaves it running: it may have been started without."""
    instrument, line = make(wanted)
    await line.start()
    where = f"127.0.0.1:{line.port}" if isinstance(line, TcpLine) else str(line.link or line.path)
    sys.stdout.write(f"{instrument.driver.title} on {where}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    moving = asyncio.create_task(_move(instrument))
    reading = asyncio.create_task(_commands(instrument, stop))
    try:
        await stop.wait()
    finally:
        for task in (moving, reading):
            task.cancel()
        await asyncio.gather(moving, reading, return_exceptions=True)
        await line.stop()
    return 0


async def _move(instrument: Instrument) -> None:
    last = time.monotonic()
    while True:
        await asyncio.sleep(STEP)
        now = time.monotonic()
        instrument.advance(now - last)
        last = now


async def _commands(instrument: Instrument, stop: asyncio.Event) -> None:
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or sys.stdin.isatty()):
        return  # a file, or nothing at all: no commands
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := (await reader.readline()).decode("utf-8", "replace"):
            if line.strip() == "quit":
                stop.set()
                return
            try:
                said = HELP.rstrip() if line.strip() == "help" else obey(instrument, line)
            except ValueError as error:
                said = str(error)
            if said:
                sys.stdout.write(said + "\n")
                sys.stdout.flush()
    finally:
        transport.close()
