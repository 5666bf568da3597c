"""Commands by MQTT: what is carried out, what is refused, and what of it is recorded and answered."""

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from delivery_rig import PREFIX, TOPICS, House, Listener, broker_settings, held, house, listener
from servers.mosquitto import Mosquitto

from labmon.config.secrets import command_proof, derive_key, hash_pin, pin_key, pin_parameters
from labmon.delivery import lockout
from labmon.delivery.lockout import Lockout
from labmon.health.allowance import Allowance
from labmon.journal.errors import JournalUnavailable
from labmon.model.event import EventKind
from labmon.model.messages import Command, Reply
from labmon.mqtt import Connection

KEY, OTHER = b"k" * 32, b"o" * 32
KEYS: dict[str, bytes | None] = {"ana": KEY, "lead": OTHER, "stranger": None}


def command(
    name: str = "c-1", *, key: bytes = KEY, verb: str = "alarm-ack", gateway: str = PREFIX, **fields: Any
) -> Command:
    made = Command(
        name,
        fields.pop("user", "ana"),
        "",
        fields.pop("time", time.time_ns()),
        "incubator-1.co2.action-high",
        "occ-1",
        "",
        "seen",
    )
    made = dataclasses.replace(made, **fields)
    proof = command_proof(
        key,
        gateway=gateway,
        verb=verb,
        id=made.id,
        user=made.user,
        time=made.time,
        alarm=made.alarm,
        occurrence=made.occurrence,
        device=made.device,
        reason=made.reason,
        until=made.until,
    )
    return dataclasses.replace(made, proof=proof)


class Operator:
    """Somebody with a panel."""

    def __init__(self, look: Listener, eventually: Any) -> None:
        self.look = look
        self.eventually = eventually

    async def send(self, payload: Command | bytes, verb: str = "alarm-ack", retain: bool = False) -> None:
        await self.look.connection.publish(
            TOPICS.command(verb), payload if isinstance(payload, bytes) else payload.encode(), retain=retain
        )

    async def reply(self, name: str, count: int = 1) -> Reply:
        topic = TOPICS.reply(name)
        await self.eventually(lambda: len(self.look.of(topic)) >= count)
        return Reply.decode(self.look.of(topic)[count - 1])

    async def ask(self, order: Command, verb: str = "alarm-ack") -> Reply:
        before = len(self.look.of(TOPICS.reply(order.id)))
        await self.send(order, verb)
        return await self.reply(order.id, before + 1)


async def refusals(home: House) -> list[str]:
    await home.journal.flushed()
    return [e.detail for e in await home.recorded() if e.kind is EventKind.COMMAND and e.detail.startswith("refused")]


