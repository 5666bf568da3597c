"""The InfluxDB store against real servers, and against answers that no real server gives on demand."""

from __future__ import annotations

import dataclasses
import email.utils
import gzip
import logging
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import orjson
import pytest
from ranges import GATEWAY, HUMIDITY, SECOND, TEMPERATURE, channel, entry, record, simple, start_of
from servers.influx import InfluxV1, Point, Server, VictoriaMetrics
from servers.mosquitto import Authority
from servers.scripted_http import Answer, ScriptedHttp

from labmon.ingest.influx import InfluxStore
from labmon.ingest.store import Refused, StoreError, Written
from labmon.model.reading import Flag
from labmon.model.record import RecordRange

DAY = 86400 * SECOND

StoreOf = Callable[..., InfluxStore]


@pytest.fixture
def store_of() -> Iterator[StoreOf]:
    """Make a store for a server; closed when the test ends."""
    made: list[InfluxStore] = []

    def make(server: Server, **changed: object) -> InfluxStore:
        settings = {
            "url": server.url,
            "org": server.org,
            "bucket": server.bucket,
            "token": server.token,
            "timeout": 5.0,
        }
        store = InfluxStore(**(settings | changed))  # type: ignore[arg-type]
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[ScriptedHttp, InfluxStore]]]:
    """A server that answers as told, and a store that writes to it."""
    with ExitStack() as stack:

        def make(*script: Answer, timeout: float = 5.0) -> tuple[ScriptedHttp, InfluxStore]:
            server = stack.enter_context(ScriptedHttp(*script))
            store = InfluxStore(url=server.url, org="-", bucket="b", token="t0ken", timeout=timeout)
            stack.callback(store.close)
            return server, store

        yield make


