"""A foreign RTU frame whose data are a whole valid reply of ours, in pieces: it is that frame's, wherever it is cut."""

from __future__ import annotations

import pytest
from hostile_wire import MemoryWire, WireLoop, run
from links import peers

from labmon.links import modbus
from labmon.links.conversation import Conversation
from labmon.links.errors import LinkError
from labmon.links.timing import Timing

WRONG, RIGHT = bytes.fromhex("dead"), bytes.fromhex("0171")


def reply(data: bytes) -> bytes:
    return peers.rtu(7, b"\x03\x02" + data)


FOREIGN = peers.rtu(9, b"\x03\x0c\x00\x00" + reply(WRONG) + b"\x00\x00\x00")


class Wire(MemoryWire):
    """Says the foreign frame cut at one place (or everywhere), a millisecond apart, then our reply."""

    cuts: list[int]

    def far_end(self, data: bytes) -> None:
        at = self._loop.time() + 0.02
        ends = [*self.cuts, len(FOREIGN)]
        for start, end in zip([0, *self.cuts], ends, strict=True):
            self.arrive(FOREIGN[start:end], at)
            at += 0.001
        self.arrive(reply(RIGHT), at + 0.03)

    def hand_over(self, piece: bytes, at: float) -> bytes:
        return piece


@pytest.mark.parametrize("cuts", [*([n] for n in range(1, len(FOREIGN))), list(range(1, len(FOREIGN)))], ids=str)
def test_what_stands_within_a_foreign_frame_is_no_reply(cuts: list[int]) -> None:
    async def body(loop: WireLoop) -> bytes | None:
        wire = Wire(loop)
        wire.cuts = cuts
        link = Conversation(wire, Timing(gap=0.004, least_quiet=0.01))
        await link.open()
        try:
            return await link.exchange(modbus.read("modbus-rtu", 7, 3, 0, 1), 0.5)
        except LinkError:
            return None
        finally:
            await link.close()

    assert run(body) == RIGHT
