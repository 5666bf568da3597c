"""Instruments of files that nobody has seen before: their values are those of such an instrument, and move as such."""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from labmon import units
from labmon.drivers.load import load_driver
from labmon.simulate.instrument import Instrument
from labmon.simulate.quantity import cumulative, poisson
from labmon.simulate.usual import expected, sizes

HEAD = """\
labmon-driver: 1
maker: Nobody
models: [X]
title: Nobody X
class: {class_}
manual: {{document: none, revision: none, pages: "1"}}
framings: [modbus-rtu]
serial: {{baud: 19200}}
address: {{default: 1, from: 1, to: 247}}
order: CDAB
queries:
  all:
    every: 10 s
    requests:
      - read: holding
        at: 0
        count: {count}
        fields:
          status: {{at: 0, type: u16}}
{fields}
    bad-when:
      - {{field: status, clear: 3, reason: not-ready}}
    channels:
{channels}
"""


def made(folder: Path, class_: str, *channels: tuple[str, str, str], seed: int = 1) -> Instrument:
    """An instrument with these channels: id, unit, further keys. It has no example whatever."""
    fields = "\n".join(f"          {id_}: {{at: {2 + 2 * n}, type: f32}}" for n, (id_, _, _) in enumerate(channels))
    rows = "\n".join(
        f'      - {{id: {id_}, name: {id_}, unit: "{unit}"{", " + more if more else ""}}}'
        for id_, unit, more in channels
    )
    path = folder / "nobody" / "x.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEAD.format(class_=class_, count=2 + 2 * len(channels), fields=fields, channels=rows))
    loaded = load_driver(path)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return Instrument(loaded.driver, "modbus-rtu", 1, {}, chance=random.Random(seed))


def read(instrument: Instrument) -> dict[str, float]:
    """What its registers say, through the driver."""
    (query,) = instrument.queries
    (step,) = query.steps
    reply = instrument.answer(bytes([3, 0, 0, 0, step.count]))  # type: ignore[union-attr]
    assert reply is not None and reply[0] == 3
    answer = query.decode([reply[2:]])
    told = {}
    for spec, outcome in zip(query.channels, answer.outcomes, strict=True):
        assert outcome.value is not None, f"{spec.id}: {outcome.reason}"
        told[spec.id] = outcome.value
    return told


PLAUSIBLE = [
    ("incubator", "chamber", "Cel", 36, 38),
    ("incubator", "chamber", "[degF]", 96.8, 100.4),
    ("incubator", "chamber", "K", 309, 311.2),
    ("incubator", "gas", "%{CO2}", 4, 6),
    ("incubator", "moisture", "%{RH}", 85, 99),
    ("ult-freezer", "upper-shelf", "Cel", -90, -70),
    ("cryo-vessel", "vapour", "Cel", -196, -150),
    ("refrigerator", "air", "Cel", 2, 8),
    ("room-transmitter", "t", "Cel", 18, 26),
    ("room-transmitter", "h", "%{RH}", 20, 70),
    ("room-transmitter", "c", "[ppm]{CO2}", 400, 1500),
    ("room-pressure", "dp", "Pa", 10, 30),
    ("room-pressure", "dp", "[in_i'H2O]", 0.04, 0.12),
    ("barometer", "p", "hPa", 950, 1050),
    ("air-speed", "v", "m/s", 0.36, 0.54),
    ("ph-sensor", "ph", "[pH]", 6.5, 7.8),
    ("oxygen-sensor", "do", "%{sat}", 20, 60),
    ("shaker", "speed", "{rev}/min", 50, 300),
    ("something-else", "q", "L/min", 0.01, 100),
]


@pytest.mark.parametrize(("class_", "id_", "unit", "low", "high"), PLAUSIBLE)
def test_an_instrument_never_seen_before_shows_plausible_values_that_move(
    tmp_path: Path, class_: str, id_: str, unit: str, low: float, high: float
) -> None:
    instrument = made(tmp_path, class_, (id_, unit, ""))
    seen = []
    for _ in range(200):
        instrument.advance(10.0)
        seen.append(read(instrument)[id_])
    assert low <= min(seen) and max(seen) <= high, (min(seen), max(seen))
    assert len(set(seen)) > 100, "it moves"
    assert statistics.stdev(seen) < (high - low) / 4, "but not much"


@pytest.mark.parametrize("unit", [code for code in units.table.UNITS if units.unit(code).kind != "state"])
@pytest.mark.parametrize("class_", ["incubator", "particle-counter", "what-is-this"])
def test_every_unit_has_a_value_within_the_range_of_its_channel(tmp_path: Path, class_: str, unit: str) -> None:
    instrument = made(tmp_path, class_, ("x", unit, ""), ("y", unit, "range: [0.25, 0.5]"))
    instrument.advance(60.0)
    assert 0.25 <= instrument.channels().get("y", 0.25) <= 0.5
    (query,) = instrument.queries
    reply = instrument.answer(bytes([3, 0, 0, 0, 6]))
    assert reply is not None and query.decode([reply[2:]]).outcomes[0].value is not None


