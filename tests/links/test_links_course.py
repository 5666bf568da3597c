"""Conversations of driver files on a real line: sessions, selection, echo per character, retries, polling until."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import peers
import pytest
from peers import PtyPeer, Say

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import Query
from labmon.drivers.load import load_driver
from labmon.drivers.session import close_sessions
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint
from labmon.links.errors import Garbled, LinkError, LinkLost, Refused, Silent
from labmon.links.opening import make_link
from labmon.links.serial_port import SerialTransport
from labmon.links.text import Command

HEAD = """
labmon-driver: 1
maker: Example
models: [W-1]
title: An instrument of the tests
class: scale
manual: {document: none, revision: A, pages: "1"}
serial: {baud: 9600}
"""
QUERY = """
queries:
  weight:
    every: 5 s
    requests:
      - send: W
        reply: "W {w}"
        fields: {w: {type: number}}
    channels:
      - {id: w, name: Weight, unit: g}
"""


def driver(text: str, head: str = HEAD, query: str = QUERY) -> CompiledDriver:
    loaded = load_driver(Path("test/wire.yaml"), text=head + text + query)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver


def queries(made: CompiledDriver, address: Any = None, framing: str = "text") -> Sequence[Query]:
    return made.queries(framing, address, {})


@asynccontextmanager
async def line(
    answer: peers.Answer, split: peers.Split = peers.split_line, framing: Any = "text"
) -> AsyncIterator[tuple[PtyPeer, Conversation]]:
    async with PtyPeer(split, answer) as peer:
        link = make_link(SerialEndpoint(peer.port, 9600), framing, least_quiet=0.02, trace=200)
        await link.open()
        try:
            yield peer, link
        finally:
            await link.close()


def says(**replies: bytes) -> peers.Answer:
    """Replies by the request without its end."""
    return lambda request, number: [Say(replies[request.decode().strip()])]


def bytes_of(peer: PtyPeer) -> list[bytes]:
    return [request for _, request in peer.requests]


async def values(query: Query, link: Conversation) -> list[float | None]:
    return [outcome.value for outcome in (await query.ask(link)).outcomes]


# ---------------------------------------------------------------- session

SESSION = r"""
framings: [text]
frame: {end: "\r", reply-ends: ["\r\n"], error: "E(?P<code>[0-9])"}
timing: {timeout: 200 ms}
session:
  open: [{break: 20 ms}, {wait: 10 ms}, flush, {send: CR, reply: CC}]
  close: [{send: CQ, reply: CF}]
  after-error: true
