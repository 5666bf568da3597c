"""No misattribution: hostile peers on virtual time, and links made wrong on purpose, which must be found.

`make hostile` runs this with 100 000 exchanges and a seed of its own, which it prints.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hostile_hunt import Found, hunt
from hostile_kinds import KINDS, Stream

from labmon.links import framing
from labmon.links.conversation import Conversation
from labmon.links.link import Request

WITHOUT_ID = [name for name, kind in KINDS.items() if not kind.identified]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", KINDS)
def test_no_value_is_that_of_another_request(name: str, hostile_seed: str, hostile_exchanges: int) -> None:
    kind = KINDS[name]
    tally = hunt(kind, hostile_seed, -(-hostile_exchanges // len(KINDS)))
    print(f"{name}, seed {hostile_seed!r}: {tally}")
    # A peer that is never hostile, and a link that never gives a value, would pass too.
    assert tally.values > tally.exchanges / 5
    assert tally.clean > 0
    assert {"Garbled", "Silent", "Refused", "LinkLost", "cancelled"} <= set(tally.failures)
    assert tally.withheld <= tally.exchanges / 50
    assert kind.identified is (tally.withheld == 0)
    assert (tally.heard > 0) is (name == "stream")


# ---------------------------------------------------------------- it can fail


class Unsettled(Conversation):
    """Sends at once, whatever may still come."""

    async def _settle(self) -> bool:
        self._dirty = False
        return True


class Hasty(Conversation):
    """Waits for quiet, but not until the latest moment of a late reply."""

    def _failed(self, request: Request, timeout: float) -> None:
        super()._failed(request, timeout)
        self._safe_at = 0.0


class Keeping(Conversation):
    """Does not throw away what came before the request."""

    async def _ask(self, request: Request, timeout: float) -> bytes:
        kept = self._kept = getattr(self, "_kept", b"")
        self._kept = b""

        class Both:
            size = request.size
            encode = request.encode
            begins = request.begins
            manner = request.manner

            def match(_, buffer: bytes, transaction: int) -> bytes | None:  # noqa: N805
                return request.match(kept + buffer, transaction)

        return await super()._ask(Both(), timeout)

    def received(self, data: bytes) -> None:
        if self._waiter is None:
            self._kept = getattr(self, "_kept", b"") + data
        super().received(data)


class _Wrong:
    def __init__(self, request: Any) -> None:
        self.request = request
        self.manner = request.manner
        self.size, self.encode, self.begins = request.size, request.encode, request.begins


class AnyUnit(_Wrong):
    """Takes a reply from whichever unit."""

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        right = self.request._head
        try:
            for unit in {right[0], *buffer, *(int(digits, 16) for digits in re.findall(rb":([0-9A-F]{2})", buffer))}:
                self.request._head = bytes([unit]) + right[1:]
                if (found := self.request.match(buffer, transaction)) is not None:
                    return found
        finally:
            self.request._head = right
        return None


class AnyTransaction(_Wrong):
    """Takes a reply to whichever transaction."""

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        return self.request.match(buffer, int.from_bytes(buffer[:2], "big"))


class Deaf(_Wrong):
    """Throws everything away."""

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        return None


WRONG: dict[str, tuple[list[str], dict[str, Any]]] = {
    "does not settle": (WITHOUT_ID, {"make_link": Unsettled}),
    "does not wait for the latest reply": (WITHOUT_ID, {"make_link": Hasty}),
    "keeps what came before": (WITHOUT_ID, {"make_link": Keeping}),
    "any unit": (["rtu", "rtu over tcp", "ascii"], {"mutate": AnyUnit}),
    "any transaction": (["tcp"], {"mutate": AnyTransaction}),
    "throws all away": (list(KINDS), {"mutate": Deaf}),
    # What the peer withholds is what nobody can tell; were it little else, this would find nothing.
    "nothing is withheld": (WITHOUT_ID, {"withhold": False}),
}


@pytest.mark.parametrize(("how", "name"), [(how, name) for how, (names, _) in WRONG.items() for name in names])
def test_a_wrong_link_is_found(how: str, name: str, hostile_seed: str) -> None:
    with pytest.raises(Found, match="at the least in these"):
        hunt(KINDS[name], hostile_seed, 20_000, **WRONG[how][1])


@pytest.mark.parametrize("name", ["rtu", "rtu over tcp"])
def test_a_matcher_without_checksum_is_found(name: str, hostile_seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    never: Callable[[bytes], bool] = lambda frame: True  # noqa: E731
    monkeypatch.setattr(framing, "_crc_agrees", never)
    with pytest.raises(Found):
        hunt(KINDS[name], hostile_seed, 20_000)


def test_a_listener_that_takes_any_line_is_found(hostile_seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "line_form", replace(Stream.line_form, fits=lambda payload: True))
    with pytest.raises(Found):
        hunt(KINDS["stream"], hostile_seed, 20_000)


def test_nothing_needs_to_be_withheld_where_a_reply_says_its_transaction(hostile_seed: str) -> None:
    assert hunt(KINDS["tcp"], hostile_seed, 1000, withhold=False).withheld == 0


def test_what_is_found_can_be_seen_again(hostile_seed: str) -> None:
    told = []
    for _ in range(2):
        with pytest.raises(Found) as found:
            hunt(KINDS["rtu"], hostile_seed, 20_000, make_link=Unsettled)
        told.append(str(found.value))
    assert told[0] == told[1]
    assert int(told[0].split("in these ")[1].split()[0]) <= 6, told[0]
