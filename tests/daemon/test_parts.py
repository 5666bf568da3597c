"""Parts: what fails is started again, what is stuck is replaced, what does not end is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from labmon.daemon import parts as module
from labmon.daemon.parts import LONGEST, STEADY, Parts

Eventually = Callable[..., Any]


class Told:
    """What was told of which part."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []

    def __call__(self, name: str, what: str, error: BaseException | None) -> None:
        self.faults.append((name, what))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART", (0.01, 0.02, 0.03))
    monkeypatch.setattr(module, "GRACE", 0.02)


class Part:
    """A part that does what it is told, each time that it is started."""

    def __init__(self, *behaviours: Callable[[Part], Awaitable[None]]) -> None:
        self.behaviours = list(behaviours)
        self.starts = 0
        self.turns = 0
        self.release = asyncio.Event()

    async def run(self) -> None:
        self.starts += 1
        await self.behaviours[min(self.starts, len(self.behaviours)) - 1](self)


async def fails(part: Part) -> None:
    raise RuntimeError("boom")


async def works(part: Part) -> None:
    part.turns += 1
    await asyncio.Event().wait()


async def hangs(part: Part) -> None:
    await asyncio.Event().wait()


async def hangs_for_good(part: Part) -> None:
    while not part.release.is_set():
        try:
            await part.release.wait()
        except asyncio.CancelledError:
            continue


async def returns(part: Part) -> None:
    return


async def is_cancelled_by_a_stranger(part: Part) -> None:
    raise asyncio.CancelledError


async def test_what_fails_is_told_of_and_starts_again_with_growing_waits(eventually: Eventually) -> None:
    told = Told()
    own: list[str] = []
    part = Part(fails, fails, is_cancelled_by_a_stranger, fails, works)
    parts = Parts(told)
    parts.keep("pump", part.run, on_fault=own.append)
    await eventually(lambda: part.turns)
    assert [what for _, what in told.faults] == own
    assert own == [
        "failed (RuntimeError: boom), starts again in 0.01 s",
        "failed (RuntimeError: boom), starts again in 0.02 s",
        "failed (CancelledError: cancelled by a stranger), starts again in 0.03 s",
        "failed (RuntimeError: boom), starts again in 0.03 s",
    ]
    assert parts.names() == ["pump"]
    assert parts.hopeless() == []
    await parts.stop(1.0)
    assert parts.names() == []


async def test_one_that_ran_for_long_begins_with_the_first_wait_again(eventually: Eventually) -> None:
    told, clock = Told(), Clock()
    part = Part(fails, fails, works, works)
    task: list[asyncio.Task[None]] = []

    async def run() -> None:
        task[:] = [t for t in asyncio.all_tasks() if t.get_name() == "pump"]
        await part.run()

    parts = Parts(told, clock=clock)
    parts.keep("pump", run)
    await eventually(lambda: part.turns == 1)
    clock.now += STEADY + 1
    task[0].cancel()
    await eventually(lambda: part.turns == 2)
    assert told.faults[-1][1].endswith("starts again in 0.01 s")
    await parts.stop(1.0)


async def test_what_returns_is_done() -> None:
    told = Told()
    parts = Parts(told)
    parts.keep("once", Part(returns).run)
    await parts.begun()
    await asyncio.sleep(0)
    assert parts.names() == []
    assert told.faults == []


async def test_two_parts_of_one_name_are_refused() -> None:
    parts = Parts(Told())
    parts.keep("pump", Part(works).run)
    with pytest.raises(ValueError, match="a part pump is kept already"):
        parts.keep("pump", Part(works).run)
    await parts.stop(1.0)


async def test_begun_waits_for_every_part() -> None:
    parts = Parts(Told())
    some = [Part(behaviour) for behaviour in (works, hangs, fails, returns)]
    for i, part in enumerate(some):
        parts.keep(f"part {i}", part.run)
    assert not any(part.starts for part in some)
    await parts.begun()
    assert all(part.starts for part in some)
    await parts.stop(1.0)


def look_for(parts: Parts, clock: Clock, seconds: float) -> None:
    """The loop turns and somebody looks, for so long."""
    for _ in range(int(seconds)):
        clock.now += 1.0
        parts.look()


def run_well(parts: Parts, clock: Clock, part: Part, seconds: float) -> None:
    """As `look_for`, with a turn in every second."""
    for _ in range(int(seconds)):
        part.turns += 1
        look_for(parts, clock, 1)


async def test_a_stuck_part_is_replaced_alone(eventually: Eventually) -> None:
    told, clock = Told(), Clock()
    stuck, well = Part(hangs, works), Part(works)
    parts = Parts(told, clock=clock)
    parts.keep("stuck", stuck.run, progress=lambda: stuck.turns, patience=5.0)
    parts.keep("unwatched", well.run)
    await parts.begun()
    look_for(parts, clock, 5)
    assert told.faults == []
    look_for(parts, clock, 1)
    assert told.faults == [("stuck", "stuck (no turn completed in 6 s), is replaced")]
    await eventually(lambda: stuck.turns == 1)
    assert (stuck.starts, well.starts) == (2, 1)
    assert parts.hopeless() == []
    assert parts.left_behind() == []
    look_for(parts, clock, 5)
    assert parts.hopeless() == []
    await parts.stop(1.0)


