"""How long an instrument occupies its line: computed from what stands in its file, without the instrument."""

from __future__ import annotations

from dataclasses import dataclass

from labmon.drivers import examples
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import SerialDefaults
from labmon.drivers.query import CompiledQuery
from labmon.links.endpoint import SerialEndpoint

_PAUSE = 0.01
"""What a line keeps between ASCII or text exchanges where nothing else is asked (labmon.links.opening)."""


@dataclass(frozen=True, slots=True)
class WireTime:
    """One asking of a query."""

    bytes: int
    """Sent and received together. Text: of the longest example, or of the longest reply expected without one."""
    seconds: float | None
    """Characters and demanded pauses; the instrument's own time to answer comes on top. None: no known speed."""


def endpoint_of(serial: SerialDefaults, port: str = "") -> SerialEndpoint:
    """A serial line set as the instrument is delivered."""
    return SerialEndpoint(port, serial.baud, serial.bits, serial.parity, serial.stop, serial.rtscts)


def wire_time(driver: CompiledDriver, query: CompiledQuery, framing: str) -> WireTime:
    """One asking of `query` at the speed that the file names as delivered."""
    count = sum(step.request.size for step in query.steps)
    if not framing.startswith("modbus"):
        # What a reply may be is known better from what was seen than from its form.
        count = _longest_example(driver, query, framing) or count
    if framing == "modbus-tcp" or driver.file.serial is None or not driver.serial.known:
        return WireTime(count, None)
    line = endpoint_of(driver.serial)
    pause = line.t35 if framing == "modbus-rtu" else _PAUSE
    seconds = count * line.character + sum(max(pause, asked) for asked in query.pauses)
    return WireTime(count, seconds)


def _longest_example(driver: CompiledDriver, query: CompiledQuery, framing: str) -> int:
    longest = 0
    for example in driver.file.examples:
        if example.query == query.name and (example.framing or driver.framings[0]) == framing:
            texts = [text for one in example.exchanges for text in (one.sent, one.got)]
            longest = max(longest, sum(len(examples.bytes_of(text, framing)) for text in texts))
    return longest
