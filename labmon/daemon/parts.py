"""Parts of the daemon that are kept alive: one that fails is told of and started again, one that is stuck is replaced.

There is no task here that could itself die or hang: a part's end is heard by a callback, and whether parts make
progress is looked at by whoever calls `look` (the watchdog, which is thereby withheld when nobody looks).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from labmon.tasks.faults import words
from labmon.tasks.kept import RESTART, STEADY

log = logging.getLogger("labmon.daemon")

PATIENCE = 30.0
"""Seconds without progress after which a part is stuck, where its owner says nothing else."""
GRACE = 1.0
"""Seconds that a stuck part gets to end after it was cancelled, before another one takes its place."""
LONGEST = 2.0
"""At most so many seconds count between two looks: when the loop or the machine stood still no part could progress."""


@dataclass(slots=True, eq=False)
class _Part:
    name: str
    run: Callable[[], Awaitable[None]]
    progress: Callable[[], int] | None
    patience: Callable[[], float]
    on_fault: Callable[[str], None] | None
    task: asyncio.Task[None] | None = None
    """None while it waits to be started again, or for a stuck one to end."""
    leaving: asyncio.Task[None] | None = None
    """A stuck one in its grace."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None
    started: float = 0.0
    failures: int = 0
    seen: int = 0
    still: float = 0.0
    """Seconds since its progress was last seen to move."""
    stuck: int = 0
    """How often it was replaced, or failed as a replacement, without having run well for a while in between."""