"""


async def test_a_session_is_opened_once_and_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    breaks: list[float] = []
    real = SerialTransport.send_break

    async def recorded(self: SerialTransport, seconds: float) -> None:
        breaks.append(seconds)
        await real(self, seconds)

    monkeypatch.setattr(SerialTransport, "send_break", recorded)
    query = queries(driver(SESSION))[0]
    async with line(says(CR=b"CC\r\n", W=b"W 1.5\r\n", CQ=b"CF\r\n")) as (peer, link):
        assert await values(query, link) == [1.5]
        assert await values(query, link) == [1.5]
        assert bytes_of(peer) == [b"CR\r", b"W\r", b"W\r"]
        assert breaks == [0.02]
        await close_sessions(link)
        await close_sessions(link)
        assert bytes_of(peer)[3:] == [b"CQ\r"]
        await link.close()
        await link.open()
        assert await values(query, link) == [1.5]
        assert bytes_of(peer)[4:] == [b"CR\r", b"W\r"]


async def test_an_instrument_that_had_no_power_is_opened_again_though_one_failure_ends_nothing() -> None:
    """A serial port never connects again by itself: it would stay dead until labmon starts again."""
    ready = mute = False

    def answer(request: bytes, number: int) -> peers.Script:
        nonlocal ready
        if mute:
            return []
        ready = ready or request == b"CR\r"
        return [Say(b"CC\r\n" if request == b"CR\r" else b"W 1\r\n")] if ready else []

    query = queries(driver(SESSION.replace("after-error: true", "after-error: false")))[0]
    async with line(answer) as (peer, link):
        assert await values(query, link) == [1.0]
        for silent in (1, 2):
            mute = True
            for _ in range(silent):
                with pytest.raises(Silent):
                    await query.ask(link)
            mute = False
            assert await values(query, link) == [1.0]
        assert bytes_of(peer).count(b"CR\r") == 1, "not for a failure or two"
        ready, failed = False, 0
        while not ready:
            failed += 1
            assert failed <= 4
            try:
                await query.ask(link)
            except Silent:
                continue
        assert failed == 4
        assert await values(query, link) == [1.0]


async def test_a_failed_exchange_opens_the_session_again_and_a_refusal_does_not() -> None:
    def answer(request: bytes, number: int) -> peers.Script:
        if request == b"CR\r":
            return [Say(b"CC\r\n")]
        return [[Say(b"W 1\r\n")], [Say(b"E1\r\n")], [Say(b"W 2\r\n")], [], [Say(b"W 3\r\n")]][turns.pop(0)]

    turns = [0, 1, 2, 3, 4]
    query = queries(driver(SESSION))[0]
    async with line(answer) as (peer, link):
        assert await values(query, link) == [1.0]
        with pytest.raises(Refused):
            await query.ask(link)
        assert await values(query, link) == [2.0]
        with pytest.raises(Silent):
            await query.ask(link)
        assert await values(query, link) == [3.0]
        assert bytes_of(peer) == [b"CR\r", b"W\r", b"W\r", b"W\r", b"W\r", b"CR\r", b"W\r"]


async def test_an_opening_that_is_not_answered_fails_the_asking_and_asks_nothing() -> None:
    query = queries(driver(SESSION))[0]
    async with line(lambda request, number: [Say(b"??\r\n")] if request == b"CR\r" else [Say(b"W 1\r\n")]) as (
        peer,
        link,
    ):
        for _ in range(2):
            with pytest.raises(Garbled):
                await query.ask(link)
        assert set(bytes_of(peer)) == {b"CR\r"}


async def test_break_reaches_the_port_as_a_break_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pty carries no BREAK; what can be seen of it is what the port is told (TIOCSBRK, TIOCCBRK)."""
    told: list[tuple[bool, float]] = []
    async with line(lambda request, number: []) as (_, link):
        port = link._transport._port  # type: ignore[attr-defined]
        kind = type(port)
        monkeypatch.setattr(
            kind, "break_condition", property(None, lambda self, on: told.append((on, time.monotonic())))
        )
        await link.send_break(0.03)
        assert [on for on, _ in told] == [True, False]
        assert told[1][1] - told[0][1] >= 0.029


async def test_rts_cts_is_asked_of_the_port() -> None:
    """A pty has no modem lines; the setting that is made shows in its termios flags."""
    import termios

    async with PtyPeer(peers.split_line, lambda request, number: []) as peer:
        for wanted in (True, False):
            link = make_link(SerialEndpoint(peer.port, 9600, rtscts=wanted), "text")
            await link.open()
            flags = termios.tcgetattr(link._transport._fd)[2]  # type: ignore[attr-defined]
            await link.close()
            assert bool(flags & termios.CRTSCTS) is wanted


async def test_wake_repeats_until_the_prompt_and_a_late_prompt_is_no_reply() -> None:
    """Met One GT-521S: CR until `*`, then the command (facts/instruments.md 1.9)."""
    text = r"""
framings: [text]
frame: {end: "\r", reply-ends: ["\r\n"]}
timing: {timeout: 300 ms}
session:
  wake: [{send: "\r", until: "\r\n*", every: 30 ms, at-most: 12}]
"""
    crs = 0

    def answer(request: bytes, number: int) -> peers.Script:
        nonlocal crs
        if request == b"\r":
            crs += 1
            # The third is heard; the one after it, sent meanwhile, is answered too.
            return [Say(b"\r\n*", 0.04)] if crs >= 3 else []
        return [Say(b"W 7\r\n")]

    query = queries(driver(text))[0]
    async with line(answer, lambda buffer: buffer.find(b"\r") + 1) as (peer, link):
        assert await values(query, link) == [7.0]
        assert bytes_of(peer)[-1] == b"W\r"
        assert 3 <= crs <= 5


