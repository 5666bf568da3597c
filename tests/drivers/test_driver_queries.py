"""Queries over a link: order and gaps of the requests, declared writes, errors with their meaning, the way back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import encoder
import pytest

from labmon.drivers import examples
from labmon.drivers.catalogue import Catalogue, shipped_folder
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import WrongInstrument
from labmon.drivers.load import load_driver
from labmon.drivers.query import CompiledQuery
from labmon.links.errors import Garbled, Refused, Silent
from labmon.links.link import Memory, Request
from labmon.model.reading import Raw

FOLDER = Path(__file__).parents[2] / "drivers"
FILES = sorted(FOLDER.glob("*/*.yaml"))


@dataclass
class Wire:
    """A link whose far end answers as told."""

    replies: list[bytes | Exception]
    sent: list[tuple[bytes, float, float]] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    retries: int = 0
    rests: list[float] = field(default_factory=list)

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)

    async def exchange(self, request: Request, timeout: float, *, gap: float = 0.0) -> bytes:
        self.sent.append((request.encode(1), timeout, gap))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        payload = request.match(reply, 1)
        if payload is None:
            raise Silent("incomplete")
        return payload


def shipped(name: str) -> CompiledDriver:
    return Catalogue().get(name)


def query(driver: CompiledDriver, name: str, framing: str, address: Any, params: dict[str, Any]) -> CompiledQuery:
    return next(q for q in driver.queries(framing, address, params) if q.name == name)


LIGHTHOUSE = {"flow-scale": 0.01, "flow-unit": "[cft_i]/min"}


async def test_a_record_is_asked_for_in_the_declared_order() -> None:
    driver = shipped("lighthouse/remote")
    record = query(driver, "record", "modbus-ascii", 1, LIGHTHOUSE)
    example = next(e for e in driver.file.examples if e.query == "record")
    wire = Wire([e.got.encode() for e in example.exchanges])
    answer = await record.ask(wire)  # type: ignore[arg-type]
    assert [sent[1:7] for sent, _, _ in wire.sent] == [b"010300", b"010300", b"010600", b"010400", b"010400"]
    assert wire.sent[2][0] == b":01060018FFFFE3\r\n"
    assert (answer.time, answer.key) == (1_763_820_000_000_000_000, "1763820000/3")
    values = {spec.id: o.value for spec, o in zip(record.channels, answer.outcomes, strict=True)}
    assert values["counts-1"] == 350
    assert values["concentration-1"] == pytest.approx(350 / 0.3048**3)


async def test_nothing_is_read_after_a_step_that_failed() -> None:
    driver = shipped("lighthouse/remote")
    record = query(driver, "record", "modbus-ascii", 1, LIGHTHOUSE)
    wire = Wire([Silent("nothing")])
    with pytest.raises(Silent):
        await record.ask(wire)  # type: ignore[arg-type]
    assert len(wire.sent) == 1


PAIRS = """\
labmon-driver: 1
maker: Test
models: [T-1]
title: Test T-1
class: thermometer
manual: {document: none, revision: none, pages: "1"}
framings: [modbus-rtu]
serial: {baud: 9600}
base: modicon
order: ORDER
writes: [{holding: 40035, count: 2, effect: sets the time}]
queries:
  q:
    every: 5 s
    requests:
      - {write: holding, at: 40035, type: TYPE, value: VALUE}
      - {read: holding, at: 40001, count: 1, fields: {a: {at: 40001, type: u16}}}
    channels: [{id: a, name: A, unit: "1"}]
