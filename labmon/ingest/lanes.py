"""The record messages that wait to be written: in order per gateway, gateways in turn, bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Literal

Lane = tuple[str, str]
"""Site and gateway."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One record message as it came; `seen` is when it last came, on the monotonic clock."""

    lane: Lane
    payload: bytes
    seen: float


class Lanes:
    """Bounded in count and bytes: what does not fit is not taken, its gateway sends it again.

    A message that waits already is not taken twice. One that its gateway no longer repeats (it was stored by another
    ingest, or cut anew) is dropped after `stale` seconds, which must be longer than a gateway's longest pause.
    """

    def __init__(self, *, count: int = 256, size: int = 32 * 2**20, stale: float = 150.0) -> None:
        self._count = count
        self._size = size
        self._stale = stale
        self._lanes: OrderedDict[Lane, deque[Waiting]] = OrderedDict()
        self._known: dict[tuple[Lane, bytes], Waiting] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def put(self, lane: Lane, payload: bytes, now: float) -> Literal["taken", "known", "full"]:
        """Add a message at the end of its gateway's lane."""
        if (known := self._known.get((lane, payload))) is not None:
            known.seen = now
            return "known"
        if len(self._known) >= self._count or (self._known and self._bytes + len(payload) > self._size):
            return "full"
        waiting = self._known[lane, payload] = Waiting(lane, payload, now)
        self._bytes += len(payload)
        self._lanes.setdefault(lane, deque()).append(waiting)
        return "taken"

    def next(self, now: float) -> Waiting | None:
        """The first message of the gateway whose turn it is; it stays in its lane until `done`."""
        while self._lanes:
            lane, messages = next(iter(self._lanes.items()))
            self._lanes.move_to_end(lane)
            if now - messages[0].seen <= self._stale:
                return messages[0]
            self.done(messages[0])
        return None

    def done(self, waiting: Waiting) -> None:
        """Remove the first message of a lane."""
        messages = self._lanes[waiting.lane]
        if messages.popleft() is not waiting:
            raise ValueError("not the first of its lane")
        if not messages:
            del self._lanes[waiting.lane]
        del self._known[waiting.lane, waiting.payload]
        self._bytes -= len(waiting.payload)
