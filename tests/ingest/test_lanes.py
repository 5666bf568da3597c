"""What waits to be written: in order, in turn, bounded."""

from __future__ import annotations

import pytest

from labmon.ingest.lanes import Lanes

ONE, TWO, THREE = ("lab", "gw-1"), ("lab", "gw-2"), ("plant", "gw-1")


def taken(lanes: Lanes, now: float = 0.0) -> list[bytes]:
    found = []
    while (waiting := lanes.next(now)) is not None:
        found.append(waiting.payload)
        lanes.done(waiting)
    return found


def test_gateways_take_turns_and_each_keeps_its_order() -> None:
    lanes = Lanes()
    for payload in (b"1a", b"1b", b"1c"):
        lanes.put(ONE, payload, 0.0)
    lanes.put(TWO, b"2a", 0.0)
    lanes.put(THREE, b"3a", 0.0)
    assert taken(lanes) == [b"1a", b"2a", b"3a", b"1b", b"1c"]
    assert lanes.next(0.0) is None
    assert len(lanes) == 0


def test_a_message_that_is_not_done_stays_first_of_its_lane() -> None:
    lanes = Lanes()
    lanes.put(ONE, b"1a", 0.0)
    lanes.put(ONE, b"1b", 0.0)
    lanes.put(TWO, b"2a", 0.0)
    turns = [lanes.next(0.0) for _ in range(4)]
    assert [turn and turn.payload for turn in turns] == [b"1a", b"2a", b"1a", b"2a"]


def test_what_waits_is_not_taken_twice() -> None:
    lanes = Lanes()
    assert [lanes.put(ONE, b"x", 0.0), lanes.put(ONE, b"x", 1.0), lanes.put(TWO, b"x", 1.0)] == [
        "taken",
        "known",
        "taken",
    ]
    assert taken(lanes) == [b"x", b"x"]
    assert lanes.put(ONE, b"x", 2.0) == "taken"


def test_bounded_in_count() -> None:
    lanes = Lanes(count=2)
    assert [lanes.put(ONE, p, 0.0) for p in (b"a", b"b", b"c", b"a")] == ["taken", "taken", "full", "known"]
    taken(lanes)
    assert lanes.put(ONE, b"c", 0.0) == "taken"


def test_bounded_in_bytes_but_one_message_always_fits() -> None:
    lanes = Lanes(size=10)
    assert lanes.put(ONE, b"x" * 50, 0.0) == "taken"
    assert lanes.put(ONE, b"y", 0.0) == "full"
    assert taken(lanes) == [b"x" * 50]
    assert [lanes.put(ONE, p, 0.0) for p in (b"a" * 5, b"b" * 5, b"c")] == ["taken", "taken", "full"]


def test_what_its_gateway_no_longer_repeats_is_dropped() -> None:
    lanes = Lanes(stale=100.0)
    lanes.put(ONE, b"old", 0.0)
    lanes.put(ONE, b"kept", 0.0)
    lanes.put(ONE, b"kept", 60.0)
    assert taken(lanes, 101.0) == [b"kept"]
    assert len(lanes) == 0


def test_only_the_first_of_a_lane_can_be_done() -> None:
    lanes = Lanes()
    lanes.put(ONE, b"a", 0.0)
    first = lanes.next(0.0)
    assert first is not None
    lanes.done(first)
    lanes.put(ONE, b"b", 0.0)
    with pytest.raises(ValueError, match="not the first"):
        lanes.done(first)
