"""Simulated instruments, asked over real sockets and ptys by the links that ask real ones.

The simulator's framings and labmon.links were written apart from each other, from the specifications.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from labmon.drivers.catalogue import Catalogue
from labmon.drivers.driver import Answer
from labmon.drivers.query import CompiledQuery
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.errors import Garbled, LinkError, Refused, Silent
from labmon.links.opening import make_link
from labmon.model.reading import reason_code
from labmon.simulate.fault import FAULTS, Fault
from labmon.simulate.framing import Ascii, Rtu, Tcp, Text
from labmon.simulate.instrument import Instrument, framing_of
from labmon.simulate.line import Instruments, PtyLine, TcpLine

CATALOGUE = Catalogue()
REQUIRED: Mapping[str, dict[str, Any]] = {
    "lighthouse/remote": {"flow-unit": "L/min"},
    "alicat/mass-flow": {"pressure-unit": "kPa", "volume-flow-unit": "L/min", "mass-flow-unit": "L{std}/min"},
}
ADDRESS: Mapping[str, Any] = {"alicat/mass-flow": "A"}


def instrument(driver: str, framing: str, **more: Any) -> Instrument:
    made = CATALOGUE.get(driver)
    declared = {name: value for name, value in REQUIRED.get(driver, {}).items() if name in made.file.params}
    return Instrument(made, framing, ADDRESS.get(driver), declared, chance=random.Random(1), **more)


@asynccontextmanager
async def connected(folder: Path, framing: str, *made: Instrument) -> AsyncIterator[Conversation]:
    """A link to instruments that are served in this framing: TCP on a socket, the others on a pty."""
    instruments = Instruments(framing_of(framing, made), made, random.Random(2))
    line: TcpLine | PtyLine
    if framing == "modbus-tcp":
        line = TcpLine(instruments)
        await line.start()
        endpoint: Any = TcpEndpoint("127.0.0.1", line.port)
    else:
        line = PtyLine(instruments, folder / "port")
        await line.start()
        endpoint = SerialEndpoint(str(folder / "port"), 115200)
    link = make_link(endpoint, framing, least_quiet=0.03)  # type: ignore[arg-type]
    try:
        await link.open()
        yield link
    finally:
        await link.close()
        await line.stop()


def answers(query: CompiledQuery, answer: Answer) -> dict[str, float | str | None]:
    return {
        spec.id: outcome.reason if outcome.value is None else outcome.value
        for spec, outcome in zip(query.channels, answer.outcomes, strict=True)
    }


SPOKEN = [(driver, framing) for driver in CATALOGUE.paths() for framing in CATALOGUE.get(driver).framings]


@pytest.mark.parametrize(("driver", "framing"), SPOKEN)
async def test_every_shipped_driver_in_every_framing(tmp_path: Path, driver: str, framing: str) -> None:
    made = instrument(driver, framing)
    async with connected(tmp_path, framing, made) as link:
        if made.identity is not None:
            assert await made.identity.check(link)
        for query in made.queries:
            for _ in range(2):
                told = answers(query, await query.ask(link))
                assert set(told) == {spec.id for spec in query.channels}
                wrong = {name: value for name, value in told.items() if not isinstance(value, (int, float))}
                allowed = {"not-available", "input-bad", "no-data"}
                assert {reason_code(str(v)) for v in wrong.values()} <= allowed, wrong
                assert len(wrong) < len(told), "an instrument that works has values"


@pytest.mark.parametrize(("driver", "framing"), SPOKEN)
async def test_what_is_set_is_what_is_read(tmp_path: Path, driver: str, framing: str) -> None:
    """Every channel that moves, moved to a value that its instrument can say."""
    made = instrument(driver, framing, sample=1.0)
    async with connected(tmp_path, framing, made) as link:
        for query in made.queries:
            first = answers(query, await query.ask(link))
            movable = [s for s in query.channels if s.id in made.quantities and isinstance(first[s.id], (int, float))]
            for spec in movable:
                if any(
                    c.id == spec.id and c.compute is not None for c in made.driver.file.queries[query.name].channels
                ):
                    continue
                was = made.quantities[spec.id].target
                want = round(was + 10 ** -min(spec.decimals, 2), spec.decimals)
                made.quantities[spec.id].noise = 0.0
                made.quantities[spec.id].counts = False
                made.jump(spec.id, want)
                made.advance(2.0)
                told = answers(query, await query.ask(link))
                assert told[spec.id] == pytest.approx(want, abs=0.51 * 10**-spec.decimals), spec.id
                made.jump(spec.id, was)  # a status word, say, has a meaning for others


FRAMED = [
    ("modbus-rtu", "vaisala/gmp25x"),
    ("modbus-ascii", "thermo/ult-freezer"),
    ("modbus-tcp", "lighthouse/remote"),
    ("text", "thermo/cytomat"),
]


async def failure(query: CompiledQuery, link: Conversation) -> type[LinkError] | None:
    try:
        await query.ask(link)
    except LinkError as error:
        await link.settle()
        return type(error)
    return None


@pytest.mark.parametrize(("framing", "driver"), FRAMED)
@pytest.mark.parametrize("fault", FAULTS)
async def test_faults(tmp_path: Path, framing: str, driver: str, fault: str) -> None:
    made = instrument(driver, framing)
    query = made.queries[0]
    query._asking.timeout = 0.15
    async with connected(tmp_path, framing, made) as link:
        made.fault = Fault.parse("late 0.2" if fault == "late" else fault)
        found = {await failure(query, link) for _ in range(3)}
        if fault == "ok":
            assert found == {None}
        elif fault in ("silent", "late"):
            assert found == {Silent}
        elif fault == "refuse":
            assert found == {Refused}
        elif fault == "cut":
            assert found <= {Silent, Garbled}
        elif framing == "text":
            # A line without checksum has nothing by which to tell; it is the pattern that must not match.
            assert found <= {None, Silent, Garbled, Refused}
        elif fault == "junk":
            assert found <= {None, Garbled}, "what comes before the frame is no part of it"
        elif framing == "modbus-tcp" and fault != "wrong-unit":
            # It has no checksum: a bit that fell over in the data looks like any other.
            assert found <= {None, Silent, Garbled, Refused}
        else:
            assert None not in found
        made.fault = Fault()
        await link.settle()
        assert await failure(query, link) is None, "and well again"


@pytest.mark.parametrize("text", ["", "loud", "late x", "late 1 2", "refuse x", "late nan", "late inf", "late -1"])
def test_a_fault_that_does_not_exist(text: str) -> None:
    with pytest.raises(ValueError):
        Fault.parse(text)


async def test_several_units_on_one_line(tmp_path: Path) -> None:
    driver = CATALOGUE.get("delta-ohm/hd402st")
    made = [Instrument(driver, "modbus-rtu", unit, {}) for unit in (1, 2, 3)]
    for number, one in enumerate(made):
        one.quantities["pressure"].noise = 0.0
        one.jump("pressure", 10.0 + number)
    made[1].fault = Fault("silent")
    async with connected(tmp_path, "modbus-rtu", *made) as link:
        assert answers(made[0].queries[0], await made[0].queries[0].ask(link)) == {"pressure": 10.0}
        assert answers(made[2].queries[0], await made[2].queries[0].ask(link)) == {"pressure": 12.0}
        made[1].queries[0]._asking.timeout = 0.1
        assert await failure(made[1].queries[0], link) is Silent


# ---------------------------------------------------------------- what an instrument keeps


async def test_a_record_is_the_same_until_the_next_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("labmon.simulate.instrument.time.time", lambda: now)
    made = instrument("lighthouse/remote", "modbus-tcp", sample=10.0)
    query = next(q for q in made.queries if q.kind == "record")
    async with connected(tmp_path, "modbus-tcp", made) as link:
        keys = []
        for _ in range(3):
            first = await query.ask(link)
            again = await query.ask(link)
            assert (first.key, first.time, answers(query, first)) == (again.key, again.time, answers(query, again))
            assert first.time == int(now) * 10**9
            keys.append(first.key)
            now += 9.0
            made.advance(9.0)
            assert (await query.ask(link)).key == first.key, "not before its time"
            now += 1.0
            made.advance(1.0)
        assert len(set(keys)) == 3, "each sample is a record of its own"


async def test_a_bad_channel_has_the_reason_that_its_driver_can_say(tmp_path: Path) -> None:
    made = instrument("delta-ohm/hd402st", "modbus-rtu")
    (query,) = made.queries
    async with connected(tmp_path, "modbus-rtu", made) as link:
        for reason in ("not-available", "not-reliable"):
            made.make_bad("pressure", reason)
            assert reason_code(str(answers(query, await query.ask(link))["pressure"])) == reason
            made.jump("pressure", 12.0)
            assert isinstance(answers(query, await query.ask(link))["pressure"], float)
        with pytest.raises(ValueError):
            made.make_bad("pressure", "no-sensor")
        with pytest.raises(ValueError, match="no channel pressur"):
            made.make_bad("pressur", "not-available")
        with pytest.raises(ValueError, match="there are pressure"):
            made.jump("pressur", 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 1e6, -1e6])
async def test_a_value_that_the_instrument_cannot_say_is_refused(tmp_path: Path, value: float) -> None:
    made = instrument("delta-ohm/hd402st", "modbus-rtu")
    before = made.channels().keys()
    with pytest.raises(ValueError):
        made.jump("pressure", value)
    assert made.channels().keys() == before
    async with connected(tmp_path, "modbus-rtu", made) as link:
        assert isinstance(answers(made.queries[0], await made.queries[0].ask(link))["pressure"], float)


async def test_values_drift_to_the_room_and_back(tmp_path: Path) -> None:
    made = instrument("thermo/cytomat", "text")
    made.to_ambient("temperature")
    made.advance(1000.0)
    assert made.channels()["temperature"] == pytest.approx(24.0, abs=0.5)
    made.to_usual()
    made.advance(1.0)
    assert 24.0 < made.channels()["temperature"] < 30.0, "by its time constant"
    made.advance(1000.0)
    assert made.channels()["temperature"] == pytest.approx(37.0, abs=0.5)


# ---------------------------------------------------------------- requests in pieces and in pairs


def requests_of(framing: Any, *pieces: bytes) -> list[tuple[int | None, bytes]]:
    buffer = bytearray()
    found = []
    for piece in pieces:
        buffer += piece
        found += [(asked.unit, asked.body) for asked in framing.requests(buffer)]
    return found


RTU = bytes.fromhex("0104000300 0340 0B".replace(" ", ""))
ONE = {
    "rtu": (Rtu(), RTU, (1, RTU[1:-2])),
    "ascii": (Ascii(), b":010300020001F9\r\n", (1, bytes.fromhex("0300020001"))),
    "tcp": (Tcp(), bytes.fromhex("000700000006 010300000001".replace(" ", "")), (1, bytes.fromhex("0300000001"))),
    "text": (Text((b"\r", b"\n")), b"ch:it\r\n", (None, b"ch:it")),
}


@pytest.mark.parametrize("name", ONE)
def test_requests_come_in_pieces_and_glued_together(name: str) -> None:
    framing, frame, asked = ONE[name]
    assert requests_of(framing, *(bytes([byte]) for byte in frame)) == [asked]
    assert requests_of(framing, frame + frame + frame) == [asked] * 3
    for cut in range(len(frame)):
        assert requests_of(framing, frame + frame[:cut], frame[cut:]) == [asked] * 2


@pytest.mark.parametrize("name", ["rtu", "ascii"])
def test_junk_before_a_request_is_passed_over(name: str) -> None:
    framing, frame, asked = ONE[name]
    for junk in (b"\x00", b"\xff\xff", b"\x01\x04\x00", frame[:-1]):
        assert requests_of(framing, junk + frame)[-1:] == [asked], junk


@pytest.mark.parametrize("name", ONE)
def test_no_bytes_make_a_framing_fail(name: str) -> None:
    framing, frame, _ = ONE[name]
    chance = random.Random(7)
    for _ in range(300):
        requests_of(framing, *(chance.randbytes(chance.randrange(40)) for _ in range(4)), frame)
