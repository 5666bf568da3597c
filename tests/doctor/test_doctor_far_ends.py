"""Broker, stores, mail, webhooks, TCP lines: real servers, right and wrong; nothing is left at any of them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patients import case, levels, only, tcp
from servers.influx import BUCKET, InfluxV1, running
from servers.mail import MailServer, make_authority
from servers.mosquitto import Authority, Mosquitto, free_port
from servers.webhook import WebhookServer

from labmon.doctor.broker import broker, certificates
from labmon.doctor.case import Case
from labmon.doctor.endpoints import endpoints
from labmon.doctor.finding import Finding, Level
from labmon.doctor.notices import notices
from labmon.doctor.stores import stores

ACL = "user gw\ntopic write labmon/lab/gw-1/#\nuser stranger\ntopic write elsewhere/#\n"


def secret(folder: Path, name: str, text: str) -> dict[str, str]:
    (folder / name).write_text(text + "\n")
    return {"file": name}


# ---------------------------------------------------------------- the broker


def mqtt(folder: Path, port: int, password: str = "right", user: str = "gw", **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "user": user, "password": secret(folder, "pw", password), **more}


def with_broker(folder: Path, running: Mosquitto, **options: Any) -> Case:
    return case(folder, mqtt=mqtt(folder, running.port, **options))


def test_a_broker_without_tls(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"gw": "right", "stranger": "right"}, acl=ACL) as at:
        found = list(broker(with_broker(tmp_path, at)))
        assert levels(found) == [Level.OK, Level.OK], found
        assert "connected as gw" in found[0].what
        assert "takes what is published below labmon/lab/gw-1/" in found[1].what
        wrong = only(broker(with_broker(tmp_path, at, password="wrong-planted")))
        assert wrong.level is Level.FAULT
        assert "password" in wrong.remedy
        assert "planted" not in str(wrong)
        denied = list(broker(with_broker(tmp_path, at, user="stranger")))
        assert levels(denied) == [Level.OK, Level.FAULT]
        assert "access list" in denied[1].remedy


def test_a_broker_with_tls_and_when_its_certificates_end(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca", days=400)
    with Mosquitto(tmp_path, users={"gw": "right"}, authority=authority) as at:
        good = with_broker(tmp_path, at, tls={"ca": str(authority.certificate)})
        found = list(broker(good))
        assert levels(found) == [Level.OK, Level.WARNING, Level.OK], found
        assert "ends in 2 days" in found[1].what, "the broker's own certificate is made for two days"
        assert "400 days" in only(certificates(good)).what or "399 days" in only(certificates(good)).what
        without = only(broker(with_broker(tmp_path, at)))
        assert without.level is Level.FAULT
        other = Authority.make(tmp_path / "other", name="another")
        unsigned = only(broker(with_broker(tmp_path, at, tls={"ca": str(other.certificate)})))
        assert unsigned.level is Level.FAULT
        assert "not signed by the authority" in unsigned.what


def test_a_certificate_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make(tmp_path / "ca")
    own, key = authority.sign("gw", days=-1)
    sign = authority.sign
    monkeypatch.setattr(Authority, "sign", lambda self, name: sign(name, days=-1))
    with Mosquitto(tmp_path, users={"gw": "right"}, authority=authority) as at:
        tls = {"ca": str(authority.certificate), "certificate": str(own), "key": {"file": str(key)}}
        patient = with_broker(tmp_path, at, tls=tls)
        found = only(broker(patient))
        assert found.level is Level.FAULT
        assert "has expired" in found.what
        by_file = list(certificates(patient))
        assert levels(by_file) == [Level.WARNING, Level.FAULT], "the authority ends soon, our own has ended"
        assert "ended on" in by_file[1].what


def test_nobody_at_the_brokers_port(tmp_path: Path) -> None:
    found = only(broker(case(tmp_path, mqtt={"host": "127.0.0.1", "port": free_port()})))
    assert (found.level, "connection refused" in found.what) == (Level.FAULT, True)
    name = only(broker(case(tmp_path, mqtt={"host": "broker.invalid", "port": 1})))
    assert "its name is not known" in name.what


def test_a_broker_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labmon.doctor.broker.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        found = only(broker(case(tmp_path, mqtt={"host": "127.0.0.1", "port": mute.getsockname()[1]})))
    assert (found.level, "no answer to CONNECT" in found.what) == (Level.FAULT, True)


# ---------------------------------------------------------------- stores


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxV1]:
    yield from running(InfluxV1, tmp_path_factory.mktemp("influx"))


def with_store(folder: Path, url: str, token: str, bucket: str = BUCKET) -> Case:
    config = {"url": url, "bucket": bucket, "token": secret(folder, "token", token)}
    return case(folder, stores=[{"id": "plant", "influxdb": config}], mqtt={"host": "127.0.0.1", "port": 1})


def test_a_store_is_asked_whether_it_takes_writes_and_keeps_nothing(influx: InfluxV1, tmp_path: Path) -> None:
    assert only(stores(with_store(tmp_path, influx.url, influx.token))).level is Level.OK
    assert "series" not in json.dumps(influx.query(f"SHOW SERIES ON {BUCKET}")["results"])


@pytest.mark.parametrize(
    ("wrong", "said", "remedy"),
    [
        ({"token": "planted-token"}, "401", "correct the token"),
        ({"bucket": "nowhere"}, "404", "make the bucket"),
    ],
)
def test_what_a_store_says_no_to(influx: InfluxV1, tmp_path: Path, wrong: Any, said: str, remedy: str) -> None:
    found = only(stores(with_store(tmp_path, **({"url": influx.url, "token": influx.token} | wrong))))
    assert found.level is Level.FAULT
    assert said in found.what
    assert remedy in found.remedy
    assert "planted" not in str(found)


def test_a_token_that_may_only_read(influx: InfluxV1, tmp_path: Path) -> None:
    found = only(stores(with_store(tmp_path, influx.url, influx.read_token)))
    assert (found.level, "right to write" in found.remedy) == (Level.FAULT, True)


def test_no_store_there(tmp_path: Path) -> None:
    found = only(stores(with_store(tmp_path, f"http://127.0.0.1:{free_port()}", "t")))
    assert (found.level, "start the database" in found.remedy) == (Level.FAULT, True)


def test_a_token_that_is_elsewhere(tmp_path: Path) -> None:
    patient = with_store(tmp_path, "http://127.0.0.1:1", "t")
    (tmp_path / "token").unlink()
    assert only(stores(patient)).level is Level.UNKNOWN


def test_a_local_store_and_what_waits_for_it(tmp_path: Path) -> None:
    local = {"stores": [{"id": "local", "sqlite": {"path": "sub/readings.db"}}], "mqtt": {"host": "h", "port": 1}}
    assert "folder is not there" in only(stores(case(tmp_path, **local))).what
    (tmp_path / "sub").mkdir()
    assert only(stores(case(tmp_path, **local))).level is Level.OK
    row = {"store": "local", "oldest": 10**18, "behind": 7, "quarantined": 2}
    late = {"pid": 1, "lines": [], "time": 10**18 + 600 * 10**9, "stores": [row]}
    found = list(stores(case(tmp_path, late, **local)))
    assert levels(found) == [Level.OK, Level.WARNING, Level.WARNING]
    assert "7 entries wait, the oldest for 10 min" in found[1].what


# ---------------------------------------------------------------- notices


def way(folder: Path, port: int, **more: Any) -> dict[str, Any]:
    return {"id": "mail", "email": {"host": "127.0.0.1", "port": port, "from": "labmon@lab.example", **more}}


def told(*channels: dict[str, Any]) -> dict[str, Any]:
    people = [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}]
    routes = [{"classes": ["action"], "to": ["lead"], "by": [c["id"] for c in channels]}]
    return {"notices": {"channels": list(channels), "people": people, "routes": routes}}


async def noticed(check: Callable[[Case], Iterator[Finding]], patient: Case) -> list[Finding]:
    return await asyncio.to_thread(lambda: list(check(patient)))


async def test_mail_as_far_as_the_login_and_no_further(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    async with MailServer(tls=context, login=("labmon", "right")) as server:
        login = {"ca": str(ca), "user": "labmon", "password": secret(tmp_path, "pw", "right")}
        found = await noticed(notices, case(tmp_path, **told(way(tmp_path, server.port, **login))))
        assert levels(found) == [Level.OK, Level.WARNING], found
        assert "with TLS, takes the login" in found[0].what
        assert "one channel only" in found[1].what
        secret(tmp_path, "pw", "wrong-planted")
        found = await noticed(notices, case(tmp_path, **told(way(tmp_path, server.port, **login))))
        assert found[0].level is Level.FAULT
        assert "refuses the login" in found[0].what
        assert "planted" not in str(found)
        assert not server.mails


async def test_mail_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labmon.doctor.notices.PATIENCE", 0.2)
    _, context = make_authority(tmp_path)
    async with MailServer(tls=context) as server:
        found = await noticed(notices, case(tmp_path, **told(way(tmp_path, server.port))))
        assert "certificate is not valid" in found[0].what, "not of an authority that is known"
    async with MailServer() as server:
        server.hang = "greeting"
        found = await noticed(notices, case(tmp_path, **told(way(tmp_path, server.port, tls="starttls"))))
        assert found[0].level is Level.FAULT
        server.release()
    found = await noticed(notices, case(tmp_path, **told(way(tmp_path, free_port()))))
    assert "connection refused" in found[0].what


async def test_a_webhook_is_not_posted_to(tmp_path: Path) -> None:
    ca, context = make_authority(tmp_path)
    async with WebhookServer(context) as server:
        hook = {"id": "hook", "webhook": {"url": server.url, "ca": str(ca)}}
        found = await noticed(notices, case(tmp_path, **told(hook)))
        assert found[0].level is Level.OK
        hook["webhook"] = {"url": server.url}
        found = await noticed(notices, case(tmp_path, **told(hook)))
        assert (found[0].level, "`ca`" in found[0].remedy) == (Level.FAULT, True)
        assert not server.posts
    hook["webhook"] = {"url": f"http://127.0.0.1:{free_port()}/x"}
    found = await noticed(notices, case(tmp_path, **told(hook)))
    assert "connection refused" in found[0].what


def test_nobody_is_told_of_anything(tmp_path: Path) -> None:
    assert "nobody is told" in only(notices(case(tmp_path))).what


# ---------------------------------------------------------------- TCP lines


def test_a_converter_is_left_alone_while_the_daemon_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as converter:
        converter.settimeout(0.2)
        lines = [tcp(converter.getsockname()[1])]
        for state, detail, level in (("open", "", Level.OK), ("lost", "closed by the peer", Level.FAULT)):
            daemon = {"pid": 1, "lines": [{"line": "net", "state": state, "detail": detail}]}
            found = only(endpoints(case(tmp_path, daemon, lines=lines)))
            assert (found.level, detail in found.what) == (level, True)
        with pytest.raises(TimeoutError):
            converter.accept()
        assert only(endpoints(case(tmp_path, lines=lines))).level is Level.OK
        converter.accept()[0].close()
    assert "connection refused" in only(endpoints(case(tmp_path, lines=lines))).what
