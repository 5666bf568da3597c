"""Ingest between a real broker and real stores: confirmed means stored, and nothing else is confirmed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, settings
from ranges import GATEWAY, SECOND, TEMPERATURE, channel, entry, record, simple, start_of
from servers.influx import InfluxV1, Server
from servers.mosquitto import Mosquitto, broker
from servers.scripted_http import Answer, ScriptedHttp

from labmon.ingest.influx import InfluxStore
from labmon.ingest.ingest import Ingest
from labmon.ingest.sqlite_readings import SqliteReadings
from labmon.ingest.sqlite_store import SqliteStore
from labmon.ingest.store import Store, StoreError, Written
from labmon.model.record import RecordRange
from labmon.mqtt import Connection
from labmon.mqtt.topics import client_id
from labmon.tasks.faults import faults_to

__all__ = ["broker"]

Eventually = Callable[..., Any]
STORE = "main"


@asynccontextmanager
async def running(
    broker: Mosquitto, store: Store, *, store_id: str = STORE, shared: bool = True, **who: str
) -> AsyncIterator[Ingest]:
    connection = Connection(settings(broker, **who), client_id("labmon", "ingest"))
    ingest = Ingest(store_id, store, connection, shared=shared)
    await ingest.start()
    await connection.start()
    try:
        await connection.wait_connected()
        yield ingest
    finally:
        await ingest.stop()
        await connection.stop()


def influx_store(server: Server, **changed: Any) -> InfluxStore:
    known = {"url": server.url, "org": server.org, "bucket": server.bucket, "token": server.token, "timeout": 5.0}
    return InfluxStore(**(known | changed))


def stored_readings(path: Path) -> int:
    with SqliteReadings(path) as readings:
        return readings.count()


class FakeStore:
    """A store that does what the test says; notes what it was given."""

    def __init__(self, *script: Written | Exception) -> None:
        self.script = list(script)
        self.written: list[tuple[RecordRange, str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.obeys_abort = True
        self.closed = False

    def write(self, record: RecordRange, site: str, gateway: str) -> Written:
        self.written.append((record, site, gateway))
        self.gate.wait()
        answer = self.script.pop(0) if self.script else Written(len(record.entries))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def abort(self) -> None:
        if self.obeys_abort:
            self.gate.set()

    def close(self) -> None:
        self.closed = True


async def test_from_the_broker_into_each_server(
    broker: Mosquitto, server: Server, site: str, eventually: Eventually
) -> None:
    start = start_of(4)
    ranges = [simple(2, first=1, start=start), simple(2, first=3, start=start + 2 * SECOND)]
    async with Gateway(broker, site) as gateway, running(broker, influx_store(server)) as ingest:
        await gateway.send(*ranges)
        await eventually(lambda: not gateway.waiting)
        assert {(name, s.journal, s.first, s.last, s.refused, s.error) for name, s in gateway.answers} == {
            (STORE, "journal-1", 1, 2, (), None),
            (STORE, "journal-1", 3, 4, (), None),
        }
    assert ingest.counters.stored_ranges == len(gateway.answers)
    await eventually(lambda: len(server.points(site)) == 8)
    warm = sorted(server.points(site, "temperature"), key=lambda p: p.time)
    assert [(p.time, p.fields["value"], p.fields["quality"]) for p in warm] == [
        ((start + i * SECOND) // server.time_unit * server.time_unit, value, 2)
        for i, value in enumerate((20.0, 20.125, 20.0, 20.125))
    ]


async def test_from_the_broker_into_sqlite(broker: Mosquitto, tmp_path: Path, eventually: Eventually) -> None:
    path = tmp_path / "store.db"
    async with (
        Gateway(broker, "lab") as one,
        Gateway(broker, "lab", "gw-2") as two,
        running(broker, SqliteStore(path)),
    ):
        await one.send(simple(10))
        await two.send(simple(20))
        await eventually(lambda: not one.waiting and not two.waiting)
    with SqliteReadings(path) as readings:
        assert [len(list(readings.select(gateway=name))) for name in ("gw-1", "gw-2")] == [20, 40]


async def test_a_task_that_fails_is_told_and_runs_again(
    broker: Mosquitto, site: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labmon.tasks.kept.RESTART", (0.01,))
    right = Ingest._run
    told: list[tuple[str, str]] = []
    runs = 0

    async def run(ingest: Ingest) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("planted")
        await right(ingest)

    monkeypatch.setattr(Ingest, "_run", run)
    asyncio.get_running_loop().set_exception_handler(None)
    with faults_to(lambda part, what, error: told.append((part, what))):
        async with Gateway(broker, site) as gateway, running(broker, FakeStore()):
            await gateway.send(simple(2))
            await eventually(lambda: not gateway.waiting)
    assert told == [(f"ingest {STORE}", "failed (RuntimeError: planted), starts again in 0.01 s")]


async def test_poison_is_refused_by_seq_and_the_rest_confirmed(
    broker: Mosquitto, influx: Server, site: str, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    start, kind = start_of(5), f"k-{site}"
    odd = channel("d", "c", kind, "u")
    status, body = influx.write(
        f"{kind},area=suite-1,channel=c,device=d,gateway={GATEWAY},site={site},unit=u raw=1.0 {start}"
    )
    assert status == 204, body
    made = record(
        [entry(10 + i, start + i * SECOND, (1.0, 2.0), raw=("poison" if i == 2 else None, None)) for i in range(5)],
        *(odd, TEMPERATURE),
    )
    async with Gateway(broker, site) as gateway, running(broker, influx_store(influx)):
        await gateway.send(made)
        await eventually(lambda: not gateway.waiting)
        [(seq, why)] = gateway.last.refused
        assert (gateway.last.first, gateway.last.last, gateway.last.error) == (10, 14, None)
    assert seq == 12
    assert why.startswith("d.c: 4")
    assert len(influx.points(site, "temperature")) == 5
    assert len([p for p in influx.points(site, kind) if "value" in p.fields]) == 4
    assert "refused 1 entries" in caplog.text


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"token": "wrong"}, "401 unauthorized access"),
        ({"token": InfluxV1.read_token}, '403 "reader" user is not authorized'),
        ({"bucket": "nowhere"}, '404 database not found: "nowhere"'),
    ],
)
async def test_what_somebody_must_mend_is_told_to_the_gateway(
    broker: Mosquitto, influx_v1: InfluxV1, site: str, eventually: Eventually, changed: dict[str, str], error: str
) -> None:
    async with Gateway(broker, site) as gateway:
        async with running(broker, influx_store(influx_v1, **changed)) as ingest:
            await gateway.send(simple(2))
            await eventually(lambda: len(gateway.answers) >= 2)
            assert gateway.last.error is not None
            assert gateway.last.error.startswith(error)
            assert ingest.counters.denied_ranges >= 2
        assert gateway.waiting
        async with running(broker, influx_store(influx_v1)):
            await eventually(lambda: not gateway.waiting)
            assert gateway.last.error is None
    assert len(influx_v1.points(site)) == 4


async def test_a_denying_store_is_left_alone_but_every_range_is_answered(
    broker: Mosquitto, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    store = FakeStore(*[StoreError("denied", "401 go away")] * 1000)
    async with Gateway(broker, "lab", repeat=1000.0) as gateway, running(broker, store):
        for first in range(1, 201, 2):
            await gateway.send(simple(2, first=first))
        await eventually(lambda: len(gateway.answers) == 100)
        assert {s.error for _, s in gateway.answers} == {"401 go away"}
    assert len(store.written) < 20
    assert caplog.text.count("takes nothing until somebody acts: 401 go away") == 1


async def test_the_servers_wish_to_be_left_alone_is_respected(broker: Mosquitto, eventually: Eventually) -> None:
    with ScriptedHttp(Answer(503, b"", {"Retry-After": "3000"})) as server:
        store = InfluxStore(url=server.url, org="-", bucket="b", token="t", timeout=5.0)
        async with Gateway(broker, "lab", repeat=0.1) as gateway, running(broker, store) as ingest:
            await gateway.send(simple(2))
            # By its own pauses it would have asked again after five of these.
            await eventually(lambda: ingest.counters.repeated >= 15)
            assert len(server.requests) == 1
            assert not gateway.answers


async def test_an_unavailable_store_is_not_answered_for(broker: Mosquitto, eventually: Eventually) -> None:
    store = FakeStore(*[StoreError("unavailable", "503 later")] * 2)
    async with Gateway(broker, "lab", repeat=1000.0) as gateway, running(broker, store) as ingest:
        await gateway.send(simple(2))
        await eventually(lambda: ingest.counters.unavailable == 1)
        assert not gateway.answers
        # It waits here, so it is written when the store is back, before its gateway sends it again.
        await eventually(lambda: gateway.answers)
        assert ingest.counters.unavailable == 2
        assert gateway.last.error is None


async def test_one_range_that_the_store_cannot_take_does_not_hold_up_the_other_gateways(
    broker: Mosquitto, eventually: Eventually
) -> None:
    class Picky(FakeStore):
        def write(self, record: RecordRange, site: str, gateway: str) -> Written:
            if gateway == "gw-1":
                raise StoreError("unavailable", "500 this body breaks me")
            return super().write(record, site, gateway)

    async with Gateway(broker, "lab") as one, Gateway(broker, "lab", "gw-2") as two, running(broker, Picky()):
        await one.send(simple(2))
        await two.send(simple(2))
        await eventually(lambda: not two.waiting)
        assert one.waiting
        assert not one.answers


async def test_ranges_of_a_gateway_are_written_in_order_and_gateways_take_turns(
    broker: Mosquitto, eventually: Eventually
) -> None:
    store = FakeStore()
    store.gate.clear()
    async with (
        Gateway(broker, "lab", repeat=1000.0) as one,
        Gateway(broker, "lab", "gw-2", repeat=1000.0) as two,
        running(broker, store) as ingest,
    ):
        for first in range(1, 41, 2):
            await one.send(simple(2, first=first))
        await two.send(simple(2))
        await eventually(lambda: len(ingest._lanes) == 21)
        store.gate.set()
        await eventually(lambda: not one.waiting and not two.waiting)
    assert [w[0].first for w in store.written if w[2] == "gw-1"] == list(range(1, 41, 2))
    assert "gw-2" in [w[2] for w in store.written[:3]]


async def test_what_does_not_fit_is_left_to_its_gateway(
    broker: Mosquitto, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "labmon.ingest")
    store = FakeStore()
    store.gate.clear()
    async with Gateway(broker, "lab", repeat=0.5) as gateway, running(broker, store) as ingest:
        await gateway.send(*(simple(1, first=i) for i in range(1, 301)))
        await eventually(lambda: ingest.counters.not_taken >= 44)
        assert len(ingest._lanes) == 256
        store.gate.set()
        await eventually(lambda: not gateway.waiting)
    assert len({w[0].first for w in store.written}) == 300
    assert caplog.text.count("more are left to their gateways") >= 1
    assert "ranges are taken again" in caplog.text


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"v":2,"journal":"j","first":1,"last":1,"channels":[],"layouts":[],"entries":[]}',
        b"9" * 9,
    ],
)
async def test_a_malformed_message_is_counted_and_told_once(
    broker: Mosquitto, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    caplog.set_level(logging.INFO, "labmon.ingest")
    async with Gateway(broker, "lab") as gateway, running(broker, SqliteStore(tmp_path / "s.db")) as ingest:
        await gateway.send_once(payload)
        await gateway.send_once(payload + b" ")
        await eventually(lambda: ingest.counters.malformed == 2)
        await gateway.send(simple(2))
        await eventually(lambda: not gateway.waiting)
        assert len(gateway.answers) == 1
    assert caplog.text.count("malformed record message from lab/gw-1") == 1
    assert "well-formed again after 2" in caplog.text


async def test_a_topic_of_no_gateway_is_malformed(broker: Mosquitto, eventually: Eventually) -> None:
    store = FakeStore()
    async with Gateway(broker, "lab") as gateway, running(broker, store) as ingest:
        await gateway.connection.publish("labmon/The Lab/gw-1/record", simple(1).encode())
        await eventually(lambda: ingest.counters.malformed == 1)
    assert not store.written


async def test_a_fault_of_ours_costs_one_range_only(
    broker: Mosquitto, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    store = FakeStore(RuntimeError("a bug"))
    async with Gateway(broker, "lab", repeat=1000.0) as gateway, running(broker, store):
        await gateway.send(simple(2), simple(2, first=3))
        await eventually(lambda: gateway.answers)
        assert [(s.first, s.error) for _, s in gateway.answers] == [(3, None)]
    assert "could not be handled" in caplog.text
    assert "a bug" in caplog.text


async def test_two_ingests_share_the_ranges(broker: Mosquitto, tmp_path: Path, eventually: Eventually) -> None:
    path = tmp_path / "store.db"
    async with (
        Gateway(broker, "lab", repeat=1000.0) as gateway,
        running(broker, SqliteStore(path)) as one,
        running(broker, SqliteStore(path)) as two,
    ):
        await gateway.send(*(simple(5, first=first, start=first * SECOND) for first in range(1, 201, 5)))
        await eventually(lambda: not gateway.waiting)
        assert len(gateway.answers) == 40
        assert one.counters.stored_ranges + two.counters.stored_ranges == 40
        assert min(one.counters.stored_ranges, two.counters.stored_ranges) > 5
    assert stored_readings(path) == 400


async def test_each_store_gets_everything(broker: Mosquitto, tmp_path: Path, eventually: Eventually) -> None:
    async with (
        Gateway(broker, "lab") as gateway,
        running(broker, SqliteStore(tmp_path / "a.db"), store_id="a"),
        running(broker, SqliteStore(tmp_path / "b.db"), store_id="b"),
    ):
        await gateway.send(simple(5))
        await eventually(lambda: {name for name, _ in gateway.answers} == {"a", "b"})
    assert stored_readings(tmp_path / "a.db") == stored_readings(tmp_path / "b.db") == 10


async def test_duplicates_are_confirmed_and_harmless(
    broker: Mosquitto, influx: Server, site: str, eventually: Eventually
) -> None:
    made = simple(5)
    async with Gateway(broker, site) as gateway, running(broker, influx_store(influx)):
        for _ in range(3):
            seen = len(gateway.answers)
            await gateway.send(made)
            await eventually(lambda seen=seen: len(gateway.answers) > seen)
    assert len(influx.points(site)) == 10


async def test_a_plain_subscription_where_the_broker_knows_no_shared_one(
    broker: Mosquitto, tmp_path: Path, eventually: Eventually
) -> None:
    async with Gateway(broker, "lab") as gateway, running(broker, SqliteStore(tmp_path / "s.db"), shared=False):
        await gateway.send(simple(2))
        await eventually(lambda: not gateway.waiting)


async def test_only_who_may_confirm_can(
    tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    acl = "user gw\ntopic readwrite labmon/lab/gw-1/#\nuser ingest\ntopic read labmon/+/+/record\n"
    users = {"gw": "secret-1", "ingest": "secret-2"}
    with Mosquitto(tmp_path, users=users, acl=acl) as broker:
        async with (
            Gateway(broker, "lab", user="gw", password="secret-1") as gateway,
            running(broker, SqliteStore(tmp_path / "s.db"), user="ingest", password="secret-2") as ingest,
        ):
            await gateway.send(simple(2))
            await eventually(lambda: ingest.counters.unconfirmed >= 2)
            assert not gateway.answers
    assert stored_readings(tmp_path / "s.db") == 4
    assert caplog.text.count("the broker refuses confirmations") == 1
    assert "secret" not in caplog.text


async def test_a_broker_that_is_killed_and_returns(tmp_path: Path, eventually: Eventually) -> None:
    path = tmp_path / "store.db"
    with Mosquitto(tmp_path) as broker:
        async with Gateway(broker, "lab") as gateway, running(broker, SqliteStore(path)):
            for first in range(1, 101, 5):
                await gateway.send(simple(5, first=first, start=first * SECOND))
                if first in (21, 61):
                    await asyncio.to_thread(broker.restart)
            await eventually(lambda: not gateway.waiting, 20.0)
    assert stored_readings(path) == 200


async def test_a_store_that_is_killed_in_the_middle_and_returns(tmp_path: Path, eventually: Eventually) -> None:
    with Mosquitto(tmp_path) as broker, InfluxV1(tmp_path / "influx") as server:
        async with Gateway(broker, "lab") as gateway, running(broker, influx_store(server, timeout=1.0)) as ingest:
            start = start_of(1000)
            for first in range(1, 1001, 10):
                await gateway.send(simple(10, first=first, start=start + first * SECOND))
                if first == 301:
                    server.database.kill()
                    await eventually(lambda: ingest.counters.unavailable)
                    await asyncio.to_thread(server.database.start)
                if first == 601:
                    server.shim.kill()
                    await asyncio.to_thread(server.shim.start)
            await eventually(lambda: not gateway.waiting, 20.0)
            assert all(s.error is None for _, s in gateway.answers)
        assert len(server.points("lab")) == 2000


@pytest.mark.parametrize("obeys_abort", [True, False])
async def test_a_hanging_store_does_not_keep_it_from_stopping(
    broker: Mosquitto, eventually: Eventually, caplog: pytest.LogCaptureFixture, obeys_abort: bool
) -> None:
    store = FakeStore()
    store.obeys_abort = obeys_abort
    store.gate.clear()
    async with Gateway(broker, "lab") as gateway:
        async with running(broker, store):
            await gateway.send(simple(2))
            await eventually(lambda: store.written)
            # Leaving the block stops; were it to wait for the store, the test would never end.
        assert not gateway.answers
    assert ("its thread is left behind" in caplog.text) is not obeys_abort
    store.gate.set()
    await eventually(lambda: store.closed)


async def test_stopping_ends_a_request_that_hangs(broker: Mosquitto, eventually: Eventually) -> None:
    with ScriptedHttp(otherwise=Answer(204, hang=True)) as server:
        store = InfluxStore(url=server.url, org="-", bucket="b", token="t", timeout=50.0)
        async with Gateway(broker, "lab") as gateway, running(broker, store):
            await gateway.send(simple(2))
            await eventually(lambda: server.requests)
        assert "store-main" not in {thread.name for thread in threading.enumerate()}
