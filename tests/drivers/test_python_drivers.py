"""Drivers in Python: found beside the files, proven by the same examples, and a fault in one costs its device alone."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from labmon.acquisition.line import Line
from labmon.acquisition.plan import DevicePlan, LinePlan, QueryPlan, Slot
from labmon.drivers import call_step, examples, python_driver
from labmon.drivers.call_step import DriverFault, Talk
from labmon.drivers.catalogue import BrokenDriver, Catalogue
from labmon.drivers.load import load_driver
from labmon.drivers.python.atmoweb import DRIVER, Get, value_of
from labmon.drivers.python_driver import PythonDriver
from labmon.health.line import LineHealth
from labmon.links.endpoint import TcpEndpoint
from labmon.links.errors import Garbled, LinkLost, Silent
from labmon.links.opening import make_link
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import Raw

ROOT = Path(__file__).parents[2]
HEADER = """
labmon-driver: 1
maker: Example
models: [X-1]
title: Example X-1
class: test
manual: {document: none, revision: none, pages: none}
framings: [text]
timing: {timeout: 100 ms}
queries:
  values:
    every: 1 s
    requests:
      - call: ask
        fields:
          value: {type: number, sentinels: [{raw: N/A, reason: not-available}]}
          state: {type: word, codes: {RUN: 1, STOP: 0}}
          count: {type: integer}
    channels:
      - {id: value, name: Value, unit: Cel, range: [-10, 100]}
      - {id: state, name: State, unit: "1", states: {0: stopped, 1: running}}
      - {id: count, name: Count, unit: "{#}"}
"""


class Nowhere:
    """A link on which nothing answers."""

    is_open = True

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0

    async def exchange(self, request: Any, timeout: float, *, gap: float = 0.0) -> bytes:
        self.asked += 1
        try:
            await asyncio.sleep(timeout)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise Silent


class Bytes:
    size = 4
    manner = None

    def encode(self, transaction: int) -> bytes:
        return b"?"

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        return buffer

    def begins(self, buffer: bytes, transaction: int) -> bool:
        return True


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a driver under an entry point, as a package of somebody else's would."""
    made: dict[str, Any] = {}

    def install(name: str, function: Callable[[Talk], Any] | None = None, *, text: str = "", folder: Path) -> None:
        module = f"labmon_test_{name.replace('.', '_').replace('-', '_')}"
        (folder / f"{module}.py").write_text(text or f"HEADER = '''{HEADER}'''\n")
        monkeypatch.syspath_prepend(str(folder))
        made[name] = EntryPoint(name, f"{module}:DRIVER", python_driver.GROUP)
        if function is not None:
            __import__(module)
            loaded = sys.modules[module]
            loaded.DRIVER = PythonDriver(loaded.HEADER, {"ask": function})  # type: ignore[attr-defined]

    monkeypatch.setattr(python_driver, "entry_points", lambda group: list(made.values()))
    yield install
    for entry in made.values():
        sys.modules.pop(entry.module, None)


def good(talk: Talk) -> Mapping[str, Raw]:
    return {"value": 36.6, "state": "RUN", "count": 3}


# ---------------------------------------------------------------- finding


def test_the_package_names_what_it_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][python_driver.GROUP] == python_driver.SHIPPED


def test_a_python_driver_stands_beside_the_files_and_its_source_is_kept() -> None:
    catalogue = Catalogue()
    path = catalogue.paths()["memmert/atmoweb"]
    assert path == ROOT / "labmon/drivers/python/atmoweb.py"
    driver = catalogue.get("memmert/atmoweb")
    assert driver.proven
    assert driver.source_text == path.read_text(), "what the journal keeps is the whole module"
    assert (driver.file.maker, driver.file.class_) == ("Memmert", "incubator")
    assert load_driver(path).driver is not None, "by its file alone, too"


def test_every_example_of_the_shipped_one_holds() -> None:
    results = examples.run(Catalogue().get("memmert/atmoweb"))
    assert len(results) >= 14
    assert [f"{r.number}: {p}" for r in results for p in r.problems] == []


