"""The ISA-18.2 / IEC 62682 life cycle as one table of data.

Rows are those of the facts (gmp.md 4.1, 4.2), except for leaving shelved, suppressed or out of service: there the
design's rule stands, that what the alarm was is restored. While an alarm is hidden, what it was goes on by the same
table underneath.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from labmon.model.event import AlarmState

_S = AlarmState


class Trigger(StrEnum):
    """What moves an alarm from one state to another."""

    ACTIVE = "active"
    """The condition is true, its on-delay is over."""
    RETURN = "return"
    """Back to normal, the off-delay is over, and the alarm does not latch."""
    RETURN_LATCHED = "return-latched"
    """Back to normal, the off-delay is over, and the alarm latches."""
    ACKNOWLEDGE = "acknowledge"
    REALARM = "realarm"
    """The re-alarm time is over, or the severity rises."""
    RESET = "reset"
    SHELVE = "shelve"
    SUPPRESS = "suppress"
    """A design condition (door, phase, maintenance) hides the alarm."""
    TAKE_OUT = "take-out"
    """The device goes out of service."""
    LEAVE_NORMAL = "leave-normal"
    """Shelving, suppression or out of service ends: the alarm is normal and asks for nothing."""
    LEAVE_ACTIVE = "leave-active"
    """It ends: the alarm was active and unacknowledged, or has become active meanwhile."""
    LEAVE_ACTIVE_ACKNOWLEDGED = "leave-active-acknowledged"
    LEAVE_RETURNED = "leave-returned"
    """It ends: the alarm returned to normal unacknowledged."""
    LEAVE_LATCHED = "leave-latched"
    LEAVE_LATCHED_ACKNOWLEDGED = "leave-latched-acknowledged"


ACTIVE_STATES = frozenset({_S.UNACK, _S.ACKED})
"""The condition holds."""
HIDDEN_STATES = frozenset({_S.SHLVD, _S.DSUPR, _S.OOSRV})
"""Evaluated and recorded, but not annunciated."""
OPEN_STATES = tuple(s for s in AlarmState if s not in HIDDEN_STATES)
"""The states that an alarm has of itself, hidden or not."""

LEAVING: Mapping[AlarmState, Trigger] = MappingProxyType(
    {
        _S.NORM: Trigger.LEAVE_NORMAL,
        _S.UNACK: Trigger.LEAVE_ACTIVE,
        _S.ACKED: Trigger.LEAVE_ACTIVE_ACKNOWLEDGED,
        _S.RTNUN: Trigger.LEAVE_RETURNED,
        _S.LATCH_UNACK: Trigger.LEAVE_LATCHED,
        _S.LATCH_ACK: Trigger.LEAVE_LATCHED_ACKNOWLEDGED,
    }
)
"""How an alarm leaves a hidden state, by what it is underneath."""

TRANSITIONS: Mapping[tuple[AlarmState, Trigger], AlarmState] = MappingProxyType(
    {
        (_S.NORM, Trigger.ACTIVE): _S.UNACK,
        (_S.UNACK, Trigger.ACKNOWLEDGE): _S.ACKED,
        (_S.UNACK, Trigger.RETURN): _S.RTNUN,
        (_S.UNACK, Trigger.RETURN_LATCHED): _S.LATCH_UNACK,
        (_S.ACKED, Trigger.RETURN): _S.NORM,
        (_S.ACKED, Trigger.RETURN_LATCHED): _S.LATCH_ACK,
        (_S.ACKED, Trigger.REALARM): _S.UNACK,
        (_S.RTNUN, Trigger.ACKNOWLEDGE): _S.NORM,
        (_S.RTNUN, Trigger.ACTIVE): _S.UNACK,
        (_S.LATCH_UNACK, Trigger.ACKNOWLEDGE): _S.LATCH_ACK,
        (_S.LATCH_UNACK, Trigger.ACTIVE): _S.UNACK,
        (_S.LATCH_ACK, Trigger.ACTIVE): _S.UNACK,
        (_S.LATCH_ACK, Trigger.RESET): _S.NORM,
        **{(s, Trigger.SHELVE): _S.SHLVD for s in OPEN_STATES},
        **{(s, Trigger.SUPPRESS): _S.DSUPR for s in (*OPEN_STATES, _S.SHLVD)},
        **{(s, Trigger.TAKE_OUT): _S.OOSRV for s in (*OPEN_STATES, _S.SHLVD, _S.DSUPR)},
        **{(hidden, leave): s for hidden in HIDDEN_STATES for s, leave in LEAVING.items()},
    }
)
"""(state, trigger) -> state. A pair that is not here does not exist."""
