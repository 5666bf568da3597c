"""What can be wrong with a simulated instrument, on command."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

FaultName = Literal["ok", "silent", "late", "garbled", "junk", "cut", "wrong-unit", "wrong-checksum", "refuse"]
LONGEST = 3600.0
"""Seconds by which a reply can be late."""
FAULTS: tuple[str, ...] = get_args(FaultName)


@dataclass(frozen=True, slots=True)
class Fault:
    """One behaviour. `seconds` delays a late reply; `code` is the Modbus exception or the text of a refusal."""

    name: FaultName = "ok"
    seconds: float = 0.0
    code: int = 4

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From `late 0.5`, `refuse 2`, `silent`. Raises ValueError naming what there is."""
        words = text.split()
        if not words or words[0] not in FAULTS or len(words) > 2:
            raise ValueError(f"a fault is one of {', '.join(FAULTS)}; late takes seconds, refuse a code")
        name: FaultName = words[0]  # type: ignore[assignment]
        number = float(words[1]) if len(words) == 2 else None
        if number is not None and not 0 <= number <= LONGEST:
            raise ValueError(f"{words[1]} is not between 0 and {LONGEST:g}")
        if name == "late":
            return cls(name, seconds=1.0 if number is None else number)
        if name == "refuse":
            return cls(name, code=4 if number is None else int(number))
        return cls(name)

    def on_wire(self, frame: bytes, chance: random.Random) -> bytes:
        """The reply frame as this fault lets it out."""
        if self.name == "garbled" and frame:
            at = chance.randrange(len(frame))
            return frame[:at] + bytes([frame[at] ^ (1 << chance.randrange(8))]) + frame[at + 1 :]
        if self.name == "junk":
            return bytes([chance.choice((0x00, 0xFF, 0x55))]) + frame
        if self.name == "cut":
            return frame[: max(1, len(frame) // 2)]
        if self.name == "wrong-checksum" and frame:
            return frame[:-1] + bytes([frame[-1] ^ 0xFF])
        return frame
