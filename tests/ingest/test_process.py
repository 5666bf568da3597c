"""Ingest as a process: composed from a site file, killed, told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway
from ranges import SECOND, simple, start_of
from servers.influx import InfluxV1
from servers.mosquitto import Authority, Mosquitto, broker
from servers.scripted_http import Answer, ScriptedHttp

from labmon.config.secrets import SecretError
from labmon.config.site import Site
from labmon.ingest.influx import InfluxStore
from labmon.ingest.process import IngestNotConfigured, choose_store, ingest_settings, make_store, run_ingest
from labmon.ingest.sqlite_readings import SqliteReadings
from labmon.ingest.sqlite_store import SqliteStore
from labmon.mqtt import Tls

__all__ = ["broker"]

Eventually = Callable[..., Any]
CHILD = Path(__file__).with_name("ingest_child.py")


def site_file(port: int, *stores: dict[str, Any], **mqtt: Any) -> dict[str, Any]:
    return {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "areas": [],
        "lines": [],
        "mqtt": {"host": "127.0.0.1", "port": port} | mqtt,
        "stores": list(stores),
    }


def sqlite_store(path: Path, store_id: str = "main") -> dict[str, Any]:
    return {"id": store_id, "sqlite": {"path": str(path)}}


def influx_store(server: Any, token: Path, timeout: str = "2 s") -> dict[str, Any]:
    token.write_text(f"{server.token}\n")
    own = {"url": server.url, "bucket": "labmon", "token": {"file": str(token)}, "timeout": timeout}
    return {"id": "main", "influxdb": own}


def validated(data: dict[str, Any]) -> Site:
    return Site.model_validate(data)


@asynccontextmanager
async def child(tmp_path: Path, data: dict[str, Any], *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, once it is connected; killed at the end where it still runs."""
    path = tmp_path / f"site-{len(list(tmp_path.glob('site-*')))}.json"
    path.write_text(json.dumps(data))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", CHILD, path, *arguments,
        env=os.environ | {"PYTHONPATH": os.getcwd()}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20.0):
            while b" connected as " not in (line := await process.stderr.readline()):
                assert line, "ended before it was connected"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_killed_in_the_middle_nothing_is_missing(
    broker: Mosquitto, influx_v1: InfluxV1, site: str, tmp_path: Path, eventually: Eventually
) -> None:
    data, start = site_file(broker.port, influx_store(influx_v1, tmp_path / "token")), start_of(1200)
    async with Gateway(broker, site) as gateway:
        for begin in (1, 401, 801):
            async with child(tmp_path, data) as process:
                for first in range(begin, begin + 400, 10):
                    await gateway.send(simple(10, first=first, start=start + first * SECOND))
                    if first == begin + 200:
                        process.kill()
        async with child(tmp_path, data):
            await eventually(lambda: not gateway.waiting)
        assert all(stored.error is None and not stored.refused for _, stored in gateway.answers)
    assert len(influx_v1.points(site)) == 2400


async def test_one_of_two_is_killed_and_the_other_takes_over(
    broker: Mosquitto, tmp_path: Path, eventually: Eventually
) -> None:
    data = site_file(broker.port, sqlite_store(tmp_path / "store.db"))
    async with Gateway(broker, "lab") as gateway, child(tmp_path, data) as one, child(tmp_path, data):
        for first in range(1, 401, 10):
            await gateway.send(simple(10, first=first, start=first * SECOND))
            if first == 101:
                one.kill()
        await eventually(lambda: not gateway.waiting)
    with SqliteReadings(tmp_path / "store.db") as readings:
        assert readings.count() == 800


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_while_the_store_hangs(
    broker: Mosquitto, tmp_path: Path, eventually: Eventually, number: signal.Signals
) -> None:
    with ScriptedHttp(otherwise=Answer(204, hang=True)) as server:
        server.token = "t"  # type: ignore[attr-defined]
        data = site_file(broker.port, influx_store(server, tmp_path / "token", "100 s"))
        async with Gateway(broker, "lab") as gateway, child(tmp_path, data) as process:
            await gateway.send(simple(2))
            await eventually(lambda: server.requests)
            process.send_signal(number)
            async with asyncio.timeout(20.0):
                _, said = await process.communicate()
            assert process.returncode == 0
            assert b"ingest into store main stopped: " in said
            assert b"Traceback" not in said


