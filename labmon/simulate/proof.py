"""The proof of a driver file: every example through the real link code, over a socket or a pty, both ways."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from labmon.drivers import grammar
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import WrongInstrument
from labmon.drivers.examples import ask, bytes_of, failure_of, problems_of, target_of, title_of
from labmon.links.conversation import Conversation
from labmon.links.endpoint import Endpoint, SerialEndpoint, TcpEndpoint
from labmon.links.errors import LinkError
from labmon.links.link import Link, Request
from labmon.links.opening import Framing, make_link
from labmon.links.stream import Listen
from labmon.simulate.line import PtyLine, TcpLine
from labmon.simulate.manners import Manners
from labmon.simulate.replay import Played, Player, transposed

AT_ONCE = 32
"""Examples that are played at the same time, each on a line of its own: most of them wait for a reply not to come."""
PATIENCE = 3.0
"""Seconds that a request waits at least: the far end answers at once, but this machine may be busy."""
HASTE = 0.4
"""The same for a reply that never comes, or never ends."""
QUIET = 0.01
AFTER = 0.05
"""Seconds after which the far end speaks by itself, once labmon listens."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One example in one framing. `problems` is empty when it holds."""

    example: int
    """Position in the file, from 1."""
    title: str
    framing: str
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "problems": list(self.problems), "ok": not self.problems}


async def prove(driver: CompiledDriver, turns: asyncio.Semaphore | None = None) -> list[Trial]:
    """Play every example of a driver, in its own framing and in every other that can say the same.

    Never raises for what stands in the file. `turns` bounds the examples that are played at once, of several drivers.
    """
    turns = asyncio.Semaphore(AT_ONCE) if turns is None else turns
    if driver.file.retry:
        # An example has each request once: what is asked again is the line's matter.
        driver = CompiledDriver(driver.id, driver.file.model_copy(update={"retry": []}), driver.source_text)

    async def one(number: int, example: grammar.Example, framing: str, exchanges: list[Played]) -> Trial:
        async with turns:
            problems = await _tried(driver, example, framing, exchanges)
        return Trial(number, title_of(example), framing, tuple(problems))

    trials: list[Trial] = []
    running = []
    for number, example in enumerate(driver.file.examples, 1):
        try:
            running += [one(number, example, *played) for played in played_in(driver, example)]
        except ValueError as error:
            trials.append(Trial(number, title_of(example), example.framing or driver.framings[0], (str(error),)))
    trials += await asyncio.gather(*running)
    return sorted(trials, key=lambda trial: trial.example)


def played_in(driver: CompiledDriver, example: grammar.Example) -> Iterator[tuple[str, list[Played]]]:
    """The framings in which an example can be played, its own first, with its bytes. Raises ValueError."""
    own = example.framing or driver.framings[0]
    exchanges = [Played(bytes_of(e.sent, own), bytes_of(e.got, own)) for e in example.exchanges]
    yield own, exchanges
    for other in driver.framings:
        if other != own and own.startswith("modbus-") and other.startswith("modbus-"):
            same = transposed(exchanges, own, other)
            if same is not None:
                yield other, same


async def _tried(driver: CompiledDriver, example: grammar.Example, framing: str, exchanges: list[Played]) -> list[str]:
    try:
        manners = Manners(driver.file, driver.setting(framing, example.address, example.params))
    except ValueError as error:
        return [str(error)]
    tagged = framing == "modbus-tcp"
    player = Player(exchanges, tagged=tagged, around=manners.frames, echoes=manners.characters)
    with tempfile.TemporaryDirectory(prefix="labmon-") as folder:
        line = TcpLine(player) if framing == "modbus-tcp" else PtyLine(player, Path(folder) / "port")
        await line.start()
        link = make_link(_endpoint(driver, line), cast(Framing, framing), least_quiet=QUIET)
        # Who is no longer answered need not wait for it.
        player.stumbled = partial(link.lost, "the example is over")
        try:
            unasked = partial(player.speak, line.send) if isinstance(line, PtyLine) else None
            return await _asked(driver, example, framing, player, link, unasked)
        finally:
            await link.close()
            await line.stop()


def _endpoint(driver: CompiledDriver, line: TcpLine | PtyLine) -> Endpoint:
    if isinstance(line, TcpLine):
        return TcpEndpoint(line.host, line.port)
    given = driver.serial
    return SerialEndpoint(str(line.link), given.baud, given.bits, given.parity, given.stop)


async def _asked(
    driver: CompiledDriver,
    example: grammar.Example,
    framing: str,
    player: Player,
    link: Conversation,
    unasked: Callable[[], None] | None,
) -> list[str]:
    """Ask once, as the line would, and compare."""
    problems: list[str] = []
    failure: str | None = None
    told = ""
    patient = cast(Link, _Paced(link, HASTE if example.fails is not None else PATIENCE, unasked))
    try:
        target = target_of(driver, example, framing)
        await link.open()
        problems = problems_of(target, await ask(target, patient), example)
    except (LinkError, WrongInstrument) as error:
        failure, told = failure_of(error), str(error)
    except ValueError as error:
        return [str(error)]
    if player.problems:
        return player.problems  # what followed from it is no news
    unfinished = player.unfinished()
    if failure != example.fails:
        if unfinished is not None:
            return [f"{unfinished} ({failure}: {told})" if told else unfinished]
        wanted = f"instead of {example.fails}" if example.fails else "instead of readings"
        return [f"{failure} ({told}) {wanted}" if failure else f"does not fail as {example.fails}"]
    return problems + ([unfinished] if unfinished is not None else [])


class _Paced:
    """A link whose requests wait at least so long. Who only listens hears the far end speak, `unasked`."""

    def __init__(self, link: Conversation, least: float, unasked: Callable[[], None] | None) -> None:
        self._link = link
        self._least = least
        self._unasked = unasked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def exchange(self, request: Request, timeout: float, **more: Any) -> bytes:
        """As the link's."""
        if isinstance(request, Listen) and self._unasked is not None:
            await self._link.settle()  # nothing that comes from now on is dropped
            asyncio.get_running_loop().call_later(AFTER, self._unasked)
        return await self._link.exchange(request, max(timeout, self._least), **more)
