"""A driver file on top of another: what is taken over, what is replaced, and every mistake at its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labmon.drivers import examples
from labmon.drivers.load import DriverLoad, load_driver

BASE = """\
labmon-driver: 1
maker: Example
models: [T-1]
title: Example T-1 thermometer
class: thermometer
manual: {document: T-1 manual, revision: B, pages: "12"}
framings: [modbus-rtu]
serial: {baud: 19200, parity: E}
base: 0
address: {default: 1, from: 1, to: 247}
queries:
  temperature:
    every: 10 s
    requests:
      - read: input
        at: 1
        count: 1
        fields:
          tenths: {at: 1, type: i16}
    channels:
      - {id: temperature, name: Temperature, unit: Cel, from: tenths, scale: 0.1}
  humidity:
    every: 10 s
    requests:
      - read: input
        at: 8
        count: 1
        fields:
          percent: {at: 8, type: u16}
    channels:
      - {id: humidity, name: Humidity, unit: "%", from: percent}
examples:
  - query: temperature
    origin: {printed: "T-1 manual, p. 13"}
    exchanges: [{sent: "01 04 00 01 00 01 60 0A", got: "01 04 02 01 71 78 84"}]
    readings: {temperature: 36.9}
  - query: humidity
    origin: {printed: "T-1 manual, p. 13"}
    exchanges: [{sent: "01 04 00 08 00 01 B0 08", got: "01 04 02 00 32 38 E5"}]
    readings: {humidity: 50}
"""
ABOVE = """\
labmon-driver: 1
extends: example/t-1
leave-out: [queries.humidity]
models: [T-2]
title: Example T-2 thermometer
serial: {baud: 9600}
queries:
  temperature: {every: 30 s}
examples:
  - query: temperature
    origin: {printed: "T-2 manual, p. 4"}
    exchanges: [{sent: "01 04 00 01 00 01 60 0A", got: "01 04 02 01 71 78 84"}]
    readings: {temperature: 36.9}
"""


def placed(tmp_path: Path, above: str = ABOVE, base: str = BASE) -> Path:
    folder = tmp_path / "example"
    folder.mkdir()
    (folder / "t-1.yaml").write_text(base)
    (folder / "t-2.yaml").write_text(above)
    return folder / "t-2.yaml"


def told(loaded: DriverLoad) -> list[str]:
    return [re.sub(r"^.*?/example/(?=t-2)", "", str(error)) for error in loaded.errors]


def test_a_model_says_only_what_differs(tmp_path: Path) -> None:
    loaded = load_driver(placed(tmp_path))
    assert loaded.driver is not None, loaded.errors
    driver = loaded.driver
    assert (driver.title, driver.serial.baud, driver.serial.parity) == ("Example T-2 thermometer", 9600, "E")
    assert list(driver.file.queries) == ["temperature"]
    assert driver.file.queries["temperature"].every == 30.0
    assert [result.problems for result in examples.run(driver)] == [()]
    assert driver.proven


def test_the_text_of_record_holds_both_files(tmp_path: Path) -> None:
    driver = load_driver(placed(tmp_path)).driver
    assert driver is not None
    assert ABOVE in driver.source_text
    assert BASE in driver.source_text


def test_a_shipped_file_can_be_stood_on(tmp_path: Path) -> None:
    path = placed(tmp_path, "labmon-driver: 1\nextends: vaisala/gmp25x\ntitle: Our probe\n")
    driver = load_driver(path).driver
    assert driver is not None
    assert driver.title == "Our probe"
    assert "co2" in driver.file.queries


def test_the_file_below_stays_as_it_is(tmp_path: Path) -> None:
    path = placed(tmp_path)
    assert load_driver(path).driver is not None
    below = load_driver(path.with_name("t-1.yaml")).driver
    assert below is not None
    assert list(below.file.queries) == ["temperature", "humidity"]


@pytest.mark.parametrize(
    ("above", "message"),
    [
        (
            "labmon-driver: 1\nextends: example/t-9\n",
            "t-2.yaml:2:10: extends: no driver example/t-9",
        ),
        (
            "labmon-driver: 1\nextends: example/t-2\n",
            "t-2.yaml:2:10: extends: example/t-2 stands on itself, or on more than 4 others",
        ),
        (
            "labmon-driver: 1\nextends: ../../etc/passwd\n",
            "t-2.yaml:2:10: extends: no driver ../../etc/passwd",
        ),
        (
            "labmon-driver: 1\nextends: example/t-1\nleave-out: [queries.humidty]\n",
            "t-2.yaml:3:13: leave-out.0: example/t-1 has no queries.humidty; did you mean `queries.humidity`?",
        ),
    ],
)
def test_mistakes_stand_where_they_were_made(tmp_path: Path, above: str, message: str) -> None:
    assert told(load_driver(placed(tmp_path, above))) == [message]


def test_a_broken_file_below_is_told_once(tmp_path: Path) -> None:
    loaded = load_driver(placed(tmp_path, base="labmon-driver: [1\n"))
    (message,) = told(loaded)
    assert message.startswith("t-2.yaml:2:10: extends: example/t-1 has mistakes of its own; `labmon driver check ")


def test_a_mistake_in_what_was_taken_over_stands_at_extends(tmp_path: Path) -> None:
    loaded = load_driver(placed(tmp_path, base=BASE.replace("unit: Cel", "unit: Celsius")))
    assert loaded.driver is None
    assert told(loaded)[0].startswith("t-2.yaml:8:3: queries.temperature.channels.temperature.unit: unknown unit")
