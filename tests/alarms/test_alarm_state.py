"""A state is the same after it was saved."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labmon.alarms.errors import StateError
from labmon.alarms.state import FRESH, State, rebase
from labmon.alarms.transitions import HIDDEN_STATES, OPEN_STATES
from labmon.alarms.view import OutOfService

TIMES = st.integers(0, 2**62)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=20)
STATES = st.builds(
    State,
    base=st.sampled_from(OPEN_STATES),
    hidden=st.none() | st.sampled_from(sorted(HIDDEN_STATES)),
    occurrence=TEXTS,
    activations=st.integers(0, 1000),
    began=TIMES,
    since=TIMES,
    raised=TIMES,
    told=st.booleans(),
    value=NUMBERS,
    peak=NUMBERS,
    peak_time=TIMES,
    measured=st.booleans(),
    detail=TEXTS,
    acknowledged=TIMES,
    user=TEXTS,
    reason=TEXTS,
)


@given(STATES)
def test_saved_and_read_again(state: State) -> None:
    again = State.from_bytes(state.to_bytes(), 5.0, 7)
    assert again == state
    assert (again.base, again.hidden) == (state.base, state.hidden)
    assert type(again.base) is type(state.base)


def test_a_normal_alarm_takes_few_bytes() -> None:
    assert len(FRESH.to_bytes()) < 10


def test_a_delay_under_way_is_carried_to_the_new_monotonic_clock() -> None:
    saved = State(turn=1_000 * 10**9, turn_mono=77.0).to_bytes()
    again = State.from_bytes(saved, 500.0, 1_030 * 10**9)
    assert (again.turn, again.turn_mono) == (1_000 * 10**9, 470.0)


def test_a_clock_that_went_back_does_not_put_the_beginning_into_the_future() -> None:
    assert rebase(1_000 * 10**9, 500.0, 10**9) == 500.0


@pytest.mark.parametrize(
    "saved",
    [
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"v":2}',
        b'{"v":1,"base":"SHLVD"}',
        b'{"v":1,"base":"GONE"}',
        b'{"v":1,"hidden":"UNACK"}',
        b'{"v":1,"colour":"red"}',
        b'{"v":1,"turn_mono":1.0}',
        b'{"v":1,"since":"today"}',
        b'{"v":1,"since":true}',
        b'{"v":1,"told":1}',
        b'{"v":1,"value":"38"}',
    ],
)
def test_what_is_no_state_is_refused(saved: bytes) -> None:
    with pytest.raises(StateError):
        State.from_bytes(saved, 0.0, 0)


def test_out_of_service_is_saved_and_read_again() -> None:
    for until in (None, 10**18):
        record = OutOfService("incubator-1", 10**17, until, "duty", "commissioning")
        assert OutOfService.from_bytes(record.to_bytes()) == record


@pytest.mark.parametrize("changed", [{"v": 2}, {"until": "later"}, {"user": None}, {"colour": "red"}, None])
def test_what_is_no_out_of_service_record_is_refused(changed: dict[str, object] | None) -> None:
    data = orjson.loads(OutOfService("incubator-1", 1, None, "duty", "why").to_bytes())
    with pytest.raises(StateError):
        OutOfService.from_bytes(b"[]" if changed is None else orjson.dumps(data | changed))
