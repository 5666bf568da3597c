"""Guessing PINs is slowed: after wrong proofs, commands by MQTT are refused for a while. Pure; time is an argument.

Only the way by MQTT is closed. Whoever may send commands there could else keep staff from acknowledging; the command
line at the gateway, where the kernel names the user, is never locked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FAILURES = 5
"""Wrong proofs in one user's name, within WINDOW, that close the way for this user."""
FAILURES_OVERALL, NAMES = 15, 3
"""The same in several names together, which closes it for all: somebody tries one name after the other."""
WINDOW = 300.0
SHORTEST, LONGEST = 60.0, 900.0
"""Seconds that the way is closed: the first time, and at most. It doubles each time."""
FORGET = 3600.0
"""Seconds without a wrong proof, after which it begins with the shortest again.

A right one in between forgives nothing: else whoever guesses would wait for staff to come.
"""


@dataclass(slots=True)
class _Door:
    """Wrong proofs in one name, or in all: when, and in whose name."""

    most: int
    names: int = 1
    wrong: deque[tuple[float, str]] = field(default_factory=deque)
    closed_until: float = float("-inf")
    last: float = float("-inf")
    closings: int = 0
    """In a row, without a calm time in between."""

    def failed(self, user: str, mono: float) -> float | None:
        if mono - self.last > FORGET:
            self.closings = 0
        self.last = mono
        self.wrong.append((mono, user))
        while mono - self.wrong[0][0] > WINDOW:
            self.wrong.popleft()
        if len(self.wrong) < self.most or len({name for _, name in self.wrong}) < self.names:
            return None
        self.wrong.clear()
        seconds: float = min(SHORTEST * 2**self.closings, LONGEST)
        self.closings = min(self.closings + 1, 10)
        self.closed_until = mono + seconds
        return seconds


class Lockout:
    """Who may prove a command now. One door for each user, and one for all of them."""

    def __init__(self) -> None:
        self._users: dict[str, _Door] = {}
        self._all = _Door(FAILURES_OVERALL, NAMES)

    def closed(self, user: str, mono: float) -> float:
        """Seconds until a proof of this user is looked at again; 0 when it is now."""
        own = self._users.get(user)
        until = max(self._all.closed_until, own.closed_until if own is not None else float("-inf"))
        return max(0.0, until - mono)

    def failed(self, user: str, mono: float) -> str | None:
        """A wrong proof in the name of a known user. Returns what was closed by it, in words; None when nothing was."""
        own = self._users.setdefault(user, _Door(FAILURES))
        told = None
        for door, whose in ((own, f"the name of {user}"), (self._all, "several names")):
            seconds = door.failed(user, mono)
            if seconds is not None:
                told = (
                    f"{door.most} wrong proofs within {WINDOW / 60:.0f} min in {whose}; "
                    f"commands by MQTT of {user if door is own else 'everybody'} are refused for {seconds:.0f} s"
                )
        return told

    def open_again(self, mono: float) -> float | None:
        """Seconds until everything is open; None when it is."""
        until = max((door.closed_until for door in (self._all, *self._users.values())), default=float("-inf"))
        return until - mono if until > mono else None
