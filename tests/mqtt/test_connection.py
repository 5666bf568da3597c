"""The adapter against a real mosquitto, and against peers that are no brokers."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from servers.mosquitto import Authority, Mosquitto, free_port

from labmon.mqtt import (
    BrokerSettings,
    Connection,
    MessageProperties,
    NotConnected,
    PublishRefused,
    SubscribeRefused,
    Tls,
    Will,
)
from labmon.mqtt.certificate import expiry, parse

QUICK: dict[str, Any] = {"backoff": (0.02, 0.1), "stall": 1.0, "connect_timeout": 3.0}


def settings(broker: Mosquitto, **changed: Any) -> BrokerSettings:
    return BrokerSettings(broker.host, broker.port, **(QUICK | changed))


class Received:
    """A handler that keeps what it got."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.retained: list[bool] = []

    def __call__(self, topic: str, payload: bytes, properties: MessageProperties) -> None:
        self.messages.append((topic, payload))
        self.retained.append(properties.retain)

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.messages]


@contextlib.asynccontextmanager
async def listening(broker: Mosquitto, filter_: str = "#") -> AsyncIterator[Received]:
    """Somebody else who listens."""
    received = Received()
    async with Connection(settings(broker), "listener") as other:
        await asyncio.wait_for(other.wait_connected(), 5)
        await other.subscribe(filter_, received)
        yield received


async def test_a_message_goes_there_and_back(broker: Mosquitto, eventually: Any) -> None:
    received = Received()
    async with Connection(settings(broker), "me") as me:
        await me.subscribe("a/+", received)
        await asyncio.wait_for(me.wait_connected(), 5)
        assert me.connected
        await me.publish("a/b", b"one")
        await me.publish("a/c", b"two", qos=0)
        await me.publish("b/c", b"three")
        await me.publish("a/d", b"x" * 3_000_000)
        await eventually(lambda: len(received.messages) == 3)
    assert received.messages[:2] == [("a/b", b"one"), ("a/c", b"two")]
    assert len(received.payloads[2]) == 3_000_000
    assert not me.connected


def test_it_works_under_uvloop(tmp_path: Path) -> None:
    async def body(broker: Mosquitto) -> list[bytes]:
        received = Received()
        async with Connection(settings(broker, tls=Tls(ca=str(authority.certificate))), "me") as me:
            await me.subscribe("a", received)
            async with asyncio.timeout(10):
                await me.wait_connected()
                await me.publish("a", b"one")
                await me.publish("a", b"x" * 500_000)
                broker.restart()
                while me.connects < 2:
                    await asyncio.sleep(0.01)
                await me.publish("a", b"two")
                while len(received.messages) < 3:
                    await asyncio.sleep(0.01)
        return [payload[:3] for payload in received.payloads]

    authority = Authority.make(tmp_path / "ca")
    with Mosquitto(tmp_path, authority=authority) as broker, asyncio.Runner(loop_factory=uvloop.new_event_loop) as run:
        assert run.run(body(broker)) == [b"one", b"xxx", b"two"]


async def test_publishing_offline_raises_at_once_and_sends_nothing_later(broker: Mosquitto, eventually: Any) -> None:
    broker.stop()
    async with Connection(settings(broker), "me") as me:
        for qos in (0, 1):
            with pytest.raises(NotConnected):
                await me.publish("a", b"never", qos=qos)
        await eventually(lambda: me.last_error)
        broker.start()
        async with listening(broker) as received:
            await asyncio.wait_for(me.wait_connected(), 5)
            await me.publish("a", b"later")
            await eventually(lambda: received.messages)
        assert received.payloads == [b"later"]


async def test_subscriptions_stand_again_after_the_broker_was_killed(broker: Mosquitto, eventually: Any) -> None:
    received = Received()
    reasons: list[str] = []
    async with Connection(settings(broker), "me") as me:
        me.on_disconnect(reasons.append)
        await asyncio.wait_for(me.wait_connected(), 5)
        await me.subscribe("a", received)
        await me.publish("a", b"before")
        broker.kill()
        await eventually(lambda: not me.connected)
        with pytest.raises(NotConnected):
            await me.publish("a", b"between")
        broker.start()
        await eventually(lambda: me.connected)
        await me.publish("a", b"after")
        await eventually(lambda: len(received.messages) == 2)
    assert received.payloads == [b"before", b"after"]
    assert me.connects == 2
    assert len(reasons) == 1


