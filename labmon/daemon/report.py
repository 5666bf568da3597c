"""What the daemon says of itself on its local socket, and the door through which local commands come in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import labmon
from labmon.alarms.view import AlarmView
from labmon.units import unit

if TYPE_CHECKING:
    from labmon.daemon.daemon import Daemon


class Report:
    """Answers requests of the control socket."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

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

    def status(self) -> dict[str, Any]:
        """The whole state in one object."""
        daemon = self.daemon
        mono, now = time.monotonic(), time.time_ns()
        return {
            "version": labmon.__version__,
            "site": daemon.plant.site,
            "gateway": daemon.plant.gateway,
            "started": daemon.started,
            "configuration": daemon.configuration,
            "polled": daemon.pipeline.polled,
            "bad": daemon.pipeline.bad,
            "journal": {
                "id": daemon.journal.journal,
                "state": daemon.journal.health.state,
                "reason": daemon.journal.health.reason,
                "last": daemon.journal.last_seq,
                "backlog": daemon.journal.backlog,
            },
            "clock": daemon.clock.report(mono, now) if daemon.clock is not None else None,
            "cursors": daemon.outside.behind(),
            "lost": {"exchanges": daemon.journal.lost_exchanges},
            "missed": sum(d.missed_ticks for line in daemon.health.values() for d in line.devices.values()),
            "lines": [
                {"line": line.id, "endpoint": daemon.plant.lines[line.id].endpoint, **line.to_dict(mono, now)}
                for line in daemon.health.values()
            ],
            "alarms": self.alarms(),
        }


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
        "value": view.value,
        "unit": view.unit,
        "limit": view.limit,
        "measured": view.measured,
        "text": _words(view),
    }