def by_series(points: list[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda p: p.time):
        found.setdefault(point.measurement, []).append(point)
    return found


async def test_values_units_quality_and_times_are_right(
    server: Server, site: str, store_of: StoreOf, eventually: Callable[..., object]
) -> None:
    start = start_of(3)
    made = record(
        [
            entry(1, start, (37.0, 95.5), raw=(3700, "95.5%")),
            entry(2, start + SECOND, (37.125, None), (None, "no-sensor"), (int(Flag.CLOCK), 0), (3712, None)),
            entry(5, start + 2 * SECOND, (-80.0,), columns=(0,)),
        ]
    )
    assert store_of(server).write(made, site, GATEWAY) == Written(5)
    await eventually(lambda: len(server.points(site)) == 5)
    found = by_series(server.points(site))
    own = {"site": site, "gateway": GATEWAY, "area": "suite-1", "device": "incubator-1"}
    assert [p.tags for p in found["temperature"]] == [own | {"channel": "temperature", "unit": "Cel"}] * 3
    assert [p.tags for p in found["relative-humidity"]] == [own | {"channel": "humidity", "unit": "%{RH}"}] * 2
    cut = server.time_unit
    assert [p.time for p in found["temperature"]] == [(start + i * SECOND) // cut * cut for i in range(3)]
    assert [p.fields["value"] for p in found["temperature"]] == [37.0, 37.125, -80.0]
    assert [p.fields["quality"] for p in found["temperature"]] == [2, 1, 2]
    assert [p.fields["quality"] for p in found["relative-humidity"]] == [2, 0]
    assert [p.fields.get("value") for p in found["relative-humidity"]] == [95.5, None]
    if server.keeps_text:
        assert [p.fields.get("raw") for p in found["temperature"]] == ["3700", "3712", None]
        assert [p.fields.get("reason") for p in found["relative-humidity"]] == [None, "no-sensor"]


async def test_a_line_break_in_raw_text_costs_no_server_the_value(
    server: Server, site: str, store_of: StoreOf, eventually: Callable[..., object]
) -> None:
    store_of(server).write(record([entry(1, start_of(1), (20.5,), raw=("\x02+20.5\r\n\x03",))]), site, GATEWAY)
    points = await eventually(lambda: server.points(site))
    assert [point.fields["value"] for point in points] == [20.5]  # type: ignore[attr-defined]


async def test_writing_twice_is_once(
    server: Server, site: str, store_of: StoreOf, eventually: Callable[..., object]
) -> None:
    store, made = store_of(server), simple(30)
    assert store.write(made, site, GATEWAY) == store.write(made, site, GATEWAY) == Written(60)
    other = dataclasses.replace(made, first=21, entries=made.entries[20:])
    assert store.write(other, site, GATEWAY) == Written(20)
    await eventually(lambda: len(server.points(site)) >= 60)
    assert len(server.points(site)) == 60


def test_a_range_larger_than_one_request(influx: Server, site: str, store_of: StoreOf) -> None:
    assert store_of(influx).write(simple(3000), site, GATEWAY) == Written(6000)
    assert len(influx.points(site)) == 6000


def poisoned(influx: Server, site: str, count: int, poison: set[int], kind: str) -> tuple[RecordRange, str]:
    """A range whose entries in `poison` have a field of a type that the server has otherwise for their channel."""
    start = start_of(count)
    good, bad = channel("d", "good", f"{kind}-good", "u"), channel("d", "bad", f"{kind}-bad", "u")
    status, body = influx.write(
        f"{kind}-bad,area=suite-1,channel=bad,device=d,gateway={GATEWAY},site={site},unit=u raw=1.0 {start}"
    )
    assert status == 204, body
    entries = [
        entry(i + 1, start + i * SECOND, (float(i), float(i)), raw=(None, "text" if i + 1 in poison else None))
        for i in range(count)
    ]
    return record(entries, good, bad), kind


def test_poison_points_are_found_and_the_rest_is_stored(influx: Server, site: str, store_of: StoreOf) -> None:
    poison = {1, 2, 77, 150, 256, 299, 300}
    made, kind = poisoned(influx, site, 300, poison, f"k-{site}")
    written = store_of(influx).write(made, site, GATEWAY)
    assert written.points == 600 - len(poison)
    assert [refused.seq for refused in written.refused] == sorted(poison)
    assert all(refused.why.startswith("d.bad: 4") and "type" in refused.why for refused in written.refused)
    assert {p.fields["value"] for p in influx.points(site, f"{kind}-good")} == {float(i) for i in range(300)}
    stored = {p.fields.get("value") for p in influx.points(site, f"{kind}-bad")} - {None}
    assert stored == {float(i) for i in range(300) if i + 1 not in poison}


def test_a_range_of_nothing_but_poison(influx: Server, site: str, store_of: StoreOf) -> None:
    made, kind = poisoned(influx, site, 40, set(range(1, 41)), f"k-{site}")
    written = store_of(influx).write(made, site, GATEWAY)
    assert (written.points, len(written.refused)) == (40, 40)
    assert len(influx.points(site, f"{kind}-good")) == 40


def test_what_is_older_than_the_retention_is_refused(influx: Server, site: str, store_of: StoreOf) -> None:
    start = start_of(10)
    old = [entry(i + 1, start - 40 * DAY + i, (1.0, 2.0)) for i in range(5)]
    made = record([*old, *(entry(i + 6, start + i * SECOND, (1.0, 2.0)) for i in range(5))])
    written = store_of(influx).write(made, site, GATEWAY)
    assert written.points == 10
    assert [refused.seq for refused in written.refused] == [1, 2, 3, 4, 5]
    assert all("retention" in refused.why for refused in written.refused)
    assert len(influx.points(site)) == 10


def test_two_kinds_of_poison_in_one_request(influx_v1: InfluxV1, site: str, store_of: StoreOf) -> None:
    """InfluxDB 1.x tells and counts only one of them."""
    made, _ = poisoned(influx_v1, site, 4, {2}, f"k-{site}")
    made.entries = [*made.entries[:3], entry(4, start_of(1) - 40 * DAY, (1.0, 1.0))]
    written = store_of(influx_v1).write(made, site, GATEWAY)
    assert written.points == 5
    assert [(r.seq, r.why.split(" ")[0]) for r in written.refused] == [(2, "d.bad:"), (4, "d.good,")]


def test_a_reading_that_is_no_line_is_refused_with_the_others_stored(
    influx: Server, site: str, store_of: StoreOf
) -> None:
    made = record([entry(1, start_of(1), (1.0, 2.0))], channel("d", "c", "k", "back\\slash"), TEMPERATURE)
    written = store_of(influx).write(made, site, GATEWAY)
    assert written == Written(1, (Refused(1, "d.c: unit 'back\\\\slash' holds a backslash or a control character"),))
    assert len(influx.points(site)) == 1


def test_what_is_too_large_for_one_request_is_cut(tmp_path: Path, store_of: StoreOf) -> None:
    with InfluxV1(tmp_path / "influx", max_body="8k") as small:
        made = simple(300)
        long = entry(
            301, made.entries[-1].time + SECOND, (1.0, None), (None, "silent"), raw=("x" * 4000 + "y" * 96, None)
        )
        huge = entry(302, long.time + SECOND, (1.0, 2.0), raw=("\x00" * 4096, None))
        made = record([*made.entries, long, huge])
        written = store_of(small).write(made, "s", GATEWAY)
        assert written.points == 603
        assert [r.seq for r in written.refused] == [302]
        assert written.refused[0].why.startswith(f"{TEMPERATURE.key}: 413")
        assert len(small.points("s")) == 603


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"token": "wrong-token"}, "401"), ({"token": InfluxV1.read_token}, "403"), ({"bucket": "nowhere"}, "404")],
)
def test_what_somebody_must_mend_keeps_the_data(
    influx_v1: InfluxV1, site: str, store_of: StoreOf, changed: dict[str, str], status: str
) -> None:
    with pytest.raises(StoreError) as error:
        store_of(influx_v1, **changed).write(simple(3), site, GATEWAY)
    assert error.value.kind == "denied"
    assert error.value.text.startswith(status)
    assert not influx_v1.points(site)


