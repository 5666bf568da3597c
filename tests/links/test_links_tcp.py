"""TCP connections: refused, hanging, closed, half-open; keepalive; identification over several replies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import peers
import pytest
from benches import TcpBench
from peers import Say, TcpPeer

from labmon.links import modbus
from labmon.links.endpoint import TcpEndpoint
from labmon.links.errors import Garbled, LinkLost, Refused, Silent
from labmon.links.opening import make_link, open_link
from labmon.links.text import Terminated, TextRequest


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(LinkLost) as lost:
            await open_link(TcpEndpoint("127.0.0.1", port), "modbus-tcp")
        assert lost.value.reason == f"link-lost (127.0.0.1:{port}: connection refused)"


async def test_nobody_accepts() -> None:
    """SYNs that nobody answers: a full backlog."""
    with socket.socket() as server, socket.socket() as one, socket.socket() as two:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for sock in (one, two):
            sock.setblocking(False)
            sock.connect_ex(server.getsockname())
        link = make_link(TcpEndpoint(*server.getsockname()), "modbus-tcp", open_timeout=0.1)
        with pytest.raises(LinkLost, match="no connection within"):
            await link.open()
        assert not link.is_open
        with pytest.raises(LinkLost):
            await link.exchange(modbus.read("modbus-tcp", 1, 3, 0, 1), 1.0)


async def test_socket_options() -> None:
    async with TcpPeer(peers.split_tcp, lambda request, number: []) as peer:
        link = await open_link(TcpEndpoint("127.0.0.1", peer.port), "modbus-tcp")
        sock = link._transport._connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        await link.close()


async def test_an_idle_link_notices_the_peer_s_closing(eventually: Any) -> None:
    async with TcpPeer(peers.split_tcp, lambda request, number: []) as peer:
        link = await open_link(TcpEndpoint("127.0.0.1", peer.port), "modbus-tcp")
        await eventually(lambda: peer.connections == 1)
        peer.hang_up()
        await eventually(lambda: not link.is_open)
        await link.open()
        assert link.is_open
        await link.close()


async def test_a_request_that_tcp_could_not_deliver_is_not_left_to_arrive() -> None:
    """The peer's TCP takes no more: the connection is reset, else the request would be answered at any later time."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        link = await open_link(TcpEndpoint(*server.getsockname()), "text", least_quiet=0.01)
        huge = TextRequest(b"x" * 16_000_000, Terminated((b"\r",)))
        with pytest.raises(Silent):
            await link.exchange(huge, 0.1)
        assert not link.is_open
        with pytest.raises(LinkLost, match="acknowledges nothing"):
            await link.exchange(TextRequest(b"Q\r", Terminated((b"\r",))), 0.1)
        await link.close()


async def test_a_silent_peer_keeps_its_connection_when_it_acknowledges() -> None:
    async with TcpPeer(peers.split_line, lambda request, number: []) as peer:
        link = await open_link(TcpEndpoint("127.0.0.1", peer.port), "text", least_quiet=0.01)
        with pytest.raises(Silent, match=r"nothing within 0\.05 s"):
            await link.exchange(TextRequest(b"Q\r", Terminated((b"\r",))), 0.05)
        assert link.is_open
        await link.close()


async def test_a_greeting_is_no_reply(eventually: Any) -> None:
    async with TcpPeer(peers.split_line, lambda request, number: [Say(b"12.5\r")]) as peer:
        link = await open_link(TcpEndpoint("127.0.0.1", peer.port), "text", least_quiet=0.05)
        await eventually(lambda: peer.connections)
        peer.send(b"welcome\r")
        assert await link.exchange(TextRequest(b"Q\r", Terminated((b"\r",))), 1.0) == b"12.5"
        await link.close()


async def test_settling_never_delays_modbus_tcp() -> None:
    """After a timeout the next request leaves without any wait: the transaction id protects."""
    async with TcpBench(0.05) as bench:
        bench.hostile[0] = "silent"
        with pytest.raises(Silent):
            await bench.link.exchange(bench.request(0), 0.05)
        assert not bench.link._dirty
        assert await bench.link.exchange(bench.request(1), 1.0) == bench.expected(1)


async def test_identify_follows_more_follows() -> None:
    parts = {0: (b"\xff\x02", {0: b"Vaisala", 1: b"GMP252"}), 2: (b"\x00\x00", {2: b"1.2.3"})}

    def answer(request: bytes, number: int) -> peers.Script:
        code, first = request[9], request[10]
        more, objects = parts[first]
        body = b"".join(bytes([k, len(v)]) + v for k, v in objects.items())
        pdu = bytes([0x2B, 0x0E, code, 0x81]) + more + bytes([len(objects)]) + body
        return [Say(peers.tcp(int.from_bytes(request[:2], "big"), request[6], pdu))]

    async with TcpPeer(peers.split_tcp, answer) as peer:
        link = await open_link(TcpEndpoint("127.0.0.1", peer.port), "modbus-tcp")
        found = await modbus.identify(link, "modbus-tcp", 240, (0, 2), 1.0)
        assert found == {0: b"Vaisala", 2: b"1.2.3"}
        assert len(peer.requests) == 2
        assert await modbus.identify(link, "modbus-tcp", 240, (0, 1), 1.0) == {0: b"Vaisala", 1: b"GMP252"}
        assert len(peer.requests) == 3
        # One that says "more follows" for ever is not followed for ever.
        parts[2] = (b"\xff\x02", {2: b"1.2.3"})
        with pytest.raises(Garbled, match="does not end"):
            await modbus.identify(link, "modbus-tcp", 240, (0, 5), 1.0)
        peer.answer = lambda request, number: [Say(peers.tcp(int.from_bytes(request[:2], "big"), 240, b"\xab\x01"))]
        with pytest.raises(Refused, match="illegal function"):
            await modbus.identify(link, "modbus-tcp", 240, (0,), 1.0)
        await link.close()


@pytest.mark.parametrize("asked", [True, False])
async def test_a_peer_that_sends_without_end_is_cut_off(asked: bool, eventually: Any) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        link = await open_link(TcpEndpoint(*server.sockets[0].getsockname()), "text", least_quiet=0.01)
        if asked:
            with pytest.raises((Garbled, LinkLost)):
                await link.exchange(TextRequest(b"Q\r", Terminated((b"\r",))), 1.0)
        await eventually(lambda: not link.is_open)
        with pytest.raises(LinkLost, match="more than 1048576 bytes without being asked"):
            await link.exchange(TextRequest(b"Q\r", Terminated((b"\r",))), 1.0)
        assert len(link._buffer) < 2**19
        await link.close()
    assert sent < 20 * 2**20
