"""Who the instrument is: test registers, variants, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import encoder
import pytest

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import WrongInstrument
from labmon.drivers.load import load_driver

TEXT = """
labmon-driver: 1
maker: Nobody
models: [Test]
title: Test
class: test
manual: {document: none, revision: none, pages: none}
framings: [modbus-rtu]
serial: {baud: 9600}
order: ORDER
params:
  flow-scale: {type: number, doc: Scale of the flow, default: 1}
identity:
  requests:
    - read: holding
      at: 0
      count: 6
      fields:
        version: {at: 0, type: u16}
        test-int: {at: 1, type: i16}
        test-float: {at: 2, type: f32}
        test-long: {at: 4, type: i32}
  show: [version]
  self-test:
    - {field: test-int, is: -12345}
    - {field: test-float, near: -123.45}
    - {field: test-long, is: 123456789}
  variants:
    - {name: v1.50, when: [{field: version, is: 150}], params: {flow-scale: 0.01}}
    - {name: v1.44, when: [{field: version, below: 150}, {field: version, above: 140}]}
queries:
  flow:
    every: 1 s
    requests: [{read: input, at: 0, count: 1, fields: {flow: {at: 0, type: u16}}}]
    channels: [{id: flow, name: Flow, unit: L/min, scale: {param: flow-scale}}]
"""
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


def driver_of(text: str) -> CompiledDriver:
    loaded = load_driver(Path("test.yaml"), text=text)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver


def registers(order: str, version: int = 150, real: float = -123.45) -> bytes:
    parts = (("u16", version), ("i16", -12345), ("f32", real), ("i32", 123456789))
    return b"".join(encoder.words(type_, order, value) for type_, value in parts)


@pytest.mark.parametrize("there", ORDERS)
@pytest.mark.parametrize("said", ORDERS)
def test_a_byte_order_that_differs_is_the_wrong_instrument_and_is_named(there: str, said: str) -> None:
    identity = driver_of(TEXT.replace("ORDER", said)).identity("modbus-rtu", 1, {})
    assert identity is not None
    if there == said:
        assert identity.decode([registers(there)]).text == "version 150"
        return
    with pytest.raises(WrongInstrument) as caught:
        identity.decode([registers(there)])
    named = caught.value.expected
    assert "self-test" in named
    # A single register shows whether its bytes are swapped, and no more than that.
    swapped = said in ("BADC", "DCBA")
    if (there in ("BADC", "DCBA")) is swapped:
        assert named.endswith(f"the byte order differs, it is {there} and not {said}")
    else:
        assert f"and not {said}" in named


def test_a_float_is_right_to_one_part_in_a_million() -> None:
    identity = driver_of(TEXT.replace("ORDER", "ABCD")).identity("modbus-rtu", 1, {})
    assert identity is not None
    single = struct.unpack(">f", struct.pack(">f", -123.45))[0]
    assert single != -123.45
    for real in (single, -123.45006, -123.44994):
        assert identity.decode([registers("ABCD", real=real)]).text
    for real in (-123.46, 123.45, 0.0, float("nan"), float("inf")):
        with pytest.raises(WrongInstrument):
            identity.decode([registers("ABCD", real=real)])


@pytest.mark.parametrize(("version", "variant"), [(150, "v1.50"), (149, "v1.44"), (141, "v1.44")])
def test_the_first_variant_that_fits_is_chosen(version: int, variant: str) -> None:
    identity = driver_of(TEXT.replace("ORDER", "ABCD")).identity("modbus-rtu", 1, {})
    assert identity is not None
    assert identity.decode([registers("ABCD", version)]) == (f"version {version}", variant)
    assert identity.variants == {"v1.50": {"flow-scale": 0.01}, "v1.44": {}}


@pytest.mark.parametrize("version", [140, 151, 0])
def test_an_instrument_that_no_variant_fits_is_another_one(version: int) -> None:
    identity = driver_of(TEXT.replace("ORDER", "ABCD")).identity("modbus-rtu", 1, {})
    assert identity is not None
    with pytest.raises(WrongInstrument, match=r"one of v1\.50, v1\.44"):
        identity.decode([registers("ABCD", version)])


def test_what_the_site_file_says_is_not_overruled() -> None:
    driver = driver_of(TEXT.replace("ORDER", "ABCD"))
    agreeing = driver.identity("modbus-rtu", 1, {"flow-scale": 0.01})
    assert agreeing is not None
    assert agreeing.decode([registers("ABCD")]).variant == "v1.50"
    other = driver.identity("modbus-rtu", 1, {"flow-scale": 1})
    assert other is not None
    with pytest.raises(WrongInstrument, match=r"flow-scale 1, as the site file says; v1\.50 has 0\.01"):
        other.decode([registers("ABCD")])
    assert other.decode([registers("ABCD", 149)]).variant == "v1.44"


def test_a_field_without_a_value_fits_no_variant() -> None:
    text = TEXT.replace("ORDER", "ABCD").replace("is: 150}]", "is-not: 5}]")
    identity = driver_of(text).identity("modbus-rtu", 1, {})
    assert identity is not None
    assert identity.judge([7, -12345, -123.45, 123456789]).variant == "v1.50"
    with pytest.raises(WrongInstrument):
        identity.judge([None, -12345, -123.45, 123456789])


def test_a_clock_of_local_time_is_read_right_in_the_hour_that_comes_twice() -> None:
    text = TEXT.replace("ORDER", "ABCD").replace(
        "queries:\n",
        "clock:\n  every: 1 h\n  at-most: 60 s\n  time: {unix: seconds, zone: Europe/Berlin}\n"
        "  requests: [{read: holding, at: 9, count: 2, fields: {seconds: {at: 9, type: u32}}}]\nqueries:\n",
        1,
    )
    clock = driver_of(text).clock("modbus-rtu", 1, {})
    assert clock is not None
    first = 1_792_888_200 * 10**9  # 2026-10-25 02:30 CEST, an hour before 02:30 CET
    for now in (first, first + 3600 * 10**9):
        assert clock.judge([1_792_895_400], now + 20 * 10**9) == now