def test_an_example_that_does_not_hold_is_found() -> None:
    wrong = DRIVER.header.replace("readings: {temperature: 37.02}", "readings: {temperature: 37.03}")
    wrong = wrong.replace("GET /atmoweb?HumRead=", "GET /atmoweb?Hum=", 1)
    loaded = load_driver(Path("atmoweb.yaml"), text=wrong)
    assert loaded.driver is None, "a driver file cannot call functions"
    assert "there is no function Temp1Read; a driver file asks by read, write and send" in str(loaded.errors[0])
    changed = PythonDriver(wrong, DRIVER.calls)
    entry = EntryPoint("a.b", "tests:DRIVER", python_driver.GROUP)
    source = python_driver.Source(Path("x.py"), changed, wrong)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_driver, "entries", lambda: {"a/b": entry})
        patch.setattr(python_driver, "read", lambda _: source)
        driver = load_driver(Path("x.py"), "a/b").driver
    assert driver is not None
    problems = [problem for result in examples.run(driver) for problem in result.problems]
    assert len(problems) == 2
    assert problems[0] == "temperature: 37.02 instead of 37.03"
    assert problems[1].startswith("exchange 1: labmon sends 'GET /atmoweb?HumRead=")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise OSError('no such thing')", "cannot be imported: OSError: no such thing"),
        ("import sys; DRIVER = 5", "is no PythonDriver"),
        ("nothing = 1", "cannot be imported: AttributeError"),
    ],
)
def test_a_broken_driver_costs_the_others_nothing(
    installed: Callable[..., None], tmp_path: Path, text: str, words: str
) -> None:
    installed("example.broken", text=text, folder=tmp_path)
    installed("example.good", good, folder=tmp_path)
    catalogue = Catalogue()
    with pytest.raises(BrokenDriver, match=words):
        catalogue.get("example/broken")
    assert catalogue.get("example/good").title == "Example X-1"


def test_mistakes_in_a_header_are_told_with_their_place_in_the_module(
    installed: Callable[..., None], tmp_path: Path
) -> None:
    wrong = HEADER.replace("call: ask", "call: aks").replace("unit: Cel", "unit: degC")
    installed("example.wrong", good, text=f"# A comment.\nHEADER = '''{wrong}'''\n", folder=tmp_path)
    with pytest.raises(BrokenDriver) as caught:
        Catalogue().get("example/wrong")
    told = str(caught.value).splitlines()
    lines = (tmp_path / "labmon_test_example_wrong.py").read_text().splitlines()
    assert len(told) == 2
    for line in told:
        number = int(line.split(":")[1])
        assert "aks" in lines[number - 1] or "degC" in lines[number - 1]
    assert "did you mean `ask`?" in told[0]


# ---------------------------------------------------------------- what a driver may do


async def asked(function: Callable[[Talk], Any], link: Any, tmp_path: Path, installed: Callable[..., None]) -> Any:
    installed("example.one", function, folder=tmp_path)
    [query] = Catalogue().get("example/one").queries("text", None, {})
    return await query.ask(link)