async def test_starts_and_stops_without_broker_and_store(tmp_path: Path) -> None:
    data = site_file(
        1, {"id": "main", "influxdb": {"url": "http://127.0.0.1:1", "bucket": "b", "token": {"file": "t"}}}
    )
    (tmp_path / "t").write_text("token")
    stop = asyncio.Event()
    running = asyncio.create_task(run_ingest(validated(data), folder=tmp_path, stop=stop))
    done, _ = await asyncio.wait([running], timeout=0.2)
    assert not done
    stop.set()
    await running


async def test_over_tls_with_credentials_of_its_own(tmp_path: Path, eventually: Eventually) -> None:
    authority = Authority.make(tmp_path / "ca")
    acl = "user writer\ntopic readwrite #\nuser gateway\ntopic readwrite labmon/lab/gw-1/#\n"
    users = {"writer": "secret-w", "gateway": "secret-g"}
    (tmp_path / "gateway-password").write_text("secret-g")
    (tmp_path / "ingest-password").write_text("secret-w\n")
    with Mosquitto(tmp_path, users=users, acl=acl, authority=authority) as broker:
        data = site_file(
            broker.port,
            sqlite_store(tmp_path / "a.db", "a"),
            sqlite_store(tmp_path / "b.db", "b"),
            **{
                "user": "gateway",
                "password": {"file": str(tmp_path / "gateway-password")},
                "ingest-user": "writer",
                "ingest-password": {"file": str(tmp_path / "ingest-password")},
                "tls": {"ca": str(authority.certificate)},
            },
        )
        known = ingest_settings(validated(data).mqtt, tmp_path)  # type: ignore[arg-type]
        assert (known.user, known.password) == ("writer", "secret-w")
        assert "secret-w" not in repr(known)
        async with child(tmp_path, data, "b") as process:
            process.terminate()
            assert await process.wait() == 0
        assert "as writer" in broker.log() or "u'writer'" in broker.log()


@pytest.mark.parametrize(
    ("stores", "asked", "found"),
    [
        ([], None, "the site file names no store"),
        (["a", "b"], None, "say which store: a, b"),
        (["a", "b"], "c", "no store 'c'; the site file names a, b"),
        ([], "c", "no store 'c'; the site file names none"),
    ],
)
def test_which_store_is_not_clear(tmp_path: Path, stores: list[str], asked: str | None, found: str) -> None:
    site = validated(site_file(1, *(sqlite_store(tmp_path / name, name) for name in stores)))
    with pytest.raises(IngestNotConfigured) as error:
        choose_store(site, asked)
    assert str(error.value) == found


def test_the_store_that_is_meant(tmp_path: Path) -> None:
    one = validated(site_file(1, sqlite_store(tmp_path / "a.db", "a")))
    assert choose_store(one, None).id == "a"
    two = validated(site_file(1, sqlite_store(tmp_path / "a.db", "a"), sqlite_store(tmp_path / "b.db", "b")))
    assert choose_store(two, "b").id == "b"
    assert isinstance(make_store(choose_store(one, None), tmp_path), SqliteStore)


def test_the_token_is_read_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("very-secret")
    own = {"url": "http://127.0.0.1:1", "bucket": "b", "token": {"file": str(tmp_path / "token")}}
    store = make_store(choose_store(validated(site_file(1, {"id": "main", "influxdb": own})), None), tmp_path)
    assert isinstance(store, InfluxStore)
    assert "very-secret" not in repr(store)
    store.close()


async def test_a_site_without_a_broker(tmp_path: Path) -> None:
    data = site_file(1, sqlite_store(tmp_path / "a.db"))
    del data["mqtt"]
    with pytest.raises(IngestNotConfigured, match="names no broker"):
        await run_ingest(validated(data), folder=tmp_path)


async def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    own = {"url": "http://127.0.0.1:1", "bucket": "b", "token": {"file": "missing"}}
    with pytest.raises(SecretError, match="secret file missing: cannot be read"):
        await run_ingest(validated(site_file(1, {"id": "main", "influxdb": own})), folder=tmp_path)


def test_relative_paths_count_from_the_site_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/labmon")

    def tls_of(**tls: Any) -> Tls | None:
        mqtt = validated(site_file(1, tls=tls)).mqtt
        assert mqtt is not None
        return ingest_settings(mqtt, Path("/etc/labmon")).tls

    own = {"ca": "ca.crt", "certificate": "/srv/c.crt"}
    assert tls_of(**own, key={"file": "c.key"}) == Tls("/etc/labmon/ca.crt", "/srv/c.crt", "/etc/labmon/c.key")
    assert tls_of(key={"credential": "key"}) == Tls(None, None, "/run/credentials/labmon/key")
    assert tls_of() == Tls(None, None, None)
