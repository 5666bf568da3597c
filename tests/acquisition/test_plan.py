"""From a site file and drivers to the plan: every mismatch with its place in the file, and what a right one becomes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from labmon.acquisition.load import Loaded, load
from labmon.acquisition.plan import LinePlan, QueryPlan
from labmon.links.endpoint import SerialEndpoint, TcpEndpoint
from labmon.model.reading import Flag

SERIAL = {"port": "/dev/serial/by-id/x"}
PRESSURE = {"id": "p-1", "name": "Pressure", "driver": "delta-ohm/hd402st", "area": "room", "address": 1}


def site(*lines: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "areas": [{"id": "room", "name": "Room", "grade": "C"}],
        "lines": list(lines),
        "journal": {"path": "journal.db", "keep-readings": "1 d", "size": "1 GB"},
    } | parts


def line(*devices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "bus", "serial": SERIAL, "devices": list(devices)} | more


def read(folder: Path, content: dict[str, Any]) -> Loaded:
    path = folder / "site.yaml"
    path.write_text(json.dumps(content, indent=1))
    return load(path)


def place_of(path: Path, words: str) -> tuple[int, int]:
    """Line and column at which `words` begin in the file."""
    text = path.read_text()
    at = text.index(words)
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


ERRORS: dict[str, tuple[list[dict[str, Any]], str, str, str]] = {
    # what is wrong: (lines, path of the error, where it stands, what it says)
    "unknown driver": (
        [line(PRESSURE | {"driver": "delta-ohm/hd420st"})],
        "lines.bus.devices.p-1.driver",
        '"delta-ohm/hd420st"',
        "did you mean `delta-ohm/hd402st`?",
    ),
    "unknown channel": (
        [line(PRESSURE | {"channels": [{"id": "presure"}]})],
        "lines.bus.devices.p-1.channels.presure.id",
        '"presure"',
        "delta-ohm/hd402st has no channel presure; it has pressure",
    ),
    "unknown channel behind `from`": (
        [line(PRESSURE | {"channels": [{"id": "dp", "from": "delta"}]})],
        "lines.bus.devices.p-1.channels.dp.from",
        '"delta"',
        "has no channel delta; it has pressure",
    ),
    "framing that the driver does not speak": (
        [line(PRESSURE, framing="text")],
        "lines.bus.devices.p-1.driver",
        '"delta-ohm/hd402st"',
        "does not speak text; it speaks modbus-rtu",
    ),
    "two framings on one line": (
        [
            line(
                PRESSURE,
                {"id": "f-1", "name": "F", "driver": "thermo/ult-freezer", "area": "room", "address": 2},
            )
        ],
        "lines.bus",
        "{",
        "must share one framing, these want modbus-ascii, modbus-rtu",
    ),
    "a unit of another kind": (
        [line(PRESSURE | {"channels": [{"id": "pressure", "unit": "Cel"}]})],
        "lines.bus.devices.p-1.channels.pressure.unit",
        '"Cel"',
        "Cel",
    ),
    "an unknown unit": (
        [line(PRESSURE | {"channels": [{"id": "pressure", "unit": "Pascal"}]})],
        "lines.bus.devices.p-1.channels.pressure.unit",
        '"Pascal"',
        "Pascal",
    ),
    "limits of another kind": (
        [line(PRESSURE | {"channels": [{"id": "pressure", "limits": "co2-incubator-temperature"}]})],
        "lines.bus.devices.p-1.channels.pressure.limits",
        '"co2-incubator-temperature"',
        "profile co2-incubator-temperature is in Cel, the channel in Pa",
    ),
    "an interval of an unknown query": (
        [line(PRESSURE | {"every": {"presure": "1 s"}})],
        "lines.bus.devices.p-1.every.presure",
        '"1 s"',
        "has no query presure; it has pressure",
    ),
    "an address out of range": (
        [line(PRESSURE | {"address": 300})],
        "lines.bus.devices.p-1",
        "{",
        "address 300 is not within 1..247",
    ),
    "an unknown parameter": (
        [line(PRESSURE | {"params": {"colour": "red"}})],
        "lines.bus.devices.p-1",
        "{",
        "colour",
    ),
    "a parameter out of its choices": (
        [line(PRESSURE | {"params": {"scale": "MPa"}})],
        "lines.bus.devices.p-1",
        "{",
        "MPa",
    ),
    "a required parameter": (
        [line({"id": "g-1", "name": "G", "driver": "alicat/mass-flow", "area": "room", "address": "A"})],
        "lines.bus.devices.g-1",
        "{",
        "parameter pressure-unit is required",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_every_mismatch_with_the_drivers_has_its_place(tmp_path: Path, case: str) -> None:
    lines, path, where, words = ERRORS[case]
    loaded = read(tmp_path, site(*lines))
    assert [error.path for error in loaded.errors] == [path]
    (error,) = loaded.errors
    assert words in f"{error.message}; {error.hint}"
    assert loaded.rules == []
    row = loaded.path.read_text().splitlines()[error.line - 1]
    assert row[error.column - 1 :].startswith(where), f"{error.line}:{error.column} is {row[error.column - 1 :]!r}"
    if where != "{":
        assert (error.line, error.column) == place_of(loaded.path, where)


def test_mistakes_of_different_devices_are_told_together(tmp_path: Path) -> None:
    wrong = [
        PRESSURE | {"id": "p-2", "driver": "no/such"},
        PRESSURE | {"id": "p-3", "address": 2, "channels": [{"id": "x"}]},
        PRESSURE | {"id": "p-4", "address": 3, "every": {"y": "1 s"}},
    ]
    loaded = read(tmp_path, site(line(PRESSURE, *wrong)))
    assert len(loaded.errors) == 3
    assert [error.line for error in loaded.errors] == sorted(error.line for error in loaded.errors)
    assert loaded.plan is not None
    assert [d.id for d in loaded.plan.lines[0].devices] == ["p-1", "p-3", "p-4"]


def own_driver(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "drivers" / "own" / "probe.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    device = {"id": "o-1", "name": "Own", "driver": "own/probe", "area": "room", "address": 1}
    return site(line(device), drivers=["drivers"])


OWN = """
labmon-driver: 1
maker: Own
models: [Probe]
title: Own probe
class: probe
manual: {document: d, revision: "1", pages: "1"}
framings: [modbus-rtu]
serial: {baud: 9600}
queries:
  value:
    every: 5 s
    requests: [{read: holding, at: 0, count: 1, fields: {value: {at: 0, type: u16}}}]
    channels: [{id: value, name: Value, unit: "1"}]
