"""Generic driver files: the site file gives the map, the file loads unproven, and every reading says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from labmon.acquisition.load import load
from labmon.drivers.catalogue import Catalogue
from labmon.drivers.load import DriverLoad, load_driver
from labmon.drivers.query import CompiledQuery
from labmon.model.reading import Flag

FILE = """\
labmon-driver: 1
maker: Nobody
models: [any]
title: One register
class: generic
manual: {document: none, revision: none, pages: none}
generic: true
framings: [modbus-tcp]
base: 0
params:
  register: {type: integer, doc: Register., required: true, example: 100}
  unit: {type: text, doc: Unit., required: true, example: Cel}
  second: {type: integer, doc: Another register., example: 101}
queries:
  value:
    every: 10 s
    requests:
      - read: holding
        at: {param: register}
        count: 1
        fields:
          value: {at: {param: register}, type: i16}
    channels:
      - {id: value, name: Value, unit: {param: unit}}
  second:
    every: 10 s
    when: {second: "*"}
    requests:
      - read: holding
        at: {param: second}
        count: 1
        fields:
          second: {at: {param: second}, type: i16}
    channels:
      - {id: second, name: Second, unit: {param: unit}}
"""
SITE = """\
labmon: 1
site: {id: here, name: Here}
gateway: {id: gw}
areas:
  - {id: room, name: Room, grade: none}
drivers: [drivers]
lines:
  - id: bench
    tcp: {host: 127.0.0.1, port: 502}
    framing: modbus-tcp
    devices:
      - {id: unit, name: Unit, driver: generic/one, area: room, address: 1, params: {register: 7, unit: Cel}}
"""


BENCH = """\
labmon: 1
site: {id: here, name: Here}
gateway: {id: gw}
areas:
  - {id: room, name: Room, grade: none}
lines:
  - id: registers
    tcp: {host: 127.0.0.1, port: 502}
    framing: modbus-tcp
    devices:
      - id: first
        name: Unknown unit
        driver: generic/modbus
        area: room
        address: 3
        params: {register-1: 100, type-1: f32, order-1: CDAB, unit-1: Cel}
        channels: [{id: temperature, from: value-1, name: Temperature}]
  - id: commands
    tcp: {host: 127.0.0.1, port: 4001}
    framing: text
    devices:
      - id: second
        name: Another unknown unit
        driver: generic/text
        area: room
        params: {command-1: "T?", pattern-1: "T=(?P<value>[-+0-9.]+) C", unit-1: Cel}
"""


def test_a_float_and_a_text_from_unknown_units_with_the_site_file_alone(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(BENCH)
    site = load(tmp_path / "site.yaml")
    assert site.plan is not None, "\n".join(map(str, site.errors))
    found = {}
    for line, got in zip(site.plan.lines, ["000100000007030304 0000 41ac", b"T=21.5 C\r".hex()], strict=True):
        [device] = line.devices
        [plan] = device.queries
        query = plan.query
        assert isinstance(query, CompiledQuery)
        [step] = query.steps
        payload = step.request.match(bytes.fromhex(got), 1)
        assert payload is not None
        [slot] = plan.slots
        found[slot.key] = query.decode([payload]).outcomes[slot.index].value
        assert slot.flags == Flag.MAP_NOT_PROVEN
    assert found == {"first.temperature": 21.5, "second.value-1": 21.5}


@pytest.mark.parametrize(
    ("name", "framing", "address", "params", "problem"),
    [
        ("modbus", "modbus-tcp", 1, {"register-1": 100, "unit-1": "Grad"}, "unknown unit 'Grad'"),
        ("modbus", "modbus-tcp", 1, {"register-1": 100, "type-1": "float"}, "parameter type-1"),
        ("modbus", "modbus-tcp", 1, {"register-9": 100}, "unknown parameter 'register-9'"),
        ("text", "text", None, {"command-1": "T?", "pattern-1": "T=[0-9]+"}, "value"),
        ("text", "text", None, {"command-1": "T?", "pattern-1": "T=(?P<value>[0-9+"}, "regular expression"),
    ],
)
def test_a_wrong_parameter_of_a_shipped_one_is_told(
    name: str, framing: str, address: int | None, params: dict[str, object], problem: str
) -> None:
    driver = Catalogue().get(f"generic/{name}")
    with pytest.raises(ValueError, match=problem):
        driver.queries(framing, address, params)


def loaded(text: str = FILE) -> DriverLoad:
    return load_driver(Path("generic/one.yaml"), text=text)


def test_it_loads_with_a_notice_and_without_an_example() -> None:
    found = loaded()
    assert found.errors == []
    assert found.driver is not None
    assert found.driver.generic
    assert not found.driver.proven
    assert found.fit
    assert [str(w) for w in found.warnings] == [
        "generic/one.yaml:7:1: generic: the map is the site file's: each reading carries `map not proven`"
    ]


def test_what_is_not_set_is_not_asked() -> None:
    driver = loaded().driver
    assert driver is not None
    given = {"register": 7, "unit": "Cel"}
    assert [q.name for q in driver.queries("modbus-tcp", 1, given)] == ["value"]
    assert [q.name for q in driver.queries("modbus-tcp", 1, {**given, "second": 9})] == ["value", "second"]


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"unit": "Cel"}, r"parameter register is required \(for example 100\)"),
        ({"register": 7, "unit": "Grad"}, "unknown unit 'Grad'"),
        ({"register": 70000, "unit": "Cel"}, "70000"),
        ({"register": "7", "unit": "Cel"}, "not of type integer"),
    ],
)
def test_a_wrong_parameter_is_told(params: dict[str, object], problem: str) -> None:
    driver = loaded().driver
    assert driver is not None
    with pytest.raises(ValueError, match=problem):
        driver.queries("modbus-tcp", 1, params)


def test_the_file_is_checked_with_its_examples() -> None:
    found = loaded(FILE.replace("example: Cel", "example: Grad").replace("count: 1", "count: 0x7D1", 1))
    assert found.driver is None
    assert len(found.errors) == 1  # the form comes first
    found = loaded(FILE.replace("example: Cel", "example: Grad"))
    assert [e.message.split(";")[0] for e in found.errors] == ["unknown unit 'Grad'"]


def test_each_reading_of_it_says_that_the_map_is_not_proven(tmp_path: Path) -> None:
    folder = tmp_path / "drivers" / "generic"
    folder.mkdir(parents=True)
    (folder / "one.yaml").write_text(FILE)
    (tmp_path / "site.yaml").write_text(SITE)
    site = load(tmp_path / "site.yaml")
    assert site.plan is not None, "\n".join(map(str, site.errors))
    slots = [s for line in site.plan.lines for d in line.devices for q in d.queries for s in q.slots]
    assert [s.flags for s in slots] == [Flag.MAP_NOT_PROVEN]
