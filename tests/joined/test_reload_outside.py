"""A reload as those see it who look from outside: alarms, the broker, stores, and people who are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from joined_gateway import Room, room, running
from reload_room import HIGH, Site, command, limit, line, polled, rewrite, states
from servers.mosquitto import Authority, Mosquitto
from servers.webhook import WebhookServer

from labmon.daemon.daemon import Daemon
from labmon.journal.reader import Reader
from labmon.model.event import AlarmState, EventKind
from labmon.mqtt import BrokerSettings, Connection, MessageProperties
from labmon.notices.outbox import Notifier

PREFIX = "labmon/lab/gw-1"
ALARM = HIGH.format("probe-1")


def hook(server: WebhookServer, *classes: str) -> dict[str, Any]:
    return {
        "channels": [{"id": "hook", "webhook": {"url": server.url}}],
        "people": [{"id": "anna", "name": "Anna"}],
        "routes": [{"classes": list(classes) or ["action"], "to": ["anna"], "by": ["hook"]}],
    }


def mqtt(broker: Mosquitto) -> dict[str, Any]:
    return {"host": broker.host, "port": broker.port}


class Seen:
    """What a broker holds under the gateway's prefix; empty payloads are gone."""

    def __init__(self, broker: Mosquitto) -> None:
        settings = BrokerSettings(broker.host, broker.port, backoff=(0.02, 0.1))
        self.connection = Connection(settings, "onlooker")
        self.held: dict[str, bytes] = {}
        self.topics: list[str] = []

    def take(self, topic: str, payload: bytes, _: MessageProperties) -> None:
        name = topic.removeprefix(f"{PREFIX}/")
        self.topics.append(name)
        if payload and name.partition("/")[0] in ("live", "alarm", "health", "status"):
            self.held[name] = payload
        else:
            self.held.pop(name, None)

    def state(self, alarm: str) -> str:
        return str(orjson.loads(self.held.get(f"alarm/{alarm}", b"{}")).get("state", ""))


@asynccontextmanager
async def looking(broker: Mosquitto) -> AsyncIterator[Seen]:
    seen = Seen(broker)
    await seen.connection.subscribe(f"{PREFIX}/#", seen.take)
    async with seen.connection:
        await asyncio.wait_for(seen.connection.wait_connected(), 5)
        yield seen


async def ready(daemon: Daemon, eventually: Any, *devices: str) -> None:
    await eventually(lambda: daemon.reload._ready.is_set() and all(polled(daemon, d) > 1 for d in devices))


def saved(made: Room) -> set[str]:
    reader = Reader.at(made.site.with_name("journal.db"))
    try:
        return set(reader.alarm_states())
    finally:
        reader.close()


async def test_a_limit_changes_under_an_active_alarm_and_then_goes(tmp_path: Path, eventually: Any) -> None:
    """The alarm goes on in its occurrence, the line is not touched, and everybody is told of each step once."""
    async with WebhookServer() as server:
        with Mosquitto(tmp_path) as broker:
            async with (
                room(tmp_path, "probe-1", mqtt=mqtt(broker), notices=hook(server)) as made,
                running(made.daemon()) as daemon,
                looking(broker) as seen,
            ):
                await ready(daemon, eventually, "probe-1")
                polling = daemon.lines._polled["line-probe-1"].line
                made.probes["probe-1"].jump("co2", 90_000.0)
                await eventually(lambda: seen.state(ALARM) == "UNACK" and len(server.posts) == 1)
                rewrite(made, lambda site: limit(site, 10.0))
                found = await command(made)
                assert found.exit_code == 0
                assert found.stdout.splitlines() == [
                    "1 line untouched",
                    f"1 limit changed: {ALARM} 8 % CO₂ -> 10 % CO₂",
                ]
                await eventually(lambda: seen.state(ALARM) == "RTNUN" and len(server.posts) == 2)
                rewrite(made, lambda site: limit(site, 8.5))
                assert (await command(made)).exit_code == 0
                await eventually(lambda: seen.state(ALARM) == "UNACK" and len(server.posts) == 3)

                # People change, so that the notices are sent by another notifier; and the limit goes.
                def change(site: Site) -> None:
                    site["profiles"]["co2"]["limits"] = []
                    site["notices"]["people"][0]["name"] = "Anna B."

                rewrite(made, change)
                found = await command(made)
                assert found.exit_code == 0
                ended = f"{ALARM} was UNACK when its rule left the configuration; it is watched no more"
                assert ended in found.stdout.splitlines()
                await eventually(lambda: f"alarm/{ALARM}" not in seen.held and len(server.posts) == 4)
                assert ALARM not in states(daemon)
                await eventually(lambda: ALARM not in saved(made))
                assert daemon.lines._polled["line-probe-1"].line is polling
                assert daemon.health["line-probe-1"].losses == 0
            kinds = [post.json["why"] for post in server.posts]
            assert kinds == ["raised", "cleared", "raised", "removed"]
            assert len({post.json["event"]["occurrence"] for post in server.posts}) == 1
            (removed,) = made.events(EventKind.REMOVED)
            assert (removed.alarm, removed.user, removed.limit, removed.state) == (
                ALARM,
                "duty",
                8.5,
                AlarmState.NORM,
            )


