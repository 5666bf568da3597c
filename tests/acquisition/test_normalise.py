"""From outcomes to readings: converted once, calibrated after, raw kept, and never a number that is none."""

from __future__ import annotations

import math
from typing import Any

import pytest
from test_plan import CALIBRATION, PRESSURE, line, only_query, plan_of

from labmon.acquisition.normalise import failed, readings_of
from labmon.acquisition.plan import QueryPlan
from labmon.drivers.driver import Answer, Outcome
from labmon.journal.packing import Packer
from labmon.model.exchange import Exchange
from labmon.model.reading import Flag, Quality

NOW = 1_800_000_000_000_000_000


def planned(tmp_path: Any, **channel: Any) -> QueryPlan:
    return only_query(plan_of(tmp_path, line(PRESSURE | {"channels": [{"id": "pressure"} | channel]})))


def reading(plan: QueryPlan, outcome: Outcome, flags: int = 0) -> Any:
    (made,) = readings_of(plan, Answer([outcome]), NOW, flags).readings
    return made


def test_as_it_is(tmp_path: Any) -> None:
    made = reading(planned(tmp_path), Outcome(15.3, None, 0, 153))
    assert (made.value, made.reason, made.raw, made.quality) == (15.3, None, 153, Quality.GOOD)
    assert made.time == made.received == NOW


def test_calibration_comes_after_conversion_and_raw_stays(tmp_path: Any) -> None:
    calibration = CALIBRATION | {"gain": 1.02, "offset": -0.003}
    plan = planned(tmp_path, unit="kPa", calibration=calibration)
    made = reading(plan, Outcome(1500.0, None, 0, 15000))
    assert made.value == pytest.approx(1.5 * 1.02 - 0.003)
    assert made.raw == 15000


def test_an_offset_of_the_unit_is_calibrated_too(tmp_path: Any) -> None:
    incubator = {
        "id": "i-1",
        "name": "I",
        "driver": "thermo/cytomat",
        "area": "room",
        "channels": [
            {"id": "temperature", "unit": "K", "calibration": CALIBRATION | {"gain": 2.0, "offset": 1.0}},
        ],
    }
    plan = only_query(plan_of(tmp_path, line(incubator)))
    (made,) = readings_of(plan, Answer([Outcome(37.0, None), Outcome(0.0, None)]), NOW, 0).readings
    assert made.value == pytest.approx((37.0 + 273.15) * 2.0 + 1.0)


@pytest.mark.parametrize(
    "channel",
    [{}, {"unit": "kPa"}, {"unit": "mm[H2O]"}, {"unit": "hPa", "calibration": CALIBRATION | {"gain": 0.97}}],
    ids=str,
)
def test_the_layout_tells_the_journal_how_value_follows_from_raw(tmp_path: Any, channel: dict[str, Any]) -> None:
    plan = planned(tmp_path, **channel)
    column = plan.layout.columns[0]
    for raw in range(-3000, 3000, 7):
        made = reading(plan, Outcome(raw * 0.1, None, 0, raw))
        assert made.value == pytest.approx(raw * column.scale + column.offset, rel=1e-12, abs=1e-12)
    exchange = readings_of(plan, Answer([Outcome(12.3, None, 0, 123)]), NOW, 0)
    packer = Packer(plan.layout)
    assert packer.unpack(NOW, packer.pack(exchange)).readings == exchange.readings, "bit for bit"


def test_a_reason_stays_one(tmp_path: Any) -> None:
    made = reading(planned(tmp_path, unit="kPa"), Outcome(None, "not-reliable (measurement error)", 0, 153))
    assert (made.value, made.reason, made.raw) == (None, "not-reliable (measurement error)", 153)
    assert made.quality == Quality.BAD


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_no_value(tmp_path: Any, value: float) -> None:
    made = reading(planned(tmp_path), Outcome(value, None))
    assert made.value is None
    assert made.reason == "implausible (not a finite number)"


def test_an_overflow_by_calibration_is_no_value(tmp_path: Any) -> None:
    plan = planned(tmp_path, calibration=CALIBRATION | {"gain": 1e300})
    assert reading(plan, Outcome(1e200, None)).value is None


def test_flags_of_instrument_channel_and_moment_add_up(tmp_path: Any) -> None:
    plan = planned(tmp_path, calibration=CALIBRATION | {"due": "2020-02-01"})
    made = reading(plan, Outcome(1.0, None, int(Flag.WARNING)), Flag.CLOCK | Flag.OUT_OF_SERVICE)
    assert made.flags == Flag.WARNING | Flag.CALIBRATION_DUE | Flag.CLOCK | Flag.OUT_OF_SERVICE
    assert made.quality == Quality.UNCERTAIN


def test_a_record_has_the_instruments_time(tmp_path: Any) -> None:
    made = readings_of(planned(tmp_path), Answer([Outcome(1.0, None)], time=NOW - 60 * 10**9, key="1"), NOW, 0)
    assert (made.time, made.received) == (NOW - 60 * 10**9, NOW)
    assert (made.readings[0].time, made.readings[0].received) == (made.time, made.received)


def test_what_failed_is_a_bad_reading_for_every_channel(tmp_path: Any) -> None:
    channels = [{"id": "a", "from": "pressure"}, {"id": "b", "from": "pressure", "unit": "kPa"}]
    plan = only_query(plan_of(tmp_path, line(PRESSURE | {"channels": channels})))
    made = failed(plan, "silent", NOW, int(Flag.CLOCK), 7)
    assert isinstance(made, Exchange)
    assert [(r.channel, r.value, r.reason, r.raw, r.flags) for r in made.readings] == [
        ("p-1.a", None, "silent", None, Flag.CLOCK),
        ("p-1.b", None, "silent", None, Flag.CLOCK),
    ]
    assert made.skipped == 7