"""


def test_a_driver_without_examples_does_not_load_into_service(tmp_path: Path) -> None:
    loaded = read(tmp_path, own_driver(tmp_path, OWN))
    (error,) = loaded.errors
    assert error.path == "lines.bus.devices.o-1.driver"
    assert "a query without an example" in error.message


def test_a_broken_driver_tells_every_fault_of_its_file(tmp_path: Path) -> None:
    broken = OWN.replace("every: 5 s", "evry: 5 s").replace("type: u16", "type: u17")
    loaded = read(tmp_path, own_driver(tmp_path, broken))
    text = "\n".join(map(str, loaded.errors))
    assert "probe.yaml" in text
    for word in ("evry", "type"):
        assert word in text


def test_a_driver_of_the_site_hides_a_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "drivers" / "delta-ohm" / "hd402st.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("labmon-driver: 1\n")
    loaded = read(tmp_path, site(line(PRESSURE), drivers=["drivers"]))
    assert loaded.errors, "also when it is broken: nobody is to poll with the wrong map"


# ---------------------------------------------------------------- what a right file becomes


def plan_of(folder: Path, *lines: dict[str, Any], **parts: Any) -> list[LinePlan]:
    loaded = read(folder, site(*lines, **parts))
    assert not loaded.errors, loaded.errors
    assert loaded.plan is not None
    return loaded.plan.lines


def only_query(lines: Iterable[LinePlan]) -> QueryPlan:
    ((query,),) = [device.queries for line in lines for device in line.devices]
    return query


def test_what_the_site_leaves_out_comes_from_the_driver(tmp_path: Path) -> None:
    (made,) = plan_of(tmp_path, line(PRESSURE))
    assert made.endpoint == SerialEndpoint("/dev/serial/by-id/x", 19200, 8, "E", 1)
    assert made.framing == "modbus-rtu"
    query = made.devices[0].queries[0]
    assert query.every == 5.0
    assert [column.key for column in query.layout.columns] == ["p-1.pressure"]
    column = query.layout.columns[0]
    assert (column.area, column.kind, column.unit, column.raw_type) == ("room", "pressure", "Pa", "h")
    assert (column.scale, column.offset) == (0.1, 0.0)


def test_what_the_site_says_counts(tmp_path: Path) -> None:
    serial = SERIAL | {"baud": 9600, "parity": "N", "stop": 2, "local-echo": True}
    device = PRESSURE | {"every": {"pressure": "2 s"}, "timeout": "250 ms"}
    (made,) = plan_of(tmp_path, line(device, serial=serial, quiet="20 ms"))
    assert made.endpoint == SerialEndpoint("/dev/serial/by-id/x", 9600, 8, "N", 2, False, True)
    assert made.quiet == 0.02
    assert made.devices[0].timeout == 0.25
    assert made.devices[0].queries[0].every == 2.0


def test_framing_follows_from_the_medium_unless_it_is_given(tmp_path: Path) -> None:
    counter = {
        "id": "c-1",
        "name": "Counter",
        "driver": "lighthouse/remote",
        "area": "room",
        "params": {"flow-scale": 0.01, "flow-unit": "L/min"},
    }
    tcp = {"host": "192.0.2.1", "port": 4001}
    (made,) = plan_of(tmp_path, {"id": "t", "tcp": tcp, "devices": [counter]})
    assert (made.framing, made.endpoint) == ("modbus-tcp", TcpEndpoint("192.0.2.1", 4001))
    (made,) = plan_of(tmp_path, {"id": "t", "tcp": tcp, "framing": "modbus-ascii", "devices": [counter]})
    assert made.framing == "modbus-ascii"
    (made,) = plan_of(tmp_path, line(counter))
    assert made.framing == "modbus-ascii"


def test_without_channels_all_of_the_driver_are_recorded(tmp_path: Path) -> None:
    incubator = {"id": "i-1", "name": "Incubator", "driver": "thermo/cytomat", "area": "room"}
    (made,) = plan_of(tmp_path, line(incubator))
    assert len([slot for query in made.devices[0].queries for slot in query.slots]) == 16
    (made,) = plan_of(tmp_path, line(incubator | {"channels": [{"id": "door"}]}))
    assert [query.query.name for query in made.devices[0].queries] == ["status"], "only what is needed is asked"


def test_one_channel_of_the_driver_may_be_two_of_the_site(tmp_path: Path) -> None:
    channels = [{"id": "pa", "from": "pressure"}, {"id": "mmh2o", "from": "pressure", "unit": "mm[H2O]"}]
    query = only_query(plan_of(tmp_path, line(PRESSURE | {"channels": channels})))
    assert [(slot.key, slot.index) for slot in query.slots] == [("p-1.pa", 0), ("p-1.mmh2o", 0)]
    assert query.slots[1].scale == pytest.approx(1 / 9.80665)


CALIBRATION = {"certificate": "CAL-1", "date": "2020-01-01"}


@pytest.mark.parametrize(("due", "flags"), [("2020-06-01", Flag.CALIBRATION_DUE), ("2999-01-01", 0)])
def test_an_overdue_calibration_is_a_flag(tmp_path: Path, due: str, flags: int) -> None:
    channel = {"id": "pressure", "calibration": CALIBRATION | {"due": due}}
    assert only_query(plan_of(tmp_path, line(PRESSURE | {"channels": [channel]}))).slots[0].flags == flags


def test_a_calibration_due_today_still_holds(tmp_path: Path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    channel = {"id": "pressure", "calibration": CALIBRATION | {"due": (today + dt.timedelta(days=1)).isoformat()}}
    assert only_query(plan_of(tmp_path, line(PRESSURE | {"channels": [channel]}))).slots[0].flags == 0


def test_the_plant_knows_place_and_instruction(tmp_path: Path) -> None:
    channels = [{"id": "pressure", "name": "Overpressure", "place": "Door", "instruction": "Close it."}]
    loaded = read(tmp_path, site(line(PRESSURE | {"channels": channels, "instruction": "Go there.", "asset": "A-1"})))
    assert loaded.plan is not None
    plant = loaded.plan.plant
    channel, device = plant.channels["p-1.pressure"], plant.devices["p-1"]
    assert (channel.name, channel.place, channel.instruction, channel.area) == (
        "Overpressure",
        "Door",
        "Close it.",
        "room",
    )
    assert (device.asset, device.line, device.channels) == ("A-1", "bus", ("p-1.pressure",))
    assert plant.lines["bus"].devices == ("p-1",)
    assert plant.prefix == "labmon/lab/gw-1"


def test_limits_are_converted_to_the_channels_unit(tmp_path: Path) -> None:
    profile = {
        "version": 1,
        "reason": "r",
        "unit": "kPa",
        "limits": [{"level": "action", "low": 0.01, "dead-band": 0.001, "on-delay": "5 s"}],
        "silence": "30 s",
    }
    channels = [{"id": "pressure", "limits": "own"}]
    loaded = read(tmp_path, site(line(PRESSURE | {"channels": channels}), profiles={"own": profile}))
    assert not loaded.errors
    rules = {rule.alarm: rule for rule in loaded.rules}
    assert len(rules) == len(loaded.rules)
    limit: Any = rules["p-1.pressure.action-low"]
    assert (limit.limit, limit.dead_band) == (pytest.approx(10.0), pytest.approx(1.0))
    assert (limit.unit, limit.on_delay, limit.direction) == ("Pa", 5.0, "low")
    silence: Any = rules["p-1.pressure.silence"]
    assert silence.after == 30.0
    quality: Any = rules["p-1.pressure.quality"]
    assert quality.after == 30.0, "as silence where the profile says nothing"
    for alarm in ("p-1.dead", "line.bus.lost", "gateway.journal"):
        assert alarm in rules
    assert "gateway.broker" not in rules
    assert "p-1.wrong-instrument" not in rules, "its driver has no identity"


def test_a_temperature_dead_band_is_a_difference(tmp_path: Path) -> None:
    profile = {
        "version": 1,
        "reason": "r",
        "unit": "[degF]",
        "limits": [{"level": "alert", "high": 212.0, "dead-band": 9.0}],
    }
    incubator = {
        "id": "i-1",
        "name": "I",
        "driver": "thermo/cytomat",
        "area": "room",
        "channels": [{"id": "temperature", "limits": "hot"}],
    }
    loaded = read(tmp_path, site(line(incubator), profiles={"hot": profile}))
    limit: Any = next(r for r in loaded.rules if r.alarm == "i-1.temperature.alert-high")
    assert (limit.limit, limit.dead_band) == (pytest.approx(100.0), pytest.approx(5.0))


def test_a_calibration_that_becomes_overdue_is_marked_from_then_on(tmp_path: Path) -> None:
    """A gateway runs for years; and one without a battery learns only later which day it is."""
    calibration = {"certificate": "C-1", "date": "2019-06-01", "due": "2026-11-22"}
    loaded = read(tmp_path, site(line(PRESSURE | {"channels": [{"id": "pressure", "calibration": calibration}]})))
    assert loaded.plan is not None
    (slot,) = loaded.plan.lines[0].devices[0].queries[0].slots
    found = []
    for day in (dt.date(1970, 1, 1), dt.date(2026, 11, 22), dt.date(2026, 11, 23), dt.date(2026, 11, 22)):
        loaded.plan.mark_overdue(day)
        found.append(slot.flags)
    assert found == [0, 0, Flag.CALIBRATION_DUE, 0]
