"""The plant as configured: what a reading, an alarm or a notice needs to know of its channel, device, area and line.

Made once from the site file and the drivers; read by everything; never changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Area:
    """Where: an area with a GMP grade (A, B, C, D, CNC or none) and a state."""

    id: str
    name: str
    grade: str
    state: str


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity of one device at one place, with one unit (a UCUM code)."""

    key: str
    id: str
    device: str
    area: str
    name: str
    kind: str
    unit: str
    place: str = ""
    decimals: int = 2
    states: Mapping[int, str] = field(default_factory=dict)
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """One instrument on a line."""

    id: str
    name: str
    area: str
    line: str
    driver: str
    asset: str
    channels: tuple[str, ...]
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class LineInfo:
    """One physical conversation, by name and endpoint."""

    id: str
    name: str
    endpoint: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plant:
    """A site as one gateway sees it."""

    site: str
    site_name: str
    gateway: str
    timezone: str
    areas: Mapping[str, Area]
    lines: Mapping[str, LineInfo]
    devices: Mapping[str, Device]
    channels: Mapping[str, Channel]
    gateway_name: str = ""
    """What people call the gateway."""

    @property
    def prefix(self) -> str:
        """MQTT topic prefix `labmon/<site>/<gateway>`."""
        return f"labmon/{self.site}/{self.gateway}"
