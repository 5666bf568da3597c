"""Live, alarms, events, status and health: what people and dashboards see."""

import asyncio
import time
from pathlib import Path
from typing import Any

from delivery_rig import (
    LAYOUT,
    PREFIX,
    TOPICS,
    Alarm,
    T,
    broker_settings,
    exchange,
    held,
    house,
    ingest,
    layout,
    listener,
)
from servers.mosquitto import Mosquitto

from labmon.delivery.status import StatusPublisher, line_message
from labmon.health.line import LineHealth as Health
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.messages import AlarmMessage, EventMessage, LineHealth, Live, Status
from labmon.model.reading import Quality, Reason
from labmon.mqtt import Connection

LIVE = TOPICS.live("room-1", "incubator-1")
ALARM = "incubator-1.co2.action-high"


async def live_now(broker: Mosquitto, topic: str = LIVE) -> Live | None:
    found = await held(broker, topic)
    return Live.decode(found[topic]) if topic in found else None


# ---------------------------------------------------------------- live


async def test_live_is_the_latest_of_all_channels_of_a_device(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    door = layout("incubator-1", "door", 1)
    async with house(tmp_path, broker) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        home.poll(exchange(1))
        home.poll(exchange(2, door))
        home.poll(exchange(6))
        await eventually(
            lambda: (
                (live := look.last(LIVE, Live))
                and len(live.channels) == 4
                and live.channels["live-0"].time == T + 6 * 10**9
            )
        )
        live = await live_now(broker)
    assert live is not None
    assert live.device == "incubator-1"
    assert live.channels["door-0"].value == 2.0
    assert live.channels["door-0"].quality is Quality.GOOD
    assert live.channels["live-1"].reason == "silent"
    assert live.channels["live-1"].value is None
    assert live.channels["live-1"].quality is Quality.BAD
    assert live.channels["live-1"].unit == "Cel"


async def test_a_device_that_changes_too_fast_is_shown_with_the_newest(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with house(tmp_path, broker) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        for number in range(5000):
            home.delivery.update(exchange(7 * number))
        newest = T + 7 * 4999 * 10**9
        await eventually(lambda: (live := look.last(LIVE, Live)) and live.channels["live-0"].time == newest)
        assert len(look.of(LIVE)) < 100


async def test_after_an_outage_live_is_there_at_once_while_the_record_catches_up(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    layouts = [layout(f"device-{n}") for n in range(30)]
    broker.stop()
    async with house(tmp_path, broker) as home, ingest(broker) as far:
        far.answer = far.silent
        for number in range(50):
            for one in layouts:
                home.poll(exchange(number, one))
        await eventually(lambda: home.journal.backlog == 0)
        broker.start()
        await eventually(lambda: home.delivery.lives.published >= 30)
        found = await held(broker, f"{PREFIX}/live/#")
        assert len(found) == 30
        assert home.delivery.behind()["influx"] == home.journal.last_seq, "the record has not caught up"
        for payload in found.values():
            assert Live.decode(payload).channels["live-0"].time == T + 49 * 10**9
        far.answer = far.confirm
        await eventually(lambda: home.delivery.behind()["influx"] == 0, 30.0)


async def test_a_broker_that_forgot_everything_is_told_again(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with house(tmp_path, broker) as home:
        home.alarms[ALARM] = Alarm(ALARM)
        home.health["line-1"] = Health("line-1")
        home.poll(exchange(1))
        home.record(Event(EventKind.RAISED, T, T, alarm=ALARM, state=AlarmState.UNACK))
        topics = {LIVE, TOPICS.alarm(ALARM), TOPICS.status, TOPICS.health("line-1")}

        async def all_there() -> bool:
            return home.delivery.connected and set(await held(broker, f"{PREFIX}/#")) == topics

        await eventually(all_there)
        broker.restart()
        await eventually(all_there)


# ---------------------------------------------------------------- alarms


async def test_an_alarm_is_retained_while_it_is_not_normal(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    topic = TOPICS.alarm(ALARM)
    async with house(tmp_path, broker) as home, listener(broker, topic) as look:
        await eventually(lambda: home.delivery.connected)
        home.alarms[ALARM] = Alarm(ALARM)
        home.record(Event(EventKind.RAISED, T, T, alarm=ALARM, state=AlarmState.UNACK))
        await eventually(lambda: look.messages)
        shown = AlarmMessage.decode((await held(broker, topic))[topic])
        assert (shown.alarm, shown.state, shown.occurrence, shown.since) == (ALARM, AlarmState.UNACK, "occ-1", T)
        assert (shown.value, shown.limit, shown.unit, shown.direction) == (6.5, 6.0, "%", "high")
        home.alarms[ALARM].state = AlarmState.ACKED
        home.record(Event(EventKind.ACKNOWLEDGED, T, T, alarm=ALARM, state=AlarmState.ACKED))
        await eventually(lambda: look.last(topic, AlarmMessage).state is AlarmState.ACKED)
        del home.alarms[ALARM]
        home.record(Event(EventKind.CLEARED, T, T, alarm=ALARM, state=AlarmState.NORM))
        await eventually(lambda: look.of(topic)[-1] == b"")
        assert await held(broker, topic) == {}
        states = [AlarmMessage.decode(payload).state.value for payload in look.of(topic) if payload]
        assert states == ["UNACK", "ACKED", "NORM"]


async def test_an_alarm_that_cleared_while_labmon_was_away_is_removed(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    old, still = TOPICS.alarm("old.alarm"), TOPICS.alarm(ALARM)
    async with Connection(broker_settings(broker), "past") as past:
        await asyncio.wait_for(past.wait_connected(), 5)
        for topic in (old, still):
            await past.publish(topic, b"whatever it was", retain=True)
    async with listener(broker, old) as look, house(tmp_path, broker) as home:
        home.alarms[ALARM] = Alarm(ALARM)
        await eventually(lambda: look.of(old)[-1:] == [b""])
        assert AlarmMessage.decode(look.of(old)[-2]).state is AlarmState.NORM

        async def as_it_is() -> bool:
            found = await held(broker, f"{PREFIX}/alarm/#")
            return set(found) == {still} and found[still] != b"whatever it was"

        await eventually(as_it_is)


async def test_an_alarm_that_the_journal_does_not_have_is_marked_and_not_late(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    topic = TOPICS.alarm(ALARM)
    event = Event(EventKind.RAISED, T, T, alarm=ALARM, state=AlarmState.UNACK, journaled=False)
    async with house(tmp_path, broker) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        home.alarms[ALARM] = Alarm(ALARM)
        home.delivery.urgent([event])
        await eventually(lambda: look.of(topic) and look.of(TOPICS.event))
        assert look.last(topic, AlarmMessage).journaled is False
        sent = look.last(TOPICS.event, EventMessage)
        assert (sent.seq, sent.event.uid, sent.event.journaled) == (None, event.uid, False)
        later = Event(EventKind.STARTED, T, T)
        home.record(Event(EventKind.RAISED, T, T, alarm=ALARM, state=AlarmState.UNACK, uid=event.uid), later)
        await eventually(lambda: look.last(topic, AlarmMessage).journaled is True)
        await eventually(lambda: look.last(TOPICS.event, EventMessage).event.uid == later.uid)
        uids = [EventMessage.decode(payload).event.uid for payload in look.of(TOPICS.event)]
        assert uids == [event.uid, later.uid], "what went ahead is not sent twice"


# ---------------------------------------------------------------- events


def numbered(count: int) -> list[Event]:
    return [Event(EventKind.LINE, T + n, T + n, f"{n}") for n in range(count)]


async def test_events_arrive_in_order_over_a_killed_broker(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    events = numbered(600)
    async with house(tmp_path, broker) as home, listener(broker, TOPICS.event) as look:
        home.record(*events[:500])
        await eventually(lambda: len(look.messages) > 50)
        broker.restart()
        await eventually(lambda: look.connection.connected)
        home.record(*events[500:])
        last = events[-1].uid
        await eventually(lambda: look.messages and look.last(TOPICS.event, EventMessage).event.uid == last, 20.0)
        got = [EventMessage.decode(payload) for payload in look.of(TOPICS.event)]
    seqs = [message.seq for message in got]
    assert all(message.journal == got[0].journal for message in got)
    # Those under way when the broker died may come twice or, the listener being away too, not to this listener.
    fresh = [seq for at, seq in enumerate(seqs) if seq not in seqs[:at]]
    assert fresh == sorted(fresh)
    assert seqs[-100:] == sorted(seqs[-100:])


async def test_a_new_start_sends_only_what_was_not_sent(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    first, second = numbered(20), numbered(5)
    async with listener(broker, TOPICS.event) as look:
        async with house(tmp_path, broker) as home:
            home.record(*first)
            await eventually(lambda: len(look.messages) == 20)
            await eventually(lambda: home.delivery.events._saved == home.journal.last_seq)
        async with house(tmp_path, broker) as home:
            home.record(*second)
            await eventually(lambda: len(look.messages) >= 25)
        uids = [EventMessage.decode(payload).event.uid for payload in look.of(TOPICS.event)]
    assert uids == [event.uid for event in [*first, *second]]


async def test_events_of_an_outage_are_sent_when_the_broker_is_back(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    broker.stop()
    async with house(tmp_path, broker) as home:
        home.record(*numbered(300))
        await eventually(lambda: home.journal.last_seq >= 300)
        broker.start()
        await eventually(lambda: home.delivery.events._saved == home.journal.last_seq)
        assert home.delivery.events.sent == 300
        assert broker.log().count(f"'{TOPICS.event}'") == 300


# ---------------------------------------------------------------- status and health


async def test_status_says_online_and_at_the_end_offline(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with listener(broker, TOPICS.status) as look:
        async with house(tmp_path, broker, session=3):
            await eventually(lambda: look.messages)
            status = Status.decode((await held(broker, TOPICS.status))[TOPICS.status])
            assert (status.online, status.session, status.since) == (True, 3, T)
            assert abs(status.time - time.time_ns()) < 60 * 10**9
        await eventually(lambda: look.last(TOPICS.status, Status).online is False)
        assert look.last(TOPICS.status, Status).session == 3


async def test_the_will_says_offline_with_the_same_session(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with listener(broker, TOPICS.status) as look, house(tmp_path, broker, session=3) as home:
        await eventually(lambda: look.messages)
        session = home.delivery._live_connection._session
        assert session is not None
        session.close("cable pulled")
        await eventually(lambda: any(not Status.decode(p).online for p in look.of(TOPICS.status)))
        assert {Status.decode(payload).session for payload in look.of(TOPICS.status)} == {3}
        await eventually(lambda: look.last(TOPICS.status, Status).online)


async def test_status_is_refreshed(broker: Mosquitto, eventually: Any) -> None:
    async with listener(broker, TOPICS.status) as look, Connection(broker_settings(broker), "me") as me:
        status = StatusPublisher(me, TOPICS, 1, T, refresh=0.05)
        await status.start()
        await eventually(lambda: len(look.messages) >= 4)
        await status.stop()
        times = [Status.decode(payload).time for payload in look.of(TOPICS.status)]
        assert times == sorted(set(times))


async def test_status_is_refreshed_however_often_lines_change(broker: Mosquitto, eventually: Any) -> None:
    async with listener(broker, TOPICS.status) as look, Connection(broker_settings(broker), "me") as me:
        status = StatusPublisher(me, TOPICS, 1, T, refresh=0.3)
        await status.start()

        async def change() -> None:
            while True:
                status.update(line_message(Health("line-1"), time.monotonic(), time.time_ns()))
                await asyncio.sleep(0.02)

        changes = asyncio.create_task(change())
        await eventually(lambda: len(look.messages) >= 3)
        changes.cancel()
        await asyncio.gather(changes, return_exceptions=True)
        await status.stop()


async def test_status_tells_what_stores_have_not_confirmed_and_which_notices_fail(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with listener(broker, TOPICS.status) as look, house(tmp_path, broker) as home:
        home.health["line-1"] = Health("line-1")
        home.alarms["gateway.notices.mail"] = Alarm("gateway.notices.mail")
        home.alarms["gateway.notices.sms"] = Alarm("gateway.notices.sms", state=AlarmState.RTNUN)
        home.poll(exchange(1))
        await eventually(lambda: home.journal.last_seq > 0)
        await eventually(lambda: home.delivery.behind().get("influx"))
        home.delivery.status._connected()
        await eventually(lambda: look.messages and look.last(TOPICS.status, Status).stores == {"influx": 2})
        told = look.last(TOPICS.status, Status)
        assert (told.lines, told.failing) == (1, ("mail",))
        await home.delivery.status.stop()
        await eventually(lambda: not look.last(TOPICS.status, Status).online)
        told = look.last(TOPICS.status, Status)
        assert told.time > T
        assert (told.lines, told.stores, told.failing) == (None, None, None)


async def test_health_of_a_line_is_shown_and_follows(
    broker: Mosquitto, tmp_path: Path, eventually: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("labmon.delivery.gateway._HEALTH_LOOK", 0.02)
    topic = TOPICS.health("line-1")
    health = Health("line-1")
    async with house(tmp_path, broker) as home, listener(broker, topic) as look:
        home.health["line-1"] = health
        await eventually(lambda: look.messages)
        shown = look.last(topic, LineHealth)
        assert (shown.line, shown.state, shown.detail) == ("line-1", "lost", "not opened yet")
        health.opened(time.monotonic())
        health.device("incubator-1").record_failure(Reason.SILENT, time.monotonic())
        await eventually(lambda: look.last(topic, LineHealth).state == "open")
        device = look.last(topic, LineHealth).devices[0]
        assert (device.device, device.state, device.detail) == ("incubator-1", "suspect", "silent")


def test_moments_of_health_become_wall_time() -> None:
    health = Health("line-1")
    health.opened(100.0)
    health.device("a").record_success(0.1, 110.0)
    message = line_message(health, 130.0, T)
    assert message.since == T - 30 * 10**9
    assert message.devices[0].since == T - 20 * 10**9
    assert message.counts["exchanges"] == 1


# ---------------------------------------------------------------- the whole


async def test_it_starts_without_a_broker_and_says_so(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    broker.stop()
    async with house(tmp_path, broker) as home:
        assert home.conditions[0] == ("gateway.access", False, ""), "it may have been left active"
        assert home.conditions[1][:2] == ("gateway.broker", True)
        broker.start()
        await eventually(lambda: ("gateway.broker", False, "") in home.conditions)
        told = len(home.conditions)
        broker.stop()
        await eventually(lambda: ("gateway.broker", True) in [condition[:2] for condition in home.conditions[told:]])


async def test_it_stops_within_three_seconds_whatever_the_broker_does(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with house(tmp_path, broker) as home:
        await eventually(lambda: home.delivery.connected)
        broker.freeze()
        for number in range(300):
            home.poll(exchange(number))
        home.record(*numbered(100))
        await eventually(lambda: home.journal.backlog == 0 and home.journal.last_seq > 400)
        async with asyncio.timeout(3):
            await home.delivery.stop()
    broker.thaw()


async def test_layouts_without_columns_are_nothing_to_show(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    empty = layout("empty", "none", 0)
    async with house(tmp_path, broker) as home, listener(broker) as look:
        await eventually(lambda: home.delivery.connected)
        home.delivery.update(exchange(1, empty))
        home.delivery.update(exchange(1, LAYOUT))
        await eventually(lambda: look.of(LIVE))
        assert not look.of(TOPICS.live("room-1", "empty"))
