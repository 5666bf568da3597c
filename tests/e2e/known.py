"""Instruments whose every value follows from a count of their replies, packed here and not by labmon.

`drivers/test/known.yaml` describes them. Each reply to the query `values` holds the next number `n`; all its other
values are functions of n, so a reading that stands beside another reply's shows itself.
"""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from labmon.simulate.fault import Fault

SAMPLE = 3
"""Seconds between two stored samples."""


class Served(NamedTuple):
    """What a channel is at n: a value (as labmon shall tell it, in the driver's unit) xor a reason; raw as sent."""

    value: float | None
    reason: str | None = None
    warned: bool = False


def _words(packed: bytes, order: str) -> bytes:
    """Big-endian bytes in another byte and word order."""
    words = [packed[n : n + 2] for n in range(0, len(packed), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return b"".join(words)


def single(value: float) -> float:
    """The nearest number of 32 bits."""
    return float(struct.unpack(">f", struct.pack(">f", value))[0])


def registers(n: int) -> bytes:
    """Holding registers 0 to 29 of the n-th reply."""
    status = (n % 10 == 3) | (n % 10 == 7) << 1
    return b"".join(
        (
            struct.pack(">I", n),
            struct.pack(">h", n % 1200 - 600),
            struct.pack(">H", n % 10000),
            _words(struct.pack(">I", 90_000 + n), "CDAB"),
            _words(struct.pack(">f", math.sin(n)), "ABCD"),
            _words(struct.pack(">f", math.cos(n)), "CDAB"),
            _words(struct.pack(">f", n / 7), "BADC"),
            _words(struct.pack(">f", -n / 3), "DCBA"),
            _words(struct.pack(">d", n / 11), "ABCD"),
            _words(struct.pack(">i", -n), "CDAB"),
            struct.pack(">Q", 5_000_000_000 + n),
            struct.pack(">H", status),
            struct.pack(">H", n % 3),
            struct.pack(">h", 0x7FFF if n % 10 == 5 else n % 100),
            struct.pack(">BB", n % 256, 255 - n % 256),
            bytes(4),
        )
    )


def served(n: int) -> dict[str, Served]:
    """What the n-th reply says, by the driver's channel."""
    faulty, warned, missing = n % 10 == 3, n % 10 == 7, n % 10 == 5
    return {
        "n": Served(float(n)),
        "temperature": Served((n % 1200 - 600) * 0.1),
        "humidity": Served(n % 10000 * 0.01),
        "pressure": Served(float(90_000 + n)),
        "float-abcd": Served(single(math.sin(n))),
        "float-cdab": Served(single(math.cos(n))),
        "float-badc": Served(single(n / 7)),
        "float-dcba": Served(single(-n / 3)),
        "double": Served(n / 11),
        "negative": Served(float(-n)),
        "wide": Served(float(5_000_000_000 + n)),
        "guarded": Served(None, "not-reliable (measurement error)") if faulty else Served(n % 3 * 2.0, None, warned),
        "mode": Served(float(n % 3)),
        "sensor": Served(None, "no-sensor") if missing else Served(float(n % 100)),
        "high-byte": Served(float(n % 256)),
        "low-byte": Served(float(255 - n % 256)),
    }


def sample(k: int) -> tuple[int, float]:
    """The k-th stored sample's counts and flow."""
    return 3 * k + 1, k * 0.5


@dataclass
class Known:
    """One instrument on a simulated line (labmon.simulate.line.Answering)."""

    unit: int
    n: int = 0
    asked: int = 0
    """Requests for the record."""
    replies: int = 0
    """Replies to the query `values`."""
    fault: Fault = field(default_factory=Fault)
    fixed: int | None = None
    """A number that every reply holds, in place of the count."""
    first: int = field(default_factory=lambda: int(time.time()))

    def hears(self, unit: int | None, body: bytes) -> bool:
        return unit == self.unit

    def refusal(self, body: bytes) -> bytes:
        return bytes([body[0] | 0x80, self.fault.exception])

    @property
    def samples(self) -> int:
        """How many samples it has stored, by the clock."""
        return max(0, int(time.time()) - self.first) // SAMPLE + 1

    def answer(self, body: bytes) -> bytes | None:
        function, start, count = body[0], *struct.unpack(">HH", body[1:5])
        if function == 3:
            self.replies += 1
            if self.fixed is None:
                self.n += 1
            data = registers(self.n if self.fixed is None else self.fixed)[2 * start : 2 * (start + count)]
        elif function == 4:
            k = self.samples - 1
            counts, flow = sample(k)
            data = struct.pack(">IIIf", self.first + k * SAMPLE, k, counts, flow)
            self.asked += 1
        elif function == 2:
            return bytes([2, 1, 0b0000_0101])
        else:
            return bytes([function | 0x80, 1])
        if len(data) != 2 * count:
            return bytes([function | 0x80, 2])
        return bytes([function, len(data)]) + data
