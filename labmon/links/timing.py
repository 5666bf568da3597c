"""The times that a line demands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """What the line's physics and its protocol demand, in seconds.

    `gap`: silence before each request. `character`: time of one character on the wire (0: no wire worth counting).
    `identified`: replies carry the transaction id (Modbus TCP), so nothing ever needs to settle.
    `least_quiet`: silence that ends a settling at the earliest. `latest_reply`: the declared bound after which no
    instrument on this line answers any more; None: twice the timeout of the exchange that failed.
    `settle_limit`: how long settling waits for a line that never becomes quiet.
    """

    gap: float = 0.0
    character: float = 0.0
    identified: bool = False
    least_quiet: float = 0.1
    latest_reply: float | None = None
    settle_limit: float = 5.0
