"""So much and no more: keeps floods from filling the journal and the log."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Allowance:
    """So many at once, and one more every `every` seconds (a token bucket)."""

    size: int
    every: float
    left: float = field(init=False)
    seen: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.left = self.size

    def take(self, mono: float) -> bool:
        """Use one, if there is one."""
        if not self.has(mono):
            return False
        self.left -= 1
        return True

    def has(self, mono: float) -> bool:
        """Whether there is one to use."""
        self.left = min(self.size, self.left + max(0.0, mono - self.seen) / self.every)
        self.seen = mono
        return self.left >= 1
