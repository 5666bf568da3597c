"""What a site writes and how long the journal holds it."""

from __future__ import annotations

import math

import pytest

from labmon.config.capacity import BESIDE_BYTES, capacity
from labmon.config.site import JournalConfig


def journal(size: str, keep: str = "30 d") -> JournalConfig:
    return JournalConfig.model_validate({"size": size, "keep-readings": keep})


def test_one_query_by_hand() -> None:
    # 20 channels each second: 31 + 20 * 5 = 131 bytes, with 5 % on top, 86 400 times a day.
    held = capacity([(20, 1.0)], journal("4 GB"))
    assert held.exchanges_per_day == 86400
    assert held.readings_per_day == 1_728_000
    assert held.bytes_per_day == pytest.approx(131 * 1.05 * 86400)
    assert held.days == pytest.approx((4e9 - BESIDE_BYTES) / held.bytes_per_day)
    assert held.fits
    assert held.refusal == ""


def test_queries_add_up() -> None:
    one, other = capacity([(3, 10.0)], journal("1 GB")), capacity([(1, 60.0)], journal("1 GB"))
    both = capacity(iter([(3, 10.0), (1, 60.0)]), journal("1 GB"))
    assert both.bytes_per_day == pytest.approx(one.bytes_per_day + other.bytes_per_day)
    assert both.readings_per_day == pytest.approx(one.readings_per_day + other.readings_per_day)


def test_a_retention_that_does_not_fit_is_refused_with_figures() -> None:
    held = capacity([(20, 1.0)], journal("500 MB", "90 d"))
    assert not held.fits
    assert held.refusal == "90 days of readings take 1.07 GB, the size given holds 41.2 days"


def test_the_border_is_where_the_days_end() -> None:
    held = capacity([(20, 1.0)], journal("500 MB", "41 d"))
    assert held.fits
    assert not capacity([(20, 1.0)], journal("500 MB", "42 d")).fits


def test_nothing_polled_is_held_for_ever() -> None:
    held = capacity([], journal("500 MB"))
    assert math.isinf(held.days)
    assert held.fits
