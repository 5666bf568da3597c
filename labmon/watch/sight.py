"""How long the watch has seen the broker: the clock by which silence is judged. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment: in seconds of sight, by which silence is judged, and in UTC ns, to tell people."""

    sight: float
    wall: int


class Sight:
    """Counts only the time for which the watch was connected: what it cannot see is not silent.

    The first `settle` seconds of each connection do not count: gateways that lost the same broker come back then. A
    connection that breaks before that is no sight at all, so that one that flaps is told of like one that is away.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._since: float | None = None
        self._before = 0.0

    def connected(self, mono: float) -> None:
        """The connection stands from here on (monotonic seconds)."""
        if self._since is None:
            self._since = mono

    def lost(self, mono: float) -> None:
        """It does not."""
        self._before = self._total(mono)
        self._since = None

    def at(self, mono: float, wall: int) -> Moment:
        """This moment."""
        return Moment(self._total(mono), wall)

    def steady(self, mono: float) -> bool:
        """Whether gateways can be judged now."""
        return self._since is not None and mono - self._since >= self._settle

    def _total(self, mono: float) -> float:
        counted = 0.0 if self._since is None else max(0.0, mono - self._since - self._settle)
        return self._before + counted