async def test_whoever_waits_for_an_acknowledgement_hears_that_the_connection_broke(broker: Mosquitto) -> None:
    async with Connection(settings(broker, stall=30.0), "me", window=2) as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        broker.freeze()
        waiting = [asyncio.create_task(me.publish("a", b"%d" % n)) for n in range(5)]
        await asyncio.sleep(0)
        broker.kill()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotConnected] * 5


async def test_what_was_under_way_is_not_sent_again_by_itself(broker: Mosquitto, eventually: Any) -> None:
    async with Connection(settings(broker), "me") as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        broker.freeze()
        waiting = asyncio.create_task(me.publish("a", b"under way"))
        await asyncio.sleep(0)
        broker.restart()
        with pytest.raises(NotConnected):
            await waiting
        async with listening(broker) as received:
            await eventually(lambda: me.connected)
            await me.publish("a", b"new")
            await eventually(lambda: received.messages)
    assert received.payloads == [b"new"]


async def test_a_broker_that_acknowledges_nothing_is_left(broker: Mosquitto, eventually: Any) -> None:
    reasons: list[str] = []
    async with Connection(settings(broker, stall=0.2), "me") as me:
        me.on_disconnect(reasons.append)
        await asyncio.wait_for(me.wait_connected(), 5)
        broker.freeze()
        with pytest.raises(NotConnected, match="acknowledged nothing"):
            await me.publish("a", b"x")
        broker.thaw()
        await eventually(lambda: me.connected)
        await me.publish("a", b"x")
    assert len(reasons) == 1


async def test_no_more_are_under_way_than_the_window(tmp_path: Path, eventually: Any) -> None:
    for limits, window, expected in (("", 7, 7), ("max_inflight_messages 3", 20, 3)):
        with Mosquitto(tmp_path, settings=limits) as broker:
            async with Connection(settings(broker, stall=30.0), "me", window=window) as me:
                await asyncio.wait_for(me.wait_connected(), 5)
                broker.freeze()
                waiting = [asyncio.create_task(me.publish("a", b"x")) for _ in range(40)]
                session = me._session
                assert session is not None
                await eventually(lambda s=session: len(s._owed) > 0)
                for _ in range(5):
                    await asyncio.sleep(0)
                assert len(session._owed) == expected
                broker.thaw()
                await asyncio.gather(*waiting)
            assert broker.log().count("Received PUBLISH") == 40


async def test_a_publish_given_up_by_its_owner_frees_its_place(broker: Mosquitto) -> None:
    async with Connection(settings(broker, stall=30.0), "me", window=1) as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        broker.freeze()
        tasks = [asyncio.create_task(me.publish("a", b"%d" % n)) for n in range(3)]
        await asyncio.sleep(0)
        for task in tasks[:2]:
            task.cancel()
        await asyncio.wait(tasks[:2])
        broker.thaw()
        await asyncio.wait_for(tasks[2], 5)


ACL = "user me\ntopic write allowed/#\ntopic read #\nuser listener\ntopic read #\n"


async def test_a_topic_forbidden_by_the_broker_is_an_error(tmp_path: Path, eventually: Any) -> None:
    with Mosquitto(tmp_path, users={"me": "pw", "other": "pw2"}, acl=ACL) as broker:
        received = Received()
        async with Connection(settings(broker, user="me", password="pw"), "me") as me:
            await me.subscribe("#", received)
            await asyncio.wait_for(me.wait_connected(), 5)
            with pytest.raises(PublishRefused) as caught:
                await me.publish("forbidden", b"x")
            assert caught.value.code == 0x87
            await me.publish("allowed/nobody-listens", b"x")
            await eventually(lambda: received.messages)
        assert received.messages == [("allowed/nobody-listens", b"x")]


