"""Lines that come unasked and replies that end otherwise, on one port: each is heard as what it is, however cut."""

from __future__ import annotations

import asyncio
import re

import pytest
from hostile_wire import MemoryWire, WireLoop, run

from labmon.links.conversation import Conversation
from labmon.links.frame import FrameForm, Terminated
from labmon.links.stream import Listener, StreamForm
from labmon.links.text import TextRequest
from labmon.links.timing import Timing

BEFORE, REPLY, AFTER = b"T 20.5\r\n", b"D 1\r\n*", b"T 21.5\r\n"
SAID = BEFORE + REPLY + AFTER


class Wire(MemoryWire):
    cuts: list[int]

    def far_end(self, data: bytes) -> None:
        at = self._loop.time() + 0.02
        for start, end in zip([0, *self.cuts], [*self.cuts, len(SAID)], strict=True):
            self.arrive(SAID[start:end], at)
            at += 0.001

    def hand_over(self, piece: bytes, at: float) -> bytes:
        return piece


@pytest.mark.parametrize("cuts", [[], *([n] for n in range(1, len(SAID))), list(range(1, len(SAID)))], ids=str)
def test_replies_with_a_prompt_beside_lines(cuts: list[int]) -> None:
    heard: list[bytes] = []

    async def body(loop: WireLoop) -> bytes:
        wire = Wire(loop)
        wire.cuts = cuts
        link = Conversation(wire, Timing(gap=0.004, least_quiet=0.01))
        form = StreamForm(FrameForm(Terminated((b"\r\n",))), re.compile(rb"T \d+\.\d").fullmatch, b"T ")
        link.listen(Listener([(form, lambda payload, now: heard.append(payload))]))
        await link.open()
        request = TextRequest(b"D", Terminated((b"\r\n*",)), terminator=b"\r", expect=re.compile(rb"D \d"))
        found = await link.exchange(request, 0.5)
        await asyncio.sleep(0.1)
        await link.close()
        return found

    assert run(body) == b"D 1"
    assert heard == [b"T 20.5", b"T 21.5"]