def test_a_server_without_the_retention_policy_answers_500(influx_v1: InfluxV1, site: str, store_of: StoreOf) -> None:
    with pytest.raises(StoreError, match="500 retention policy not found") as error:
        store_of(influx_v1, bucket="labmon/nowhere").write(simple(3), site, GATEWAY)
    assert error.value.kind == "unavailable"


def test_a_store_that_goes_and_comes_back(tmp_path: Path, store_of: StoreOf) -> None:
    with InfluxV1(tmp_path / "influx") as server:
        store = store_of(server, timeout=1.0)
        assert store.write(simple(5), "s", GATEWAY) == Written(10)
        for trouble, mend, text in (
            (server.database.kill, server.database.start, "502"),
            (server.shim.kill, server.shim.start, "refused"),
            (server.shim.freeze, server.shim.thaw, "no answer within 1 s"),
        ):
            trouble()
            with pytest.raises(StoreError, match=text) as error:
                store.write(simple(5), "s", GATEWAY)
            assert error.value.kind == "unavailable"
            mend()
            assert store.write(simple(5), "s", GATEWAY) == Written(10)


def abort_in_the_middle(store: InfluxStore, server: ScriptedHttp) -> None:
    """Abort while the server, which hangs, has the request; fails unless the write then ends as unavailable."""
    raised: list[StoreError] = []
    asked = len(server.requests)

    def write() -> None:
        try:
            store.write(simple(2), "s", GATEWAY)
        except StoreError as error:
            raised.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    while len(server.requests) == asked:
        time.sleep(0.001)
    store.abort()
    thread.join(20.0)
    assert not thread.is_alive()
    assert [error.kind for error in raised] == ["unavailable"]


def test_abort_ends_a_write_that_hangs(scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]]) -> None:
    server, store = scripted(Answer(204, hang=True), timeout=50.0)
    abort_in_the_middle(store, server)
    with pytest.raises(StoreError):
        store.write(simple(2), "s", GATEWAY)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (Answer(503, b'{"code":"unavailable","message":"overloaded"}'), "unavailable", "503 overloaded"),
        (Answer(500, b"<html>\xe9 not utf-8"), "unavailable", "UnicodeDecodeError"),
        (Answer(408), "unavailable", "408"),
        (Answer(405, b"no"), "denied", "405 Method Not Allowed"),
        (Answer(302, headers={"Location": "http://elsewhere.invalid/"}), "denied", "302 Found"),
        (Answer(200, b"<html>please log in</html>"), "denied", "answered 200 where InfluxDB answers 204"),
        (Answer(201, b"{}"), "denied", "answered 201"),
        # A proxy's own page says nothing about the points: were they refused for it, a wrong URL would empty a journal.
        (Answer(400, b"<html>The plain HTTP request was sent to HTTPS port"), "denied", "400 Bad Request"),
        (Answer(422, b"[]"), "denied", "422"),
        (Answer(403, b'{"message":"token t0ken may not"}'), "denied", r"403 token \*\*\* may not"),
        (Answer(404, b'{"message":"a\\n\\tlong ' + b"x" * 999 + b'"}'), "denied", "404 a long x{100,200}$"),
    ],
)  # fmt: skip
def test_answers(
    scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]], answer: Answer, kind: str, text: str
) -> None:
    server, store = scripted(answer)
    with pytest.raises(StoreError, match=text) as error:
        store.write(simple(2), "s", GATEWAY)
    assert error.value.kind == kind
    assert len(server.requests) == 1
    assert store.write(simple(2), "s", GATEWAY) == Written(4)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("999999999", 3600, 3600),
        (lambda: email.utils.formatdate(time.time() + 100, usegmt=True), 1, 100),
        (lambda: email.utils.formatdate(time.time() - 100, usegmt=True), 0, 0),
        ("soon", None, None),
        ("-5", None, None),
    ],
    ids=["seconds", "too long", "date", "date in the past", "words", "negative"],
)
def test_retry_after(
    scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]],
    header: str | Callable[[], str],
    low: float | None,
    high: float | None,
) -> None:
    said = header if isinstance(header, str) else header()
    _, store = scripted(Answer(429, b"", {"Retry-After": said}))
    with pytest.raises(StoreError) as error:
        store.write(simple(1), "s", GATEWAY)
    assert error.value.kind == "unavailable"
    if low is None or high is None:
        assert error.value.retry_after is None
    else:
        assert error.value.retry_after is not None
        assert low <= error.value.retry_after <= high