async def test_no_listener_is_success(broker: Mosquitto) -> None:
    async with Connection(settings(broker), "me") as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        assert await me.publish("nobody/listens", b"x") is False
        await me.subscribe("a", Received())
        assert await me.publish("a", b"x") is True


async def test_a_wrong_password_is_told_and_tried_again(tmp_path: Path, eventually: Any) -> None:
    with Mosquitto(tmp_path, users={"me": "pw"}) as broker:
        async with Connection(settings(broker, user="me", password="wrong"), "me") as me:
            await eventually(lambda: "Not authorized" in me.last_error)
            assert "wrong" not in repr(me._settings)
            with pytest.raises(NotConnected, match="Not authorized"):
                await me.publish("a", b"x")
            await eventually(lambda: broker.log().count("not authorised") >= 2)


async def test_a_callback_that_raises_costs_nothing(broker: Mosquitto, eventually: Any, caplog: Any) -> None:
    received = Received()

    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError

    async def broken_too(*arguments: Any) -> None:
        raise KeyError("x")

    async with Connection(settings(broker), "me") as me:
        me.on_connect(broken)
        me.on_disconnect(broken)
        await me.subscribe("a", broken)
        await me.subscribe("b", broken_too)
        await me.subscribe("c", received)
        await asyncio.wait_for(me.wait_connected(), 5)
        for topic in "abcbac":
            await me.publish(topic, b"x")
        await eventually(lambda: len(received.messages) == 2)
        assert me.failed == 4
        broker.restart()
        await eventually(lambda: me.connects == 2 and me.connected)
        await me.publish("c", b"y")
        await eventually(lambda: received.payloads[-1:] == [b"y"])
    assert "fault in a callback" in caplog.text
    assert caplog.text.count("fault while handling a message on a:") == 1  # the rest is counted


async def test_a_fault_inside_the_adapter_costs_one_connection(broker: Mosquitto, eventually: Any) -> None:
    async with Connection(settings(broker), "me") as me:
        await me.subscribe("a", Received())
        await asyncio.wait_for(me.wait_connected(), 5)
        put, me._inbox.put = me._inbox.put, lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
        session = me._session
        assert session is not None
        session._on_message = me._inbox.put
        with contextlib.suppress(NotConnected):
            await me.publish("a", b"x")
        await eventually(lambda: session.closed.done())
        assert "fault in labmon" in session.closed.result()
        me._inbox.put = put  # type: ignore[method-assign]
        await eventually(lambda: me.connects >= 2 and me.connected)
        await me.publish("a", b"x")


@pytest.mark.parametrize("farewell", [True, False])
async def test_the_will_is_published_when_and_only_when_the_connection_breaks(
    broker: Mosquitto, farewell: bool, eventually: Any
) -> None:
    async with listening(broker) as received:
        me = Connection(settings(broker), "me", will=Will("status", b"offline"))
        await me.start()
        await asyncio.wait_for(me.wait_connected(), 5)
        if not farewell:
            assert me._session is not None
            me._session.close("test")
            await eventually(lambda: received.payloads == [b"offline"])
        await me.stop()
        async with Connection(settings(broker), "other") as other:
            await asyncio.wait_for(other.wait_connected(), 5)
            await other.publish("end", b"end")
        await eventually(lambda: received.payloads[-1:] == [b"end"])
    assert received.payloads.count(b"offline") == (0 if farewell else 1)


async def test_a_message_expires(broker: Mosquitto, eventually: Any) -> None:
    async with Connection(settings(broker), "me") as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        await me.publish("short", b"x", retain=True, expiry=1)
        await me.publish("long", b"y", retain=True, expiry=60)

        async def left() -> bool:
            async with listening(broker) as received:
                await eventually(lambda: ("long", b"y") in received.messages)
                return received.payloads == [b"y"]

        await eventually(left)


