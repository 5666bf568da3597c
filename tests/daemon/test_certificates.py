"""The alarm on certificates that end."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from servers.mosquitto import Authority

from labmon.acquisition.load import load
from labmon.daemon import certificates
from labmon.daemon.certificates import CertificateWatch, watched
from labmon.mqtt.certificate import Server, Watched


class Told:
    """What the daemon is told."""

    def __init__(self) -> None:
        self.conditions: list[tuple[str, bool, str]] = []

    def __call__(self, alarm: str, active: bool, detail: str) -> None:
        self.conditions.append((alarm, active, detail))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ca", days=900)


async def test_it_is_told_ahead_and_over_when_a_new_one_is_there(
    authority: Authority, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(certificates, "EVERY", 0.01)
    monkeypatch.setattr(certificates, "LOOK", 0.01)
    certificate, _ = authority.sign("gw1", days=20)
    told = Told()
    task = asyncio.create_task(
        CertificateWatch(lambda: [Watched("certificate", certificate)], lambda: None, told).run()
    )
    await eventually(lambda: told.conditions)
    assert told.conditions[0][:2] == ("gateway.certificate", True)
    assert str(certificate) in told.conditions[0][2]
    authority.sign("gw1", days=400)
    await eventually(lambda: told.conditions[-1] == ("gateway.certificate", False, ""))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_the_broker_shows_is_looked_at_at_once(
    authority: Authority, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(certificates, "LOOK", 0.01)
    shown = [Server("broker b:8883")]
    told = Told()
    task = asyncio.create_task(CertificateWatch(list, lambda: shown[-1], told, clock=time.time).run())
    await eventually(lambda: told.conditions == [("gateway.certificate", False, "")])
    certificate, _ = authority.sign("broker", days=20)
    shown.append(Server("broker b:8883", ssl.PEM_cert_to_DER_cert(certificate.read_text())))
    await eventually(lambda: told.conditions[-1][1])
    assert "certificate of broker b:8883 ends on" in told.conditions[-1][2]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_every_certificate_that_the_site_file_names_is_watched_once(tmp_path: Path) -> None:
    site: dict[str, Any] = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "areas": [],
        "lines": [],
        "mqtt": {
            "host": "broker.plant.example",
            "tls": {
                "ca": "ca.crt", "certificate": "gw.crt", "key": {"file": "gw.key"},
                "ingest-certificate": "ingest.crt", "ingest-key": {"file": "ingest.key"},
            },
        },
        "notices": {
            "channels": [
                {"id": "mail", "email": {"host": "smtp.plant.example", "ca": "mail.crt", "from": "a@plant.example"}},
                {"id": "sms", "webhook": {"url": "https://sms.plant.example/", "ca": "ca.crt"}},
            ]
        },
    }  # fmt: skip
    path = tmp_path / "site.yaml"
    path.write_text(json.dumps(site))
    loaded = load(path)
    assert loaded.site is not None, loaded.errors
    found = [(one.path.name, one.authority, one.elsewhere) for one in watched(loaded.site, tmp_path)]
    assert found == [
        ("ca.crt", True, False), ("gw.crt", False, False), ("ingest.crt", False, True), ("mail.crt", True, False),
    ]  # fmt: skip
