"""What ingest asks of a store, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from labmon.model.record import RecordRange

Trouble = Literal["unavailable", "denied"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A journal entry of which the store will never take all points, and which points and why."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Written:
    """A range that the store now has, except the refused entries; the good points of those are stored too."""

    points: int
    """Points stored."""
    refused: tuple[Refused, ...] = ()


class StoreError(Exception):
    """Nothing can be said to be stored; writing the same again is harmless.

    `unavailable`: it may work later by itself, after `retry_after` seconds where the store said so.
    `denied`: somebody has to act (a token, a bucket, a full disk); the text says on what.
    The text is one line and holds no secret.
    """

    def __init__(self, kind: Trouble, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.kind: Trouble = kind
        self.text = text
        self.retry_after = retry_after


class Store(Protocol):
    """A store of readings. `write`, then `close`, are called from one thread; `abort` from any."""

    def write(self, record: RecordRange, site: str, gateway: str) -> Written:
        """Store all readings of the range durably; twice is once. Raises StoreError."""
        ...

    def abort(self) -> None:
        """Make a `write` that is under way, and every later one, end soon with StoreError. Never blocks."""
        ...

    def close(self) -> None:
        """Free what the store holds here."""
        ...
