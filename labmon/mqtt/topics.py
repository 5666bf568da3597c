"""The topics of one gateway, and of all, built in one place and taken apart in one place."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from labmon.model.ids import is_id

_LEVEL = re.compile(r"[a-z0-9][a-z0-9.-]*")
ALL_GATEWAYS = "labmon/+/+"
"""Prefix pattern for a reader of every site and gateway."""


def client_id(prefix: str, role: str) -> str:
    """A client id for one process: two processes with one id throw each other out for ever."""
    return f"{prefix.replace('/', '-')}-{role}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics below the prefix `labmon/<site>/<gateway>` (model.plant.Plant.prefix)."""

    prefix: str

    @property
    def record(self) -> str:
        """Ranges of the journal on their way to the stores."""
        return f"{self.prefix}/record"

    @property
    def stored_by_all(self) -> str:
        """Filter for the confirmations of every store."""
        return f"{self.prefix}/record/stored/+"

    def stored(self, store: str) -> str:
        """The confirmations of one store."""
        return f"{self.prefix}/record/stored/{_level(store)}"

    def live(self, area: str, device: str) -> str:
        """The latest of all channels of a device."""
        return f"{self.prefix}/live/{_level(area)}/{_level(device)}"

    def alarm(self, alarm: str) -> str:
        """The state of an alarm."""
        return f"{self.prefix}/alarm/{_level(alarm)}"

    @property
    def alarms(self) -> str:
        """Filter for the states of all alarms."""
        return f"{self.prefix}/alarm/+"

    @property
    def event(self) -> str:
        """Events in the order of the journal."""
        return f"{self.prefix}/event"

    def command(self, verb: str) -> str:
        """Commands of one verb."""
        return f"{self.prefix}/command/{_level(verb)}"

    @property
    def commands(self) -> str:
        """Filter for the commands of every verb."""
        return f"{self.prefix}/command/+"

    def reply(self, command: str) -> str:
        """The reply to the command with this id."""
        return f"{self.prefix}/reply/{_level(command)}"

    def pin(self, user: str) -> str:
        """How the key that proves a user's commands is derived from the PIN."""
        return f"{self.prefix}/pin/{_level(user)}"

    def health(self, line: str) -> str:
        """Health of a line."""
        return f"{self.prefix}/health/{_level(line)}"

    @property
    def healths(self) -> str:
        """Filter for the health of all lines."""
        return f"{self.prefix}/health/+"

    @property
    def status(self) -> str:
        """Online or offline."""
        return f"{self.prefix}/status"


@dataclass(frozen=True, slots=True)
class Place:
    """A topic taken apart: whose it is, and the levels below the prefix."""

    site: str
    gateway: str
    levels: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """The gateway's prefix."""
        return f"labmon/{self.site}/{self.gateway}"


def parse(topic: str) -> Place | None:
    """Take a topic apart; None for one that is no gateway's."""
    parts = topic.split("/")
    if len(parts) < 4 or parts[0] != "labmon" or not (is_id(parts[1]) and is_id(parts[2])):
        return None
    return Place(parts[1], parts[2], tuple(parts[3:]))


def last_level(topic: str, filter_: str) -> str | None:
    """What stands for the final `+` of `filter_` in `topic`; None when it does not match or is no id."""
    begin = filter_.removesuffix("+")
    if not filter_.endswith("/+") or not topic.startswith(begin):
        return None
    level = topic[len(begin) :]
    return level if _LEVEL.fullmatch(level) else None


def _level(text: str) -> str:
    if not _LEVEL.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a level of a topic")
    return text
