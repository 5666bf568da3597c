"""What a site file refers to: another password or certificate is another way to the broker, another PIN another key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from servers.mosquitto import Authority

from labmon.config.secrets import hash_pin
from labmon.config.site import Site
from labmon.daemon.reach import Unreachable, reach, read_pins


def site(**parts: Any) -> Site:
    head = {"labmon": 1, "site": {"id": "lab", "name": "Lab"}, "gateway": {"id": "gw"}, "areas": [], "lines": []}
    return Site.model_validate(head | parts)


def test_the_way_to_the_broker_is_another_with_another_password_certificate_or_pace(tmp_path: Path) -> None:
    shutil.copy(Authority.make(tmp_path / "one").certificate, tmp_path / "ca.crt")
    (tmp_path / "password").write_text("first")
    mqtt = {"host": "h", "tls": {"ca": "ca.crt"}, "user": "gateway", "password": {"file": "password"}}
    before = reach(site(mqtt=mqtt), tmp_path)
    assert before is not None
    assert before == reach(site(mqtt=mqtt), tmp_path)
    assert "first" not in repr(before)
    assert reach(site(mqtt=mqtt | {"ingest-user": "ingest"}), tmp_path) == before
    assert reach(site(mqtt=mqtt | {"status-every": "5 s"}), tmp_path) != before
    (tmp_path / "password").write_text("second")
    assert reach(site(mqtt=mqtt), tmp_path) != before
    (tmp_path / "password").write_text("first")
    shutil.copy(Authority.make(tmp_path / "two").certificate, tmp_path / "ca.crt")
    assert reach(site(mqtt=mqtt), tmp_path) != before
    assert reach(site(), tmp_path) is None


@pytest.mark.parametrize(
    ("mqtt", "why"),
    [
        ({"tls": {"ca": "gone.crt"}}, "the broker's certificates cannot be used: authorities "),
        ({"tls": {"ca": "text.crt"}}, "the broker's certificates cannot be used: authorities "),
        (
            {"user": "gateway", "password": {"file": "gone"}},
            "the broker's secret file gone: cannot be read: No such file or directory",
        ),
        ({"user": "gateway", "password": {"file": "empty"}}, "the broker's secret file empty: is empty"),
    ],
)
def test_why_there_is_no_way(tmp_path: Path, mqtt: dict[str, Any], why: str) -> None:
    (tmp_path / "text.crt").write_text("no certificate")
    (tmp_path / "empty").write_text("")
    with pytest.raises(Unreachable) as refused:
        reach(site(mqtt={"host": "h"} | mqtt), tmp_path)
    assert str(refused.value).startswith(why)


def test_a_pin_that_cannot_be_read_costs_its_user_the_way_by_mqtt_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "anna").write_text(hash_pin("135790"))
    (tmp_path / "otto").write_text("no hash")
    users = [
        {"id": name, "name": name, "role": "operator", "pin": {"file": name}} for name in ("anna", "otto", "gone")
    ] + [{"id": "none", "name": "None", "role": "viewer"}]
    keys, pins = read_pins(site(users=users), tmp_path)
    assert {user for user, key in keys.items() if key} == pins.keys() == {"anna"}
    assert keys.keys() == {"anna", "otto", "gone", "none"}
    assert caplog.text.count("no commands by MQTT") == 2
    (tmp_path / "anna").write_text(hash_pin("135790"))
    assert read_pins(site(users=users), tmp_path)[0]["anna"] != keys["anna"]
