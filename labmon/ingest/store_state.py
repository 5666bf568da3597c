"""Whether a store takes data: what is logged of it, and how long it is left alone."""

from __future__ import annotations

import logging
import random
from typing import Final

from labmon.ingest.store import StoreError

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
"""Seconds. A store that is back is found within the longest, unless it asked for more."""


class StoreState:
    """One line per change of state; pauses that double while nothing is stored."""

    def __init__(self, store_id: str) -> None:
        self._store_id = store_id
        self._said = ""
        self._pause = FIRST_PAUSE
        self._denied: StoreError | None = None
        self._denied_until = 0.0

    def stored(self) -> None:
        """A range was stored."""
        if self._said:
            log.info("store %s: stores again", self._store_id)
        self._said = ""
        self._pause = FIRST_PAUSE
        self._denied = None

    def unavailable(self, trouble: StoreError, waiting: int) -> float:
        """The store could not be written to. Seconds to wait before the next attempt."""
        self._say("unavailable", f"unavailable, {waiting} ranges wait: {trouble.text}")
        return max(self._next_pause(), trouble.retry_after or 0.0)

    def denied(self, trouble: StoreError, now: float) -> None:
        """The store will not take anything until somebody acts; it is asked again after a while."""
        self._say(f"denied {trouble.text}", f"takes nothing until somebody acts: {trouble.text}")
        self._denied = trouble
        self._denied_until = now + self._next_pause()

    def denied_now(self, now: float) -> StoreError | None:
        """What the store said, as long as it shall not be asked again."""
        return self._denied if now < self._denied_until else None

    def fault(self, error: Exception) -> bool:
        """A fault of ours. Whether it is new."""
        said = f"fault {type(error).__name__}"
        new, self._said = said != self._said, said
        return new

    def _say(self, state: str, text: str) -> None:
        if state != self._said:
            log.warning("store %s: %s", self._store_id, text)
        self._said = state

    def _next_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        # Several ingests of one store do not all come back at the same moment.
        return pause * random.uniform(0.8, 1.2)