async def test_a_proven_command_is_carried_out_and_answered(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        operator = Operator(look, eventually)
        order = command(until=5, device="incubator-1")
        reply = await operator.ask(order)
        assert (reply.ok, reply.text) == (True, "acknowledged")
        assert home.orders == [("alarm-ack", order)]
        home.refuse = "that occurrence is over"
        reply = await operator.ask(command("c-2"))
        assert (reply.ok, reply.text) == (False, "that occurrence is over")


async def test_the_proof_is_that_of_the_pin_of_the_site_file() -> None:
    pin_hash = hash_pin("246810")
    assert derive_key("246810", pin_parameters(pin_hash)) == pin_key(pin_hash)


HOUR = 3600 * 10**9
WRONG: dict[str, tuple[Callable[[], Command], str]] = {
    "old": (lambda: command(time=time.time_ns() - HOUR), "s ago by the clock of the gateway"),
    "future": (lambda: command(time=time.time_ns() + HOUR), "in the future"),
    "unknown user": (lambda: command(user="mallory"), "unknown user 'mallory'"),
    "no PIN": (lambda: command(user="stranger"), "has no PIN"),
    "wrong key": (lambda: command(key=OTHER), "wrong proof"),
    "in another's name": (lambda: command(user="lead"), "wrong proof"),
    "for another gateway": (lambda: command(gateway="labmon/north/gw-2"), "wrong proof"),
    "for another verb": (lambda: command(verb="device-out-of-service"), "wrong proof"),
    "other reason": (lambda: dataclasses.replace(command(), reason="other"), "wrong proof"),
    "other occurrence": (lambda: dataclasses.replace(command(), occurrence="occ-2"), "wrong proof"),
    "other time": (lambda: dataclasses.replace(command(time=1), time=time.time_ns()), "wrong proof"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_command_is_refused_answered_and_recorded(
    case: str, broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    make, why = WRONG[case]
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        reply = await Operator(look, eventually).ask(make())
        assert not reply.ok
        assert why in reply.text
        assert home.orders == []
        recorded = await refusals(home)
        assert len(recorded) == 1
        assert why in recorded[0]
        assert "(id c-1)" in recorded[0]
        assert all(event.user == "" for event in await home.recorded()), "nobody is named as its author"


async def test_a_command_is_carried_out_once(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    order, refused = command("c-1"), command("c-2")
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        operator = Operator(look, eventually)
        assert (await operator.ask(order)).ok
        home.refuse = "no"
        assert not (await operator.ask(refused)).ok
        home.refuse = None
        for used in (order, refused, command("c-1", reason="other words")):
            assert "used before" in (await operator.ask(used)).text
        assert len(home.orders) == 2
        # An id in a command that is not proven is not used by it: else anybody could use up those of others.
        await operator.ask(command("c-3", key=OTHER))
        assert (await operator.ask(command("c-3"))).ok
        await home.journal.flushed()
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected and home.delivery.commands._used.complete)
        operator = Operator(look, eventually)
        assert "used before" in (await operator.ask(order)).text, "also after a restart"
        assert (await operator.ask(command("c-4"))).ok


async def test_without_its_journal_it_takes_only_what_was_made_since_the_start(
    broker: Mosquitto, tmp_path: Path, eventually: Any, monkeypatch: Any
) -> None:
    async def unreadable(used: Any, now: int) -> None:
        raise JournalUnavailable("the disk hangs")

    monkeypatch.setattr("labmon.delivery.used.UsedIds.load", unreadable)
    before = command("c-1")
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        assert home.delivery.commands._started > before.time
        operator = Operator(look, eventually)
        assert "journal cannot be read" in (await operator.ask(before)).text
        assert (await operator.ask(command("c-2"))).ok


async def test_used_ids_are_read_as_soon_as_the_journal_can_be(
    broker: Mosquitto, tmp_path: Path, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("labmon.delivery.commands._LOOK", 0.01)
    home = House(tmp_path / "journal.db", broker, KEYS, 1, None)
    cursor, failures = home.journal.cursor, 3

    async def failing(name: str) -> int:
        nonlocal failures
        failures -= 1
        if failures > 0:
            raise JournalUnavailable("busy")
        return await cursor(name)

    home.journal.cursor = failing  # type: ignore[method-assign]
    await home.journal.start()
    await home.delivery.commands.start()
    await eventually(lambda: home.delivery.commands._used.complete)
    await home.delivery.commands.stop()
    await home.journal.stop()


MALFORMED = {
    "junk": (b"\xff\x00", None),
    "empty": (b"", None),
    "no object": (b"[1]", None),
    "nothing in it": (b"{}", None),
    "wrong id": (b'{"v":1,"id":"a/b"}', None),
    "only an id": (b'{"v":1,"id":"c-9"}', "c-9"),
    "another version": (b'{"v":2,"id":"c-9"}', "c-9"),
    "unknown field": (orjson.dumps({**orjson.loads(command("c-9").encode()), "force": True}), "c-9"),
    "huge": (b'{"v":1,"id":"c-9","reason":"' + b"x" * 20_000 + b'"}', None),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_command_is_recorded_and_answered_where_it_has_an_id(
    case: str, broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    payload, name = MALFORMED[case]
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        operator = Operator(look, eventually)
        await operator.send(payload)
        await eventually(lambda: home.delivery.commands.refused == 1)
        if name is not None:
            assert "malformed" in (await operator.reply(name)).text
        recorded = await refusals(home)
        assert len(recorded) == 1
        assert "malformed" in recorded[0]
        assert (await operator.ask(command("c-1"))).ok
        replies = {topic for topic, _, _ in look.messages if "/reply/" in topic}
        assert replies == {TOPICS.reply("c-1"), *([TOPICS.reply(name)] if name else [])}


async def test_a_flood_is_counted_and_not_recorded_one_by_one(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        operator = Operator(look, eventually)
        for n in range(200):
            await operator.send(b'{"id":"c-%d"}' % n)
        await eventually(lambda: home.delivery.commands.refused == 200)
        assert len(await refusals(home)) == 20
        assert 160 < home.delivery.commands.unanswered <= 180
        assert (await operator.ask(command("good"))).ok, "a right one is taken all the same"


async def test_guessing_a_pin_closes_the_way_by_mqtt_and_is_an_alarm(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        mono = 1000.0
        home.delivery.commands._monotonic = lambda: mono
        operator = Operator(look, eventually)
        for n in range(50):
            await operator.send(command(f"guess-{n}", key=bytes([n]) * 32))
        await eventually(lambda: home.delivery.commands.refused == 50)
        assert "wrong proofs" in (await operator.reply("guess-9")).text
        assert "wrong proof, made" in (await operator.reply("guess-4")).text
        recorded = await refusals(home)
        assert len(recorded) == lockout.FAILURES + 1, "each that was looked at, and that the way is closed"
        assert "5 wrong proofs within 5 min in the name of ana; commands by MQTT of ana are refused" in recorded[4]
        assert home.conditions[-1][:2] == ("gateway.access", True)
        mono += 26.0  # answers have filled up a little
        assert "use the command line" in (await operator.ask(command("right"))).text, "also a right one"
        assert (await operator.ask(command("other", user="lead", key=OTHER))).ok, "others are not concerned"
        mono += 35.0
        assert (await operator.ask(command("right-again"))).ok
        home.delivery.commands._wait_open(mono)
        assert home.conditions[-1] == ("gateway.access", False, "")
        await operator.ask(command("wrong", key=OTHER))
        assert "(46 more refused commands were passed over before)" in (await refusals(home))[-1]
        assert home.orders[0][1].id == "other"


def test_the_way_is_closed_longer_each_time_up_to_a_bound_and_forgotten_after_an_hour() -> None:
    door, mono, closed = Lockout(), 0.0, []
    for _ in range(6):
        for _ in range(lockout.FAILURES - 1):
            assert door.failed("ana", mono) is None
            mono += 1.0
        assert door.failed("ana", mono) is not None
        closed.append(door.closed("ana", mono))
        assert door.closed("lead", mono) == 0.0
        assert door.open_again(mono) == closed[-1]
        mono += closed[-1]
        assert door.closed("ana", mono) == 0.0
        assert door.open_again(mono) is None
    assert closed == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]
    mono += lockout.FORGET + 1
    for _ in range(lockout.FAILURES):
        door.failed("ana", mono)
    assert door.closed("ana", mono) == 60.0


def test_slow_guessing_is_not_slowed_but_bounded() -> None:
    door = Lockout()
    assert all(door.failed("ana", n * 75.1) is None for n in range(100)), "four in five minutes: 1150 a day"


def test_guessing_in_many_names_closes_the_way_for_all() -> None:
    door = Lockout()
    told = [door.failed(f"u-{n}", 10.0) for n in range(lockout.FAILURES_OVERALL)]
    assert told[:-1] == [None] * (lockout.FAILURES_OVERALL - 1)
    assert told[-1] is not None
    assert "of everybody" in told[-1]
    assert door.closed("somebody-else", 10.0) == 60.0


async def test_a_panel_needs_the_pin_and_what_stands_on_mqtt(
    broker: Mosquitto, tmp_path: Path, eventually: Any, monkeypatch: Any
) -> None:
    """By the documented lines of Python alone."""
    monkeypatch.setattr("labmon.delivery.pins._LOOK", 0.01)
    documented = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/mqtt.md").read_text(), re.S)
    page: dict[str, Any] = {}
    exec(documented[0], page)
    hashed = hash_pin("Über-474711")
    pins = {"ana": pin_parameters(hashed)}
    async with house(tmp_path, broker, {"ana": pin_key(hashed)}, pins=pins) as home, listener(broker) as look:
        topic = TOPICS.pin("ana")
        await eventually(lambda: look.of(topic))
        order = page["command"](PREFIX, look.of(topic)[0], "U\u0308ber-474711", "alarm-ack", alarm="a.b.c", reason="ok")
        operator = Operator(look, eventually)
        await operator.send(order.encode())
        assert (await operator.reply(json.loads(order)["id"])).ok
        assert home.orders[0][1].alarm == "a.b.c"
        assert hashed.rpartition("$")[2].encode() not in b"".join(payload for _, payload, _ in look.messages)
        broker.restart()
        await eventually(lambda: home.delivery.connected)
        await eventually(lambda: len(look.of(topic)) >= 2)
        seen = len(look.of(topic))
        pins["ana"] = pin_parameters(hash_pin("another-1"))
        await eventually(lambda: len(look.of(topic)) > seen and look.of(topic)[-1] != look.of(topic)[0])
        assert (await held(broker, topic))[topic] == look.of(topic)[-1]
        del pins["ana"]
        await eventually(lambda: look.of(topic)[-1] == b"")


async def test_a_user_gives_a_bounded_number_of_commands(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        home.delivery.commands._monotonic = lambda: 1000.0
        operator = Operator(look, eventually)
        for n in range(201):
            await operator.send(command(f"c-{n}"))
        await eventually(lambda: home.delivery.commands.refused == 1)
        assert home.delivery.commands.carried_out == 200
        assert "too many commands at once" in (await operator.reply("c-200")).text
        home.delivery.commands._monotonic = lambda: 1001.0
        assert (await operator.ask(command("c-200"))).ok, "its id was not used up"


async def test_a_topic_without_end_is_not_recorded(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        verb = "a" * 60_000
        await look.connection.publish(TOPICS.command(verb), command("c-1", verb=verb).encode())
        await eventually(lambda: home.delivery.commands.refused == 1)
        await home.journal.flushed()
        assert all(len(event.command) < 100 and len(event.detail) < 1000 for event in await home.recorded())


async def test_a_retained_command_is_refused(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with Connection(broker_settings(broker), "past") as past:
        await asyncio.wait_for(past.wait_connected(), 5)
        await past.publish(TOPICS.command("alarm-ack"), command("c-1").encode(), retain=True)
    async with house(tmp_path, broker, KEYS) as home, listener(broker):
        await eventually(lambda: home.delivery.commands.refused == 1)
        assert home.orders == []
        assert "retained" in (await refusals(home))[0]


async def test_a_fault_in_carrying_out_is_answered(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with house(tmp_path, broker, KEYS) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        home.delivery.commands._handler = lambda verb, order: str(1 // 0)
        reply = await Operator(look, eventually).ask(command())
        assert (reply.ok, reply.text) == (False, "fault in labmon: ZeroDivisionError")
        assert "fault in labmon" in (await refusals(home))[0]


def test_an_allowance_fills_up_again() -> None:
    allowance = Allowance(2, 10.0)
    assert [allowance.take(100.0) for _ in range(3)] == [True, True, False]
    assert not allowance.take(109.0)
    assert allowance.take(110.0)
    assert not allowance.take(110.0)
    assert [allowance.take(1000.0) for _ in range(3)] == [True, True, False]
