"""What can be wrong with the replies of a simulated instrument, on command."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

FaultName = Literal["ok", "silent", "late", "garbled", "junk", "cut", "twice", "wrong-unit", "wrong-checksum", "refuse"]
Place = Literal["before", "inside", "after"]
LONGEST = 3600.0
"""Seconds by which a reply can be late."""
FAULTS: tuple[str, ...] = get_args(FaultName)
PLACES: tuple[str, ...] = get_args(Place)
_JUNK = (0x00, 0xFF, 0x55)


@dataclass(frozen=True, slots=True)
class Fault:
    """One behaviour. `seconds` delays a late reply; `code` is the Modbus exception, or the code of a text refusal
    (None: the first that the driver file shows); `place` is where the junk byte stands.
    """

    name: FaultName = "ok"
    seconds: float = 0.0
    code: str | None = None
    place: Place = "before"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From `late 0.5`, `refuse 2`, `junk after`, `silent`. Raises ValueError naming what there is."""
        words = text.split()
        if not words or words[0] not in FAULTS or len(words) > 2:
            places = ", ".join(PLACES)
            raise ValueError(
                f"a fault is one of {', '.join(FAULTS)}; late takes seconds, refuse a code, junk a place ({places})"
            )
        name: FaultName = words[0]  # type: ignore[assignment]
        word = words[1] if len(words) == 2 else None
        if name == "late":
            return cls(name, seconds=1.0 if word is None else _seconds(word))
        if name == "refuse":
            return cls(name, code=word)
        if name == "junk" and (word is None or word in PLACES):
            return cls(name, place="before" if word is None else word)  # type: ignore[arg-type]
        if word is not None:
            raise ValueError(f"{name} does not take {word}")
        return cls(name)

    @property
    def exception(self) -> int:
        """The Modbus exception code by which it refuses. Raises ValueError for a code that is none."""
        if self.code is None:
            return 4
        if not self.code.isascii() or not self.code.isdigit() or not 1 <= int(self.code) <= 255:
            raise ValueError(f"{self.code} is no Modbus exception code (1 to 255)")
        return int(self.code)

    def on_wire(self, frame: bytes, chance: random.Random) -> bytes:
        """The reply frame as this fault lets it out. What depends on the framing is done before (see line.py)."""
        if self.name == "junk":
            at = {"before": 0, "inside": max(1, len(frame) // 2), "after": len(frame)}[self.place]
            return frame[:at] + bytes([chance.choice(_JUNK)]) + frame[at:]
        if self.name == "cut":
            return frame[: max(1, len(frame) // 2)]
        if self.name == "twice":
            return frame * 2
        return frame


def _seconds(word: str) -> float:
    number = float(word)
    if not 0 <= number <= LONGEST:
        raise ValueError(f"{word} is not between 0 and {LONGEST:g}")
    return number
