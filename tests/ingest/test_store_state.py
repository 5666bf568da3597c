"""Pauses that grow, and one line per change."""

from __future__ import annotations

import logging

import pytest

from labmon.ingest.store import StoreError
from labmon.ingest.store_state import LONGEST_PAUSE, StoreState


def test_pauses_double_to_the_longest_and_begin_anew() -> None:
    state = StoreState("main")
    pauses = [state.unavailable(StoreError("unavailable", "503"), 1) for _ in range(8)]
    assert all(0.4 * 2**i <= p <= 0.6 * 2**i for i, p in enumerate(pauses[:5]))
    assert all(0.8 * LONGEST_PAUSE <= p <= 1.2 * LONGEST_PAUSE for p in pauses[5:])
    state.stored()
    assert state.unavailable(StoreError("unavailable", "503"), 1) <= 0.6


def test_the_stores_own_wish_counts_where_it_is_longer() -> None:
    state = StoreState("main")
    assert state.unavailable(StoreError("unavailable", "429", 77.0), 1) == 77.0
    assert state.unavailable(StoreError("unavailable", "429", 0.0), 1) >= 0.8


def test_a_denial_holds_for_a_while() -> None:
    state, denial = StoreState("main"), StoreError("denied", "401")
    state.denied(denial, 100.0)
    assert state.denied_now(100.3) is denial
    assert state.denied_now(100.7) is None
    state.denied(denial, 101.0)
    assert state.denied_now(101.7) is denial
    state.stored()
    assert state.denied_now(101.7) is None


def test_one_line_per_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    state = StoreState("main")
    state.stored()
    for text in ("502 Bad Gateway", "no answer within 5 s"):
        state.unavailable(StoreError("unavailable", text), 3)
    for text in ("401 a", "401 a", "404 b"):
        state.denied(StoreError("denied", text), 0.0)
    state.stored()
    state.stored()
    assert [record.message for record in caplog.records] == [
        "store main: unavailable, 3 ranges wait: 502 Bad Gateway",
        "store main: takes nothing until somebody acts: 401 a",
        "store main: takes nothing until somebody acts: 404 b",
        "store main: stores again",
    ]


def test_a_fault_is_new_once() -> None:
    state = StoreState("main")
    assert [state.fault(error) for error in (KeyError(), KeyError(), ValueError())] == [True, False, True]