async def test_what_is_gone_is_shown_no_more(tmp_path: Path, eventually: Any) -> None:
    with Mosquitto(tmp_path) as broker:
        async with (
            room(tmp_path, "probe-1", "moves", "goes", mqtt=mqtt(broker)) as made,
            running(made.daemon()) as daemon,
            looking(broker) as seen,
        ):
            await ready(daemon, eventually, "probe-1", "moves", "goes")
            await eventually(lambda: {"live/room/goes", "live/room/moves", "health/line-goes"} <= seen.held.keys())
            connects = daemon.outside.delivery

            def change(site: Site) -> None:
                site["areas"].append({"id": "hall", "name": "Hall", "grade": "D"})
                site["lines"].remove(line(site, "goes"))
                line(site, "moves")["devices"][0]["area"] = "hall"

            rewrite(made, change)
            assert (await command(made)).exit_code == 0
            shown = {"live/room/probe-1", "live/hall/moves", "health/line-probe-1", "health/line-moves", "status"}
            await eventually(lambda: seen.held.keys() == shown)
            assert daemon.outside.delivery is connects
            assert orjson.loads(seen.held["status"])["online"] is True
            # Not again with the next connect either.
            seen.topics.clear()
            broker.kill()
            broker.start()
            await eventually(lambda: shown <= set(seen.topics), 20)
            assert seen.held.keys() == shown


async def test_stores_and_broker_change_and_no_line_notices(tmp_path: Path, eventually: Any) -> None:
    secret = tmp_path / "password"
    secret.write_text("first")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with Mosquitto(tmp_path / "one") as one, Mosquitto(tmp_path / "other") as other:
        parts = {
            "mqtt": mqtt(one) | {"user": "gateway", "password": {"file": str(secret)}},
            "stores": [{"id": name, "sqlite": {"path": f"{name}.db"}} for name in ("stays", "goes")],
        }
        async with room(tmp_path, "probe-1", **parts) as made, running(made.daemon()) as daemon, looking(other) as seen:
            await ready(daemon, eventually, "probe-1")
            first = daemon.outside.delivery
            await eventually(lambda: first is not None and first.behind().keys() == {"stays", "goes"})
            for name in ("stays", "goes"):
                await daemon.journal.advance(f"record.{name}", 1)

            rewrite(made, lambda site: site["stores"].append(site["stores"].pop() | {"id": "comes"}))
            found = await command(made)
            assert found.exit_code == 0
            assert "store comes: added, gets what the journal still holds" in found.stdout
            assert "store goes: removed; " in found.stdout
            assert (await daemon.journal.cursors()).get("record.stays", 0) >= 1
            assert "record.goes" not in await daemon.journal.cursors()
            await eventually(lambda: daemon.outside.behind().keys() == {"stays", "comes"})
            second = daemon.outside.delivery
            assert second is not first
            assert daemon.journal._committer._retention.stores == ("record.stays", "record.comes")  # type: ignore[union-attr]

            # A password that cannot be read: what works goes on.
            def broken(site: Site) -> None:
                site["mqtt"] |= mqtt(other)
                site["mqtt"]["password"]["file"] = str(tmp_path / "gone")

            whole = made.site.read_text()
            rewrite(made, broken)
            found = await command(made)
            assert (found.exit_code, found.stderr.splitlines()) == (
                1,
                [f"the broker's secret file {tmp_path / 'gone'}: cannot be read: No such file or directory",
                 "nothing was applied; the configuration of before goes on"],
            )  # fmt: skip
            assert daemon.outside.delivery is second

            # The file of before with another password in the secret's file: the connection is made anew.
            made.site.write_text(whole)
            assert (await command(made)).stdout == "nothing has changed\n"
            secret.write_text("second")
            assert (await command(made)).exit_code == 0
            assert daemon.outside.delivery is not second
            assert not seen.held

            rewrite(made, lambda site: site["mqtt"].update(mqtt(other)))
            assert (await command(made)).exit_code == 0
            await eventually(lambda: {"status", "live/room/probe-1", "health/line-probe-1"} <= seen.held.keys())
            rewrite(made, lambda site: (site.pop("mqtt"), site.pop("stores")))
            found = await command(made)
            assert found.exit_code == 0
            assert "no broker any more" in found.stdout.splitlines()
            assert daemon.outside.delivery is None
            await eventually(lambda: not orjson.loads(seen.held["status"])["online"])
            assert not states(daemon)
            assert daemon.health["line-probe-1"].losses == 0
            assert daemon.health["line-probe-1"].devices["probe-1"].rests == 0


