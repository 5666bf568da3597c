"""The shipped broker configuration in a real mosquitto: it starts, and each user may what the ACL says and no more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.as_shipped import PASSWORDS, AsShipped
from servers.mosquitto import Authority

from labmon.mqtt.connection import Connection
from labmon.mqtt.errors import PublishRefused
from labmon.mqtt.settings import BrokerSettings, Tls

OWN = "labmon/berlin/gw1"
SEEN = [
    "live/culture/incubator-1", "alarm/incubator-1.co2.action-high", "excursion/e1", "event", "health/bus-1", "status",
]  # fmt: skip
PUBLISHED = [*SEEN, "reply/c1", "pin/qa", "record"]
MAY_WRITE = {
    "gateway-gw1": PUBLISHED,
    "ingest": ["record/stored/main"],
    "viewer": [],
    "desk": ["command/acknowledge"],
    "watch": [],
    "gateway-gw2": [],
}
MAY_READ = {
    "gateway-gw1": [*PUBLISHED, "record/stored/main", "command/acknowledge"],
    "ingest": ["record"],
    "viewer": SEEN,
    "desk": [*SEEN, "reply/c1", "pin/qa"],
    "watch": ["record/stored/main", "health/bus-1", "status"],
    "gateway-gw2": [],
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsShipped]:
    folder = tmp_path_factory.mktemp("broker")
    with AsShipped(folder, authority=Authority.make(folder / "ca")) as running:
        yield running


def settings(broker: AsShipped, user: str | None, password: str | None) -> BrokerSettings:
    assert broker.authority is not None
    tls = Tls(ca=str(broker.authority.certificate))
    return BrokerSettings("localhost", broker.port, tls=tls, user=user, password=password, backoff=(0.1, 0.2))


def as_user(broker: AsShipped, user: str) -> Connection:
    return Connection(settings(broker, user, PASSWORDS[user]), f"test-{user}-{os.urandom(4).hex()}")


@pytest.mark.parametrize("user", MAY_WRITE)
async def test_each_user_writes_what_the_acl_allows_and_nothing_else(broker: AsShipped, user: str) -> None:
    allowed: list[str] = []
    async with as_user(broker, user) as connection:
        await asyncio.wait_for(connection.wait_connected(), 10)
        for topic in [*PUBLISHED, "record/stored/main", "command/acknowledge", "other", ""]:
            try:
                await connection.publish(f"{OWN}/{topic}" if topic else OWN, b"x")
            except PublishRefused:
                continue
            allowed.append(topic)
        for elsewhere in ("labmon/paris/gw1/status", "berlin/gw1/status", "x"):
            with pytest.raises(PublishRefused):
                await connection.publish(elsewhere, b"x")
    assert allowed == MAY_WRITE[user]


async def test_a_gateway_confirms_neither_its_own_record_nor_touches_another_gateway(broker: AsShipped) -> None:
    async with as_user(broker, "gateway-gw2") as connection:
        await asyncio.wait_for(connection.wait_connected(), 10)
        await connection.publish("labmon/berlin/gw2/record", b"x")
        for topic in ("labmon/berlin/gw2/record/stored/main", f"{OWN}/record/stored/main", f"{OWN}/status"):
            with pytest.raises(PublishRefused):
                await connection.publish(topic, b"x")


@pytest.mark.parametrize("user", MAY_READ)
async def test_each_user_reads_what_the_acl_allows_and_nothing_else(
    broker: AsShipped, user: str, eventually: Any
) -> None:
    seen: list[str] = []
    writers = {name: as_user(broker, name) for name in ("gateway-gw1", "gateway-gw2", "ingest", "desk")}
    # Every user may read this one, and the broker hands messages on in the order in which it took them.
    last = {"gateway-gw2": "labmon/berlin/gw2/status", "ingest": "labmon/berlin/gw2/record"}.get(
        user, "labmon/berlin/gw2/status" if user != "gateway-gw1" else f"{OWN}/status"
    )
    async with as_user(broker, user) as reader:
        for connection in writers.values():
            await connection.start()
        try:
            await asyncio.wait_for(asyncio.gather(*(c.wait_connected() for c in [reader, *writers.values()])), 10)
            await reader.subscribe("#", lambda topic, _payload, _properties: seen.append(topic))
            for name, topics in MAY_WRITE.items():
                for topic in topics:
                    await writers[name].publish(f"{OWN}/{topic}", b"x")
            writer = writers["gateway-gw1" if last.startswith(OWN) else "gateway-gw2"]
            await writer.publish(last, b"last")
            await eventually(lambda: seen.count(last) == 1 + (last == f"{OWN}/status"))
        finally:
            for connection in writers.values():
                await connection.stop()
    own = [topic.removeprefix(f"{OWN}/") for topic in seen if topic.startswith(f"{OWN}/")]
    assert sorted(set(own)) == sorted(MAY_READ[user])


async def test_ingest_reads_the_record_by_a_shared_subscription(broker: AsShipped, eventually: Any) -> None:
    seen: list[str] = []
    async with as_user(broker, "ingest") as ingest, as_user(broker, "gateway-gw1") as gateway:
        await asyncio.wait_for(asyncio.gather(ingest.wait_connected(), gateway.wait_connected()), 10)
        await ingest.subscribe("$share/main/labmon/+/+/record", lambda topic, _payload, _properties: seen.append(topic))
        await gateway.publish(f"{OWN}/record", b"x" * 4 * 2**20)
        await eventually(lambda: seen == [f"{OWN}/record"])


@pytest.mark.parametrize(("user", "password"), [("viewer", "wrong"), (None, None), ("nobody", "one")])
async def test_nobody_gets_in_without_the_right_password(
    broker: AsShipped, user: str | None, password: str | None, eventually: Any
) -> None:
    async with Connection(settings(broker, user, password), "test-stranger") as stranger:
        await eventually(lambda: "authori" in stranger.last_error.lower())
        assert stranger.connects == 0


async def test_nobody_gets_in_without_encryption(broker: AsShipped, eventually: Any) -> None:
    plain = BrokerSettings("localhost", broker.port, user="viewer", password=PASSWORDS["viewer"], backoff=(0.1, 0.2))
    async with Connection(plain, "test-plain") as connection:
        await eventually(lambda: connection.last_error)
        assert connection.connects == 0


async def test_nothing_retained_survives_the_broker(tmp_path: Path, eventually: Any) -> None:
    seen: list[str] = []
    with AsShipped(tmp_path, authority=Authority.make(tmp_path / "ca")) as broker:
        async with as_user(broker, "gateway-gw1") as gateway, as_user(broker, "viewer") as viewer:
            await asyncio.wait_for(asyncio.gather(gateway.wait_connected(), viewer.wait_connected()), 10)
            await gateway.publish(f"{OWN}/status", b"online", retain=True)
            await viewer.subscribe(f"{OWN}/#", lambda topic, _payload, _properties: seen.append(topic))
            await eventually(lambda: seen == [f"{OWN}/status"])
            broker.stop()
            broker.start()
            await eventually(lambda: gateway.connects == 2 and viewer.connects == 2)
            await eventually(lambda: gateway.connected and viewer.connected)
            await gateway.publish(f"{OWN}/event", b"x")
            await eventually(lambda: len(seen) == 2)
        assert seen == [f"{OWN}/status", f"{OWN}/event"]
        assert not list(broker.folder.glob("*.db"))