# ---------------------------------------------------------------- set points and doors


def test_a_value_approaches_its_set_point(tmp_path: Path) -> None:
    instrument = made(tmp_path, "incubator", ("temperature", "Cel", ""), ("temperature-setpoint", "Cel", ""))
    for _ in range(3):
        instrument.advance(100.0)
        assert read(instrument)["temperature-setpoint"] == pytest.approx(37.0), "a set point has no noise"
    instrument.jump("temperature-setpoint", 32.0)
    now = read(instrument)
    assert now["temperature-setpoint"] == 32.0
    assert now["temperature"] == pytest.approx(37.0, abs=0.2), "not at once"
    instrument.advance(20.0)
    assert 32.5 < read(instrument)["temperature"] < 36.5
    instrument.advance(1000.0)
    assert read(instrument)["temperature"] == pytest.approx(32.0, abs=0.2)


def test_a_set_point_is_that_of_its_own_name(tmp_path: Path) -> None:
    instrument = made(tmp_path, "incubator", *(
        (id_, unit, "")
        for id_, unit in [("t", "Cel"), ("inner", "Cel"), ("inner-setpoint", "Cel"), ("warm-alarm-setpoint", "Cel")]
    ))  # fmt: skip
    instrument.jump("warm-alarm-setpoint", 45.0)
    instrument.jump("inner-setpoint", 30.0)
    instrument.advance(1000.0)
    now = read(instrument)
    assert now["inner"] == pytest.approx(30.0, abs=0.2)
    assert now["t"] == pytest.approx(37.0, abs=0.2), "neither another's set point nor an alarm's"


def test_an_open_door_lets_the_room_in(tmp_path: Path) -> None:
    instrument = made(
        tmp_path,
        "incubator",
        ("temperature", "Cel", ""),
        ("co2", "%{CO2}", ""),
        ("door", "1", "states: {0: closed, 1: open}"),
    )
    assert read(instrument)["door"] == 0
    instrument.door(True)
    instrument.advance(30.0)
    now = read(instrument)
    assert now["door"] == 1
    assert 24.5 < now["temperature"] < 34.0
    assert 0.1 < now["co2"] < 3.5, "gas goes sooner than warmth"
    instrument.door(False)
    instrument.advance(1000.0)
    now = read(instrument)
    assert now == {"door": 0, "temperature": pytest.approx(37.0, abs=0.2), "co2": pytest.approx(5.0, abs=0.2)}


def test_people_open_doors(tmp_path: Path) -> None:
    instrument = made(tmp_path, "incubator", ("temperature", "Cel", ""), ("door", "1", "states: {0: closed, 1: open}"))
    instrument.life.door_every = 600.0
    was, openings, opened = 0.0, 0, 0
    for _ in range(6 * 3600):
        instrument.advance(1.0)
        now = instrument.channels().get("door", 0.0)
        openings += now > was
        opened += now == 1
        was = now
    assert 15 <= openings <= 60, "six hours, one in ten minutes"
    assert 10 <= opened / openings <= 41


def test_what_is_stuck_does_not_even_have_noise(tmp_path: Path) -> None:
    instrument = made(tmp_path, "incubator", ("temperature", "Cel", ""), ("co2", "%{CO2}", ""))
    instrument.stuck("co2")
    instrument.door(True)
    seen = []
    for _ in range(50):
        instrument.advance(5.0)
        seen.append(read(instrument))
    assert len({now["co2"] for now in seen}) == 1
    assert len({now["temperature"] for now in seen}) > 20
    instrument.to_usual()
    instrument.advance(5.0)
    assert read(instrument)["co2"] != seen[-1]["co2"]
    instrument.stuck(None)
    before = read(instrument)
    instrument.advance(100.0)
    assert read(instrument) == before
    with pytest.raises(ValueError, match="does not move"):
        instrument.stuck("pressure")


# ---------------------------------------------------------------- particles