class Parts:
    """Keeps parts running until they are ended.

    A part is a coroutine function that is called anew at each start. One that returns is done. One that raises, or that
    is cancelled by anybody but its keeper, has failed. `tell(part, what, error)` is told of each failure and of each
    replacement, and after it the part's own `on_fault(what)`; what these two raise is logged.
    """

    def __init__(
        self,
        tell: Callable[[str, str, BaseException | None], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._parts: dict[str, _Part] = {}
        self._left: dict[asyncio.Task[None], str] = {}
        """Tasks that did not end, with the name of their part; referred to here, so that they are not destroyed."""
        self._looked = clock()

    def keep(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        progress: Callable[[], int] | None = None,
        patience: float | Callable[[], float] = PATIENCE,
        on_fault: Callable[[str], None] | None = None,
    ) -> None:
        """Run a part for ever. Call within the event loop. Raises ValueError when one of this name is kept.

        `progress` returns a number that moves whenever the part completes a turn, never back to an earlier value. When
        it stands still for `patience` (seconds, or what tells them) the part is stuck: it is cancelled, left behind if
        that does not end it, and started anew. `on_fault` makes free what a part left behind holds (its port), and sees
        to it that nothing more is taken from it.
        """
        if name in self._parts:
            raise ValueError(f"a part {name} is kept already")
        patient = patience if callable(patience) else lambda: patience
        part = self._parts[name] = _Part(name, run, progress, patient, on_fault)
        self._start(part)

    def names(self) -> list[str]:
        """The parts that are kept, in the order in which they came."""
        return list(self._parts)

    def hopeless(self) -> list[str]:
        """Parts whose replacement failed or got stuck as well, each until one has run well for a minute, or for its
        patience where that is longer.
        """
        return [part.name for part in self._parts.values() if part.stuck > 1]

    def left_behind(self) -> list[str]:
        """Parts of which a task was left behind that still has not ended."""
        return sorted(self._left.values())

    async def begun(self) -> None:
        """Return when every part that is kept now has begun, or was ended before."""
        for part in list(self._parts.values()):
            await part.begun.wait()

    async def end(self, name: str, within: float) -> bool:
        """End one part; False when it does not end within so many seconds: it is left behind. No such part is ended."""
        part = self._parts.pop(name, None)
        if part is None:
            return True
        if part.timer is not None:
            part.timer.cancel()
        part.begun.set()
        task, part.task, part.leaving = part.task or part.leaving, None, None
        if task is None:
            return True
        task.cancel()
        await asyncio.wait({task}, timeout=within)
        if task.done():
            return True
        self._leave(part, task)
        return False

    async def stop(self, within: float) -> None:
        """End all parts together; what does not end within so many seconds is left behind, and named in the log."""
        await asyncio.gather(*(self.end(name, within) for name in self.names()))

    def look(self) -> None:
        """Compare the progress of every part with that at the last look, and replace those that are stuck."""
        now = self._clock()
        passed, self._looked = min(now - self._looked, LONGEST), now
        for part in list(self._parts.values()):
            if part.progress is None or part.task is None:
                continue
            moved = _progress(part)
            if moved is None or moved == part.seen:
                part.still += passed
                if part.still > part.patience():
                    self._replace(part, part.task)
            else:
                part.seen, part.still = moved, 0.0
                # Some turns are no proof: it may hang as soon as it comes to the same instrument again.
                if now - part.started > max(STEADY, part.patience()):
                    part.stuck = 0

    # ------------------------------------------------------------------ one part

    def _start(self, part: _Part) -> None:
        part.timer = None
        part.started = self._clock()
        part.still = 0.0
        if (seen := _progress(part)) is not None:
            part.seen = seen

        async def run() -> None:
            part.begun.set()
            await part.run()

        part.task = asyncio.get_running_loop().create_task(run(), name=part.name)
        part.task.add_done_callback(lambda task: self._ended(part, task))

    def _ended(self, part: _Part, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError("cancelled by a stranger") if task.cancelled() else task.exception()
        if task is not part.task:
            self._left.pop(task, None)
            return  # it was ended, or replaced
        part.task = None
        if error is None:
            self._parts.pop(part.name, None)
            return
        part.failures = 1 if self._clock() - part.started > STEADY else part.failures + 1
        if part.stuck:
            part.stuck += 1  # it is a replacement, and has failed
        wait = RESTART[min(part.failures, len(RESTART)) - 1]
        part.timer = asyncio.get_running_loop().call_later(wait, self._start, part)
        self._fault(part, f"failed ({words(error)}), starts again in {wait:g} s", error)

    def _replace(self, part: _Part, task: asyncio.Task[None]) -> None:
        """Another one takes the place of a part that is stuck, as soon as it has ended or its grace is over."""
        loop = asyncio.get_running_loop()
        part.stuck += 1
        part.task, part.leaving = None, task
        part.timer = loop.call_later(GRACE, self._start_beside, part, task)
        task.add_done_callback(lambda _: self._start_after(part, task))
        task.cancel()
        again = ", as was the one before it" if part.stuck > 1 else ""
        self._fault(part, f"stuck{again} (no turn completed in {part.still:.0f} s), is replaced", None)

    def _start_after(self, part: _Part, task: asyncio.Task[None]) -> None:
        """The stuck one has ended: the new one need not wait."""
        if part.leaving is task:
            part.leaving = None
            if part.timer is not None:
                part.timer.cancel()
            self._start(part)

    def _start_beside(self, part: _Part, task: asyncio.Task[None]) -> None:
        part.leaving = None
        self._leave(part, task)
        self._start(part)

    def _leave(self, part: _Part, task: asyncio.Task[None]) -> None:
        log.error("%s: does not end, and is left behind", part.name)
        self._left[task] = part.name

    def _fault(self, part: _Part, what: str, error: BaseException | None) -> None:
        try:
            self._tell(part.name, what, error)
            if part.on_fault is not None:
                part.on_fault(what)
        except Exception:
            log.exception("%s: %s, which cannot be told", part.name, what)


def _progress(part: _Part) -> int | None:
    """What the part says of its progress; a part that cannot even say so makes none."""
    if part.progress is None:
        return None
    try:
        return part.progress()
    except Exception:
        log.exception("%s: its progress cannot be told", part.name)
        return None
