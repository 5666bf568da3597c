"""One step of one alarm: (rule, state, what is given, time) -> (state, events). Pure, but for the ids it makes.

On-delay and off-delay run on the monotonic clock from the moment the condition turned. What gives no information (a
reading without a value, a value inside the dead-band) neither ends a delay nor lets it take effect; the first reading
after the delay that does say so takes effect at once (design rule 3).
"""

from __future__ import annotations

import math
from dataclasses import replace

from labmon.alarms.errors import CommandRefused
from labmon.alarms.given import Acknowledge, Given, Level, NoValue, PutBack, TakeOut, Value
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.alarms.state import FRESH, State
from labmon.alarms.transitions import LEAVING, TRANSITIONS, Trigger
from labmon.model.event import AlarmState, Event, EventKind
from labmon.model.ids import new_uid

LATE = "detected late"
"""What people are told of an alarm that a stored record raised or cleared after an outage."""
ROUNDING = 1e-6
"""Seconds by which a delay may be short: a moment carried from wall to monotonic time is that exact at best."""

Result = tuple[State, list[Event]]


def step(rule: Rule, state: State, given: Given, mono: float, now: int) -> Result:
    """Carry the alarm one step on. The same state object comes back when nothing changed.

    `mono` in monotonic seconds, `now` in UTC ns. Raises CommandRefused for an acknowledgement that does not apply,
    TypeError for something that this kind of rule is never given.
    """
    match given:
        case Value() if isinstance(rule, LimitRule):
            return _value(rule, state, given, mono, now)
        case Value() if isinstance(rule, SilenceRule | QualityRule):
            return _turn(rule, state, False, now if given.late else given.time, mono, mono, now, value=given.value)
        case NoValue() if isinstance(rule, LimitRule):
            return _unmeasured(rule, state, given, mono, now)
        case NoValue() if isinstance(rule, SilenceRule | QualityRule):
            return _spell(rule, state, given, mono, now)
        case Level() if isinstance(rule, ConditionRule):
            if state.active and given.active and given.detail != state.detail:
                state = replace(state, detail=given.detail)
            began = now if given.since is None else given.since
            return _turn(rule, state, given.active, began, mono, mono, now, detail=given.detail)
        case Acknowledge():
            return _acknowledge(rule, state, given, now)
        case TakeOut():
            return _take_out(rule, state, given, now)
        case PutBack():
            return _put_back(rule, state, given, now)
    raise TypeError(f"alarm {rule.alarm}: a {type(rule).__name__} is never given {given}")


def spell_due(rule: SilenceRule | QualityRule, state: State, given: NoValue, mono: float) -> float:
    """Monotonic time at which the clock alone will next change this alarm; infinity when it will not."""
    begin = _spell_begin(rule, given)
    if begin is None or (state.active and not state.turn):
        return math.inf
    half, whole = begin[0] + rule.after / 2, begin[0] + rule.after
    return half if mono < half - ROUNDING and not state.turn else whole


def _value(rule: LimitRule, state: State, given: Value, mono: float, now: int) -> Result:
    if given.past:
        return _past(rule, state, given, now)
    events: list[Event] = []
    if not state.measured:
        state = replace(state, measured=True)
        events.append(_event(rule, state, EventKind.MEASURED_AGAIN, given.time, now, value=given.value))
    value = given.value
    breached = rule.breached_by(value)
    condition = True if breached else False if rule.left_by(value) else None
    # A record of an hour ago began its delay an hour ago.
    moment = mono if given.moment is None else given.moment
    detail = LATE if given.late else ""
    state, more = _turn(rule, state, condition, given.time, moment, moment, now, value=value, detail=detail)
    if breached and state.active and (state.peak is None or _beyond(rule, value, state.peak)):
        state = replace(state, value=value, peak=value, peak_time=given.time)
    return state, events + more


