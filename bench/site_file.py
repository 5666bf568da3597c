"""The bench's site file: one line and one device per port, every channel with alert and action limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.devices import CHANNELS
from bench.processes import ROOT

HEAD = """labmon: 1
site: {{id: bench, name: Bench, timezone: UTC}}
gateway: {{id: gateway-1, clock: {{trusted: bench}}}}
drivers: [{drivers}]
areas: [{{id: hall, name: Hall}}]
profiles:
  band:
    version: 1
    reason: Limits that no value of the bench reaches, so that each reading is held against four.
    unit: Cel
    limits:
      - {{level: alert, high: 90, low: -50, dead-band: 0.5, on-delay: 10 s}}
      - {{level: action, high: 100, low: -60, dead-band: 0.5, on-delay: 30 s}}
journal: {{path: journal.db, keep-readings: 1 d, size: {size} GB}}
socket: control.sock
{rest}lines:
"""
REST = """mqtt: {{host: 127.0.0.1, port: {port}}}
stores: [{{id: local, sqlite: {{path: store.db}}}}]
"""


def write_site(folder: Path, ports: Sequence[int], broker: int | None) -> Path:
    """Write `site.yaml`. Without a broker nothing is delivered."""
    rest = "" if broker is None else REST.format(port=broker)
    size = 4 + len(ports) // 20
    lines = [HEAD.format(drivers=ROOT / "bench" / "drivers", size=size, rest=rest)]
    channels = "".join(
        f"          - {{id: c{c:02}{', limits: band' if c else ''}, place: Hall}}\n" for c in range(CHANNELS)
    )
    for number, port in enumerate(ports):
        lines.append(
            f"  - id: line-{number}\n    tcp: {{host: 127.0.0.1, port: {port}}}\n    devices:\n"
            f"      - id: device-{number}\n        name: Device {number}\n        driver: bench/twenty\n"
            f"        area: hall\n        asset: A-{number}\n        channels:\n{channels}"
        )
    path = folder / "site.yaml"
    path.write_text("".join(lines))
    return path