"""


@pytest.mark.parametrize(
    ("type_", "value", "order", "words"),
    [
        ("u32", 0x69B1_3D20, "ABCD", (0x69B1, 0x3D20)),
        ("i32", -2, "ABCD", (0xFFFF, 0xFFFE)),
        ("i32", -2, "CDAB", (0xFFFE, 0xFFFF)),
        ("f32", 36.5, "CDAB", (0x0000, 0x4212)),
    ],
)
def test_a_setting_of_32_bits_is_written_by_two_of_function_code_6(
    type_: str, value: float, order: str, words: tuple[int, int]
) -> None:
    """Lighthouse knows no function code 16: two writes, in the order of the registers."""
    text = PAIRS.replace("TYPE", type_).replace("VALUE", str(value)).replace("ORDER", order)
    driver = load_driver(Path("t-1.yaml"), text=text).driver
    assert driver is not None
    steps = driver.queries("modbus-rtu", 1, {})[0].steps
    assert [step.request.encode(1)[:6] for step in steps[:2]] == [
        bytes([1, 6, 0, 34 + n, word >> 8, word & 0xFF]) for n, word in enumerate(words)
    ]


async def test_a_write_is_followed_by_its_gap() -> None:
    text = (FOLDER / "lighthouse" / "remote.yaml").read_text()
    timing = "timing: {timeout: 500 ms, after-reply: 10 ms, after-write: 250 ms}"
    loaded = load_driver(Path("x/y.yaml"), text=text.replace("timing: {timeout: 1 s}", timing))
    assert loaded.driver is not None
    record = query(loaded.driver, "record", "modbus-ascii", 1, LIGHTHOUSE)
    example = next(e for e in loaded.driver.file.examples if e.query == "record")
    wire = Wire([e.got.encode() for e in example.exchanges])
    await record.ask(wire)  # type: ignore[arg-type]
    assert [(timeout, gap) for _, timeout, gap in wire.sent] == [
        (0.5, 0.01), (0.5, 0.01), (0.5, 0.01), (0.5, 0.25), (0.5, 0.01),
    ]  # fmt: skip


async def test_an_error_of_the_instrument_is_told_with_its_meaning() -> None:
    temperature = query(shipped("thermo/cytomat"), "temperature", "text", None, {})
    with pytest.raises(Refused) as caught:
        await temperature.ask(Wire([b"er 03\r\n"]))  # type: ignore[arg-type]
    assert (caught.value.error, caught.value.detail) == ("03", "03 telegram structure")
    assert caught.value.reason == "refused (03 telegram structure)"
    with pytest.raises(Garbled):
        await temperature.ask(Wire([b"ic +5.0 +5.1\r\n"]))  # type: ignore[arg-type]


async def test_a_cytomat_that_says_busy_falsely_is_asked_again_and_no_more_often_than_ten_times() -> None:
    temperature = query(shipped("thermo/cytomat"), "temperature", "text", None, {})
    falsely = Wire([b"er 01\r\n", b"er 02\r\n", b"er 01\r\n", b"it +37.0 +36.9\r\n"])
    answer = await temperature.ask(falsely)  # type: ignore[arg-type]
    assert [outcome.value for outcome in answer.outcomes] == [36.9, 37.0]
    assert (falsely.retries, falsely.rests) == (3, [0.1] * 3)
    busy = Wire([b"er 01\r\n"] * 20)
    with pytest.raises(Refused, match="device busy"):
        await temperature.ask(busy)  # type: ignore[arg-type]
    assert len(busy.sent) == 11


async def test_identity_by_objects_over_several_replies() -> None:
    driver = shipped("vaisala/gmp25x")
    first = bytes([0x2B, 0x0E, 3, 0x83, 0xFF, 1, 1, 0, 7]) + b"Vaisala"
    second = bytes([0x2B, 0x0E, 3, 0x83, 0, 0, 3, 1, 6]) + b"GMP252" + bytes([2, 3]) + b"1.2" + bytes([0x80, 2]) + b"P1"
    frames = [encoder.frame("modbus-rtu", 240, first), encoder.frame("modbus-rtu", 240, second)]
    identity = driver.identity("modbus-rtu", None, {"product": "GMP25[12]"})
    assert identity is not None
    found = await identity.check(Wire(list(frames)))  # type: ignore[arg-type]
    assert found == ("vendor Vaisala, product GMP252, revision 1.2, serial-number P1", "")
    other = driver.identity("modbus-rtu", None, {"product": "GMP251"})
    assert other is not None
    with pytest.raises(WrongInstrument) as caught:
        await other.check(Wire(list(frames)))  # type: ignore[arg-type]
    assert caught.value.found == found.text


@pytest.mark.parametrize(
    ("name", "framing", "address", "params", "message"),
    [
        ("vaisala/gmp25x", "text", None, {}, "vaisala/gmp25x does not speak text; it speaks modbus-rtu"),
        ("vaisala/gmp25x", "modbus-rtu", 248, {}, "address 248 is not within 1..247"),
        ("vaisala/gmp25x", "modbus-rtu", "A", {}, "address 'A' is not within 1..247"),
        ("vaisala/gmp25x", "modbus-rtu", True, {}, "address True is not within 1..247"),
        ("vaisala/gmp25x", "modbus-rtu", 1, {"x": 1}, "unknown parameter 'x'; the driver has: product, serial-number"),
        ("thermo/cytomat", "text", 1, {}, "thermo/cytomat has no address on a text line"),
        ("alicat/mass-flow", "text", "AB", {}, "address 'AB' does not match [A-Z]"),
        ("alicat/mass-flow", "text", "A", {}, "parameter pressure-unit is required ([psi], kPa, bar, mbar, hPa)"),
        ("hamilton/visiferm", "modbus-rtu", 1, {"quantity": 1}, "parameter quantity: 1 is not of type text"),
        ("hamilton/visiferm", "modbus-rtu", 1, {"quantity": "x"},
         "parameter quantity: 'x' is none of saturation, volume, mass"),
        ("thermo/ult-freezer", "modbus-ascii", 1, {"no-sensor": True},
         "parameter no-sensor: True is not of type number"),
    ],
)  # fmt: skip
def test_what_a_site_says_of_a_device_is_checked(
    name: str, framing: str, address: Any, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        shipped(name).queries(framing, address, params)
    assert str(caught.value) == message


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_the_way_back_from_values_to_bytes(path: Path) -> None:
    """For each query: change every channel that is not computed, encode, decode, and find the same values again."""
    driver = load_driver(path).driver
    assert driver is not None
    tried = 0
    for example in driver.file.examples:
        target = examples.target_of(driver, example)
        if not isinstance(target, CompiledQuery) or not example.readings or example.fails:
            continue
        if any(isinstance(value, str) for value in example.readings.values()):
            continue
        if any(request.pattern is not None for request in driver.file.queries[target.name].requests):
            tried += 1  # a pattern cannot be turned round
            continue
        start = examples.typical(driver, target, example.framing or driver.framings[0], example.params)
        assert set(start) == set(target.fields)
        good = dict(zip([s.id for s in target.channels], target.decode(target.encode(start)).outcomes, strict=True))
        wanted = changed(driver, example.query or "", good)
        answer = target.decode(target.encode(target.raws_of(wanted, start)))
        for spec, outcome in zip(target.channels, answer.outcomes, strict=True):
            if spec.id in wanted:
                tried += 1
                step = abs(spec.scale) if spec.raw_type not in ("f", "d") else 10.0**-spec.decimals
                assert outcome.value == pytest.approx(wanted[spec.id], abs=step / 2 + 1e-6, rel=1e-6), spec.id
    # What a channel is made of may depend on the reply: those are set and read back on the simulated instrument.
    assert tried or all(isinstance(c.from_, list) for q in driver.file.queries.values() for c in q.channels)


def changed(driver: CompiledDriver, name: str, good: dict[str, Any]) -> dict[str, float | str]:
    """Another value for each channel whose field nothing else depends on."""
    query = driver.file.queries[name]
    channels = query.channels
    judging = {c.field for part in (query, *channels) for c in part.bad_when}
    judging |= {c.field for channel in channels for c in channel.warn_when}
    found: dict[str, float | str] = {}
    # Where a field may be a bit, 0 and 1 stay 0 and 1.
    fields = [field for request in query.requests for field in request.fields.values()]
    bits = (0.0, 1.0) if any(field.type == "bit" for field in fields) else ()
    for channel in channels:
        if channel.compute is not None or channel.id not in good or (channel.from_ or channel.id) in judging:
            continue
        value = good[channel.id].value
        if channel.states is not None:
            found[channel.id] = next((float(state) for state in channel.states if state != value), value)
        else:
            found[channel.id] = 1 - value if channel.bit is not None or value in bits else value * 1.01 + 1
    return found


@pytest.mark.parametrize(
    ("name", "query_name", "address", "params", "channel", "reason"),
    [
        ("vaisala/gmp25x", "co2", 240, {}, "co2", "not-ready"),
        ("vaisala/gmp25x", "co2", 240, {}, "co2", "not-reliable"),
        ("vaisala/gmp25x", "co2", 240, {}, "co2", "not-available"),
        ("hamilton/arc-ph", "ph", 1, {}, "ph", "wrong-mode"),
        ("delta-ohm/hd402st", "pressure", 1, {}, "pressure", "not-available"),
        ("delta-ohm/hd402st", "pressure", 1, {}, "pressure", "not-reliable"),
        ("thermo/ult-freezer", "thermocouple-7", 1, {}, "thermocouple-7", "no-sensor"),
        ("julabo/circulator", "bath", None, {}, "temperature", "no-sensor"),
        ("lighthouse/remote", "record", 1, LIGHTHOUSE, "counts-1", "not-available"),
        ("lighthouse/remote", "record", 1, LIGHTHOUSE, "counts-1", "not-reliable"),
    ],
)
def test_a_simulator_can_make_a_channel_bad(
    name: str, query_name: str, address: Any, params: dict[str, Any], channel: str, reason: str
) -> None:
    driver = shipped(name)
    one = query(driver, query_name, driver.framings[0], address, params)
    start: dict[str, Raw] = examples.typical(driver, one, driver.framings[0], params)
    answer = one.decode(one.encode(one.raws_of({channel: reason}, start)))
    outcome = answer.outcomes[[s.id for s in one.channels].index(channel)]
    assert outcome.value is None
    assert (outcome.reason or "").split(" ")[0] == reason


def test_an_example_that_does_not_hold_is_told() -> None:
    text = (FOLDER / "vaisala" / "gmp25x.yaml").read_text()
    broken = text.replace("readings: {co2: 465.66, ", "readings: {co2: 465.67, ", 1)
    broken = broken.replace('sent: "F0 03 00 00 00 02 D1 2A"', 'sent: "F0 03 00 01 00 02 80 EA"', 1)
    loaded = load_driver(Path("x/y.yaml"), text=broken)
    assert loaded.driver is not None
    result = examples.run(loaded.driver)[0]
    assert result.problems == (
        "exchange 1: labmon sends F0 03 00 00 00 02 D1 2A",
        "co2: 465.65997314453125 instead of 465.67",
    )


@pytest.mark.parametrize(
    ("expected", "value", "agrees"),
    [(465.66, 465.65997, True), (465.7, 465.65997, True), (465.65, 465.65997, False), (7, 7.0, True), (7, 7.4, True),
     (7, 7.6, False), (1e-6, 1.2e-6, True), (-80.0, -80.0, True), (1.5e30, 1.5e30, True)],
)  # fmt: skip
def test_numbers_agree_to_the_digits_written(expected: float, value: float, agrees: bool) -> None:
    from labmon.drivers.driver import Outcome

    assert examples.agrees(expected, Outcome(value, None)) is agrees


# ---------------------------------------------------------------- catalogue


def test_the_shipped_folder_is_found_in_a_checkout() -> None:
    assert shipped_folder() == FOLDER
    shipped = [*(f"{p.parent.name}/{p.stem}" for p in FILES), "memmert/atmoweb"]
    assert list(Catalogue().paths()) == sorted(shipped)


def test_a_site_folder_comes_first_and_a_new_file_is_all_it_takes(tmp_path: Path) -> None:
    (tmp_path / "vaisala").mkdir()
    (tmp_path / "own").mkdir()
    text = (FOLDER / "vaisala" / "gmp25x.yaml").read_text()
    (tmp_path / "vaisala" / "gmp25x.yaml").write_text(text.replace("title: Vaisala", "title: Our Vaisala"))
    catalogue = Catalogue([tmp_path])
    assert catalogue.get("vaisala/gmp25x").title.startswith("Our Vaisala")
    assert catalogue.get("vaisala/gmp25x") is catalogue.get("vaisala/gmp25x")
    (tmp_path / "own" / "probe.yaml").write_text(text)
    assert catalogue.get("own/probe").id == "own/probe"


def test_an_unknown_driver_is_told_with_the_nearest_name() -> None:
    with pytest.raises(LookupError) as caught:
        Catalogue().get("vaisala/gmp252x")
    assert str(caught.value) == (
        f"no driver vaisala/gmp252x; did you mean `vaisala/gmp25x`? (searched: {shipped_folder()})"
    )


def test_a_broken_site_file_hides_the_shipped_one_and_tells_every_fault(tmp_path: Path) -> None:
    (tmp_path / "vaisala").mkdir()
    path = tmp_path / "vaisala" / "gmp25x.yaml"
    text = (FOLDER / "vaisala" / "gmp25x.yaml").read_text()
    path.write_text(text.replace("maker: Vaisala", "makr: Vaisala").replace("models: [GMP251, GMP252]", "models: []"))
    with pytest.raises(LookupError) as caught:
        Catalogue([tmp_path]).get("vaisala/gmp25x")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["maker", "makr", "models"]
    assert all(line.startswith(f"{path}:") for line in lines)
    path.write_text(text)
    assert Catalogue([tmp_path]).get("vaisala/gmp25x").proven