@pytest.mark.parametrize("whose", ["gateway", "mail server"])
async def test_a_renewed_certificate_is_known_at_once(tmp_path: Path, eventually: Any, whose: str) -> None:
    """It stands in the file of before, so that the site file says nothing of it."""
    authority = Authority.make(tmp_path / "ca", days=900)
    mails = Authority.make(tmp_path / "mails", days=20 if whose == "mail server" else 900)
    own, key = authority.sign("gw-1", days=20 if whose == "gateway" else 400)
    key.chmod(0o600)
    tls = {"ca": str(authority.certificate), "certificate": str(own), "key": {"file": str(key)}}
    email = {"host": "localhost", "port": 1, "from": "a@example.com", "ca": str(mails.certificate)}
    notices = {
        "channels": [{"id": "mail", "email": email}],
        "people": [{"id": "anna", "name": "Anna", "email": "anna@example.com"}],
        "routes": [{"classes": ["action"], "to": ["anna"], "by": ["mail"]}],
    }
    parts = {"mqtt": {"host": "localhost", "port": 1, "tls": tls}, "notices": notices}
    async with room(tmp_path, "probe-1", **parts) as made, running(made.daemon()) as daemon:
        await ready(daemon, eventually, "probe-1")
        await eventually(lambda: "gateway.certificate" in states(daemon))
        if whose == "gateway":
            authority.sign("gw-1", days=400)[1].chmod(0o600)
        else:
            Authority.make(tmp_path / "mails", days=900)
        assert (await command(made)).exit_code == 0
        await eventually(lambda: states(daemon)["gateway.certificate"] is AlarmState.RTNUN, 5)


async def test_a_journal_set_aside_while_the_notifier_is_replaced_keeps_no_news_from_people(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old journal held of it, and nobody had read yet, is told from memory."""
    stop = Notifier.stop

    async with (
        WebhookServer() as server,
        room(tmp_path, "probe-1", notices=hook(server)) as made,
        running(made.daemon()) as daemon,
    ):
        await ready(daemon, eventually, "probe-1")

        async def stopped(notifier: Notifier) -> None:
            await stop(notifier)
            made.probes["probe-1"].jump("co2", 90_000.0)
            await eventually(lambda: any(e.alarm == ALARM for e in daemon.outside._committed))
            daemon.outside.replaced()

        heard: list[str] = []
        urgent = Notifier.urgent

        def told(notifier: Notifier, events: Any) -> None:
            events = list(events)
            heard.extend(event.alarm for event in events if not event.journaled)
            urgent(notifier, events)

        monkeypatch.setattr(Notifier, "stop", stopped)
        monkeypatch.setattr(Notifier, "urgent", told)
        rewrite(made, lambda site: site["notices"]["people"][0].update(name="Anna B."))
        assert (await command(made)).exit_code == 0
        monkeypatch.setattr(Notifier, "stop", stop)
        assert ALARM in heard
