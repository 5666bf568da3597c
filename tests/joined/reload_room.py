"""What the tests of a reload share: the site file rewritten while the daemon runs on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from click.testing import CliRunner, Result
from joined_gateway import Room

from labmon.cli import main
from labmon.daemon.daemon import Daemon
from labmon.model.event import AlarmState

Site = dict[str, Any]
HIGH = "{}.co2.action-high"


def rewrite(made: Room, change: Callable[[Site], Any]) -> None:
    """Change the site file."""
    site = json.loads(made.site.read_text())
    change(site)
    made.site.write_text(json.dumps(site, indent=1))


def line(site: Site, device: str) -> Any:
    """The line of a device in the site file."""
    return next(entry for entry in site["lines"] if entry["id"] == f"line-{device}")


def limit(site: Site, high: float) -> None:
    """Another action limit for all."""
    site["profiles"]["co2"]["limits"][0]["high"] = high


def polled(daemon: Daemon, device: str) -> int:
    """Good exchanges of a device since its line was started: identity and guard come first, then its polls."""
    health = daemon.health.get(f"line-{device}")
    known = health.devices.get(device) if health is not None else None
    return 0 if known is None else known.exchanges - sum(known.failures.values())


def states(daemon: Daemon) -> dict[str, AlarmState]:
    """Alarms that are not normal."""
    if daemon._pipeline is None:
        return {}
    return {view.alarm: view.state for view in daemon.pipeline.engine.views()}


async def command(made: Room, *arguments: str) -> Result:
    """`labmon reload` as it is typed."""
    socket = str(made.site.with_name("control.sock"))
    return await asyncio.to_thread(CliRunner().invoke, main, ["reload", *arguments, "--socket", socket])
