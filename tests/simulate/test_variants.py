"""A simulated instrument is of the variant that its parameters say, and says so of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver
from labmon.simulate.instrument import Instrument

TEXT = """
labmon-driver: 1
maker: Nobody
models: [Test]
title: Test
class: test
manual: {document: none, revision: none, pages: none}
framings: [modbus-tcp]
params:
  flow-scale: {type: number, doc: Scale of the flow, default: 1}
identity:
  requests:
    - {read: input, at: 10, count: 2, fields: {version: {at: 10, type: u16}, test: {at: 11, type: i16}}}
  show: [version]
  self-test: [{field: test, is: -12345}]
  variants:
    - {name: tenth, when: [{field: version, above: 200}], params: {flow-scale: 0.1}}
    - {name: hundredth, when: [{field: version, is: 150}], params: {flow-scale: 0.01}}
    - {name: whole, when: [{field: version, below: 150}, {field: version, above: 140}], params: {flow-scale: 1}}
queries:
  flow:
    every: 1 s
    requests: [{read: input, at: 0, count: 1, fields: {flow: {at: 0, type: u16}}}]
    channels: [{id: flow, name: Flow, unit: L/min, scale: {param: flow-scale}}]
"""


def driver() -> CompiledDriver:
    loaded = load_driver(Path("test.yaml"), text=TEXT)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver


def read(made: Instrument, start: int, count: int) -> bytes:
    reply = made.answer(bytes([4]) + start.to_bytes(2, "big") + count.to_bytes(2, "big"))
    assert reply is not None and reply[0] == 4, reply
    return reply[2:]


@pytest.mark.parametrize(
    ("params", "variant", "scale"),
    [({}, "tenth", 0.1), ({"flow-scale": 0.01}, "hundredth", 0.01), ({"flow-scale": 0.1}, "tenth", 0.1)],
)
def test_it_says_the_identity_that_chooses_its_parameters(params: dict[str, Any], variant: str, scale: float) -> None:
    made = Instrument(driver(), "modbus-tcp", 1, params)
    identity = driver().identity("modbus-tcp", 1, params)
    assert identity is not None
    assert identity.decode([read(made, 10, 2)]).variant == variant
    assert made.params["flow-scale"] == scale
    made.jump("flow", 28.0)
    made.quantities["flow"].noise = 0.0
    assert int.from_bytes(read(made, 0, 1), "big") == round(28 / scale)


def test_what_several_conditions_choose_or_no_variant_has_is_not_made_up() -> None:
    for params in ({"flow-scale": 1}, {"flow-scale": 5}):
        made = Instrument(driver(), "modbus-tcp", 1, params)
        assert made.params == params, "what it was told to be it stays"
