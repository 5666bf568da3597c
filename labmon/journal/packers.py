"""Exchanges on their way into the journal."""

from __future__ import annotations

import math

from labmon.journal.errors import Unpackable
from labmon.journal.packing import Packer
from labmon.model.exchange import Exchange, Layout
from labmon.model.reading import Reading, Reason, reason_text


class Packed:
    """One exchange ready to be written."""

    __slots__ = ("body", "packer", "time")

    def __init__(self, packer: Packer, time: int, body: bytes) -> None:
        self.packer = packer
        self.time = time
        self.body = body


class Packers:
    """One packer for all layouts that compare equal, found by identity on the hot path."""

    _BOUND = 10_000

    def __init__(self) -> None:
        # The layout is kept beside its packer, so that an identity is not used again while it is a key.
        self._by_identity: dict[int, tuple[Layout, Packer]] = {}
        self._by_layout: dict[Layout, Packer] = {}

    def of(self, layout: Layout) -> Packer:
        """The packer of a layout. Raises ValueError for a layout that cannot be packed."""
        found = self._by_identity.get(id(layout))
        if found is not None:
            return found[1]
        if len(self._by_identity) >= self._BOUND:
            self._by_identity.clear()
            self._by_layout.clear()
        packer = self._by_layout.get(layout)
        if packer is None:
            packer = self._by_layout[layout] = Packer(layout)
        self._by_identity[id(layout)] = layout, packer
        return packer

    def pack(self, exchange: Exchange) -> Packed:
        """Pack an exchange under its layout. Raises Unpackable."""
        try:
            packer = self.of(exchange.layout)
        except Unpackable:
            raise
        except ValueError as error:
            raise Unpackable(str(error)) from error
        return Packed(packer, exchange.time, packer.pack(exchange))


def without_nan(exchange: Exchange) -> Exchange:
    """The exchange with a reason in place of every value that is not a finite number."""
    reason = reason_text(Reason.INTERNAL, "the value is not a finite number")

    def sound(reading: Reading) -> Reading:
        if reading.value is None or _is_finite(reading.value):
            return reading
        return Reading(reading.channel, reading.time, reading.received, None, reason, reading.flags, reading.raw)

    readings = [sound(reading) for reading in exchange.readings]
    return Exchange(exchange.layout, exchange.time, exchange.received, readings, exchange.skipped)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
