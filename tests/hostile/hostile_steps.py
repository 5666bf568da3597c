"""What a hostile peer does with one request, as data: drawn from a seed, played, and taken away to find the least.

All times are in parts of the exchange's timeout, all places in a frame are parts of its length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

SAYINGS = (
    "right", "again", "earlier", "foreign unit", "foreign function", "foreign length", "echo", "refusal", "junk",
    "hang up",
)  # fmt: skip
DAMAGES = ("cut", "inserted", "changed", "lost")
TIMEOUTS = (0.05, 0.3, 1.0)


@dataclass(frozen=True)
class Act:
    """One thing that the peer says."""

    what: str
    after: float
    """Since the request; what has the same moment as the act before is glued to it."""
    damage: str = ""
    where: float = 0.0
    byte: int = 0
    pieces: tuple[float, ...] = ()
    """Where it is split; 2.0: at every byte."""
    apart: float = 0.0
    """Between the pieces."""
    back: int = 1
    """How many requests ago, for `earlier`."""
    junk: bytes = b""


@dataclass(frozen=True)
class Step:
    """One exchange and all that is done to it."""

    number: int
    form: int
    timeout: float
    acts: tuple[Act, ...]
    before: float = 0.0
    """Seconds without asking."""
    cancel: float | None = None
    """The caller is cancelled then."""
    stall: tuple[float, float] | None = None
    """The loop stands still: when, and for how long."""
    owner: str = ""
    """What the line's owner does before: settle, reopen."""


def polite(number: int, form: int, timeout: float = 1.0) -> Step:
    return Step(number, form, timeout, (Act("right", 0.1),))


def draw(rng: random.Random, number: int, forms: int) -> Step:
    """One step of hostility."""
    acts: list[Act] = []
    if rng.random() < 0.2:
        acts.append(Act("right", rng.random() * 0.5))
    else:
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
            glued = acts and rng.random() < 0.4
            acts.append(_act(rng, acts[-1].after if glued else _moment(rng)))
    return Step(
        number,
        rng.randrange(forms),
        rng.choice(TIMEOUTS),
        tuple(acts),
        before=rng.random() * 3 if rng.random() < 0.1 else 0.0,
        cancel=rng.random() * 1.3 if rng.random() < 0.1 else None,
        stall=(rng.random() * 2, rng.random() * 3) if rng.random() < 0.05 else None,
        owner=rng.choice(("settle", "reopen")) if rng.random() < 0.04 else "",
    )


def _moment(rng: random.Random) -> float:
    """In time, about when the time is over, while the line settles, about when it has, and at any later time."""
    ranges = ((0.0, 0.6), (0.0, 0.9), (0.95, 1.05), (1.0, 2.0), (1.95, 2.15), (2.0, 8.0), (2.0, 200.0))
    low, high = rng.choice(ranges)
    return rng.uniform(low, high)


def _act(rng: random.Random, after: float) -> Act:
    what = rng.choice(SAYINGS) if rng.random() < 0.6 else "right"
    if what == "hang up" and rng.random() < 0.6:
        what = "right"
    act = Act(
        what, after, back=rng.choice((1, 1, 1, 2, 3, 20)), byte=rng.choice((0, 0xFF, 0x3A, 0x0D, rng.randrange(256)))
    )
    if what == "junk":
        size = rng.choice((1, 1, 1, 2, 3, 4, 5, 30, 300))
        return replace(
            act, junk=bytes(rng.choice((0, 0xFF, 0x0A, 0x0D, 0x3A, rng.randrange(256))) for _ in range(size))
        )
    if rng.random() < 0.3:
        act = replace(act, damage=rng.choice(DAMAGES), where=rng.random())
    if rng.random() < 0.3:
        pieces = (2.0,) if rng.random() < 0.4 else tuple(sorted(rng.random() for _ in range(rng.randrange(1, 4))))
        act = replace(act, pieces=pieces, apart=rng.choice((0.001, 0.01, 0.2, 0.6, 1.5)))
    return act


def least(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """The fewest steps, with the fewest acts, that still fail: what is not needed is taken away, half by half."""
    found = list(steps)
    size = max(1, len(found) // 2)
    while size:
        at = 0
        while at < len(found):
            shorter = found[:at] + found[at + size :]
            if shorter and fails(shorter):
                found = shorter
            else:
                at += size
        size //= 2
    for at, step in enumerate(found):
        for simpler in (
            *(replace(step, acts=step.acts[:n] + step.acts[n + 1 :]) for n in range(len(step.acts))),
            replace(step, stall=None), replace(step, cancel=None), replace(step, before=0.0), replace(step, owner=""),
        ):  # fmt: skip
            trial = [*found[:at], simpler, *found[at + 1 :]]
            if simpler != found[at] and fails(trial):
                found = trial
                break
    return found