async def test_an_instrument_that_never_wakes_is_silent_after_the_last_try() -> None:
    text = r"""
framings: [text]
frame: {end: "\r"}
session: {wake: [{send: "\r", until: "*", every: 20 ms, at-most: 4}]}
"""
    query = queries(driver(text))[0]
    async with line(lambda request, number: []) as (peer, link):
        with pytest.raises(Silent):
            await query.ask(link)
        assert bytes_of(peer) == [b"\r"] * 4


# ---------------------------------------------------------------- selection

SELECT = r"""
framings: [binary]
address: {from: 0, to: 63}
frame: {reply-ends: ["0D 0A"]}
timing: {timeout: 100 ms}
select: "{address+0x80:byte}"
"""
SELECTED = """
queries:
  weight:
    every: 5 s
    requests:
      - {send: "54", reply: "54 {address+48:byte}", changes: false}
      - send: "55"
        pattern: "U(?P<w>[0-9]+)"
        changes: false
        fields: {w: {type: integer}}
    channels:
      - {id: w, name: Weight, unit: g}
"""


async def test_a_unit_is_selected_only_when_another_was_spoken_to_last() -> None:
    selected = 0
    mute = False

    def answer(request: bytes, number: int) -> peers.Script:
        nonlocal selected
        if request[0] >= 0x80:
            selected = request[0] - 0x80
            return []
        if mute:
            return []
        return [Say(b"T%d\r\n" % selected if request == b"T" else b"U%d\r\n" % (10 * selected))]

    made = driver(SELECT, query=SELECTED)
    one, two = queries(made, 1, "binary")[0], queries(made, 2, "binary")[0]
    async with line(answer, lambda buffer: min(1, len(buffer)), "binary") as (peer, link):
        assert await values(one, link) == [10.0]
        assert await values(one, link) == [10.0]
        assert await values(two, link) == [20.0]
        assert await values(one, link) == [10.0]
        assert b"".join(bytes_of(peer)) == b"\x81TUTU\x82TU\x81TU"
        mute = True
        with pytest.raises(Silent):
            await one.ask(link)
        mute = False
        assert await values(one, link) == [10.0]
        assert b"".join(bytes_of(peer)).endswith(b"\x81TUT\x81TU"), "who failed may have lost its selection"


async def test_each_of_two_units_on_a_line_has_its_own_session_closed() -> None:
    session = """
session:
  open: [{send: "4F", reply: "4F {address+48:byte}"}]
  close: [{send: "43", reply: "43 {address+48:byte}"}]
"""
    selected = 0

    def answer(request: bytes, number: int) -> peers.Script:
        nonlocal selected
        if request[0] >= 0x80:
            selected = request[0] - 0x80
            return []
        return [Say(request + b"%d\r\n" % selected)]

    made = driver(SELECT + session, query=SELECTED)
    one, two = queries(made, 1, "binary")[0], queries(made, 2, "binary")[0]
    async with line(answer, lambda buffer: min(1, len(buffer)), "binary") as (peer, link):
        await values(one, link)
        await values(two, link)
        await close_sessions(link)
        assert b"".join(bytes_of(peer)) == b"\x81OTU\x82OTU\x81C\x82C"


# ---------------------------------------------------------------- echo, ends, pauses


async def test_characters_go_one_by_one_each_when_the_one_before_came_back() -> None:
    text = r"""
framings: [text]
frame: {end: "\r", reply-ends: ["\r\n"], echo: characters}
timing: {timeout: 300 ms}
"""
    query = queries(driver(text, query=QUERY.replace("send: W", "send: WEIGHT")))[0]
    heard = b""
    wrong = False

    def answer(request: bytes, number: int) -> peers.Script:
        nonlocal heard
        heard += request
        if wrong and request == b"I":
            return [Say(b"?")]
        if request == b"\r":
            return [Say(b"\r"), Say(b"\nW 3\r\n", 0.01)]
        return [Say(request, 0.005)]

    async with line(answer, lambda buffer: min(1, len(buffer))) as (peer, link):
        assert await values(query, link) == [3.0]
        assert bytes_of(peer) == [bytes([c]) for c in b"WEIGHT\r"]
        wrong, heard = True, b""
        with pytest.raises(Garbled, match="character 3"):
            await query.ask(link)
        assert heard == b"WEI"
        wrong = False
        assert await values(query, link) == [3.0]


