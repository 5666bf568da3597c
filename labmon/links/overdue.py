"""A reply that did not come in time."""

from __future__ import annotations

from labmon.links.link import Request


class Overdue:
    """A request that was not answered in time, kept to recognise its late reply when it passes."""

    __slots__ = ("buffer", "late", "request", "sent", "transaction")

    def __init__(self, request: Request, transaction: int, sent: float, buffer: bytes) -> None:
        self.request = request
        self.transaction = transaction
        self.sent = sent
        self.buffer = buffer
        self.late = 0

    def answered(self) -> bool:
        """Whether its reply is there."""
        try:
            return self.request.match(self.buffer, self.transaction) is not None
        except Exception:  # noqa: BLE001 - Garbled, Refused: whatever it says, this only counts replies
            return False
