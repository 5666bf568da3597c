"""Readings arrive at every store, once and right, whatever broker and stores do."""

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from delivery_rig import LAYOUT, PACE, TOPICS, T, exchange, expected, gateway, ingest, layout
from servers.mosquitto import Mosquitto

from labmon.delivery.lane import Flight, Pace
from labmon.delivery.ranges import Prepared, RangeMaker
from labmon.journal.entries import Damaged, Entry, EntryKind
from labmon.model.event import Event, EventKind
from labmon.model.exchange import Exchange
from labmon.model.messages import RecordRange, Stored
from labmon.model.reading import Reading


async def test_all_that_is_journaled_is_stored(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    other = layout("fridge-2", "all", 1)
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        gw.poll(range(100))
        gw.journal.record([Event(EventKind.STARTED, T, T)])
        gw.poll(range(30), other)
        await eventually(gw.delivered)
    assert far.rows == expected(range(100)) | expected(range(30), other)
    tag = {c.key: c for c in far.ranges[0].channels}["incubator-1.live-0"]
    assert (tag.area, tag.device, tag.channel, tag.kind, tag.unit) == (
        *("room-1", "incubator-1", "live-0", "temperature", "Cel"),
    )


async def test_a_backlog_is_sent_when_the_broker_comes(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    broker.stop()
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        gw.poll(range(200))
        await eventually(lambda: gw.journal.backlog == 0 and gw.journal.last_seq > 0)
        assert far.ranges == []
        assert await gw.saved() == 0
        broker.start()
        await eventually(gw.delivered)
    assert far.rows == expected(range(200))


async def test_the_broker_is_killed_in_the_middle_of_a_backlog(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        gw.poll(range(1000))
        for already in (100, 400, 700):
            await eventually(lambda n=already: len(far.rows) >= 3 * n)
            broker.kill()
            gw.poll(range(1000 + already, 1010 + already))
            broker.start()
        await eventually(gw.delivered, 30.0)
        wanted = expected([*range(1000), *range(1100, 1110), *range(1400, 1410), *range(1700, 1710)])
    assert far.rows == wanted


async def test_a_store_that_says_nothing_gets_no_more_than_the_window(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    pace = dataclasses.replace(PACE, ranges=4, range_entries=10)
    async with gateway(tmp_path, broker, pace=pace) as gw, ingest(broker) as far:
        far.answer = far.silent
        gw.poll(range(300))
        # Each range was sent again: so the window was full for longer than the time after which more would follow.
        await eventually(lambda: len(far.spans) >= 4 and all(far.spans.count(span) >= 2 for span in set(far.spans)))
        assert len(set(far.spans)) == 4
        assert await gw.saved() == 0
        far.answer = far.confirm
        await eventually(gw.delivered)
    assert far.rows == expected(range(300))


async def test_the_window_is_bounded_in_bytes_too(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    pace = dataclasses.replace(PACE, bytes=1, range_entries=10)
    async with gateway(tmp_path, broker, pace=pace) as gw, ingest(broker) as far:
        far.answer = far.silent
        gw.poll(range(100))
        await eventually(lambda: len(far.spans) >= 3)
        assert len(set(far.spans)) == 1
        far.answer = far.confirm
        await eventually(gw.delivered)
    assert far.rows == expected(range(100))


async def test_what_was_under_way_is_sent_again_with_the_next_connection(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    pace = dataclasses.replace(PACE, resend_first=1000.0, resend_most=1000.0)
    async with gateway(tmp_path, broker, pace=pace) as gw, ingest(broker) as far:
        far.answer = far.silent
        gw.poll(range(10))
        await eventually(lambda: far.ranges)
        far.answer = far.confirm
        broker.kill()
        await eventually(lambda: not gw.connection.connected)
        broker.start()
        await asyncio.wait_for(far.connection.wait_connected(), 5)
        await eventually(gw.delivered)
    assert far.rows == expected(range(10))


def test_a_range_is_sent_again_after_10_s_doubling_to_60() -> None:
    flight = Flight(Prepared(1, 2, b"x"), {"a"}, 0.0)
    dues = []
    for _ in range(5):
        flight.sent(100.0, Pace())
        dues.append(flight.due - 100.0)
    assert dues == [10, 20, 40, 60, 60]


async def test_the_cursor_moves_over_the_contiguous_prefix_only(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        far.answer = lambda record: far.confirm(record) if record.first > 1 else None
        gw.poll(range(100))
        await eventually(lambda: len(set(far.spans)) >= 5 and gw.sender.counters.confirmed >= 4)
        assert await gw.saved() == 0
        assert gw.sender.behind()["influx"] == gw.journal.last_seq
        far.answer = far.confirm
        await eventually(gw.delivered)
    assert far.rows == expected(range(100))


async def test_only_a_confirmation_for_what_is_on_its_way_counts(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        far.answer = far.silent
        gw.poll(range(10))
        await eventually(lambda: far.ranges)
        record = far.ranges[0]
        await far.say(Stored("another-journal", record.first, record.last))
        await far.say(Stored(record.journal, record.first, record.last), store="stranger")
        await eventually(lambda: gw.sender.counters.foreign == 2)
        for span in ((1, 2**60), (record.first, record.last + 1), (record.first + 1, record.last)):
            await far.say(Stored(record.journal, *span))
        await eventually(lambda: gw.sender.counters.unexpected == 3)
        for junk in (b"", b"{}", b"\xff", b'{"v":1,"journal":5}', b"x" * 100_000):
            await far.say(junk)
        await eventually(lambda: gw.sender.counters.malformed == 5)
        assert await gw.saved() == 0
        await far.say(Stored(record.journal, record.first, record.last))
        await eventually(gw.delivered)
        await far.say(Stored(record.journal, record.first, record.last))
        await eventually(lambda: gw.sender.counters.unexpected == 4)
        assert gw.active == set()


async def test_refused_entries_are_in_the_quarantine_before_the_cursor_passes(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    def refuse(record: RecordRange) -> Stored:
        wrong = [(e.seq, "field type conflict") for e in record.entries if e.values[0] == 12.0]
        twice = [*wrong, *((seq, "another point of it") for seq, _ in wrong), (record.first, "not an entry")]
        return Stored(record.journal, record.first, record.last, twice if wrong else ())

    order: list[str] = []
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        quarantine, advance = gw.journal.quarantine, gw.journal.advance

        async def quarantining(store: str, refused: Any) -> None:
            await quarantine(store, refused)
            order.append("quarantined")

        async def advancing(name: str, seq: int) -> None:
            order.append("advance")
            await advance(name, seq)

        gw.journal.quarantine, gw.journal.advance = quarantining, advancing  # type: ignore[method-assign]
        far.answer = refuse
        gw.poll(range(20))
        await eventually(gw.delivered)
        held = await gw.journal.quarantined("influx")
        assert [(q.why, q.entry.content.readings[0].value) for q in held] == [  # type: ignore[union-attr]
            ("field type conflict; another point of it", 12.0)
        ]
        assert order[:2] == ["quarantined", "advance"]
        assert far.rows == expected(n for n in range(20) if n != 12)
        assert gw.active == {"gateway.quarantine.influx"}
        assert [event.kind for event in gw.events] == [EventKind.QUARANTINE]
        assert "field type conflict" in gw.events[0].detail


async def test_an_alarm_from_before_the_start_ends_when_it_is_over(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker):
        gw.poll(range(5))
        await eventually(gw.delivered)
        assert ("gateway.delivery.influx", False, "") in gw.conditions
        assert ("gateway.quarantine.influx", False, "") in gw.conditions
        gw.poll(range(5, 10))
        await eventually(gw.delivered)
        assert len(gw.conditions) == 2
        await gw.journal.quarantine("influx", {2: "why"})
    async with gateway(tmp_path, broker) as gw:
        await eventually(lambda: gw.active == {"gateway.quarantine.influx"})


async def test_a_store_that_denies_keeps_the_data_here_and_raises_the_alarm(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        far.answer = lambda record: Stored(record.journal, record.first, record.last, (), "401 unauthorized access")
        gw.poll(range(200))
        await eventually(lambda: gw.active == {"gateway.delivery.influx"})
        assert "401 unauthorized" in next(detail for _, active, detail in gw.conditions if active)
        # From then on one range goes out as a probe, again and again.
        await eventually(lambda: len(far.spans) > 10 and len(set(far.spans[-3:])) == 1)
        assert await gw.saved() == 0
        far.answer = far.confirm
        await eventually(gw.delivered)
        assert gw.active == set()
    assert far.rows == expected(range(200))


async def test_a_store_that_is_silent_with_a_backlog_is_an_alarm(
    broker: Mosquitto, tmp_path: Path, eventually: Any
) -> None:
    pace = dataclasses.replace(PACE, silent_after=0.1, stalled_after=0.1)
    async with gateway(tmp_path, broker, pace=pace) as gw, ingest(broker) as far:
        far.answer = far.silent
        gw.poll(range(3))
        await eventually(lambda: gw.active == {"gateway.delivery.influx"})
        far.answer = far.confirm
        await eventually(gw.delivered)
        assert gw.active == set()
        broker.stop()
        gw.poll(range(3, 6))
        await eventually(lambda: gw.active == {"gateway.delivery.influx"})


async def test_a_store_that_is_away_holds_up_no_other(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    pace = dataclasses.replace(PACE, stalled_after=0.3)
    async with gateway(tmp_path, broker, stores=("influx", "archive"), pace=pace) as gw:
        async with ingest(broker, "influx") as near, ingest(broker, "archive") as far:
            far.answer = far.silent
            gw.poll(range(800))
            await eventually(lambda: gw.delivered("influx"))
            assert await gw.saved("archive") == 0
            near.ranges.clear()
            # Everybody hears what is sent to one: while the other is away it is no more than a probe.
            await eventually(lambda: len(near.spans) >= 5 and len(set(near.spans[-3:])) == 1)
            far.answer = far.confirm
            await eventually(lambda: gw.delivered("archive"))
            near.ranges.clear()
            gw.poll(range(800, 900))
            await eventually(lambda: gw.delivered("influx"))
            await eventually(lambda: gw.delivered("archive"))
            assert len(near.spans) == len(set(near.spans)), "one message serves both again"
        assert near.rows == far.rows == expected(range(900))


async def test_a_new_start_goes_on_where_the_cursor_stands(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker):
        gw.poll(range(50))
        await eventually(gw.delivered)
        stood = await gw.saved()
    async with ingest(broker) as far, gateway(tmp_path, broker) as gw:
        gw.poll(range(50, 60))
        await eventually(gw.delivered)
        assert min(first for first, _ in far.spans) == stood + 1
        assert far.rows == expected(range(50, 60))


async def test_another_journal_is_begun_from_its_own_cursor(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    (tmp_path / "second").mkdir()
    async with (
        gateway(tmp_path, broker) as gw,
        gateway(tmp_path / "second", broker, stores=()) as second,
        ingest(broker) as far,
    ):
        gw.poll(range(50))
        await eventually(gw.delivered)
        second.poll(range(50, 60))
        await eventually(lambda: second.journal.last_seq > 0 and second.journal.backlog == 0)
        gw.sender._journal = second.journal
        gw.sender.wake()
        await eventually(second.delivered)
        assert {record.journal for record in far.ranges} == {gw.journal.journal, second.journal.journal}
        assert far.rows == expected(range(60))


async def test_events_and_configurations_need_no_store(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with gateway(tmp_path, broker) as gw:
        gw.journal.record([Event(EventKind.STARTED, T, T) for _ in range(100)])
        await eventually(gw.delivered)
        assert gw.sender.counters.sent == 0


async def test_nobody_to_store_for(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with gateway(tmp_path, broker, stores=()) as gw:
        gw.poll(range(5))
        await eventually(lambda: gw.journal.last_seq > 0)
        assert gw.sender.behind() == {}


async def test_a_broker_that_forbids_the_topic_is_an_alarm(tmp_path: Path, eventually: Any) -> None:
    with Mosquitto(tmp_path, acl="topic read #\n") as broker:
        pace = dataclasses.replace(PACE, silent_after=0.2)
        async with gateway(tmp_path, broker, pace=pace) as gw:
            gw.poll(range(3))
            await eventually(lambda: gw.active == {"gateway.delivery.influx"})
            assert any("0x87" in detail for _, _, detail in gw.conditions)


async def test_it_stops_in_time_with_the_broker_frozen(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with gateway(tmp_path, broker) as gw:
        await asyncio.wait_for(gw.connection.wait_connected(), 5)
        broker.freeze()
        gw.poll(range(500))
        await eventually(lambda: gw.sender._publishing)
        async with asyncio.timeout(3):
            await gw.sender.stop()
            await gw.connection.stop()
    broker.thaw()


def entry(seq: int, content: Any) -> Entry:
    return Entry(seq, int(EntryKind.READINGS), T, content, 10)


def wrong_exchange() -> Exchange:
    key = LAYOUT.columns[0].key
    return Exchange(LAYOUT, T, T, [Reading(key, T, T, 1.0, None, raw="x" * 5000)] * 3)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_entry_that_cannot_be_sent_is_refused_alone(place: int) -> None:
    entries = [entry(n + 1, exchange(n)) for n in range(7)]
    entries[place] = entry(place + 1, wrong_exchange())
    made = RangeMaker("j").make(1, 9, entries)
    assert made[0].first == 1
    assert made[-1].last == 9
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(made))
    refused = {seq: why for one in made for seq, why in one.refused.items()}
    assert list(refused) == [place + 1]
    assert "cannot be sent" in refused[place + 1]
    assert sorted(seq for one in made for seq in one.seqs) == [n for n in range(1, 8) if n != place + 1]


def test_a_damaged_entry_is_refused_and_the_rest_sent() -> None:
    made = RangeMaker("j").make(1, 3, [entry(1, exchange(1)), entry(2, Damaged("checksum")), entry(3, exchange(3))])
    assert len(made) == 1
    assert made[0].refused == {2: "damaged in the journal: checksum"}
    assert made[0].payload is not None
    assert [e.seq for e in RecordRange.decode(made[0].payload).entries] == [1, 3]


async def test_damaged_entries_reach_the_quarantine(broker: Mosquitto, tmp_path: Path, eventually: Any) -> None:
    async with gateway(tmp_path, broker) as gw, ingest(broker) as far:
        read = gw.journal.read_entries

        async def damaged(after: int, limit: int, max_bytes: int) -> list[Entry]:
            entries = await read(after, limit, max_bytes)
            for one in entries:
                if one.seq == 5:
                    one.content = Damaged("checksum does not match")
            return entries

        gw.journal.read_entries = damaged  # type: ignore[method-assign]
        gw.poll(range(10))
        await eventually(gw.delivered)
        assert [(q.seq, q.why) for q in await gw.journal.quarantined("influx")] == [
            (5, "damaged in the journal: checksum does not match")
        ]
        assert len(far.rows) == 27


def test_the_topic_is_that_of_the_documentation() -> None:
    assert TOPICS.record == "labmon/north/gw-1/record"
