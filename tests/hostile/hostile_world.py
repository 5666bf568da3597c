"""A link, its hostile peer, and what the peer knows: which value belongs to which request.

What may not happen: an exchange returns what its own request did not ask for (`Misattributed`), or fails when nobody is
hostile any more (`NotRecovered`).

What no reader of a framing without transaction ids can tell, and this alone, the peer does not say while another
request is under way (it is counted as `withheld`): a whole reply to an earlier request, of the very form
that is waited for now, which comes

- later than `latest_reply` after its request (by default twice the timeout of the exchange, or twice the slowest reply
  since the line was made where that is more), or
- a second time, or after the instrument's refusal of the same request,

also where a part of it is missing, which a part of something else may happen to be.

On Modbus TCP nothing is withheld. There, and in no framing that has a checksum, the data of a reply is not damaged:
Modbus TCP leaves that to TCP, and who changes the data can only be caught by chance.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from hostile_kinds import Form, Kind, Stream
from hostile_steps import Act, Step, polite
from hostile_wire import HANG_UP

from labmon.links.conversation import Conversation
from labmon.links.errors import LinkError
from labmon.links.link import Request
from labmon.links.stream import Listener
from labmon.links.timing import Timing
from labmon.links.transport import Transport

QUIET = 0.05


class Misattributed(AssertionError):
    """An exchange returned what its request did not ask for."""


class NotRecovered(AssertionError):
    """An exchange failed although nobody was hostile."""


@dataclass(eq=False)
class Asked:
    """A request that was written, as its peer knows it."""

    step: Step
    form: Form
    sent: float
    latest: float
    """Seconds after `sent` within which its reply is promised to be no other's."""
    wire: bytes
    over: bool = False
    """A whole reply was handed over, or the exchange ended with a reply."""


@dataclass(eq=False)
class Frame:
    """Bytes on their way; `asked` only while they are a reply, undamaged or with a part missing."""

    asked: Asked | None
    began: float | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    data: bytes
    frame: Frame
    last: bool


@dataclass
class Tally:
    """What came of the exchanges."""

    exchanges: int = 0
    values: int = 0
    clean: int = 0
    withheld: int = 0
    heard: int = 0
    """Lines that came unasked and were heard."""
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.exchanges += other.exchanges
        self.values += other.values
        self.clean += other.clean
        self.withheld += other.withheld
        self.heard += other.heard
        for name, count in other.failures.items():
            self.failures[name] = self.failures.get(name, 0) + count

    def __str__(self) -> str:
        failed = ", ".join(f"{count} {name}" for name, count in sorted(self.failures.items()))
        lines = f", {self.heard} lines heard" if self.heard else ""
        return f"{self.exchanges} exchanges: {self.values} values, {failed}; {self.withheld} withheld{lines}"


class Wire(Transport, Protocol):
    """The transport of the link, and the peer's end of it: `far_end` hears what is written.

    `hand_over(piece, arrived)` says at the moment of reading what of a piece there is to read.
    """

    far_end: Callable[[bytes], None]
    hand_over: Callable[[Any, float], bytes]

    def arrive(self, piece: Any, at: float) -> None: ...

    def silence(self) -> None:
        """Nothing that was to come comes any more."""

    def stand_still(self, seconds: float) -> None:
        """The loop does something else for so long."""


