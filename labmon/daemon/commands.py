"""What an operator may order, whoever brings the order: the local socket or MQTT. Every act names its user."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from labmon.acquisition.pipeline import Pipeline
from labmon.alarms.engine import AlarmEngine
from labmon.alarms.errors import CommandRefused
from labmon.config.site import Role, User
from labmon.health.allowance import Allowance
from labmon.model.event import Event, EventKind
from labmon.model.plant import Plant

ROLES: Mapping[str, frozenset[Role]] = {
    "alarm-ack": frozenset(("operator", "engineer", "qa")),
    "device-out-of-service": frozenset(("engineer", "qa")),
    "device-in-service": frozenset(("engineer", "qa")),
}
"""Verbs and the roles that may use them."""
LONGEST_OUT = 30 * 86400.0
"""A device is never out of service for more than 30 days at a time, in seconds."""
REASON = 500
"""Characters of a reason that are recorded."""


class Commands:
    """Carries out commands. A refusal is recorded like an act."""

    def __init__(self, pipeline: Pipeline, users: Mapping[str, User], plant: Plant) -> None:
        self.pipeline = pipeline
        self.engine: AlarmEngine = pipeline.engine
        self.users = users
        self.plant = plant
        self._refusals = Allowance(50, 60.0)
        self._passed_over = 0
        self._verbs: dict[str, Callable[[str, Mapping[str, Any]], list[Event]]] = {
            "alarm-ack": self._acknowledge,
            "device-out-of-service": self._out_of_service,
            "device-in-service": self._in_service,
        }

    def carry_out(self, verb: str, user: str, arguments: Mapping[str, Any], identifier: str = "") -> str:
        """Do it and say what was done. Raises CommandRefused with the reason; either way it is journaled."""
        try:
            self._allowed(verb, user)
            events = self._verbs[verb](user, arguments)
        except CommandRefused as refused:
            self._refused(verb, user, str(refused), arguments, identifier)
            raise
        self.pipeline.command(events)
        self._note(verb, user, "done", arguments, identifier)
        return "done" if not events else "; ".join(_said(e) for e in events[:5])

    def _refused(self, verb: str, user: str, why: str, arguments: Mapping[str, Any], identifier: str) -> None:
        """Record a refusal; of those without end only the first ones and a count, for events are never deleted.

        One whose id counts as used (by MQTT, where what one user may order is bounded) is recorded always.
        """
        if not identifier and not self._refusals.take(time.monotonic()):
            self._passed_over += 1
            return
        also = f" ({self._passed_over} more refused commands were passed over before)" if self._passed_over else ""
        self._passed_over = 0
        self._note(verb, user, f"refused: {why}"[:REASON] + also, arguments, identifier)

    def _note(self, verb: str, user: str, detail: str, arguments: Mapping[str, Any], identifier: str) -> None:
        now = time.time_ns()
        self.pipeline.record(
            Event(
                EventKind.COMMAND,
                now,
                now,
                detail=detail[: REASON + 100],
                alarm=_cut(arguments, "alarm", 200),
                occurrence=_cut(arguments, "occurrence", 100),
                device=_cut(arguments, "device", 64),
                user=user,
                reason=_cut(arguments, "reason", REASON),
                command=verb[:64],
                command_id=identifier,
            )
        )

    def _allowed(self, verb: str, user: str) -> None:
        if verb not in self._verbs:
            raise CommandRefused(f"unknown command {verb}; there are {', '.join(sorted(self._verbs))}")
        known = self.users.get(user)
        if known is None:
            raise CommandRefused(f"unknown user {user}")
        if known.role not in ROLES[verb]:
            raise CommandRefused(f"{user} is {known.role}; {verb} is for {', '.join(sorted(ROLES[verb]))}")

    def _acknowledge(self, user: str, arguments: Mapping[str, Any]) -> list[Event]:
        reason = _reason(arguments)
        return self.engine.acknowledge(
            str(arguments.get("alarm", "")),
            str(arguments.get("occurrence", "")),
            user,
            reason,
            time.monotonic(),
            time.time_ns(),
        )

    def _out_of_service(self, user: str, arguments: Mapping[str, Any]) -> list[Event]:
        device, reason = self._device(arguments), _reason(arguments)
        seconds = arguments.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST_OUT:
            raise CommandRefused(f"say for how long, at most {LONGEST_OUT / 86400:.0f} d")
        now = time.time_ns()
        return self.engine.out_of_service(device, now + int(seconds * 1e9), user, reason, time.monotonic(), now)

    def _in_service(self, user: str, arguments: Mapping[str, Any]) -> list[Event]:
        device, reason = self._device(arguments), _reason(arguments)
        return self.engine.in_service(device, user, reason, time.monotonic(), time.time_ns())

    def _device(self, arguments: Mapping[str, Any]) -> str:
        device = str(arguments.get("device", ""))
        if device not in self.plant.devices:
            raise CommandRefused(f"no device {device}; there are {', '.join(sorted(self.plant.devices))[:300]}")
        return device


def _reason(arguments: Mapping[str, Any]) -> str:
    reason = str(arguments.get("reason", "")).strip()
    if not reason:
        raise CommandRefused("a reason is needed")
    return reason[:REASON]


def _cut(arguments: Mapping[str, Any], name: str, length: int) -> str:
    """An argument as it is recorded: commands are kept for ever, also refused ones of whoever may open the socket."""
    return str(arguments.get(name, ""))[:length]


def _said(event: Event) -> str:
    return f"{event.alarm or event.device} {event.kind.value}"
