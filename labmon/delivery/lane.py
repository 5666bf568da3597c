"""How far one store is: what it has confirmed, what is on its way to it, and what is wrong with it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from labmon.delivery.ranges import Prepared
from labmon.model.messages import Stored


@dataclass(frozen=True, slots=True)
class Pace:
    """When and how much is sent. Times in seconds."""

    resend_first: float = 10.0
    resend_most: float = 60.0
    ranges: int = 8
    """Ranges on their way to one store at once."""
    bytes: int = 8 * 2**20
    """Bytes of them."""
    range_entries: int = 500
    range_bytes: int = 256 * 1024
    """Stored bytes of the entries that one range is made of."""
    silent_after: float = 120.0
    """A store with a backlog that confirms nothing for so long is an alarm."""
    stalled_after: float = 60.0
    """... and is sent one range at a time from then on, because every store hears what is sent to one of them."""


@dataclass(slots=True)
class RecordCounters:
    """What happened since the start."""

    sent: int = 0
    sent_bytes: int = 0
    resent: int = 0
    confirmed: int = 0
    refused: int = 0
    errors: int = 0
    """Confirmations that said that nothing was stored."""
    malformed: int = 0
    foreign: int = 0
    """Confirmations for another journal or an unknown store."""
    unexpected: int = 0
    """Confirmations for ranges that are not on their way (any more)."""


@dataclass(slots=True, eq=False)
class Flight:
    """A range on its way: to whom it still is, and when it is sent (again)."""

    range: Prepared
    waiting: set[str]
    due: float
    tries: int = 0
    publishing: bool = False

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.range.payload or b"")

    def sent(self, now: float, pace: Pace) -> None:
        """It was sent now; it is due again later."""
        self.due = now + min(pace.resend_first * 2**self.tries, pace.resend_most)
        self.tries = min(self.tries + 1, 16)


@dataclass(slots=True)
class Lane:
    """One store. `confirmed` is the end of the contiguous prefix that it has stored, `position` of what was sent."""

    store: str
    confirmed: int
    now: float
    position: int = 0
    saved: int = 0
    """What of `confirmed` is on the disk."""
    flights: deque[Flight] = field(default_factory=deque)
    refused: dict[int, str] = field(default_factory=dict)
    """Refused entries that are not yet in the quarantine on the disk."""
    error: str = ""
    """What the store said last instead of storing."""
    progress: float = 0.0
    """When it last confirmed something, or began to have something to confirm (monotonic)."""

    def __post_init__(self) -> None:
        self.position = self.saved = self.confirmed
        self.progress = self.now

    def stalled(self, now: float, pace: Pace) -> bool:
        """Whether sending more than a probe is of no use."""
        return bool(self.flights) and (bool(self.error) or now - self.progress > pace.stalled_after)

    def room(self, now: float, pace: Pace) -> bool:
        """Whether one more range may be on its way."""
        if self.stalled(now, pace):
            return False
        return len(self.flights) < pace.ranges and sum(flight.size for flight in self.flights) < pace.bytes

    def add(self, flight: Flight, now: float) -> None:
        """A range goes to this store, next to the one before."""
        if not self.flights:
            self.progress = now
        self.flights.append(flight)
        self.position = flight.range.last

    def recall(self) -> None:
        """Keep the first range as a probe, take the others back."""
        while len(self.flights) > 1:
            self.flights.pop().waiting.discard(self.store)
        self.position = self.flights[-1].range.last if self.flights else self.confirmed

    def take(self, stored: Stored, now: float) -> bool:
        """A confirmation. False when it is for nothing that is on its way to this store."""
        for flight in self.flights:
            if (flight.range.first, flight.range.last) == (stored.first, stored.last) and self.store in flight.waiting:
                break
        else:
            return False
        if stored.error is not None:
            self.error = stored.error
            return True
        self.error = ""
        self.progress = now
        for seq, why in stored.refused:
            if seq in flight.range.seqs:
                self._refuse(seq, why)
        flight.waiting.discard(self.store)
        self.settle()
        return True

    def settle(self) -> None:
        """Move `confirmed` over the contiguous prefix of what is stored, or holds nothing to store."""
        while self.flights:
            flight = self.flights[0]
            if flight.range.payload is not None and self.store in flight.waiting:
                return
            flight.waiting.discard(self.store)
            for seq, why in flight.range.refused.items():
                self._refuse(seq, why)
            self.confirmed = flight.range.last
            self.flights.popleft()

    def _refuse(self, seq: int, why: str) -> None:
        before = self.refused.get(seq)
        if before is None:
            self.refused[seq] = why
        elif why not in before:
            self.refused[seq] = f"{before}; {why}"[:1000]