async def test_values_are_judged_as_those_of_any_driver(installed: Callable[..., None], tmp_path: Path) -> None:
    answer = await asked(lambda talk: {"value": "N/A", "state": "STOP", "count": None}, Nowhere(), tmp_path, installed)
    assert [(o.value, o.reason) for o in answer.outcomes] == [
        (None, "not-available (N/A)"), (0.0, None), (None, "not-available"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "nonsense",
    [
        None, 5, "text", [], {}, {"value": 1.0}, {"value": 1.0, "state": "RUN", "count": 1, "more": 2},
        {"value": True, "state": "RUN", "count": 1}, {"value": [1], "state": "RUN", "count": 1},
        {"value": 1.0, "state": 5, "count": 1}, {"value": 1.0, "state": "RUN", "count": 1.5},
        {"value": 1.0, "state": "RUN", "count": 2**70}, {"value": 1.0, "state": "RUN", "count": float("nan")},
    ],
    ids=repr,
)  # fmt: skip
async def test_nonsense_is_a_fault_of_the_driver(nonsense: Any, installed: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(DriverFault):
        await asked(lambda talk: nonsense, Nowhere(), tmp_path, installed)


async def test_what_a_driver_raises_reaches_its_line(installed: Callable[..., None], tmp_path: Path) -> None:
    def fails(talk: Talk) -> Any:
        raise KeyError("x")

    def leaves(talk: Talk) -> Any:
        raise SystemExit(3)

    def asks(talk: Talk) -> Any:
        return talk.exchange(Bytes())  # type: ignore[arg-type]

    for function, error in ((fails, KeyError), (leaves, DriverFault), (asks, Silent)):
        with pytest.raises(error):
            await asked(function, Nowhere(), tmp_path, installed)
        sys.modules.pop("labmon_test_example_one", None)


async def test_a_driver_that_hangs_is_left_and_not_called_again_until_it_ends(
    installed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_step, "OPENING", 0.1)
    go, calls = threading.Event(), []

    def hangs(talk: Talk) -> Any:
        calls.append(talk)
        go.wait(30.0)
        return {"value": 1.0, "state": "RUN", "count": 1}

    installed("example.one", hangs, folder=tmp_path)
    [query] = Catalogue().get("example/one").queries("text", None, {})
    link: Any = Nowhere()
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0.01)

    beside = asyncio.create_task(other())
    with pytest.raises(DriverFault, match="did not come to its end"):
        await query.ask(link)
    assert others > 5, "the loop went on"
    with pytest.raises(DriverFault, match="since it was called before"):
        await query.ask(link)
    elsewhere: Any = Nowhere()
    with pytest.raises(DriverFault, match="did not come to its end"):
        await query.ask(elsewhere)
    beside.cancel()
    assert len(calls) == 2
    go.set()
    deadline = time.monotonic() + 10
    while any(t.name == "driver ask" for t in threading.enumerate()) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    answer = await query.ask(link)
    assert answer.outcomes[0].value == 1.0


async def test_an_exchange_that_outlives_its_asking_is_ended(
    installed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_step, "OPENING", 0.0)
    monkeypatch.setattr(call_step, "TIMES", 0.5)
    link = Nowhere()
    with pytest.raises(DriverFault, match="did not come to its end"):
        await asked(lambda talk: talk.exchange(Bytes()), link, tmp_path, installed)  # type: ignore[arg-type]
    assert (link.asked, link.cancelled) == (1, 1)


async def test_a_driver_that_is_not_waited_for_any_more_sends_nothing(
    installed: Callable[..., None], tmp_path: Path
) -> None:
    kept: list[Talk] = []

    def keeps(talk: Talk) -> Any:
        kept.append(talk)
        return good(talk)

    link = Nowhere()
    await asked(keeps, link, tmp_path, installed)
    with pytest.raises(DriverFault):
        await asyncio.to_thread(kept[0].exchange, Bytes())  # type: ignore[arg-type]
    assert link.asked == 0


# ---------------------------------------------------------------- AtmoWEB


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ('{"Temp1Read": 37.0}', 37.0), ("Temp1Read: 37.0", 37.0), ("{Temp1Read: 37,}", 37.0),
        ("{'Temp1Read': -5.5", -5.5),
        ('{"TempSet": 30, "Temp1Read": "36.9"}', 36.9), ('{"Temp1Read": N/A}', "N/A"), ('{"Temp1Read":}', ""),
        ('{"XTemp1Read": 1, "Temp1Read" : 2}', 2.0), ('{"Temp1Read": 1e999999}', "1e999999"),
    ],
)  # fmt: skip
def test_what_is_almost_json_is_read(body: str, value: Raw) -> None:
    assert value_of("Temp1Read", body) == value


@pytest.mark.parametrize("body", ["", "{}", '{"Temp2Read": 1}', "Temp1Read 5", "x" * 100_000])
def test_what_does_not_hold_the_key_is_garbled(body: str) -> None:
    with pytest.raises(Garbled):
        value_of("Temp1Read", body)


