"""The serial port: silence before requests, echo, unplugging, busy ports, cancelled callers; on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import peers
import pytest
import uvloop
from benches import AsciiBench, RtuBench, TextBench
from peers import PtyPeer, Say

from labmon.links import modbus
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.errors import Garbled, LinkLost, Silent
from labmon.links.holder import holders
from labmon.links.opening import make_link, open_link
from labmon.links.serial_port import SerialTransport, open_port
from labmon.links.timing import Timing

UNIT = 5


def right(request: bytes, number: int) -> peers.Script:
    return [Say(peers.rtu(UNIT, peers.reply_pdu(UNIT, request[1:-2])))]


def read(number: int) -> modbus.Request:
    return modbus.read("modbus-rtu", UNIT, 3, 10 * number, 4)


def expected(number: int) -> bytes:
    return peers.registers(UNIT, 3, 10 * number, 4)


class StrictUnit:
    """Ignores a request that begins before t3.5 has passed since its own last byte, as the standard allows."""

    def __init__(self, t35: float) -> None:
        self.t35 = t35
        self.ignored = 0
        self.peer: PtyPeer | None = None

    def __call__(self, request: bytes, number: int) -> peers.Script:
        assert self.peer is not None
        gap = self.peer.requests[-1][0] - self.peer.last_byte
        if gap < self.t35:
            self.ignored += 1
            return []
        return right(request, number)


async def exchange_on_strict_unit(
    baud: int, timing: Timing | None = None, requests: int = 40, timeout: float = 10.0
) -> tuple[int, StrictUnit]:
    strict = StrictUnit(SerialEndpoint("", baud).t35)
    answered = 0
    async with PtyPeer(peers.split_rtu, strict) as peer:
        strict.peer = peer
        endpoint = SerialEndpoint(peer.port, baud)
        link = make_link(endpoint, "modbus-rtu", least_quiet=0.01)
        if timing is not None:
            link = Conversation(SerialTransport(endpoint), timing)
        await link.open()
        for number in range(requests):
            try:
                assert await link.exchange(read(number), timeout) == expected(number)
                answered += 1
            except Silent:
                pass
        await link.close()
    return answered, strict


@pytest.mark.parametrize("baud", [9600, 19200, 115200])
async def test_a_strict_unit_answers_every_request(baud: int) -> None:
    answered, strict = await exchange_on_strict_unit(baud)
    assert (answered, strict.ignored) == (40, 0)


@pytest.mark.parametrize("baud", [9600, 115200])
def test_a_strict_unit_answers_every_request_on_uvloop(baud: int) -> None:
    answered, strict = on_uvloop(exchange_on_strict_unit(baud))
    assert (answered, strict.ignored) == (40, 0)


async def test_a_strict_unit_ignores_who_steals_the_silence() -> None:
    """The strict unit can fail: without the gap it ignores requests."""
    answered, strict = await exchange_on_strict_unit(9600, Timing(gap=0.0, least_quiet=0.01), 10, 0.05)
    assert strict.ignored > 0
    assert answered < 10


def test_t35_and_character() -> None:
    """Modbus serial line V1.02 2.5.1.1: 3.5 characters of 11 bits, 1.75 ms above 19200 baud."""
    assert SerialEndpoint("", 9600).t35 == pytest.approx(0.0040104, rel=1e-4)
    assert SerialEndpoint("", 19200).t35 == pytest.approx(0.0020052, rel=1e-4)
    assert SerialEndpoint("", 38400).t35 == SerialEndpoint("", 115200).t35 == 0.00175
    assert SerialEndpoint("", 9600, 8, "E", 1).character == pytest.approx(11 / 9600)
    assert SerialEndpoint("", 9600, 7, "E", 1).character == pytest.approx(10 / 9600)


async def test_the_gap_asked_for_is_kept() -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01)
        for number in range(4):
            before = peer.last_byte
            assert await link.exchange(read(number), 1.0, gap=0.03) == expected(number)
            assert number == 0 or peer.requests[-1][0] - before >= 0.03
        await link.close()


async def test_what_stood_in_the_port_before_is_no_reply() -> None:
    async with PtyPeer(peers.split_rtu, lambda request, number: []) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01)
        await link.settle()
        stale = peers.rtu(UNIT, peers.reply_pdu(UNIT, b"\x03\x00\x00\x00\x04"))
        peer.send(stale)  # in the kernel now, not yet read
        with pytest.raises(Silent):
            await link.exchange(read(0), 0.05)
        await link.close()


async def test_unplug_fails_the_waiter_at_once_and_the_port_opens_again(tmp_path: Path) -> None:
    await unplug(tmp_path)


def test_unplug_on_uvloop(tmp_path: Path) -> None:
    on_uvloop(unplug(tmp_path))


async def unplug(folder: Path) -> None:
    """Replugged, the adapter has another number; its name in /dev/serial/by-id is the same."""
    async with PtyPeer(peers.split_rtu, right, str(folder / "by-id")) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01, latest_reply=0.05)
        assert await link.exchange(read(0), 1.0) == expected(0)
        peer.answer = lambda request, number: [peers.HANG_UP]
        with pytest.raises(LinkLost) as lost:
            await link.exchange(read(1), 300.0)  # it must not wait for that
        assert lost.value.detail.startswith(peer.port)
        assert not link.is_open
        with pytest.raises(LinkLost):
            await link.exchange(read(2), 1.0)
        assert await link.settle() == 0
        with pytest.raises(LinkLost, match=r"(?i)no such file"):
            await link.open()
        async with PtyPeer(peers.split_rtu, right) as other:  # takes the old number
            peer.plug_in()
            peer.answer = right
            await link.open()
            assert await link.exchange(read(3), 1.0) == expected(3)
            assert other.requests == []
        await link.close()


async def test_an_idle_link_notices_the_unplugging(eventually: Any) -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu")
        peer.hang_up()
        await eventually(lambda: not link.is_open)


async def test_a_link_opens_closes_and_opens_again() -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = make_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01)
        with pytest.raises(LinkLost, match="not open"):
            await link.exchange(read(0), 1.0)
        for number in range(3):
            await link.open()
            await link.open()
            assert await link.exchange(read(number), 1.0) == expected(number)
            await link.close()
            await link.close()


async def test_close_fails_the_waiter_at_once() -> None:
    async with PtyPeer(peers.split_rtu, lambda request, number: []) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01)
        waiting = asyncio.create_task(link.exchange(read(0), 30.0))
        while not peer.requests:
            await asyncio.sleep(0)
        await link.close()
        with pytest.raises(LinkLost, match="closed"):
            await waiting
        # Settling after a timeout of 30 s takes a minute; closing ends it too.
        await link.open()
        waiting = asyncio.create_task(link.exchange(read(1), 1.0))
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(LinkLost, match="closed"):
            await waiting


@pytest.mark.parametrize("make", [RtuBench, AsciiBench, TextBench])
async def test_a_cancelled_caller_s_reply_is_nobody_s(make: type[RtuBench]) -> None:
    async with make(0.08) as bench:
        bench.hostile[1] = "late"
        assert await bench.link.exchange(bench.request(0), 10.0) == bench.expected(0)
        waiting = asyncio.create_task(bench.link.exchange(bench.request(1), 0.08))
        while len(bench.peer.requests) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await bench.link.exchange(bench.request(2), 10.0) == bench.expected(2)
        # Cancelled while it settles, before anything was sent.
        bench.hostile[3] = "silent"
        with pytest.raises(Silent):
            await bench.link.exchange(bench.request(3), 0.08)
        waiting = asyncio.create_task(bench.link.exchange(bench.request(4), 0.08))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(bench.peer.requests) == 4
        assert await bench.link.exchange(bench.request(5), 10.0) == bench.expected(5)


async def test_one_owner() -> None:
    async with PtyPeer(peers.split_rtu, lambda request, number: []) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01)
        waiting = asyncio.create_task(link.exchange(read(0), 30.0))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one owner"):
            await link.exchange(read(1), 1.0)
        with pytest.raises(RuntimeError, match="one owner"):
            await link.settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await link.close()


async def test_local_echo_is_removed_and_never_confirms_a_write() -> None:
    script: dict[int, Any] = {
        0: lambda request: [Say(request), Say(right(request, 0)[0].data, 0.002)],
        1: lambda request: [Say(request), Say(request, 0.002)],  # the echo, and the unit's confirmation
        2: lambda request: [Say(request)],  # only the echo
        3: lambda request: [Say(b"\x00" + request + right(request, 0)[0].data)],
        4: lambda request: [Say(right(request, 0)[0].data)],  # no echo although declared
    }
    async with PtyPeer(peers.split_rtu, lambda request, number: script[number](request)) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200, local_echo=True), "modbus-rtu", least_quiet=0.01)
        write = modbus.write_register("modbus-rtu", UNIT, 24, 7)
        assert await link.exchange(read(0), 10.0) == expected(0)
        assert await link.exchange(write, 10.0) == b"\x00\x18\x00\x07"
        with pytest.raises(Silent):
            await link.exchange(write, 0.1)
        assert await link.exchange(read(3), 10.0) == expected(3)
        with pytest.raises(Garbled, match="local echo"):
            await link.exchange(read(4), 0.1)
        await link.close()


async def test_a_busy_port_names_its_holder() -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = await open_link(SerialEndpoint(peer.port), "text")
        with pytest.raises(LinkLost) as lost:
            await open_link(SerialEndpoint(peer.port), "text")
        assert f"pid {os.getpid()}" in lost.value.detail
        assert "in use" in lost.value.detail
        assert any(f"pid {os.getpid()}" in str(holder) for holder in holders(peer.port))
        await link.close()


async def test_ports_that_cannot_be_opened() -> None:
    for port, why in (("/dev/no-such-port", "no such file"), ("/dev/null", "inappropriate ioctl")):
        with pytest.raises(LinkLost, match=f"(?i){why}"):
            await open_link(SerialEndpoint(port), "text")


@pytest.mark.parametrize("parity", ["N", "E", "O"])
async def test_a_pty_takes_every_setting(parity: Any) -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        for bits, stop, rtscts in ((8, 1, False), (8, 2, True), (8, 1, True)):
            endpoint = SerialEndpoint(peer.port, 19200, bits, parity, stop, rtscts)
            link = await open_link(endpoint, "modbus-rtu", least_quiet=0.01)
            assert await link.exchange(read(1), 1.0) == expected(1)
            await link.close()


async def test_ascii_at_seven_bits() -> None:
    def answer(request: bytes, number: int) -> peers.Script:
        return [Say(b":010304FFFFFCE01E\r\n")]

    async with PtyPeer(peers.split_line, answer) as peer:
        link = await open_link(SerialEndpoint(peer.port, 9600, 7, "E", 1), "modbus-ascii", least_quiet=0.01)
        assert await link.exchange(modbus.read("modbus-ascii", 1, 3, 0x530, 2), 1.0) == b"\xff\xff\xfc\xe0"
        assert peer.requests[0][1] == b":010305300002C5\r\n"
        await link.close()


async def test_an_abandoned_opening_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, eventually: Any) -> None:
    """Cancelled, or too slow: the thread closes what it opens in the end."""
    import labmon.links.serial_port as module

    opened: list[Any] = []
    go = threading.Event()
    original = module.open_port

    def slow(endpoint: SerialEndpoint) -> Any:
        go.wait(10)
        opened.append(original(endpoint))
        return opened[-1]

    monkeypatch.setattr(module, "open_port", slow)
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = make_link(SerialEndpoint(peer.port), "text", open_timeout=0.02)
        with pytest.raises(LinkLost, match="did not open"):
            await link.open()
        assert not link.is_open
        waiting = asyncio.create_task(make_link(SerialEndpoint(peer.port), "text").open())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        await eventually(lambda: opened and not any(port.is_open for port in opened))
        await eventually(lambda: not any(t.name.startswith("open ") for t in threading.enumerate()))


@pytest.mark.parametrize(("stray", "settles"), [(b"\x00", False), (peers.rtu(UNIT, b"\x83\x02"), True)])
async def test_who_answers_unasked_may_be_one_reply_behind(stray: bytes, settles: bool, eventually: Any) -> None:
    """A whole reply that nobody asked for makes the line settle; the single byte of a turnaround costs nothing."""
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.3, trace=9)
        assert await link.exchange(read(0), 10.0) == expected(0)
        assert link.trace is not None
        seen = len(link.trace)
        peer.send(stray)
        await eventually(lambda: len(link.trace) > seen)
        came = link.trace[-1].time
        assert await link.exchange(read(1), 10.0) == expected(1)
        assert (peer.requests[1][0] - came >= 0.3) is settles
        await link.close()


async def test_a_line_that_never_pauses_is_never_sent_to() -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = Conversation(
            SerialTransport(SerialEndpoint(peer.port, 115200)), Timing(gap=0.005, least_quiet=0.05, settle_limit=0.2)
        )
        await link.open()
        babble = [Say(b"\x55", 0.01 * i) for i in range(100)]
        peer.play(babble)
        with pytest.raises(Garbled, match="without a pause"):
            await link.exchange(read(0), 0.1)
        assert peer.requests == []
        await link.close()


async def test_trace_is_bounded() -> None:
    async with PtyPeer(peers.split_rtu, right) as peer:
        link = await open_link(SerialEndpoint(peer.port, 115200), "modbus-rtu", least_quiet=0.01, trace=6)
        for number in range(10):
            await link.exchange(read(number), 1.0)
        assert link.trace is not None
        assert len(link.trace) == 6
        assert link.trace[-2].direction == ">"
        assert link.trace[-2].data == read(9).encode(0)
        assert link.trace[-1].data.endswith(expected(9)[-2:] + link.trace[-1].data[-2:])
        await link.close()


def test_framings_fit_endpoints() -> None:
    with pytest.raises(ValueError, match="modbus-tcp does not run"):
        make_link(SerialEndpoint("/dev/ttyX"), "modbus-tcp")
    with pytest.raises(ValueError, match="no framing"):
        make_link(TcpEndpoint("127.0.0.1"), "modbus")


def on_uvloop(body: Coroutine[Any, Any, Any]) -> Any:
    problems: list[Any] = []

    async def watched() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        return await body

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(watched())
    assert not problems, problems
    assert "uvloop" in sys.modules
    return result


def test_a_pty_opens_a_second_time_with_parity_and_7_bits() -> None:
    """It ignores both, and refuses a change that is only of these: which is all that there is at the second opening."""
    master, slave = os.openpty()
    try:
        for _ in range(3):
            open_port(SerialEndpoint(os.ttyname(slave), 19200, 7, "E")).close()
    finally:
        os.close(master)
        os.close(slave)