def test_a_count_within_a_point_is_not_taken_for_the_servers(
    scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]],
) -> None:
    said = "partial write: points beyond retention policy dropped=4"
    lie = orjson.dumps({"error": f"partial write: unable to parse 'k raw=\"{said}'"})
    server, store = scripted(Answer(400, lie))
    assert store.write(simple(2), "s", GATEWAY) == Written(4)
    assert len(server.requests) == 3


def test_the_reasons_of_2x_and_3x_are_told(scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]]) -> None:
    v2 = b'{"code":"unprocessable entity","message":"failure writing points to database: partial write"}'
    v3 = b'{"error":"partial write of line protocol occurred","data":[{"error_message":"invalid column type"}]}'
    _, store = scripted(Answer(422, v2), Answer(400, v3))
    for why in (
        "422 failure writing points to database: partial write",
        "400 partial write of line protocol occurred: invalid column type",
    ):
        made = record([entry(1, start_of(1), (1.0,))], HUMIDITY)
        assert store.write(made, "s", GATEWAY) == Written(0, (Refused(1, f"{HUMIDITY.key}: {why}"),))


def test_one_request_of_nanoseconds_with_the_token(
    scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server, store = scripted(Answer(401))
    with pytest.raises(StoreError) as error:
        store.write(simple(3), "s", GATEWAY)
    [(path, headers, body)] = server.requests
    assert path == "/api/v2/write?org=-&bucket=b&precision=ns"
    assert headers["Authorization"] == "Token t0ken"
    assert body.count(b"\n") == 5
    assert "t0ken" not in caplog.text
    assert "t0ken" not in repr(error.value.__dict__) + str(error.getrepr(style="long"))


def test_nothing_is_sent_for_a_range_without_readings(
    scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]],
) -> None:
    server, store = scripted()
    assert store.write(RecordRange("j", 4, 9, (), ()), "s", GATEWAY) == Written(0)
    assert not server.requests


def test_victoria_metrics_says_stored_to_anything(victoria: VictoriaMetrics) -> None:
    """Why nothing but valid lines may ever be sent: this server drops the others without a word."""
    assert victoria.write("this is no line protocol")[0] == 204


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("server"))

    def store() -> InfluxStore:
        return InfluxStore(url=server.url, org="-", bucket="b", token="t0ken", timeout=50.0)

    with ScriptedHttp(tls=context) as server:
        with closing(store()) as distrustful, pytest.raises(StoreError, match=r"TLS: .*certificate") as error:
            distrustful.write(simple(1), "s", GATEWAY)
        assert error.value.kind == "denied"
        assert not server.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        with closing(store()) as trusting:
            assert trusting.write(simple(1), "s", GATEWAY) == Written(2)
            server.script.append(Answer(204, hang=True))
            abort_in_the_middle(trusting, server)


class Endless:
    """Answers with a head, and a body that does not end."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.sent = 0
        self._head, self._piece = head, piece
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(self._head)
                    while True:
                        connection.sendall(self._piece)
                        self.sent += len(self._piece)

    def __enter__(self) -> Endless:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.mark.parametrize("status", [204, 401, 500])
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"x" * 65536),
        (b"Content-Length: 99999999999\r\n", b"x" * 65536),
        (b"Transfer-Encoding: chunked\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    ],
    ids=["until closed", "long", "chunked"],
)
def test_an_answer_without_end_is_not_taken(status: int, head: bytes, piece: bytes) -> None:
    first = b"HTTP/1.1 %d what\r\n%s\r\n" % (status, head)
    with Endless(first, piece) as server:
        store = InfluxStore(url=server.url, org="o", bucket="b", token="t", timeout=10.0)
        began = time.monotonic()
        if status == 204:
            store.write(simple(1), "lab", GATEWAY)
        else:
            with pytest.raises(StoreError, match=str(status)):
                store.write(simple(1), "lab", GATEWAY)
        assert time.monotonic() - began < 9.0, "it did not wait for the end"
        store.close()
        assert server.sent < 40 * 2**20, "4 MiB were taken, and what the kernel holds in between"


def test_what_is_packed_unasked_is_not_unpacked(scripted: Callable[..., tuple[ScriptedHttp, InfluxStore]]) -> None:
    bomb = gzip.compress(b"x" * 30 * 2**20)
    _, store = scripted(Answer(401, bomb, {"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match="401"):
            store.write(simple(1), "lab", GATEWAY)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
