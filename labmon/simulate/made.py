"""Simulated lines as they are planned: the instruments of a line, and the line's framing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labmon.acquisition.plan import LinePlan
from labmon.drivers.compile import CompiledDriver
from labmon.simulate.framing import Ascii, Framing, Rtu, Tcp, Text
from labmon.simulate.instrument import SAMPLE, Instrument
from labmon.simulate.line import Instruments


@dataclass(frozen=True, slots=True)
class Made:
    """The instruments of one line, together and by device id."""

    line: Instruments
    by_device: dict[str, Instrument]


def framing_of(framing: str, instruments: Sequence[Instrument]) -> Framing:
    """The instrument's side of a framing."""
    if framing == "modbus-rtu":
        return Rtu()
    if framing == "modbus-ascii":
        return Ascii()
    if framing == "modbus-tcp":
        return Tcp()
    echoes = any(one.echoes for one in instruments)
    return Text(lambda: {frame for one in instruments for frame in one.known()}, echoes=echoes)


def instruments_of(plan: LinePlan, sample: float = SAMPLE) -> Made:
    """Instruments for every device of a planned line. Raises TypeError for a driver that is no file."""
    found: dict[str, Instrument] = {}
    for device in plan.devices:
        if not isinstance(device.driver, CompiledDriver):
            raise TypeError(f"{device.driver.id} is no driver file and cannot be simulated")
        found[device.id] = Instrument(device.driver, plan.framing, device.address, device.params, sample=sample)
    made = list(found.values())
    return Made(Instruments(framing_of(plan.framing, made), made), found)
