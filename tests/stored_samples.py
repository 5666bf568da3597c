"""An instrument that stores samples, by registers packed here and not by labmon: an indexed buffer or a queue.

`e2e/drivers/test/indexed.yaml` and `queued.yaml` describe it. Sample k has time `start + 60 k`, k + 1 as its number
(modulo 65536) and 7 k + 3 as its counts, so that a record that is lost, doubled or mixed up shows itself.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from labmon.simulate.fault import Fault

START = 1_700_000_000
EVERY = 60
GARBAGE = 0xCDCD
COUNT, INDEX, POP, WAITING, AVAILABLE = 100, 101, 102, 103, 104
"""Holding registers."""
NEWEST = 0xFFFF


def counts(k: int) -> int:
    return 7 * k + 3


@dataclass
class Samples:
    """The instrument (labmon.simulate.line.Answering). `store(k)` is what happens when a sample is complete."""

    unit: int = 1
    room: int = 1000
    ring: bool = False
    """A full buffer overwrites its oldest place, in place of moving all down."""
    step: int = 0
    """Seconds by which its clock was set."""
    stored: list[tuple[int, int]] = field(default_factory=list)
    """Samples that it holds, by place: k and its time."""
    next: int = 0
    index: int = NEWEST
    popped: list[int] = field(default_factory=list)
    reads: Counter[int] = field(default_factory=Counter)
    """How often each sample was read."""
    requests: int = 0
    fault: Fault = field(default_factory=Fault)
    at_request: dict[int, Any] = field(default_factory=dict)
    """What happens right before the n-th request from now on is answered."""
    written: int = 0
    """Samples that were stored since the buffer was empty, for the place in a ring."""

    def store(self, count: int = 1) -> None:
        for _ in range(count):
            k, self.next = self.next, self.next + 1
            sample = (k, START + EVERY * k + self.step)
            if len(self.stored) < self.room:
                self.stored.append(sample)
            elif self.ring:
                self.stored[self.written % self.room] = sample
            else:
                self.stored = [*self.stored[1:], sample]
            self.written += 1

    def clear(self) -> None:
        self.stored.clear()
        self.written = 0

    # ------------------------------------------------------------------ on the line

    def hears(self, unit: int | None, body: bytes) -> bool:
        return unit == self.unit

    def refusal(self, body: bytes) -> bytes:
        return bytes([body[0] | 0x80, self.fault.exception])

    def answer(self, body: bytes) -> bytes | None:
        self.requests += 1
        deed = self.at_request.pop(self.requests, None)
        if deed is not None:
            deed()
        function, at, value = struct.unpack(">BHH", body)
        if function == 6:
            return self._write(at, value, body)
        block = self._holding() if function == 3 else self._input()
        registers = [block.get(n, GARBAGE) for n in range(at, at + value)]
        if function == 4 and self._shown() is not None:
            self.reads[self._shown()[0]] += 1  # type: ignore[index]
        return struct.pack(">BB", function, 2 * value) + b"".join(struct.pack(">H", r) for r in registers)

    def _write(self, at: int, value: int, body: bytes) -> bytes:
        if at == INDEX:
            self.index = value
        elif at == POP:
            if not self.stored:
                return bytes([0x86, 3])
            self.popped.append(self.stored.pop(0)[0])
        return body

    def _holding(self) -> dict[int, int]:
        return {
            COUNT: len(self.stored),
            INDEX: self.index,
            WAITING: len(self.stored),
            AVAILABLE: int(bool(self.stored)),
        }

    def _shown(self) -> tuple[int, int] | None:
        if not self.stored:
            return None
        if self.index == NEWEST:
            return max(self.stored)
        return self.stored[self.index] if self.index < len(self.stored) else None

    def _input(self) -> dict[int, int]:
        shown = self._shown()
        if shown is None:
            return {}  # an empty slot: garbage
        return self.packed(*shown)

    @staticmethod
    def packed(k: int, time: int) -> dict[int, int]:
        packed = struct.pack(">IHIHH", time, 1, counts(k), (k + 1) % 65536, EVERY)
        return {n: int.from_bytes(packed[2 * n : 2 * n + 2], "big") for n in range(len(packed) // 2)}


class Queue(Samples):
    """The same with a queue: the oldest is shown, zeros when it is empty."""

    def _shown(self) -> tuple[int, int] | None:
        return self.stored[0] if self.stored else None

    def _input(self) -> dict[int, int]:
        shown = self._shown()
        return dict.fromkeys(range(16), 0) if shown is None else self.packed(*shown)
