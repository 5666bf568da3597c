"""`labmon simulate`: one instrument, moved by time and by commands on stdin."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from labmon.drivers.catalogue import Catalogue
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.links.opening import Framing
from labmon.simulate.fault import FAULTS, LONGEST, PLACES, Fault
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import Instruments, PtyLine, TcpLine
from labmon.simulate.made import framing_of

HELP = f"""\
set CHANNEL VALUE     let a channel be there and stay around it; what follows a set point approaches it
bad CHANNEL REASON    let a channel have no value (no-sensor, not-ready, ...)
sentinel CHANNEL      let it say the raw value that means no value
stuck CHANNEL | all   let it stay at exactly what it is
ambient CHANNEL       let a channel drift to what it is in the room
door open | closed    the same for all that an open door changes
grade A|B|C|D [at-rest | in-operation]
                      count the particles of such a room (Annex 1, Table 5)
says FIELD VALUE      let a field of its replies hold another raw value: a setting, a serial number
usual                 let every channel drift back, free
clock SECONDS         let its clock be ahead by so much; negative: behind
drift SECONDS         let its clock gain so much a day, also after it was set; negative: lose
every SECONDS         let it say so often what it says unasked
reboot [SECONDS] [keep | lose]
                      be silent for so long (2), then as just switched on; what it stored is kept or lost
full                  have its memory full of samples: the next one drops the oldest
{" | ".join(FAULTS)}
                      how it answers; late takes seconds, refuse a code, junk a place ({", ".join(PLACES)})
show                  its values now
quit
"""
REBOOT = 2.0
"""Seconds that a restart takes."""
CLOCK = 1e9
"""Seconds by which a clock can be wrong."""
DRIFT = 86400.0
"""Seconds that a clock can gain a day."""
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
    commands: tuple[str, ...] = ()
    """Carried out before it serves."""
    door_every: float | None = None
    """Mean seconds between two openings of its door; None for never."""


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
    for command in wanted.commands:
        obey(instrument, command)
    instrument.life.door_every = wanted.door_every
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
        instrument.misbehave(Fault.parse(line))
        return f"answers: {line.strip()}"
    deed = _DEEDS.get(verb)
    if deed is None or len(rest) not in deed[0]:
        raise ValueError(f"what is {line.strip()}? `help` lists the commands")
    return deed[1](instrument, *rest)


def _set(instrument: Instrument, channel: str, value: str) -> str:
    instrument.jump(channel, float(value))
    return f"{channel} is {value}"


def _bad(instrument: Instrument, channel: str, reason: str) -> str:
    instrument.make_bad(channel, reason)
    return f"{channel} is {reason}"


def _says(instrument: Instrument, field: str, raw: str) -> str:
    instrument.says(field, raw)
    return f"{field} says {raw}"


def _sentinel(instrument: Instrument, channel: str) -> str:
    return f"{channel} is {instrument.sentinel(channel)}"


def _stuck(instrument: Instrument, channel: str) -> str:
    instrument.stuck(None if channel == "all" else channel)
    return f"{channel} is stuck"


def _ambient(instrument: Instrument, channel: str) -> str:
    instrument.to_ambient(channel)
    return f"{channel} drifts"


def _door(instrument: Instrument, state: str) -> str:
    if state not in ("open", "closed"):
        raise ValueError(f"a door is open or closed, not {state}")
    instrument.door(state == "open")
    return f"the door is {state}"


def _grade(instrument: Instrument, grade: str, state: str = "at-rest") -> str:
    instrument.room(grade, state)
    return f"a room of grade {grade} {state}"


def _usual(instrument: Instrument) -> str:
    instrument.to_usual()
    return "back to the usual"


def _clock(instrument: Instrument, seconds: str) -> str:
    ahead = float(seconds)
    if not abs(ahead) <= CLOCK:
        raise ValueError(f"{seconds} is not within {CLOCK:g} s")
    instrument.clock.ahead = ahead
    return f"the clock is ahead by {ahead:g} s"


def _drift(instrument: Instrument, seconds: str) -> str:
    gained = float(seconds)
    if not abs(gained) <= DRIFT:
        raise ValueError(f"{seconds} is not within {DRIFT:g} s a day")
    instrument.clock.drift = gained
    return f"the clock gains {gained:g} s a day"


def _every(instrument: Instrument, seconds: str) -> str:
    instrument.streaming.often(float(seconds))
    return f"speaks every {float(seconds):g} s"


def _reboot(instrument: Instrument, *words: str) -> str:
    seconds = [w for w in words if w not in ("keep", "lose")]
    if len(seconds) > 1 or len(words) - len(seconds) > 1:
        raise ValueError("reboot takes seconds, and keep or lose")
    time_ = float(seconds[0]) if seconds else REBOOT
    if not 0 <= time_ <= LONGEST:
        raise ValueError(f"{time_:g} is not between 0 and {LONGEST:g}")
    instrument.reboot(time_, lose="lose" in words)
    return f"starts again in {time_:g} s, what it stored is {'lost' if 'lose' in words else 'kept'}"


def _full(instrument: Instrument) -> str:
    return f"holds {instrument.fill()} samples"


def _show(instrument: Instrument) -> str:
    return "  ".join(f"{name} {value:.6g}" for name, value in instrument.channels().items()) or "nothing moves"


_DEEDS: dict[str, tuple[tuple[int, ...], Callable[..., str]]] = {
    # Verb -> how many words may follow, and what is done.
    "set": ((2,), _set),
    "bad": ((2,), _bad),
    "says": ((2,), _says),
    "sentinel": ((1,), _sentinel),
    "stuck": ((1,), _stuck),
    "ambient": ((1,), _ambient),
    "door": ((1,), _door),
    "grade": ((1, 2), _grade),
    "usual": ((0,), _usual),
    "clock": ((1,), _clock),
    "drift": ((1,), _drift),
    "every": ((1,), _every),
    "reboot": ((0, 1, 2), _reboot),
    "full": ((0,), _full),
    "show": ((0,), _show),
}


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
        await asyncio.sleep(min(STEP, *instrument.streaming.every.values(), STEP))
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