async def test_a_reply_ends_by_a_pause_and_a_late_one_is_never_that_of_another_request() -> None:
    text = r"""
framings: [text]
frame: {end: "\r", reply-idle: 40 ms}
timing: {timeout: 100 ms}
"""
    asked = QUERY.replace("send: W", 'send: "{n}"').replace(
        "queries:", "params:\n  n: {type: text, doc: n, default: A}\nqueries:"
    )
    made = driver(text, query=asked)
    ask = {n: made.queries("text", None, {"n": n})[0] for n in "ABCD"}
    worth = {"A": 1, "B": 2, "C": 3, "D": 4}

    def answer(request: bytes, number: int) -> peers.Script:
        reply = b"W %d" % worth[request.decode().strip()]
        if request == b"A\r":
            return [Say(reply[:2]), Say(reply[2:], 0.015)]
        return [Say(reply, 0.17)] if request == b"B\r" else [Say(reply)]

    async with line(answer) as (_, link):
        assert await values(ask["A"], link) == [1.0]
        with pytest.raises(Silent):
            await ask["B"].ask(link)
        assert await values(ask["C"], link) == [3.0]
        assert await values(ask["D"], link) == [4.0]


async def test_a_pause_between_characters_that_is_too_long_ends_the_waiting() -> None:
    text = r"""
framings: [text]
frame: {end: "\r"}
timing: {timeout: 5 s, between-characters: 50 ms}
"""
    query = queries(driver(text))[0]
    async with line(lambda request, number: [Say(b"W 1")]) as (_, link):
        before = time.monotonic()
        with pytest.raises(Silent, match="incomplete"):
            await asyncio.wait_for(query.ask(link), 4.0)
        assert time.monotonic() - before < 4.0


# ---------------------------------------------------------------- retries, until, once

RETRY = r"""
framings: [text]
frame: {end: "\r", error: "er (?P<code>[0-9]{2})"}
timing: {timeout: 100 ms}
retry:
  - {on: refused, code: "03", at-most: 3, pause: 20 ms}
  - {on: garbled, at-most: 1}
"""


@pytest.mark.parametrize(
    ("replies", "outcome", "asked"),
    [
        ([b"er 03\r", b"er 03\r", b"W 5\r"], 5.0, 3),
        ([b"er 03\r"] * 9, Refused, 4),
        ([b"er 04\r", b"W 5\r"], Refused, 1),
        ([b"\x00\xff\r", b"W 5\r"], 5.0, 2),
        ([b"\x00\r", b"\x00\r", b"W 5\r"], Garbled, 2),
        ([b"er 03\r", b"\x00\r", b"W 5\r"], 5.0, 3),
        ([b"", b"W 5\r"], Silent, 1),
    ],
)
async def test_what_is_asked_again_and_how_often(replies: list[bytes], outcome: Any, asked: int) -> None:
    query = queries(driver(RETRY))[0]
    async with line(lambda request, number: [Say(replies[number])]) as (peer, link):
        if isinstance(outcome, float):
            assert await values(query, link) == [outcome]
        else:
            with pytest.raises(LinkError) as failed:
                await query.ask(link)
            assert type(failed.value) is outcome
        assert len(peer.requests) == asked
        assert link.retries == asked - 1


async def test_a_retry_after_a_garbled_reply_never_takes_the_late_first_one() -> None:
    """The reply to the first try comes while the second is about to be sent: the line settles first."""
    query = queries(driver(RETRY))[0]

    def answer(request: bytes, number: int) -> peers.Script:
        return [Say(b"\x01\x02\r"), Say(b"W 1\r", 0.05)] if number == 0 else [Say(b"W 2\r")]

    async with line(answer) as (_, link):
        assert await values(query, link) == [2.0]


async def test_what_changes_the_instrument_is_only_repeated_when_it_was_refused() -> None:
    query = r"""
writes: [{send: POP, effect: Drops the oldest record.}]
queries:
  weight:
    every: 5 s
    requests:
      - {send: POP, reply: OK}
      - {send: W, reply: "W {w}", fields: {w: {type: number}}}
    channels:
      - {id: w, name: Weight, unit: g}
"""
    asked = queries(driver(RETRY, query=query))[0]
    replies = [b"\x00\r"]
    async with line(lambda request, number: [Say(replies[number])]) as (peer, link):
        with pytest.raises(Garbled):
            await asked.ask(link)
        assert bytes_of(peer) == [b"POP\r"]
        replies += [b"er 03\r", b"OK\r", b"W 1\r"]
        assert await values(asked, link) == [1.0]