class World:
    """One line with one peer. `make_link` and `mutate` are for links and requests that are made wrong on purpose."""

    def __init__(
        self,
        wire: Wire,
        kind: Kind,
        rng: random.Random,
        *,
        timing: Timing | None = None,
        make_link: Callable[[Wire, Timing], Conversation] = Conversation,
        mutate: Callable[[Request], Request] | None = None,
        withhold: bool = True,
        margin: float = 0.0,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.kind = kind
        self.forms = kind.forms(rng)
        self.tally = Tally()
        self.wire = wire
        wire.far_end, wire.hand_over = self._heard, self._hand_over
        declared = rng.choice((None, None, 0.7))
        self.timing = timing or Timing(0.004, 0.0005, kind.identified, latest_reply=declared)
        self.link = make_link(wire, self.timing)
        self.misheard: bytes | None = None
        self._lines: set[bytes] = set()
        if isinstance(kind, Stream):
            self.link.listen(Listener([(kind.line_form, self._line_heard)]))
        self._margin = margin
        self._mutate = mutate
        self._withhold = withhold
        self._slowest = 0.0
        self._timeout = 0.0
        self._step: Step | None = None
        self._pending: Asked | None = None
        self._history: list[Asked] = []
        self._taken: list[tuple[float, float]] = []

    # ------------------------------------------------------------------ the line's owner

    async def play(self, step: Step) -> bytes | LinkError | None:
        """One exchange. What it came to; None when it was cancelled."""
        if step.before:
            await asyncio.sleep(step.before)
        if step.owner == "settle":
            await self.link.settle()
        elif step.owner == "reopen":
            await self.link.close()
        if not self.link.is_open:
            await self.link.open()
        self._step, self._pending = step, None
        form = self.forms[step.form]
        request = self.kind.request(form, step.number)
        if self._mutate is not None:
            request = self._mutate(request)  # type: ignore[call-arg]
        self.tally.exchanges += 1
        self._timeout = max(step.timeout, request.size * self.timing.character + 0.02)
        try:
            if step.cancel is None:
                payload = await self.link.exchange(request, step.timeout)
            else:
                async with asyncio.timeout(step.cancel * step.timeout):
                    payload = await self.link.exchange(request, step.timeout)
        except LinkError as error:
            self._failed(type(error).__name__, answered=type(error).__name__ == "Refused")
            return error
        except TimeoutError:
            self._failed("cancelled")
            return None
        finally:
            asked, self._pending = self._pending, None
        if self.misheard is not None:
            raise Misattributed(f"heard as a line that came unasked: {self.misheard!r}")
        expected = self.kind.expected(form, step.number)
        if payload != expected:
            raise Misattributed(f"request {step.number} {form} got {payload!r}, which is not {expected!r}")
        assert asked is not None
        self._slowest = max(self._slowest, self.loop.time() - asked.sent)
        asked.over = True
        self.tally.values += 1
        return payload

    def _failed(self, how: str, answered: bool = False) -> None:
        self.tally.failures[how] = self.tally.failures.get(how, 0) + 1
        if self._pending is not None and answered:
            self._pending.over = True

    async def peace(self, numbers: Sequence[int]) -> None:
        """The peer is not hostile any more: from now on every exchange succeeds."""
        self.wire.silence()
        self._taken.clear()
        await asyncio.sleep(QUIET)  # what was on its way in the kernel, a hang-up too, is there by now
        for number in numbers:
            step = polite(number, number % len(self.forms))
            outcome = await self.play(step)
            if not isinstance(outcome, bytes):
                raise NotRecovered(f"request {number} {self.forms[step.form]} in peace: {outcome!r}")
            self.tally.clean += 1

    def _line_heard(self, payload: bytes, now: float) -> None:
        self.tally.heard += 1
        if payload not in self._lines:
            self.misheard = payload

    # ------------------------------------------------------------------ the peer

    def _heard(self, wire: bytes) -> None:
        step = self._step
        assert step is not None and self._pending is None, "a request that nobody asked for"
        form = self.forms[step.form]
        sent = self.kind.sent(form, step.number, wire)
        assert wire == sent, f"on the wire stands {wire!r}, not {sent!r}"
        latest = self.timing.latest_reply
        if latest is None:
            latest = 2 * max(self._timeout, self._slowest)
        asked = self._pending = Asked(step, form, self.loop.time(), latest, wire)
        self._history.append(asked)
        del self._history[:-30]
        for act in step.acts:
            self._say(act, asked)
        if step.stall is not None:
            when, how_long = step.stall
            self.loop.call_later(when * step.timeout, self.wire.stand_still, how_long * step.timeout)

    def _say(self, act: Act, asked: Asked) -> None:
        at = asked.sent + act.after * asked.step.timeout
        if act.what == "hang up":
            self.wire.arrive(HANG_UP, at)
            return
        whose = asked
        if act.what == "earlier":
            whose = self._history[-min(act.back + 1, len(self._history))]
        kind, number = self.kind, whose.step.number
        if act.what in ("right", "again", "earlier"):
            data, frame = kind.right(whose.form, number, whose.wire), Frame(whose)
        elif act.what == "echo" and isinstance(kind, Stream):
            data, frame = kind.unasked(number), Frame(None)
            self._lines.add(data[: data.index(b"*")])
        elif act.what in ("echo", "junk"):
            data, frame = act.junk or asked.wire, Frame(None)
        elif act.what == "refusal":
            data, frame = kind.refusal(whose.form, number, whose.wire), Frame(None)
        else:
            what = act.what.removeprefix("foreign ")
            data, frame = kind.foreign(asked.form, number + 20_011, asked.wire, what, self.forms), Frame(None)
        if act.damage:
            damaged = self._damaged(act, data, whose)
            if damaged is not None:
                parts = act.what == "earlier" and act.damage in ("cut", "lost")
                data, frame = damaged, frame if parts else Frame(None)
        self._send(act, at, data, frame, asked.step.timeout)

    def _damaged(self, act: Act, data: bytes, whose: Asked) -> bytes | None:
        """The damage, where somebody could see it; None where it would make another valid reply."""
        end = self.kind.first_data(data)
        at = min(int(act.where * end), end - 1)
        if self.kind.identified and act.damage == "changed":
            at = max(at, 2)  # another transaction's id is what `earlier` says
        damaged = {
            "cut": data[:at],
            "inserted": data[:at] + bytes([act.byte]) + data[at:],
            "changed": data[:at] + bytes([data[at] ^ (act.byte or 1)]) + data[at + 1 :],
            "lost": data[:at] + data[at + 1 :],
        }[act.damage]
        if self.kind.identified:
            return damaged
        return None if any(self.kind.fits(form, damaged, whose.wire) for form in self.forms) else damaged

    def _send(self, act: Act, at: float, data: bytes, frame: Frame, timeout: float) -> None:
        cuts = range(1, len(data)) if act.pieces == (2.0,) else sorted({int(p * len(data)) for p in act.pieces})
        edges = [0, *(c for c in cuts if 0 < c < len(data)), len(data)]
        apart = act.apart * timeout / (len(edges) - 1)
        if self.kind.identified:
            at = self._free(at, apart * (len(edges) - 2))
        for n, (start, stop) in enumerate(pairwise(edges)):
            self.wire.arrive(Piece(data[start:stop], frame, stop == len(data)), at + n * apart)

    def _free(self, at: float, long: float) -> float:
        """Bytes in the middle of another frame would be damage to its data: they come before or after it."""
        self._taken = [(a, b) for a, b in self._taken if b > self.loop.time()]
        while overlap := [b for a, b in self._taken if a <= at + long and at <= b]:
            at = max(overlap) + 1e-6
        self._taken.append((at, at + long))
        return at

    def _hand_over(self, piece: Piece, arrived: float) -> bytes:
        """At the moment of reading: what of this there is to read. See the top of this file."""
        frame = piece.frame
        if frame.began is None:
            frame.began = arrived
        asked, now = frame.asked, self._pending
        if asked is None or not piece.last:
            return piece.data
        again, asked.over = asked.over, True
        if now is None or now is asked or self.kind.identified or not self.kind.alike(asked.form, now.form):
            return piece.data
        if frame.began < now.sent:
            return piece.data  # a part of it came before the request: it is not the reply
        if not again and arrived <= asked.sent + asked.latest - self._margin:
            return piece.data  # promised
        self.tally.withheld += 1
        return b"" if self._withhold else piece.data
