"""The far end of an example: waits for the bytes that it says are sent, and answers with those that it says are got."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from labmon.simulate.framing import Ascii, Asked, Framing, Rtu, Tcp

_MODBUS: dict[str, Callable[[], Framing]] = {"modbus-rtu": Rtu, "modbus-ascii": Ascii, "modbus-tcp": Tcp}


@dataclass(frozen=True, slots=True)
class Played:
    """One exchange of an example as bytes. Nothing sent: the instrument speaks unasked."""

    sent: bytes
    got: bytes


class Player:
    """Plays exchanges in their order and notes where it was asked for something else.

    `tagged`: frames begin with a transaction id (Modbus TCP), which only the one who asks can know; the reply gets that
    of the request where the example's own two agree, and keeps its own where they do not. `around`: what may be sent
    beside the exchanges, to open, wake or select, and what is said to it. `echoes`: each character is repeated as it
    comes, and not once more with the reply.
    """

    def __init__(
        self,
        exchanges: Sequence[Played],
        *,
        tagged: bool = False,
        around: Mapping[bytes, bytes] | None = None,
        echoes: bool = False,
    ) -> None:
        self.exchanges = list(exchanges)
        self.tagged = tagged
        self.around = dict(around or {})
        self.echoes = echoes
        self.done = 0
        """Exchanges played to their end."""
        self.problems: list[str] = []
        self.stumbled: Callable[[], None] | None = None
        """Called at the first problem: nothing is answered from then on."""
        self._heard = b""

    def feed(self, buffer: bytearray, send: Callable[[bytes], None]) -> None:
        """Take what came; answer when it is the next request."""
        if self.echoes and buffer:
            send(bytes(buffer))
        self._heard += bytes(buffer)
        buffer.clear()
        while not self.problems and self._heard:
            if not self._is_next() and (said := self._beside()) is not None:
                if said:
                    send(said)
                continue
            if not self._is_next() and any(known.startswith(self._heard) for known in self.around):
                return
            if self.done == len(self.exchanges):
                self._stumble(f"labmon sends {shown(self._heard)} after the last exchange")
                return
            wanted = self.exchanges[self.done].sent
            if not self._agrees(wanted):
                return
            request, self._heard = self._heard[: len(wanted)], self._heard[len(wanted) :]
            self._answer(request, send)

    def speak(self, send: Callable[[bytes], None]) -> None:
        """Say what it says unasked: every exchange from here on in which nothing is sent."""
        while self.done < len(self.exchanges) and not self.exchanges[self.done].sent:
            send(self.exchanges[self.done].got)
            self.done += 1

    def begin(self, send: Callable[[bytes], None]) -> None:
        """Unasked it speaks when it is told to (see `speak`)."""

    def cancel(self) -> None:
        """Nothing is ever late here."""

    def unfinished(self) -> str | None:
        """What labmon has begun to send, or has not sent at all; None when everything was played."""
        if self.problems or self.done == len(self.exchanges):
            return None
        wanted = self.exchanges[self.done].sent
        heard = f"sends {shown(self._heard)}" if self._heard else "sends nothing"
        return f"exchange {self.done + 1}: labmon {heard} instead of {shown(wanted)}"

    def _is_next(self) -> bool:
        """Whether what was heard can be the next exchange's request."""
        if self.done == len(self.exchanges):
            return False
        wanted, first = self.exchanges[self.done].sent, 2 if self.tagged else 0
        heard = self._heard[: len(wanted)]
        return bool(wanted) and heard[first:] == wanted[first : len(heard)]

    def _beside(self) -> bytes | None:
        """Take what is sent beside the exchanges; what is said to it."""
        for known, said in self.around.items():
            if self._heard.startswith(known):
                self._heard = self._heard[len(known) :]
                return said
        return None

    def _agrees(self, wanted: bytes) -> bool:
        """Whether the next request is there, whole; what cannot become it is a problem."""
        heard = self._heard[: len(wanted)]
        first = 2 if self.tagged else 0
        if heard[first:] != wanted[first : len(heard)] or not wanted:
            self._stumble(f"exchange {self.done + 1}: labmon sends {shown(self._heard)} instead of {shown(wanted)}")
            return False
        return len(heard) == len(wanted)

    def _stumble(self, problem: str) -> None:
        self.problems.append(problem)
        if self.stumbled is not None:
            self.stumbled()

    def _answer(self, request: bytes, send: Callable[[bytes], None]) -> None:
        one = self.exchanges[self.done]
        got = one.got
        if self.tagged and got[:2] == one.sent[:2]:
            got = request[:2] + got[2:]
        if self.echoes:
            got = got.removeprefix(request)
        self.done += 1
        if got:
            send(got)
        self.speak(send)


def shown(data: bytes) -> str:
    """Bytes for people: text as text where all of it is, with its control characters, else hex."""
    text = data.decode("latin-1")
    if data and re.fullmatch(r"[\x20-\x7e\r\n\t]+", text):
        return repr(text)
    return data.hex(" ").upper() or "nothing"


def transposed(exchanges: Sequence[Played], framing: str, other: str) -> list[Played] | None:
    """The same Modbus exchanges in another framing.

    None where one is broken on purpose: a wrong checksum or half a frame has no counterpart.
    """
    found = []
    for one in exchanges:
        sent, got = _unwrapped(one.sent, framing), _unwrapped(one.got, framing)
        if sent is None or got is None:
            return None
        found.append(Played(_wrapped(sent, other), _wrapped(got, other)))
    return found


def _unwrapped(frame: bytes, framing: str) -> Asked | None:
    """Unit and PDU of one whole and sound frame."""
    if framing == "modbus-rtu":
        # A reply's length does not follow from its function as a request's does: the CRC alone tells.
        whole = len(frame) >= 4 and Rtu().reply(Asked(frame[0], b""), frame[1:-2], frame[0]) == frame
        return Asked(frame[0], frame[1:-2], b"\0\1") if whole else None
    buffer = bytearray(frame)
    found = list(_MODBUS[framing]().requests(buffer))
    if len(found) != 1 or buffer:
        return None
    return Asked(found[0].unit, found[0].body, found[0].tag or b"\0\1")


def _wrapped(asked: Asked, framing: str) -> bytes:
    return _MODBUS[framing]().reply(asked, asked.body, asked.unit)