async def test_retained_messages_are_marked(broker: Mosquitto, eventually: Any) -> None:
    async with Connection(settings(broker), "me") as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        await me.publish("a", b"kept", retain=True)
        async with listening(broker) as received:
            await eventually(lambda: received.messages)
            await me.publish("a", b"fresh")
            await eventually(lambda: len(received.messages) == 2)
    assert received.retained == [True, False]


async def test_tls_checks_whom_it_talks_to(tmp_path: Path, eventually: Any) -> None:
    authority = Authority.make(tmp_path / "ca")
    stranger = Authority.make(tmp_path / "stranger")
    with Mosquitto(tmp_path, authority=authority) as broker:
        async with Connection(settings(broker, tls=Tls(ca=str(authority.certificate))), "me") as me:
            await asyncio.wait_for(me.wait_connected(), 5)
            await me.publish("a", b"x" * 1_000_000)
        for tls in (Tls(), Tls(ca=str(stranger.certificate))):
            async with Connection(settings(broker, tls=tls), "me") as me:
                await eventually(lambda me=me: "not signed by the authority that the site file" in me.last_error)
                assert not me.connected
        async with Connection(settings(broker, tls=Tls(ca=str(authority.certificate))), "me") as me:
            await asyncio.wait_for(me.wait_connected(), 5)
            assert me.peer_certificate is not None
            assert parse(me.peer_certificate).ends == expiry(authority.folder / "broker.crt")
        async with Connection(settings(broker, tls=Tls(ca=str(tmp_path / "missing"))), "me") as me:
            await eventually(lambda: me.last_error)
            assert me.last_error == f"authorities {tmp_path / 'missing'}: No such file or directory"
        async with Connection(settings(broker), "me") as me:
            await eventually(lambda: me.last_error)
            assert not me.connected


async def test_tls_with_a_client_certificate(tmp_path: Path, eventually: Any) -> None:
    authority = Authority.make(tmp_path / "ca")
    certificate, key = authority.sign("gateway")
    with Mosquitto(tmp_path, authority=authority, require_certificate=True) as broker:
        known = Tls(str(authority.certificate), str(certificate), str(key))
        async with Connection(settings(broker, tls=known), "me") as me:
            await asyncio.wait_for(me.wait_connected(), 5)
            await me.publish("a", b"x")
        async with Connection(settings(broker, tls=Tls(str(authority.certificate))), "me") as me:
            await eventually(lambda: "wants a certificate of us" in me.last_error)
            assert not me.connected
        over, over_key = authority.sign("over", days=-1)
        async with Connection(
            settings(broker, tls=Tls(str(authority.certificate), str(over), str(over_key))), "me"
        ) as me:
            why = "the broker refuses our certificate: it has expired (mqtt: tls: certificate)"
            await eventually(lambda: me.last_error == why)
        broken = tmp_path / "broken.key"
        broken.write_text("-----BEGIN PRIVATE KEY-----\nplanted-key\n-----END PRIVATE KEY-----\n")
        for wrong, why in ((over_key, "the key is not this certificate's"), (broken, "not in PEM form, damaged")):
            async with Connection(
                settings(broker, tls=Tls(str(authority.certificate), str(certificate), str(wrong))), "me"
            ) as me:
                await eventually(lambda me=me: me.last_error)
                assert me.last_error.startswith(f"certificate {certificate} with key {wrong}: {why}")
                assert "planted" not in me.last_error


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"days": -1}, "the broker's certificate has expired, or its authority's: put a new one at the broker"),
        ({"alternatives": "DNS:elsewhere"}, "the broker's certificate is not for 127.0.0.1: correct the host"),
    ],
)
async def test_what_is_wrong_with_the_brokers_certificate_is_told(
    made: dict[str, Any], why: str, tmp_path: Path, eventually: Any, monkeypatch: Any
) -> None:
    authority = Authority.make(tmp_path / "ca")
    sign = authority.sign
    monkeypatch.setattr(Authority, "sign", lambda self, name: sign(name, **made))
    with Mosquitto(tmp_path, authority=authority) as broker:
        async with Connection(settings(broker, tls=Tls(ca=str(authority.certificate))), "me") as me:
            await eventually(lambda: me.last_error)
            assert me.last_error.startswith(why)
            assert me.peer_expired is ("days" in made)