UNTIL = r"""
framings: [text]
frame: {end: "\r"}
timing: {timeout: 200 ms}
"""


async def test_it_is_asked_until_it_is_ready_and_else_the_reading_is_not_ready() -> None:
    query = r"""
queries:
  weight:
    every: 5 s
    requests:
      - send: S
        reply: "S {s}"
        fields: {s: {type: integer}}
        until: {conditions: [{field: s, is: 1}], every: 20 ms, at-most: 4}
      - {send: W, reply: "W {w}", fields: {w: {type: number}}}
    channels:
      - {id: w, name: Weight, unit: g}
"""
    asked = queries(driver(UNTIL, query=query))[0]
    states = [0, 0, 1]
    async with line(lambda r, n: [Say(b"S %d\r" % (states.pop(0) if states else 0) if r == b"S\r" else b"W 4\r")]) as (
        peer,
        link,
    ):
        assert await values(asked, link) == [4.0]
        assert bytes_of(peer) == [b"S\r", b"S\r", b"S\r", b"W\r"]
        with pytest.raises(Refused) as failed:
            await asked.ask(link)
        assert failed.value.reason == "not-ready (not within 4 tries)"
        assert bytes_of(peer)[4:] == [b"S\r"] * 4


async def test_what_is_asked_once_is_asked_once_by_all_askings_of_its_device() -> None:
    """Each record of a buffer is an asking of its own: asked anew it would cost its time, and be kept for ever."""
    query = """
queries:
  weight:
    every: 5 s
    requests:
      - {send: F, reply: "F {f}", fields: {f: {type: number}}, once: true}
      - {send: W, reply: "W {w}", fields: {w: {type: number}}}
    channels:
      - {id: w, name: Weight, unit: g}
"""
    made = driver('framings: [text]\nframe: {end: "\\r", reply-ends: ["\\r\\n"]}\n', query=query)
    async with line(says(F=b"F 2\r\n", W=b"W 1\r\n")) as (peer, link):
        for _ in range(5):
            assert await values(queries(made)[0], link) == [1.0]
        assert bytes_of(peer) == [b"F\r", *[b"W\r"] * 5]
        (memory,) = link.memory.devices.values()
        assert len(memory) == 1


async def test_what_is_asked_once_is_asked_again_after_a_connect_and_after_a_failure() -> None:
    query = r"""
queries:
  weight:
    every: 5 s
    requests:
      - {send: F, reply: "F {f}", fields: {f: {type: number}}, once: true}
      - {send: W, reply: "W {w}", fields: {w: {type: number}}}
    channels:
      - {id: w, name: Weight, unit: g}
      - {id: f, name: Factor, unit: g}
"""
    asked = queries(driver(UNTIL, query=query))[0]
    mute = False
    async with line(lambda r, n: [] if mute else [Say(b"F 2\r" if r == b"F\r" else b"W 4\r")]) as (peer, link):
        for _ in range(3):
            assert await values(asked, link) == [4.0, 2.0]
        assert b"".join(bytes_of(peer)) == b"F\rW\rW\rW\r"
        mute = True
        with pytest.raises(Silent):
            await asked.ask(link)
        mute = False
        assert await values(asked, link) == [4.0, 2.0]
        assert b"".join(bytes_of(peer)) == b"F\rW\rW\rW\rW\rF\rW\r"
        await link.close()
        await link.open()
        assert await values(asked, link) == [4.0, 2.0]
        assert b"".join(bytes_of(peer)).endswith(b"F\rW\rF\rW\r")