async def test_a_replacement_that_is_stuck_too_is_hopeless_until_one_makes_progress(eventually: Eventually) -> None:
    told, clock = Told(), Clock()
    stuck = Part(hangs, hangs, works)
    parts = Parts(told, clock=clock)
    parts.keep("stuck", stuck.run, progress=lambda: stuck.turns, patience=5.0)
    await parts.begun()
    look_for(parts, clock, 6)
    await eventually(lambda: stuck.starts == 2)
    look_for(parts, clock, 6)
    assert parts.hopeless() == ["stuck"]
    assert told.faults[-1] == ("stuck", "stuck, as was the one before it (no turn completed in 6 s), is replaced")
    await eventually(lambda: stuck.turns == 1)
    run_well(parts, clock, stuck, STEADY)
    assert parts.hopeless() == ["stuck"]
    run_well(parts, clock, stuck, 1)
    assert parts.hopeless() == []
    await parts.stop(1.0)


async def test_some_turns_of_a_replacement_that_sticks_again_are_no_success(eventually: Eventually) -> None:
    clock = Clock()
    stuck = Part(works)
    parts = Parts(Told(), clock=clock)
    parts.keep("stuck", stuck.run, progress=lambda: stuck.turns, patience=5.0)
    await parts.begun()
    look_for(parts, clock, 7)
    await eventually(lambda: stuck.starts == 2)
    run_well(parts, clock, stuck, 10)
    assert parts.hopeless() == []
    look_for(parts, clock, 6)
    assert parts.hopeless() == ["stuck"]
    await parts.stop(1.0)


async def test_a_replacement_that_fails_is_hopeless_until_one_makes_progress(eventually: Eventually) -> None:
    told, clock = Told(), Clock()
    stuck = Part(hangs, fails, works)
    parts = Parts(told, clock=clock)
    parts.keep("stuck", stuck.run, progress=lambda: stuck.turns, patience=5.0)
    await parts.begun()
    look_for(parts, clock, 6)
    await eventually(lambda: parts.hopeless() == ["stuck"])
    await eventually(lambda: stuck.turns == 1)
    run_well(parts, clock, stuck, STEADY + 1)
    assert parts.hopeless() == []
    await parts.stop(1.0)


async def test_what_does_not_end_is_left_behind_and_does_not_count_when_it_comes_back(eventually: Eventually) -> None:
    told, clock = Told(), Clock()
    stuck = Part(hangs_for_good, works)
    parts = Parts(told, clock=clock)
    parts.keep("stuck", stuck.run, progress=lambda: stuck.turns, patience=5.0)
    await parts.begun()
    look_for(parts, clock, 6)
    await eventually(lambda: stuck.turns == 1)
    assert parts.left_behind() == ["stuck"]
    stuck.release.set()
    await eventually(lambda: parts.left_behind() == [])
    assert stuck.starts == 2
    assert len(told.faults) == 1
    assert parts.names() == ["stuck"]
    await parts.stop(1.0)


async def test_time_in_which_the_loop_stood_still_is_not_the_parts_fault() -> None:
    told, clock = Told(), Clock()
    part = Part(works)
    parts = Parts(told, clock=clock)
    parts.keep("part", part.run, progress=lambda: part.turns, patience=5.0)
    await parts.begun()
    parts.look()
    clock.now += 3600.0
    parts.look()
    assert told.faults == []
    look_for(parts, clock, 5.0 - LONGEST)
    assert told.faults == []
    look_for(parts, clock, 1)
    assert len(told.faults) == 1
    await parts.stop(1.0)


async def test_progress_that_cannot_be_told_is_none() -> None:
    told, clock = Told(), Clock()
    part = Part(works)
    parts = Parts(told, clock=clock)
    parts.keep("part", part.run, progress=lambda: 1 // 0, patience=2.0)
    look_for(parts, clock, 3)
    assert len(told.faults) == 1
    await parts.stop(1.0)


async def test_what_is_told_may_fail(eventually: Eventually) -> None:
    def tell(name: str, what: str, error: BaseException | None) -> None:
        raise RuntimeError("cannot tell")

    part = Part(fails, works)
    parts = Parts(tell)
    parts.keep("part", part.run)
    await eventually(lambda: part.turns == 1)
    await parts.stop(1.0)


async def test_one_part_is_ended_alone() -> None:
    parts = Parts(Told())
    first, second = Part(works), Part(works)
    parts.keep("first", first.run)
    parts.keep("second", second.run)
    await parts.begun()
    assert await parts.end("first", 1.0)
    assert await parts.end("unknown", 1.0)
    assert parts.names() == ["second"]
    parts.keep("first", first.run)
    await parts.begun()
    assert first.starts == 2
    await parts.stop(1.0)


async def test_one_that_does_not_end_is_said_to_be_left(eventually: Eventually) -> None:
    told = Told()
    parts = Parts(told)
    part = Part(hangs_for_good)
    parts.keep("part", part.run)
    await parts.begun()
    assert not await parts.end("part", 0.01)
    assert parts.left_behind() == ["part"]
    assert parts.names() == []
    part.release.set()
    await eventually(lambda: parts.left_behind() == [])
    assert told.faults == []


@pytest.mark.parametrize("behaviour", [fails, hangs, hangs_for_good])
async def test_ended_while_it_waits_to_start_again_it_does_not(behaviour: Any, eventually: Eventually) -> None:
    clock = Clock()
    parts = Parts(Told(), clock=clock)
    part = Part(behaviour)
    parts.keep("part", part.run, progress=lambda: part.turns, patience=1.0)
    await parts.begun()
    await asyncio.sleep(0)
    look_for(parts, clock, 3)  # it failed, or is in its grace now
    assert await parts.end("part", 0.01) is (behaviour is not hangs_for_good)
    part.release.set()
    await asyncio.sleep(5 * max(module.GRACE, *module.RESTART))
    assert part.starts == 1
    assert parts.left_behind() == []