async def test_an_announced_length_is_not_believed(eventually: Any) -> None:
    """A packet of 256 MB is announced and never ends: nothing is kept of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x20\x03\x00\x00\x00" + b"\x30\xff\xff\xff\x7f")
        while True:
            writer.write(b"x" * 2**16)
            await writer.drain()

    async with peer(serve) as port:
        quick = BrokerSettings("127.0.0.1", port, backoff=(0.01, 0.02))
        async with Connection(quick, "me") as me:
            await eventually(lambda: "announces a packet of 268435455 bytes" in me.last_error)


async def test_version_3_1_1(broker: Mosquitto, eventually: Any) -> None:
    received = Received()
    async with Connection(settings(broker, protocol="3.1.1"), "me", will=Will("w", b"w")) as me:
        await me.subscribe("a", received)
        await asyncio.wait_for(me.wait_connected(), 5)
        await me.publish("a", b"x", expiry=5)
        broker.restart()
        await eventually(lambda: me.connects == 2 and me.connected)
        await me.publish("a", b"y")
        await eventually(lambda: received.payloads == [b"x", b"y"])


async def test_what_is_too_large_or_too_much_is_dropped_and_counted(broker: Mosquitto, eventually: Any) -> None:
    received = Received()
    release = asyncio.Event()

    async def slow(topic: str, payload: bytes, properties: MessageProperties) -> None:
        await release.wait()
        received(topic, payload, properties)

    small = settings(broker, max_payload=1000, waiting=5, protocol="3.1.1")
    async with Connection(small, "me") as me, Connection(settings(broker), "other") as other:
        await me.subscribe("a", slow)
        await asyncio.wait_for(me.wait_connected(), 5)
        await asyncio.wait_for(other.wait_connected(), 5)
        await other.publish("a", b"x" * 1001)
        await eventually(lambda: me.lost == 1)
        for n in range(10):
            await other.publish("a", b"%d" % n, qos=0)
        await eventually(lambda: me.lost == 5)
        release.set()
        await eventually(lambda: len(received.messages) == 6)
        await other.publish("a", b"end")
        await eventually(lambda: received.payloads[-1] == b"end")
    assert received.payloads == [b"0", b"1", b"2", b"3", b"4", b"5", b"end"]


async def test_the_broker_is_asked_to_keep_large_messages_away(broker: Mosquitto, eventually: Any) -> None:
    received = Received()
    async with Connection(settings(broker, max_payload=1000), "me") as me, Connection(settings(broker), "o") as other:
        await me.subscribe("a", received)
        await asyncio.wait_for(me.wait_connected(), 5)
        await asyncio.wait_for(other.wait_connected(), 5)
        await other.publish("a", b"x" * 500_000)
        await other.publish("a", b"small")
        await eventually(lambda: received.messages)
    assert received.payloads == [b"small"]


async def test_a_payload_over_the_brokers_bound_is_refused_here(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, settings="max_packet_size 2000") as broker:
        async with Connection(settings(broker), "me") as me:
            await asyncio.wait_for(me.wait_connected(), 5)
            with pytest.raises(PublishRefused, match="2000"):
                await me.publish("a", b"x" * 3000)
            await me.publish("a", b"x" * 1000)
            assert me.connects == 1


@contextlib.asynccontextmanager
async def peer(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A server of our own on a port; its conversations have ended when it has."""
    open_: set[asyncio.Task[Any]] = set()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()
            open_.discard(task)

    server = await asyncio.start_server(conversation, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    if open_:
        await asyncio.wait(open_, timeout=5)


HOSTILE = {
    "junk": b"\xff" * 100,
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "connack-cut": b"\x20\x00",
    "connack-then-junk": b"\x20\x03\x00\x00\x00" + b"\x30\x7f\xff\xff" + b"\xff" * 200,
    "bad-utf8-topic": b"\x20\x03\x00\x00\x00" + b"\x30\x05\x00\x02\xff\xfe\x00",
    "unknown-puback": b"\x20\x03\x00\x00\x00" + b"\x40\x02\x00\x09" + b"\x40\x00",
    "endless-length": b"\x20\xff\xff\xff\xff\xff",
    "closes": None,
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_peer_that_is_no_broker_is_tried_again_and_again(answer: bytes | None, eventually: Any) -> None:
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
            await reader.read()

    received = Received()
    async with peer(serve) as port:
        quick = BrokerSettings("127.0.0.1", port, backoff=(0.01, 0.02), connect_timeout=0.1, stall=0.1)
        async with Connection(quick, "me") as me:
            await me.subscribe("#", received)
            await eventually(lambda: accepted >= 3)
            assert all(not task.done() for task in me._tasks)
    assert received.messages == []


@pytest.mark.parametrize("tls", [None, Tls()])
async def test_it_stops_while_a_peer_says_nothing(tls: Tls | None, eventually: Any) -> None:
    accepted: list[socket.socket] = []
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        silent.setblocking(False)
        me = Connection(BrokerSettings("127.0.0.1", silent.getsockname()[1], tls=tls, connect_timeout=60.0), "me")
        await me.start()
        accepted.append((await asyncio.get_running_loop().sock_accept(silent))[0])
        await asyncio.wait_for(me.stop(), 3)
        accepted[0].close()


async def test_it_stops_while_the_broker_is_frozen_and_the_socket_full(broker: Mosquitto, eventually: Any) -> None:
    me = Connection(settings(broker, stall=30.0), "me")
    await me.start()
    await asyncio.wait_for(me.wait_connected(), 5)
    broker.freeze()
    waiting = [asyncio.create_task(me.publish("a", b"x" * 1_000_000, qos=0)) for _ in range(20)]
    await asyncio.sleep(0.05)
    await asyncio.wait_for(me.stop(timeout=0.2), 3)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[-1], NotConnected)


async def test_a_name_is_resolved_and_an_unknown_one_reported(broker: Mosquitto, eventually: Any) -> None:
    async with Connection(BrokerSettings("localhost", broker.port, **QUICK), "me") as me:
        await asyncio.wait_for(me.wait_connected(), 5)
    for name in ("no-such-host.invalid", "a..b"):
        async with Connection(BrokerSettings(name, broker.port, **QUICK), "me") as me:
            await eventually(lambda me=me: me.last_error)


async def test_nothing_is_there_to_connect_to(eventually: Any, caplog: Any) -> None:
    async with Connection(BrokerSettings("127.0.0.1", free_port(), backoff=(0.001, 0.002)), "me") as me:
        session_errors = []
        began = time.monotonic()
        await eventually(lambda: me.last_error)
        while time.monotonic() - began < 0.2:
            session_errors.append(me.last_error)
            await asyncio.sleep(0.01)
    assert set(session_errors) == {me.last_error}
    assert caplog.text.count("not connected") == 1  # one line, not one for each try


async def test_a_refused_subscription_is_told_and_tried_again_with_the_next_connection(eventually: Any) -> None:
    refuse = True
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await packet(reader)
        writer.write(b"\x20\x03\x00\x00\x00")
        while True:
            kind, body = await packet(reader)
            if kind == 0x82:
                writer.write(b"\x90\x04" + body[:2] + b"\x00" + (b"\x87" if refuse else b"\x01"))

    async with peer(serve) as port, Connection(BrokerSettings("127.0.0.1", port, **QUICK), "me") as me:
        await asyncio.wait_for(me.wait_connected(), 5)
        with pytest.raises(SubscribeRefused) as caught:
            await me.subscribe("a", Received())
        assert caught.value.code == 0x87
        connections[-1].close()
        await eventually(lambda: me.connects == 2 and me.connected)
        assert "0x87" in me.refused["a"]
        refuse = False
        connections[-1].close()
        await eventually(lambda: me.connects == 3 and me.connected)
        assert me.refused == {}


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind, length = await reader.readexactly(2)
    assert length < 128
    return kind, await reader.readexactly(length)
