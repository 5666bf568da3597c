"""A whole gateway and ingest over TLS against the broker configuration as shipped, by passwords and by certificates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joined_gateway import Room, room, running
from servers.as_shipped import PASSWORDS, AsShipped
from servers.mosquitto import Authority

from labmon.acquisition.load import load
from labmon.daemon import certificates
from labmon.daemon.daemon import Daemon
from labmon.ingest.process import run_ingest
from labmon.ingest.sqlite_readings import SqliteReadings
from labmon.model.event import AlarmState
from labmon.mqtt import BrokerSettings, Connection, NotConnected, PublishRefused, Tls

HERE = {"site": {"id": "berlin", "name": "Berlin"}, "gateway": {"id": "gw1"}}
STORE = [{"id": "local", "sqlite": {"path": "store.db"}}]
OWN = "labmon/berlin/gw1"


def secret(folder: Path, name: str, text: str) -> dict[str, str]:
    (folder / name).write_text(text + "\n")
    (folder / name).chmod(0o600)
    return {"file": str(folder / name)}


def mqtt(broker: AsShipped, folder: Path, by: str, **days: int) -> dict[str, Any]:
    """The site file's section, with what the gateway and ingest need to be let in."""
    assert broker.authority is not None
    common: dict[str, Any] = {"host": "localhost", "port": broker.port}
    tls: dict[str, Any] = {"ca": str(broker.authority.certificate)}
    if by == "password":
        return common | {
            "tls": tls,
            "user": "gateway-gw1",
            "password": secret(folder, "gw1.password", PASSWORDS["gateway-gw1"]),
            "ingest-user": "ingest",
            "ingest-password": secret(folder, "ingest.password", PASSWORDS["ingest"]),
        }
    own, own_key = broker.authority.sign("gateway-gw1", days=days.get("own", 90))
    ingest, ingest_key = broker.authority.sign("ingest", days=days.get("ingest", 90))
    tls |= {"certificate": str(own), "key": {"file": str(own_key)}}
    tls |= {"ingest-certificate": str(ingest), "ingest-key": {"file": str(ingest_key)}}
    return common | {"tls": tls}


def another(broker: AsShipped, by: str, user: str) -> Connection:
    """Somebody else with rights of his own."""
    assert broker.authority is not None
    ca = str(broker.authority.certificate)
    if by == "password":
        settings = BrokerSettings("localhost", broker.port, tls=Tls(ca), user=user, password=PASSWORDS[user])
    else:
        certificate, key = broker.authority.sign(user)
        settings = BrokerSettings("localhost", broker.port, tls=Tls(ca, str(certificate), str(key)))
    return Connection(settings, f"another-{user}")


@contextlib.asynccontextmanager
async def ingesting(made: Room) -> AsyncIterator[None]:
    site = load(made.site).site
    assert site is not None
    stop = asyncio.Event()
    task = asyncio.create_task(run_ingest(site, folder=made.site.parent, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await task


def states(daemon: Daemon) -> dict[str, AlarmState]:
    return {view.alarm: view.state for view in daemon.pipeline.engine.views()} if daemon._pipeline else {}


def stored(made: Room) -> int:
    path = made.site.with_name("store.db")
    if not path.exists():
        return 0
    with SqliteReadings(path) as readings:
        try:
            return readings.count()
        except sqlite3.OperationalError:  # it is being made
            return 0


@pytest.mark.parametrize("by", ["password", "certificate"])
async def test_readings_come_through_and_no_other_gateway_can_touch_or_see_them(
    by: str, tmp_path: Path, eventually: Any
) -> None:
    authority = Authority.make(tmp_path / "ca", days=900)
    seen: list[str] = []
    with AsShipped(tmp_path, authority, by_certificate=by == "certificate") as broker:
        parts = HERE | {"mqtt": mqtt(broker, tmp_path, by), "stores": STORE}
        async with another(broker, by, "gateway-gw2") as other, room(tmp_path, "probe-1", **parts) as made:
            await asyncio.wait_for(other.wait_connected(), 10)
            await other.subscribe("labmon/#", lambda topic, _payload, _properties: seen.append(topic))
            async with running(made.daemon()) as daemon, ingesting(made):
                await eventually(lambda: stored(made) > 3, 10)
                assert "gateway.broker" not in states(daemon)
                for topic in ("record", "status", "alarm/probe-1.co2.action-high", "record/stored/local"):
                    with pytest.raises(PublishRefused):
                        await other.publish(f"{OWN}/{topic}", b"x")
                with pytest.raises(PublishRefused):
                    await other.publish("labmon/berlin/gw2/record/stored/local", b"x")
                await other.publish("labmon/berlin/gw2/status", b"x")
                await eventually(lambda: seen)
    assert seen == ["labmon/berlin/gw2/status"]


async def test_nobody_comes_in_without_a_certificate(tmp_path: Path, eventually: Any) -> None:
    authority = Authority.make(tmp_path / "ca")
    stranger = Authority.make(tmp_path / "strangers", name="somebody else")
    certificate, key = stranger.sign("gateway-gw1")
    with AsShipped(tmp_path, authority, by_certificate=True) as broker:
        ca = str(authority.certificate)
        for tls, why in (
            (Tls(ca), "wants a certificate of us"),
            (Tls(ca, str(certificate), str(key)), "does not know who signed it"),
        ):
            login = {"user": "ingest", "password": PASSWORDS["ingest"]}
            settings = BrokerSettings("localhost", broker.port, tls=tls, backoff=(0.05, 0.1), **login)
            async with Connection(settings, "stranger") as connection:
                await eventually(lambda connection=connection, why=why: why in connection.last_error)
                with pytest.raises(NotConnected):
                    await connection.publish("x", b"x")


async def test_an_expired_certificate_is_told_and_the_rest_goes_on(
    tmp_path: Path, eventually: Any, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(certificates, "LOOK", 0.05)
    monkeypatch.setattr(certificates, "EVERY", 0.05)
    authority = Authority.make(tmp_path / "ca", days=900)
    with AsShipped(tmp_path, authority, by_certificate=True) as broker:
        section = mqtt(broker, tmp_path, "certificate", own=-1)
        async with (
            room(tmp_path, "probe-1", **HERE, mqtt=section, stores=STORE) as made,
            running(made.daemon()) as daemon,
        ):
            await eventually(lambda: states(daemon).get("gateway.certificate") is AlarmState.UNACK)
            detail = next(v.detail for v in daemon.pipeline.engine.views() if v.alarm == "gateway.certificate")
            assert detail.startswith(f"certificate {section['tls']['certificate']} ended on ")
            assert detail.endswith(": put a new one there")
            why = "the broker refuses our certificate: it has expired"
            await eventually(lambda: why in caplog.text)
            polled = daemon.pipeline.polled
            await eventually(lambda: daemon.pipeline.polled > polled + 3)
            authority.sign("gateway-gw1", days=90)
            await eventually(lambda: daemon.outside.delivery and daemon.outside.delivery.connected, 10)
            await eventually(lambda: states(daemon)["gateway.certificate"] is AlarmState.RTNUN)
    assert caplog.text.count(why) <= 2, "one line for each connection, not for each try"  # there are two
    assert json.dumps(section) not in caplog.text