def _past(rule: LimitRule, state: State, given: Value, now: int) -> Result:
    """A late record older than what the alarm was judged by: it changes nothing of today's state.

    A breach that nobody was told of is told, and is over. An on-delay cannot be judged by a single value of the past.
    """
    if state.active or state.turn or rule.on_delay or not rule.breached_by(given.value):
        return state, []
    state, raised = _raise(rule, replace(state, turn=given.time), given.time, now, given.value, LATE)
    state, cleared = _clear(rule, state, now, now, None, f"{LATE}: a later value is within the limit")
    return state, raised + cleared


def _beyond(rule: LimitRule, value: float, peak: float) -> bool:
    return value > peak if rule.direction == "high" else value < peak


def _unmeasured(rule: LimitRule, state: State, given: NoValue, mono: float, now: int) -> Result:
    if not (state.active and state.measured):
        return state, []
    after = rule.unmeasured_after
    over = given.by_reading if after is None else mono - given.last >= after - ROUNDING
    if not over:
        return state, []
    state = replace(state, measured=False)
    return state, [_event(rule, state, EventKind.NOT_MEASURED, now, now, detail=given.detail or "no reading")]


def _spell_begin(rule: SilenceRule | QualityRule, given: NoValue) -> tuple[float, int] | None:
    """When the spell began that this alarm would be raised for; None while there is nothing to raise it for."""
    if given.inhibited:
        return None
    if isinstance(rule, SilenceRule):
        return given.heard, given.heard_at
    return None if given.answered is None else (given.valued, given.valued_at)


def _spell(rule: SilenceRule | QualityRule, state: State, given: NoValue, mono: float, now: int) -> Result:
    begin = _spell_begin(rule, given)
    lasted = -math.inf if begin is None else mono - begin[0]
    # Quality: the instrument must have been heard lately, else it is the silence alarm's turn.
    recent = isinstance(rule, SilenceRule) or (given.answered is not None and mono - given.answered < rule.after)
    if state.active:
        relapsed = recent and lasted >= rule.after - ROUNDING
        return _turn(rule, state, True if relapsed else None, now, mono, mono, now)
    # A delay is written down at half its time: soon enough to survive a restart, late enough for one missed reading.
    if begin is None or not recent or lasted < rule.after / 2 - ROUNDING:
        return (replace(state, turn=0, turn_mono=0.0) if state.turn else state), []
    if state.turn != begin[1]:
        state = replace(state, turn=begin[1], turn_mono=begin[0])
    return _turn(rule, state, True, begin[1], begin[0], mono, now, detail=given.detail or "no reading")


def _turn(
    rule: Rule,
    state: State,
    condition: bool | None,
    begin: int,
    begin_mono: float,
    mono: float,
    now: int,
    *,
    value: float | None = None,
    detail: str = "",
) -> Result:
    """Let the condition (None: nothing known) work on the state, through the rule's delays."""
    if condition is None:
        return state, []
    if condition is state.active:
        return (replace(state, turn=0, turn_mono=0.0) if state.turn else state), []
    if not state.turn:
        state = replace(state, turn=begin, turn_mono=begin_mono)
    if mono - state.turn_mono < (rule.on_delay if condition else rule.off_delay) - ROUNDING:
        return state, []
    happened = begin if value is not None else now
    if condition:
        return _raise(rule, state, happened, now, value, detail)
    return _clear(rule, state, happened, now, value, detail)


def _raise(rule: Rule, state: State, happened: int, now: int, value: float | None, detail: str) -> Result:
    again = state.base is not AlarmState.NORM
    state = replace(
        state,
        base=TRANSITIONS[state.base, Trigger.ACTIVE],
        occurrence=state.occurrence if again else new_uid(),
        activations=state.activations + 1,
        began=state.began if again else state.turn,
        since=state.turn,
        raised=happened,
        told=state.hidden is None,
        turn=0,
        turn_mono=0.0,
        value=value,
        measured=True,
        detail=detail,
        acknowledged=0,
        user="",
        reason="",
    )
    return state, [_event(rule, state, EventKind.RAISED, happened, now, value=value, detail=detail)]


