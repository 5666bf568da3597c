"""What happens in the simulated facility, and when: a door, a failing probe, a dead line, each of them mended again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from labmon.demo.facility import Facility
from labmon.simulate.fault import Fault

Deed = Callable[[Facility], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """At `second` after the start, `deed` happens; `text` tells it to whoever watches."""

    second: float
    text: str
    deed: Deed


async def _open_door(facility: Facility) -> None:
    instrument = facility.instruments["incubator-1"]
    instrument.jump("door", 1)
    for channel in ("temperature", "co2", "humidity", "o2"):
        instrument.to_ambient(channel)
    facility.instruments["incubator-1-probe"].to_ambient("co2")


async def _close_door(facility: Facility) -> None:
    facility.instruments["incubator-1"].jump("door", 0)
    for device in ("incubator-1", "incubator-1-probe"):
        facility.instruments[device].to_usual()


async def _probe_fails(facility: Facility) -> None:
    facility.instruments["incubator-2-probe"].fault = Fault("silent")


async def _probe_mended(facility: Facility) -> None:
    facility.instruments["incubator-2-probe"].fault = Fault()


async def _line_dies(facility: Facility) -> None:
    await facility.lines["pressure"].stop()


async def _line_returns(facility: Facility) -> None:
    await facility.lines["pressure"].start()


SCENES = (
    Scene(8, "the door of incubator 1 is left open", _open_door),
    Scene(20, "the independent CO2 probe in incubator 2 fails", _probe_fails),
    Scene(24, "the door of incubator 1 is closed", _close_door),
    Scene(30, "the line of the room pressure transmitters dies", _line_dies),
    Scene(70, "the room pressure line is back", _line_returns),
    Scene(80, "the CO2 probe in incubator 2 answers again", _probe_mended),
)
EXPECTED = (
    "incubator-1.co2.action-low",
    "incubator-2-probe.dead",
    "line.pressure.lost",
)
"""Alarms that must have been raised once the first scenes are over."""
LAST_EXPECTED = 50.0
"""Second by which they must have been."""