@pytest.mark.parametrize(
    ("grade", "state", "small", "large"),
    [
        ("A", "at-rest", 3_520, 29),
        ("A", "in-operation", 3_520, 29),
        ("B", "at-rest", 3_520, 29),
        ("B", "in-operation", 352_000, 2_930),
        ("C", "at-rest", 352_000, 2_930),
        ("C", "in-operation", 3_520_000, 29_300),
        ("D", "at-rest", 3_520_000, 29_300),
    ],
)
def test_counts_are_poisson_around_a_tenth_of_what_the_grade_allows(
    tmp_path: Path, grade: str, state: str, small: float, large: float
) -> None:
    instrument = made(tmp_path, "particle-counter", ("particles-1", "{#}", ""), ("particles-2", "{#}", ""))
    instrument.room(grade, state)
    seen: list[dict[str, float]] = []
    for _ in range(600):
        instrument.advance(60.0)
        seen.append(read(instrument))
    for id_, limit in (("particles-1", small), ("particles-2", large)):
        counts = [now[id_] for now in seen]
        mean = 0.1 * limit * 0.0283
        assert statistics.mean(counts) == pytest.approx(mean, abs=5 * (mean / 600) ** 0.5 + 1e-9)
        assert all(count == int(count) and count >= 0 for count in counts)
        assert 0.7 < statistics.variance(counts) / mean < 1.4, "a Poisson count's variance is its mean"
    assert all(now["particles-1"] >= now["particles-2"] for now in seen), "each size counts all that is larger"


def test_concentrations_are_counts_of_a_sample_over_its_volume(tmp_path: Path) -> None:
    instrument = made(tmp_path, "particle-counter", ("c-1", "{#}/m3", ""), ("c-2", "{#}/[cft_i]", ""))
    instrument.room("C", "at-rest")
    seen = []
    for _ in range(100):
        instrument.advance(60.0)
        seen.append(read(instrument))
    assert statistics.mean(now["c-1"] for now in seen) == pytest.approx(35_200, rel=0.02)
    assert statistics.mean(now["c-2"] for now in seen) == pytest.approx(293 / 35.3147, rel=0.1)
    for now in seen:
        counts = now["c-1"] * 0.0283
        assert counts == pytest.approx(round(counts), abs=1e-3)


def test_there_is_no_figure_for_grade_d_in_operation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figure"):
        expected("D", "in-operation", 0.5)
    instrument = made(tmp_path, "particle-counter", ("particles-1", "{#}", ""))
    before = instrument.quantities["particles-1"].target
    for grade, state in (("D", "in-operation"), ("E", "at-rest"), ("A", "asleep")):
        with pytest.raises(ValueError, match="no figure"):
            instrument.room(grade, state)
    assert instrument.quantities["particles-1"].target == before


def test_larger_particles_are_rarer() -> None:
    of = [0.1, 0.3, 0.5, 1.0, 3.0, 5.0, 10.0, 25.0]
    for grade in "ABCD":
        numbers = [expected(grade, "at-rest", size) for size in of]
        assert numbers == sorted(numbers, reverse=True)
        assert all(number > 0 for number in numbers)


def test_sizes_are_as_known_as_named_or_as_is_common() -> None:
    assert sizes(["a", "b"], [None, None]) == [0.5, 5.0]
    assert sizes(["Particles >= 0.3 um", "Particles >= 5.0 µm", "c"], [None, None, 1.0]) == [0.3, 5.0, 1.0]
    assert len(sizes(["x"] * 12, [None] * 12)) == 12


def test_draws(tmp_path: Path) -> None:
    chance = random.Random(3)
    for mean in (0.0, 0.05, 3.0, 80.0, 5000.0):
        drawn = [poisson(mean, chance) for _ in range(2000)]
        assert statistics.mean(drawn) == pytest.approx(mean, abs=6 * (mean / 2000) ** 0.5)
    for _ in range(200):
        counts = cumulative([10.0, 4.0, 4.0, 0.5, 0.0], chance)
        assert counts == sorted(counts, reverse=True)
    assert cumulative([], chance) == []


# ---------------------------------------------------------------- faults of the instrument itself


def test_a_restart_is_silence_and_then_as_new(tmp_path: Path) -> None:
    instrument = made(tmp_path, "incubator", ("temperature", "Cel", ""))
    body = bytes([3, 0, 0, 0, 4])
    assert instrument.hears(1, body)
    instrument.reboot(5.0, lose=True)
    assert not instrument.hears(1, body)
    instrument.advance(4.0)
    assert not instrument.hears(1, body)
    instrument.advance(1.5)
    assert instrument.hears(1, body)
    assert read(instrument)["temperature"] == pytest.approx(37, abs=0.2)


def test_another_raw_value_in_a_field(tmp_path: Path) -> None:
    instrument = made(tmp_path, "incubator", ("temperature", "Cel", ""))
    (query,) = instrument.queries

    def reason() -> Any:
        reply = instrument.answer(bytes([3, 0, 0, 0, 4]))
        assert reply is not None
        return query.decode([reply[2:]]).outcomes[0].reason

    assert reason() is None, "a status whose bit must be set is set"
    instrument.says("status", "0")
    assert reason() == "not-ready"
    instrument.says("status", "0x8")
    assert reason() is None
    for field, raw in (("state", "1"), ("status", "-1"), ("status", "70000"), ("status", "much")):
        with pytest.raises(ValueError):
            instrument.says(field, raw)
    assert reason() is None
