"""Counters and states of lines and devices."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labmon.health.line import DeviceHealth, DeviceState, LineHealth, LineState
from labmon.health.ring import SIZE, Ring
from labmon.model.reading import Reason

NOW = 1_790_000_000 * 10**9


@given(st.lists(st.floats(0, 100), max_size=3 * SIZE))
def test_ring_keeps_the_latest_and_gives_nearest_rank(values: list[float]) -> None:
    ring = Ring()
    for value in values:
        ring.add(value)
    kept = values[-SIZE:]
    assert len(ring) == len(kept)
    if not kept:
        assert ring.quantiles(0.5, 0.99) == [None, None]
        return
    for share in (0.0, 0.5, 0.99, 1.0):
        (found,) = ring.quantiles(share)
        assert found in kept
        below_or_at = sum(v <= found for v in kept)
        assert below_or_at >= share * len(kept)
        assert all(sum(v <= smaller for v in kept) < share * len(kept) for smaller in kept if smaller < found)


def test_quantiles_of_known_replies() -> None:
    ring = Ring()
    for n in range(1, 101):
        ring.add(n / 100)
    assert ring.quantiles(0.5, 0.99) == [0.5, 0.99]


def test_a_device_is_suspect_until_it_answered() -> None:
    device = DeviceHealth("incubator-1")
    assert device.to_dict(10.0, NOW)["state"] == "suspect"
    assert device.to_dict(10.0, NOW)["since"] is None
    device.record_success(0.02, 10.0)
    assert device.state is DeviceState.OK


@pytest.mark.parametrize(
    ("calls", "state"),
    [
        (["good"], DeviceState.OK),
        (["bad"], DeviceState.SUSPECT),
        (["good", "bad"], DeviceState.SUSPECT),
        (["good", "bad", "good"], DeviceState.OK),
        (["bad", "rest"], DeviceState.RESTING),
        (["bad", "rest", "bad"], DeviceState.DEAD),
        (["bad", "rest", "bad", "bad"], DeviceState.DEAD),
        (["bad", "rest", "good"], DeviceState.OK),
        (["bad", "rest", "bad", "good"], DeviceState.OK),
        (["bad", "rest", "bad", "good", "bad"], DeviceState.SUSPECT),
    ],
)
def test_states(calls: list[str], state: DeviceState) -> None:
    device = DeviceHealth("d")
    for moment, call in enumerate(calls):
        if call == "good":
            device.record_success(0.01, float(moment))
        elif call == "bad":
            device.record_failure(Reason.SILENT, float(moment))
        else:
            device.resting(float(moment))
    assert device.state is state


def test_since_is_when_the_state_began() -> None:
    device = DeviceHealth("d")
    for moment in (1.0, 2.0, 3.0):
        device.record_failure(Reason.SILENT, moment)
    assert device.since == 1.0
    device.record_success(0.01, 4.0)
    device.record_success(0.01, 5.0)
    assert device.since == 4.0


def test_counters_as_data() -> None:
    device = DeviceHealth("incubator-1")
    device.record_success(0.010, 100.0)
    device.record_success(0.030, 101.0)
    device.record_failure(Reason.SILENT, 102.0)
    device.record_failure(Reason.GARBLED, 103.0)
    device.record_failure(Reason.SILENT, 104.0)
    device.resting(104.5)
    device.probed()
    device.late(0.7)
    device.late_by(0.001)
    device.late_by(0.5)
    device.missed(3)
    device.missed(4)
    device.identity = "GMP251"
    device.variant = "v2"
    found = device.to_dict(110.0, NOW)
    assert found == {
        "state": "resting",
        "since": NOW - 5_500_000_000,
        "exchanges": 5,
        "failed": 3,
        "failures": {"silent": 2, "garbled": 1},
        "failures_in_a_row": 3,
        "reply_p50": 0.010,
        "reply_p99": 0.030,
        "lateness_p50": 0.001,
        "lateness_p99": 0.5,
        "lateness_max": 0.5,
        "answered_late": 1,
        "late_after": 0.7,
        "rests": 1,
        "retries": 0,
        "probes": 1,
        "missed_ticks": 7,
        "frames": 0,
        "frames_passed_over": 0,
        "last_good": NOW - 9 * 10**9,
        "last_failed": NOW - 6 * 10**9,
        "last_failure": "silent",
        "identity": "GMP251",
        "variant": "v2",
        "clock_drift": None,
    }
    assert orjson.loads(orjson.dumps(found)) == found


def test_a_line_is_lost_once_until_it_is_open_again() -> None:
    line = LineHealth("serial-1")
    assert line.to_dict(1.0, NOW)["detail"] == "not opened yet"
    line.lost(1.0, "no such port")
    line.lost(2.0, "permission denied")
    assert (line.state, line.since, line.losses, line.detail) == (LineState.LOST, 1.0, 1, "permission denied")
    line.opened(3.0)
    line.opened(4.0)
    assert (line.state, line.since, line.detail) == (LineState.OPEN, 3.0, "")
    line.lost(5.0, "unplugged")
    assert (line.losses, line.last_lost) == (2, 5.0)


def test_a_line_sums_its_devices() -> None:
    line = LineHealth("serial-1")
    line.opened(0.0)
    one, two = line.device("one"), line.device("two")
    assert line.device("one") is one
    one.record_success(0.01, 1.0)
    two.record_failure(Reason.SILENT, 1.0)
    two.missed(2)
    found = line.to_dict(2.0, NOW)
    assert (found["exchanges"], found["failed"], found["missed_ticks"]) == (2, 1, 2)
    assert list(found["devices"]) == ["one", "two"]
    assert found["devices"]["one"] == one.to_dict(2.0, NOW)
    assert orjson.loads(orjson.dumps(found)) == found
