"""The state of one alarm: small, immutable, and the same after a restart."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import orjson

from labmon.alarms.errors import StateError
from labmon.alarms.transitions import ACTIVE_STATES, HIDDEN_STATES
from labmon.model.event import AlarmState

VERSION = 1


@dataclass(frozen=True, slots=True)
class State:
    """One alarm's state. Times are UTC ns, 0 where there was none; `turn_mono` is monotonic seconds.

    An occurrence lasts from the first RAISED until the state is NORM again; an alarm that comes back unacknowledged
    goes on with the same occurrence and one more activation.
    """

    base: AlarmState = AlarmState.NORM
    """What the alarm is of itself; it goes on underneath while hidden."""
    hidden: AlarmState | None = None
    """SHLVD, DSUPR or OOSRV while the alarm is not annunciated."""
    occurrence: str = ""
    activations: int = 0
    began: int = 0
    """First breach of the occurrence."""
    since: int = 0
    """First breach of the present (or last) activation."""
    raised: int = 0
    told: bool = False
    """The present activation was annunciated, and not only recorded while hidden."""
    turn: int = 0
    """When the condition turned against the state, for an on-delay or off-delay under way."""
    turn_mono: float = 0.0
    value: float | None = None
    """Value at the last change, or at the peak."""
    peak: float | None = None
    peak_time: int = 0
    measured: bool = True
    detail: str = ""
    acknowledged: int = 0
    user: str = ""
    reason: str = ""

    @property
    def shown(self) -> AlarmState:
        """The state that is shown: the hidden one covers what is underneath."""
        return self.hidden or self.base

    @property
    def active(self) -> bool:
        """Whether the condition holds, as far as delays and missing values let it be known."""
        return self.base in ACTIVE_STATES

    def to_bytes(self) -> bytes:
        """As JSON; fields that say nothing are left out, and monotonic time, which means nothing to the next boot."""
        data: dict[str, Any] = {"v": VERSION}
        for name, default in _DEFAULTS.items():
            if (value := getattr(self, name)) != default:
                data[name] = value
        return orjson.dumps(data)

    @classmethod
    def from_bytes(cls, saved: bytes, mono: float, now: int) -> State:
        """Read what `to_bytes` wrote. A delay under way goes on from its wall time. Raises StateError."""
        try:
            data = orjson.loads(saved)
        except orjson.JSONDecodeError as error:
            raise StateError(f"not JSON: {error}") from error
        if not isinstance(data, dict) or data.pop("v", None) != VERSION:
            raise StateError(f"not an alarm state of version {VERSION}")
        if unknown := set(data) - set(_DEFAULTS):
            raise StateError(f"unknown fields {sorted(unknown)}")
        for name, value in data.items():
            if not _fits(name, value):
                raise StateError(f"field {name} cannot be {value!r}")
        for name in ("base", "hidden"):
            if name in data:
                data[name] = AlarmState(data[name])
        state = cls(**data)
        return replace(state, turn_mono=rebase(state.turn, mono, now)) if state.turn else state


def rebase(wall: int, mono: float, now: int) -> float:
    """Monotonic time of a moment known by its wall time; never later than now, should the clock have gone back."""
    return mono - max(0, now - wall) / 1e9


def _fits(name: str, value: object) -> bool:
    if name in ("base", "hidden"):
        return value in [s.value for s in AlarmState if (s in HIDDEN_STATES) is (name == "hidden")]
    if name in ("value", "peak"):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is type(_DEFAULTS[name])


_DEFAULTS: dict[str, Any] = {
    f.name: f.default for f in fields(State) if f.name != "turn_mono" and f.default is not MISSING
}
FRESH = State()