async def test_unanswered_commands_waits_and_quiet_times() -> None:
    query = r"""
writes: [{send: GO, effect: Starts it.}]
queries:
  weight:
    every: 5 s
    requests:
      - {send: GO, answer: none}
      - {wait: 50 ms}
      - {send: W, reply: "W {w}", fields: {w: {type: number}}, after: 60 ms}
    channels:
      - {id: w, name: Weight, unit: g}
"""
    made = driver(UNTIL, query=query)
    asked = queries(made)[0]
    async with line(lambda r, n: [Say(b"W 4\r")] if r == b"W\r" else []) as (peer, link):
        assert await values(asked, link) == [4.0]
        assert await values(asked, link) == [4.0]
        times = [at for at, _ in peer.requests]
        assert bytes_of(peer) == [b"GO\r", b"W\r", b"GO\r", b"W\r"]
        # Lower bounds only: how long it takes at most is the machine's affair.
        assert times[1] - times[0] >= 0.05
        assert times[2] - times[1] >= 0.06


async def test_nothing_is_sent_until_the_instrument_has_had_its_time_after_the_connect() -> None:
    query = queries(driver(UNTIL.replace("timeout: 200 ms", "timeout: 200 ms, after-connect: 80 ms")))[0]
    before = time.monotonic()
    async with line(lambda request, number: [Say(b"W 1\r")]) as (peer, link):
        assert await values(query, link) == [1.0]
        assert peer.requests[0][0] - before >= 0.08
        assert link.memory.opened >= before


async def test_a_command_on_a_port_that_is_gone_says_so_and_leaves_nothing_behind() -> None:
    async with line(lambda request, number: []) as (peer, link):
        peer.hang_up()
        await _until(lambda: not link.is_open)
        with pytest.raises(LinkLost):
            await link.exchange(Command(b"GO"), 0.1)


async def test_what_an_unanswered_command_says_all_the_same_is_no_reply_to_the_next_request() -> None:
    query = r"""
writes: [{send: GO, effect: Starts it.}]
queries:
  weight:
    every: 5 s
    requests:
      - {send: GO, answer: none}
      - {wait: 60 ms}
      - {send: W, reply: "W {w}", fields: {w: {type: number}}}
    channels:
      - {id: w, name: Weight, unit: g}
"""
    asked = queries(driver(UNTIL, query=query))[0]
    async with line(lambda r, n: [Say(b"W 99\r" if r == b"GO\r" else b"W 4\r")]) as (_, link):
        assert await values(asked, link) == [4.0]


async def test_a_cancelled_asking_leaves_nothing_behind_for_the_next() -> None:
    query = queries(driver(SESSION))[0]
    slow = True

    def answer(request: bytes, number: int) -> peers.Script:
        if request == b"CR\r":
            return [Say(b"CC\r\n", 0.05 if slow else 0.0)]
        return [Say(b"W 1\r\n" if slow else b"W 2\r\n", 0.05 if slow else 0.0)]

    async with line(answer) as (peer, link):
        for reached in (b"CR\r", b"W\r"):
            task = asyncio.create_task(query.ask(link))
            await _until(lambda reached=reached: reached in bytes_of(peer))  # type: ignore[misc]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        slow = False
        assert await values(query, link) == [2.0]


async def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


def test_blocks_follow_from_the_fields_and_gaps_only_as_far_as_allowed() -> None:
    text = """
framings: [modbus-rtu]
queries:
  first:
    every: 5 s
    requests:
      - read: input
        merge: {gap: %d, most: %d}
        fields:
          d: {at: 30, type: f32}
          a: {at: 1, type: u16}
          b: {at: 2, type: u32}
          c: {at: 6, type: u16}
    channels:
      - {id: a, name: A, unit: g}
      - {id: d, name: D, unit: g}
"""

    def blocks(gap: int, most: int) -> list[tuple[int, int]]:
        query = driver("", query=text % (gap, most)).queries("modbus-rtu", 1, {})[0]
        return [(s.address, s.count) for s in query.steps]  # type: ignore[union-attr]

    assert blocks(0, 125) == [(1, 3), (6, 1), (30, 2)]
    assert blocks(2, 125) == [(1, 6), (30, 2)]
    assert blocks(1, 125) == [(1, 3), (6, 1), (30, 2)]
    assert blocks(24, 125) == [(1, 31)]
    assert blocks(24, 5) == [(1, 3), (6, 1), (30, 2)]


def test_the_process_has_no_open_pty_left() -> None:
    assert not [f for f in os.listdir("/proc/self/fd") if "ptmx" in os.path.realpath(f"/proc/self/fd/{f}")]
