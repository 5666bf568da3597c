"""What the daemon says of itself on its local socket, and the door through which local commands come in."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any, Final

import labmon
from labmon.alarms.view import AlarmView
from labmon.daemon.consumers import PATIENCE, Consumers
from labmon.health.line import LineHealth
from labmon.journal.disk import look_at_disk
from labmon.journal.errors import JournalUnavailable
from labmon.links.holder import user_name
from labmon.units import unit

if TYPE_CHECKING:
    from labmon.daemon.daemon import Daemon

_DISK: Final = ("used", "free", "total", "read_only")


class Report:
    """Answers requests of the control socket. The form of `status` is docs/schemas/local-status.schema.json."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.consumers = Consumers(daemon.outside, daemon.journal)

    def answer(self, verb: str, user: str, arguments: dict[str, Any]) -> Any:
        """The answer to one request, or what is to be awaited for it. Raises CommandRefused."""
        if verb == "status":
            return self.status()
        if verb == "alarms":
            return self.alarms()
        if verb == "reload":
            return self.daemon.reload.order(user, arguments)
        return self.daemon.commands.carry_out(verb, user, arguments)

    def alarms(self) -> list[dict[str, Any]]:
        """Every alarm that is not normal."""
        return [_alarm(view) for view in self.daemon.pipeline.engine.views()]

    async def status(self) -> dict[str, Any]:
        """The whole state in one object. Waits for nobody: what a disk does not tell in time is null."""
        daemon = self.daemon
        site_file, disk = await self._on_disk()
        consumers = await self.consumers.look()
        mono, now = time.monotonic(), time.time_ns()
        return {
            "v": 1,
            "time": now,
            "version": labmon.__version__,
            "site": daemon.plant.site,
            "site_name": daemon.plant.site_name,
            "gateway": daemon.plant.gateway,
            "pid": os.getpid(),
            "user": user_name(os.geteuid()),
            "started": daemon.started,
            "started_by": daemon.started_by,
            "uptime": mono - daemon.began,
            "configuration": daemon.configuration,
            "applied": {
                "time": daemon.applied_at,
                "by": daemon.applied_by,
                "file": str(daemon.loaded.path.absolute()),
                "file_now": site_file,
            },
            "clock": daemon.clock.report(mono, now) if daemon.clock is not None else None,
            "polled": daemon.pipeline.polled,
            "bad": daemon.pipeline.bad,
            "missed": sum(d.missed_ticks for line in daemon.health.values() for d in line.devices.values()),
            "lost": {"exchanges": daemon.journal.lost_exchanges},
            "journal": {**self._journal(), **disk},
            **consumers,
            "cursors": daemon.outside.behind(),
            "lines": [self._line(line, mono, now) for line in daemon.health.values()],
            "alarms": self.alarms(),
        }

    async def _on_disk(self) -> tuple[str, dict[str, Any]]:
        """How the site file is now, and how much room there is."""
        journal = self.daemon.journal
        try:
            async with asyncio.timeout(PATIENCE):
                return await journal.look(self._look)
        except (TimeoutError, JournalUnavailable):
            return "unknown", dict.fromkeys(_DISK)

    def _look(self) -> tuple[str, dict[str, Any]]:
        daemon = self.daemon
        try:
            text = daemon.loaded.path.read_bytes().removeprefix(BOM_UTF8)  # which some editors write, no reader keeps
            site_file = "same" if hashlib.sha256(text).hexdigest() == daemon.configuration else "changed"
        except FileNotFoundError:
            site_file = "gone"
        except OSError:
            site_file = "unreadable"
        try:
            disk = look_at_disk(daemon.journal.path)
        except OSError:
            return site_file, dict.fromkeys(_DISK)
        return site_file, {name: getattr(disk, name) for name in _DISK}

    def _journal(self) -> dict[str, Any]:
        journal, config = self.daemon.journal, self.daemon.site.journal
        return {
            "id": journal.journal,
            "path": str(journal.path.absolute()),
            "state": journal.health.state,
            "since": journal.health.since,
            "reason": journal.health.reason,
            "last": journal.last_seq,
            "committed": journal.committed_at,
            "backlog": journal.backlog,
            "size": config.size,
            "keep": config.keep_readings,
        }

    def _line(self, line: LineHealth, mono: float, now: int) -> dict[str, Any]:
        plant = self.daemon.plant
        found = {"line": line.id, "endpoint": plant.lines[line.id].endpoint, **line.to_dict(mono, now)}
        for device, row in found["devices"].items():
            known = plant.devices[device]
            row |= {"name": known.name, "area": known.area, "driver": known.driver}
        return found


def _words(view: AlarmView) -> str:
    """What holds now, in a line."""
    parts = [view.detail] if view.detail else []
    if view.limit is not None:
        symbol = unit(view.unit).symbol if view.unit else ""
        now = "no value now" if view.value is None else f"{view.value:g} {symbol}".rstrip()
        parts.append(f"{now}, {view.direction} limit {view.limit:g} {symbol}".rstrip())
    if not view.measured:
        parts.append("not being measured")
    if view.user:
        parts.append(f"acknowledged by {view.user}: {view.reason}")
    return "; ".join(parts)


def _alarm(view: AlarmView) -> dict[str, Any]:
    return {
        "alarm": view.alarm,
        "class": view.alarm_class.value,
        "state": view.state.value,
        "occurrence": view.occurrence,
        "since": view.since,
        "raised": view.raised,
        "acknowledged": view.acknowledged,
        "line": view.line,
        "device": view.device,
        "value": view.value,
        "unit": view.unit,
        "limit": view.limit,
        "measured": view.measured,
        "text": _words(view),
    }
