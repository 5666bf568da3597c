"""Simulated instruments, asked over real sockets and ptys by the links that ask real ones.

The simulator's framings and labmon.links were written apart from each other, from the specifications.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from labmon.drivers.catalogue import Catalogue
from labmon.drivers.driver import Answer
from labmon.drivers.given import value_of
from labmon.drivers.query import CompiledQuery
from labmon.drivers.variants import variants
from labmon.links.conversation import Conversation
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.links.errors import Garbled, LinkError, Refused, Silent
from labmon.links.link import Link
from labmon.links.opening import make_link
from labmon.links.stream import Listener
from labmon.model.reading import reason_code
from labmon.simulate.fault import FAULTS, Fault
from labmon.simulate.framing import Ascii, Rtu, Tcp, Text
from labmon.simulate.instrument import Instrument
from labmon.simulate.line import Instruments, PtyLine, TcpLine
from labmon.simulate.made import framing_of

CATALOGUE = Catalogue()


def instrument(driver: str, framing: str, **more: Any) -> Instrument:
    """One with what the file requires, as plain as it goes."""
    made = CATALOGUE.get(driver)
    required = {n: v for n, v in next(variants(made.file)).items() if made.file.params[n].required}
    address = made.file.address
    given = None if address is None or address.default is not None else address.from_ or "A"
    return Instrument(made, framing, given, required, chance=random.Random(1), **more)


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


class Hasty:
    """A link whose requests wait no longer than so many seconds: also those of a file with retries or a session."""

    def __init__(self, link: Conversation, most: float) -> None:
        self._link = link
        self._most = most
        self.retries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def exchange(self, request: Any, timeout: float, **more: Any) -> bytes:
        return await self._link.exchange(request, min(timeout, self._most), **more)


def answers(query: CompiledQuery, answer: Answer) -> dict[str, float | str | None]:
    return {
        spec.id: outcome.reason if outcome.value is None else outcome.value
        for spec, outcome in zip(query.channels, answer.outcomes, strict=True)
    }


async def ask(made: Instrument, query: CompiledQuery, link: Conversation) -> Answer:
    """The answer to a query, or the next that its instrument gives unasked."""
    if query.stream is None:
        return await query.ask(link)
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    link.listen(Listener([(query.stream, lambda payload, _: None if heard.done() else heard.set_result(payload))]))
    try:
        for _ in range(10):
            # A line without a known beginning is whole only when the end of another one was heard before it.
            made.advance(made.streaming.every[query.name])
            await asyncio.wait([heard], timeout=0.3)
            if heard.done():
                return query.decode([heard.result()])
        raise AssertionError("nothing is heard")
    finally:
        link.listen(None)


# What functions ask, no simulator can answer from the header alone.
SPOKEN = [
    (driver, framing)
    for driver, path in CATALOGUE.paths().items()
    if path.suffix == ".yaml"
    for framing in CATALOGUE.get(driver).framings
]


def test_a_driver_in_python_is_not_simulated() -> None:
    with pytest.raises(ValueError, match="asked in Python"):
        instrument("memmert/atmoweb", "text")


@pytest.mark.parametrize(("driver", "framing"), SPOKEN)
async def test_every_shipped_driver_in_every_framing(tmp_path: Path, driver: str, framing: str) -> None:
    made = instrument(driver, framing)
    async with connected(tmp_path, framing, made) as link:
        if made.identity is not None:
            assert await made.identity.check(link)
        for query in made.queries:
            for _ in range(2):
                told = answers(query, await ask(made, query, link))
                assert set(told) == {spec.id for spec in query.channels}
                wrong = {name: value for name, value in told.items() if not isinstance(value, (int, float))}
                for name, reason in wrong.items():
                    allowed = {"not-available", "input-bad", "no-data"} | without(made, query, name)
                    assert reason_code(str(reason)) in allowed, wrong
                assert len(wrong) < len(told), "an instrument that works has values"


def without(made: Instrument, query: CompiledQuery, channel: str) -> set[str]:
    """Why a channel may have no value that an instrument tells only where it is set so."""
    declared = next(c for c in made.driver.file.queries[query.name].channels if c.id == channel)
    return {"wrong-mode"} if declared.sources and all(s.if_ is not None for s in declared.sources) else set()


def resolution(made: Instrument, query: CompiledQuery, channel: str) -> float:
    """What one more in the raw value makes of a channel whose raw values are whole; 0 for the others."""
    declared = next(c for c in made.driver.file.queries[query.name].channels if c.id == channel)
    whole = {field.name for step in query.steps for field in step.fields if field.whole}
    scales = [
        abs(float(value_of(declared.scale if source.scale is None else source.scale, made.params)))
        for source in declared.sources
        if source.field in whole
    ]
    return max(scales, default=0.0)


@pytest.mark.parametrize(("driver", "framing"), SPOKEN)
async def test_what_is_set_is_what_is_read(tmp_path: Path, driver: str, framing: str) -> None:
    """Every channel that is not computed, set to values that its instrument can say, within what it can resolve."""
    made = instrument(driver, framing, sample=1.0)
    computed = {c.id for q in made.driver.file.queries.values() for c in q.channels if c.compute is not None}
    tried = 0
    async with connected(tmp_path, framing, made) as link:
        for query in made.queries:
            declared = {c.id: c for c in made.driver.file.queries[query.name].channels}
            for spec in query.channels:
                if spec.id in computed:
                    continue
                first = answers(query, await ask(made, query, link))[spec.id]
                if not isinstance(first, (int, float)):
                    allowed = {"not-available"} | without(made, query, spec.id)
                    assert reason_code(str(first)) in allowed, f"{spec.id}: {first}"
                    continue
                step = 10 ** -min(spec.decimals, 2)
                for want in spec.states or (
                    first,
                    round(first + step, spec.decimals),
                    round(first - step, spec.decimals),
                ):
                    low, high = declared[spec.id].range or (-1e99, 1e99)
                    if not spec.states and (want < max(low, 0 if first >= 0 else low) or want > high):
                        continue
                    made.jump(spec.id, float(want))
                    if spec.id in made.quantities:
                        made.quantities[spec.id].noise = 0.0
                        made.quantities[spec.id].counts = False
                    for stored in made.stored.values():
                        stored.samples.clear()  # else a queue shows what was before
                    made.advance(2.0)
                    told = answers(query, await ask(made, query, link))[spec.id]
                    if isinstance(told, str) and spec.kind == "state" and not spec.states:
                        continue  # a status word says whether it holds itself
                    coarse = (
                        1.5
                        if spec.id in made.life.clocks
                        else 0.51 * max(10**-spec.decimals, resolution(made, query, spec.id))
                    )
                    assert told == pytest.approx(want, abs=coarse), spec.id
                    tried += 1
                made.jump(spec.id, float(first))  # a status word, say, has a meaning for others
    assert tried or made.driver.generic, "what a generic driver reads, its parameters say"


FRAMED = [
    ("modbus-rtu", "vaisala/gmp25x"),
    ("modbus-ascii", "thermo/ult-freezer"),
    ("modbus-tcp", "lighthouse/remote"),
    ("text", "thermo/cytomat"),
    ("text", "thermo/heracell"),
]


async def failure(query: CompiledQuery, link: Conversation | Hasty) -> type[LinkError] | None:
    try:
        await query.ask(cast(Link, link))
    except LinkError as error:
        await link.settle()
        return type(error)
    return None


WHAT_COMES_OF_IT: Mapping[str, type[LinkError] | None] = {
    "ok": None,
    "silent": Silent,
    "late 0.2": Silent,
    "garbled": Garbled,
    "junk before": None,  # what comes before a frame, or after it, is no part of it
    "junk inside": Garbled,
    "junk after": None,
    "cut": Silent,
    "twice": None,
    "wrong-unit": Garbled,
    "wrong-checksum": Garbled,
    "refuse": Refused,
}
OTHERWISE = {
    # A line of plain text begins with its first character, whatever it is.
    ("text", "thermo/cytomat", "junk before"): {Garbled},
    # A byte within the header can make it a longer frame.
    ("modbus-tcp", "lighthouse/remote", "junk inside"): {Garbled, Silent},
}
CANNOT = {
    ("modbus-tcp", "lighthouse/remote", "wrong-checksum"): "no checksum",
    ("text", "thermo/cytomat", "wrong-checksum"): "no checksum",
    ("text", "thermo/cytomat", "wrong-unit"): "no unit id",
    ("text", "thermo/heracell", "wrong-unit"): "no unit id",
}


def test_every_fault_is_tried() -> None:
    assert {text.split()[0] for text in WHAT_COMES_OF_IT} == set(FAULTS)


@pytest.mark.parametrize(("framing", "driver"), FRAMED)
@pytest.mark.parametrize("fault", WHAT_COMES_OF_IT)
async def test_a_fault_is_what_it_is_called_and_nothing_else(
    tmp_path: Path, framing: str, driver: str, fault: str
) -> None:
    made = instrument(driver, framing)
    query = made.queries[0]
    case = framing, driver, fault
    if case in CANNOT:
        with pytest.raises(ValueError, match=CANNOT[case]):
            made.misbehave(Fault.parse(fault))
        assert made.fault == Fault()
        return
    async with connected(tmp_path, framing, made) as link:
        made.misbehave(Fault.parse(fault))
        hasty = Hasty(link, 0.15)
        found = {await failure(query, hasty) for _ in range(3)}
        assert found <= OTHERWISE.get(case, {WHAT_COMES_OF_IT[fault]}), found
        made.misbehave(Fault())
        await link.settle()
        assert await failure(query, link) is None, "and well again"


@pytest.mark.parametrize(("framing", "driver"), FRAMED)
async def test_a_refusal_has_the_code_that_was_asked_for(tmp_path: Path, framing: str, driver: str) -> None:
    made = instrument(driver, framing)
    query = made.queries[0]
    text = framing == "text"
    code = {"thermo/cytomat": "01", "thermo/heracell": "1"}.get(driver, "6")
    async with connected(tmp_path, framing, made) as link:
        made.misbehave(Fault.parse(f"refuse {code}"))
        with pytest.raises(Refused) as refused:
            await query.ask(link)
        assert str(refused.value.error) == code
        for wrong in ("nonsense",) if text else ("0", "256", "-1", "x"):
            with pytest.raises(ValueError):
                made.misbehave(Fault.parse(f"refuse {wrong}"))


@pytest.mark.parametrize(
    "text", ["", "loud", "late x", "late 1 2", "junk here", "cut 3", "late nan", "late inf", "late -1"]
)
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
        assert await failure(made[1].queries[0], Hasty(link, 0.1)) is Silent


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
    "text": (Text(lambda: {b"ch:it\r\n", b"ch:i\r\n", b"c\r\n"}), b"ch:it\r\n", (None, b"ch:it\r\n")),
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