def test_a_reply_is_whole_at_the_right_byte() -> None:
    for head, tail in ((b"Content-Length: 5", b"12345"), (b"Transfer-Encoding: chunked", b"5\r\n12345\r\n0\r\n\r\n")):
        whole = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + tail
        get = Get("/x", "h")
        ends = [at for at in range(len(whole) + 1) if get.match(whole[:at], 1) is not None]
        assert ends[0] >= whole.index(b"12345") + 5
        assert get.match(whole, 1) == b"12345"
        assert Get("/x", "h").closed() is None


class Taker:
    """A recorder that keeps everything."""

    remembers = True
    taken = 0

    def __init__(self) -> None:
        self.values: list[float | None] = []
        self.reasons: list[str | None] = []
        self.conditions: list[tuple[str, bool]] = []

    def accept(self, exchange: Exchange, key: str | None = None) -> None:
        self.values += [r.value for r in exchange.readings]
        self.reasons += [r.reason for r in exchange.readings]

    def condition(self, alarm: str, active: bool, detail: str) -> None:
        self.conditions.append((alarm, active))

    def flags(self, device: str) -> int:
        return 0

    def setting(self, name: str) -> str | None:
        return None

    def told(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize("manner", ["keeps", "closes", "closes at once", "no length"])
async def test_an_instrument_that_closes_after_each_answer_is_no_lost_line(manner: str) -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        try:
            while line := await reader.readline():
                while await reader.readline() not in (b"\r\n", b""):
                    pass
                if not line.startswith(b"GET /atmoweb?"):
                    continue
                served += 1
                body = b'{"' + line[13:].split(b"=")[0] + b'": 5.0}'
                length = b"" if manner == "no length" else b"Content-Length: %d\r\n" % len(body)
                writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + body)
                await writer.drain()
                if manner != "keeps":
                    break
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = TcpEndpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    driver = Catalogue().get("memmert/atmoweb")
    queries = []
    for query in driver.queries("text", None, {"co2": True, "humidity": True}):
        key = f"oven.{query.name}"
        column = Column(key, "a", "oven", query.name, "temperature", "Cel")
        queries.append(QueryPlan(query, 0.3, Layout(key, (column,)), (Slot(0, key, 1.0, 0.0, 0),)))
    device = DevicePlan("oven", driver, None, tuple(queries), None)
    recorder = Taker()
    line = Line(
        LinePlan("web", endpoint, "text", 0.0, (device,)),
        make_link(endpoint, "text"),
        recorder,  # type: ignore[arg-type]
        LineHealth("web"),
    )
    task = asyncio.create_task(line.run())
    deadline = time.monotonic() + 20
    while len([v for v in recorder.values if v is not None]) < 9 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()
    await server.wait_closed()
    assert len([v for v in recorder.values if v == 5.0]) >= 9
    assert {r for r in recorder.reasons if r is not None} <= {"link-lost (still opening)"}
    assert ("line.web.lost", True) not in recorder.conditions
    assert served >= 9


async def test_nobody_there_is_a_lost_line() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    endpoint = TcpEndpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    link = make_link(endpoint, "text")
    [query] = Catalogue().get("memmert/atmoweb").queries("text", None, {})
    with pytest.raises(LinkLost):
        await query.ask(link)
    await link.close()


# ---------------------------------------------------------------- the page


def test_the_page_is_a_driver_that_works(installed: Callable[..., None], tmp_path: Path) -> None:
    page = (ROOT / "docs/python-drivers.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.S)
    assert [info for info, _ in blocks] == ["python", "toml"]
    entries = tomllib.loads(blocks[1][1])["project"]["entry-points"][python_driver.GROUP]
    [(name, value)] = entries.items()
    assert value.endswith(":DRIVER")
    installed(name, text=blocks[0][1], folder=tmp_path)
    loaded = load_driver(Catalogue().paths()["example/l-1"], "example/l-1")
    assert loaded.driver is not None, loaded.errors
    assert loaded.warnings == []
    results = examples.run(loaded.driver)
    assert len(results) == 3
    assert [problem for result in results for problem in result.problems] == []
    assert f"{call_step.TIMES:g}" == "4" and f"{call_step.OPENING:g} s" in page
