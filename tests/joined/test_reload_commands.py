"""A reload that makes the delivery anew forgets nothing of who gave which command, and of who guesses PINs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from joined_gateway import room, running
from reload_room import command, rewrite, states
from servers.mosquitto import Mosquitto

from labmon.config.secrets import command_proof, hash_pin, pin_key
from labmon.delivery.used import UsedIds
from labmon.journal.writer import JournalWriter
from labmon.model.messages import Command, Reply
from labmon.mqtt import BrokerSettings, Connection, MessageProperties

PREFIX = "labmon/lab/gw-1"


def order(name: str, user: str, key: bytes) -> Command:
    made = Command(name, user, "", time.time_ns(), "probe-1.co2.action-high", "occ-1", "", "seen")
    made.proof = command_proof(
        key, gateway=PREFIX, verb="alarm-ack", id=made.id, user=made.user, time=made.time, alarm=made.alarm,
        occurrence=made.occurrence, reason=made.reason,
    )  # fmt: skip
    return made


async def test_no_command_twice_and_no_more_guesses(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = hash_pin("246810")
    (tmp_path / "pin").write_text(hashed)
    (tmp_path / "pin").chmod(0o600)
    ana = {"id": "ana", "name": "Ana", "role": "operator", "pin": {"file": "pin"}}
    with Mosquitto(tmp_path) as broker:
        async with room(tmp_path, "probe-1", mqtt={"host": broker.host, "port": broker.port}) as made:
            rewrite(made, lambda site: site["users"].append(ana))
            rewrite(made, lambda site: site["users"][0].update(pin={"file": "pin"}))
            replies: list[Reply] = []

            def take(_: str, payload: bytes, __: MessageProperties) -> None:
                replies.append(Reply.decode(payload))

            panel = Connection(BrokerSettings(broker.host, broker.port, backoff=(0.02, 0.1)), "panel")
            await panel.subscribe(f"{PREFIX}/reply/+", take)
            async with panel, running(made.daemon()) as daemon:
                await eventually(lambda: daemon.reload._ready.is_set())

                async def say(said: Command) -> str:
                    before = len(replies)
                    await panel.publish(f"{PREFIX}/command/alarm-ack", said.encode())
                    await eventually(lambda: len(replies) > before)
                    return replies[-1].text

                await panel.wait_connected()
                first = daemon.outside.delivery
                await eventually(lambda: first is not None and first.connected and first.commands._used.complete)
                given = order("given", "duty", pin_key(hashed))
                assert "used" not in await say(given)
                for number in range(5):
                    assert "wrong proof" in await say(order(f"guess-{number}", "ana", b"x" * 32))
                await eventually(lambda: "gateway.access" in states(daemon))

                async def nothing(used: UsedIds, now: int) -> None:
                    used.complete = True

                # The disk takes nothing now: what was given last is not in the journal that is read.
                monkeypatch.setattr(UsedIds, "load", nothing)
                rewrite(made, lambda site: site["mqtt"].update({"status-every": "7 s"}))
                assert (await command(made)).exit_code == 0
                second = daemon.outside.delivery
                assert second is not None
                assert second is not first
                await eventually(lambda: second.connected and second.commands._used.complete)
                assert await say(given) == "this id was used before"
                assert "too many wrong proofs" in await say(order("right", "ana", pin_key(hashed)))
                told = daemon.pipeline.engine._alarms["gateway.access"]
                assert told.level is True


async def test_a_run_is_one_session_also_when_the_journal_opened_after_its_first_delivery(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number would say to a watch that the gateway was started anew, and that nobody had looked meanwhile."""
    number: int | None = None
    monkeypatch.setattr(JournalWriter, "session", property(lambda _: number))
    async with (
        room(tmp_path, "probe-1", mqtt={"host": "127.0.0.1", "port": 1}) as made,
        running(made.daemon()) as daemon,
    ):
        await eventually(lambda: daemon.reload._ready.is_set())
        first, number = daemon.outside.delivery, 5
        rewrite(made, lambda site: site["mqtt"].update({"status-every": "7 s"}))
        assert (await command(made)).exit_code == 0
        second = daemon.outside.delivery
        assert first is not None
        assert second is not None
        assert second is not first
        assert second.status._session == first.status._session
