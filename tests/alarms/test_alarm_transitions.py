"""The table of transitions against the rows of the facts (gmp.md 4.2) and the design's rule for leaving."""

from __future__ import annotations

import pytest

from labmon.alarms.transitions import HIDDEN_STATES, LEAVING, OPEN_STATES, TRANSITIONS, Trigger
from labmon.model.event import AlarmState

ROWS = """
NORM         active                      UNACK
UNACK        acknowledge                 ACKED
UNACK        return                      RTNUN
UNACK        return-latched              LATCH_UNACK
ACKED        return                      NORM
ACKED        return-latched              LATCH_ACK
ACKED        realarm                     UNACK
RTNUN        acknowledge                 NORM
RTNUN        active                      UNACK
LATCH_UNACK  acknowledge                 LATCH_ACK
LATCH_UNACK  active                      UNACK
LATCH_ACK    active                      UNACK
LATCH_ACK    reset                       NORM
"""
OPEN = ["NORM", "UNACK", "ACKED", "RTNUN", "LATCH_UNACK", "LATCH_ACK"]
RESTORED = """
leave-active-acknowledged   ACKED
leave-active                UNACK
leave-returned              RTNUN
leave-latched               LATCH_UNACK
leave-latched-acknowledged  LATCH_ACK
leave-normal                NORM
"""


def expected() -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    for row in ROWS.split("\n"):
        if row:
            state, trigger, to = row.split()
            table[state, trigger] = to
    for state in OPEN:
        table[state, "shelve"] = "SHLVD"
        table[state, "suppress"] = "DSUPR"
        table[state, "take-out"] = "OOSRV"
    table["SHLVD", "suppress"] = "DSUPR"
    table["SHLVD", "take-out"] = table["DSUPR", "take-out"] = "OOSRV"
    for hidden in ("SHLVD", "DSUPR", "OOSRV"):
        for row in RESTORED.split("\n"):
            if row:
                trigger, to = row.split()
                table[hidden, trigger] = to
    return table


def test_the_table_is_exactly_this() -> None:
    assert {(s.value, t.value): to.value for (s, t), to in TRANSITIONS.items()} == expected()


def test_every_state_can_be_reached_and_left() -> None:
    assert {s for s, _ in TRANSITIONS} == set(AlarmState) == set(TRANSITIONS.values())
    assert {t for _, t in TRANSITIONS} == set(Trigger)


def test_open_and_hidden_states_part_the_states() -> None:
    assert set(OPEN_STATES) | HIDDEN_STATES == set(AlarmState)
    assert not set(OPEN_STATES) & HIDDEN_STATES
    assert set(LEAVING) == set(OPEN_STATES)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[AlarmState.NORM, Trigger.RESET] = AlarmState.NORM  # type: ignore[index]