def _clear(rule: Rule, state: State, happened: int, now: int, value: float | None, detail: str) -> Result:
    before = state
    own_end = isinstance(rule, ConditionRule) and rule.self_clearing
    base = AlarmState.NORM if own_end else TRANSITIONS[state.base, Trigger.RETURN]
    if base is AlarmState.NORM:
        state = replace(FRESH, hidden=state.hidden)
    else:
        state = replace(state, base=base, turn=0, turn_mono=0.0, value=value, measured=True)
    event = _event(rule, before, EventKind.CLEARED, happened, now, value=value, detail=detail)
    event.state, event.measured = state.shown, True
    return state, [event]


def _acknowledge(rule: Rule, state: State, given: Acknowledge, now: int) -> Result:
    if not given.user:
        raise CommandRefused("an acknowledgement needs a user")
    if state.base is AlarmState.NORM:
        raise CommandRefused(f"alarm {rule.alarm} is normal: there is nothing to acknowledge")
    if given.occurrence != state.occurrence:
        raise CommandRefused(
            f"alarm {rule.alarm}: occurrence {given.occurrence or '(none)'} is past or unknown; "
            f"the present one is {state.occurrence}"
        )
    base = TRANSITIONS.get((state.base, Trigger.ACKNOWLEDGE))
    if base is None:
        raise CommandRefused(f"alarm {rule.alarm} is already acknowledged, by {state.user}")
    before = replace(state, base=base)
    if base is AlarmState.NORM:
        state = replace(FRESH, hidden=state.hidden)
    else:
        state = replace(before, acknowledged=now, user=given.user, reason=given.reason)
    event = _event(rule, before, EventKind.ACKNOWLEDGED, now, now, value=before.value)
    event.user, event.reason = given.user, given.reason
    return state, [event]


def _take_out(rule: Rule, state: State, given: TakeOut, now: int) -> Result:
    shown = TRANSITIONS.get((state.shown, Trigger.TAKE_OUT))
    if shown is None:
        return state, []
    state = replace(state, hidden=shown)
    return state, _service_event(rule, state, EventKind.OUT_OF_SERVICE, given, now)


def _put_back(rule: Rule, state: State, given: PutBack, now: int) -> Result:
    if state.hidden is not AlarmState.OOSRV:
        return state, []
    shown = TRANSITIONS[state.hidden, LEAVING[state.base]]
    untold = shown is AlarmState.UNACK and not state.told
    state = replace(state, base=shown, hidden=None, told=state.told or untold)
    if not untold:
        return state, _service_event(rule, state, EventKind.IN_SERVICE, given, now)
    # Nobody was told while it was hidden: this is the moment at which the alarm comes to people.
    detail = "; ".join(filter(None, ("was raised while out of service", state.detail)))
    return state, [_event(rule, state, EventKind.RAISED, now, now, value=state.value, detail=detail)]


def _service_event(rule: Rule, state: State, kind: EventKind, given: TakeOut | PutBack, now: int) -> list[Event]:
    """An event only where there is an occurrence; the engine reports the device itself once."""
    if state.base is AlarmState.NORM:
        return []
    event = _event(rule, state, kind, now, now, detail=given.detail)
    event.user, event.reason = given.user, given.reason
    return [event]


def _event(
    rule: Rule, state: State, kind: EventKind, time: int, now: int, *, value: float | None = None, detail: str = ""
) -> Event:
    event = Event(
        kind=kind,
        time=time,
        detected=now,
        detail=detail,
        alarm=rule.alarm,
        occurrence=state.occurrence,
        alarm_class=rule.cls,
        state=state.shown,
        device=rule.device,
        channel=rule.channel,
        value=value,
        since=state.since or None,
        measured=state.measured,
    )
    if isinstance(rule, LimitRule):
        event.unit, event.limit, event.direction = rule.unit, rule.limit, rule.direction
    elif isinstance(rule, ConditionRule):
        event.line = rule.line
    return event
