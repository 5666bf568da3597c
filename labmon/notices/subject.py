"""The subject of a notice: how bad, where, what, in what fits on a locked telephone."""

from __future__ import annotations

from labmon.model.event import AlarmClass, AlarmState
from labmon.notices.matter import ACTIVE, Matter, since
from labmon.notices.notice import NoticeKind


def subject(matter: Matter) -> str:
    """One line: the class and what is wrong first, the area last."""
    return _headline(matter) + (f" · {matter.areas}" if matter.areas else "")


def _headline(matter: Matter) -> str:
    event, raised = matter.event, matter.story.raised
    grade = (event.alarm_class or AlarmClass.ALERT).upper()
    if matter.kind is NoticeKind.RAISED:
        return f"{grade} {_raised(matter)}"
    if matter.kind is NoticeKind.NOT_MEASURED:
        return f"{grade} {matter.name} NOT MEASURED, alarm still active"
    if matter.kind is NoticeKind.ACKNOWLEDGED:
        return f"ACKNOWLEDGED by {matter.house.who(event.user)}: {grade} {_acknowledged(matter)}"
    if matter.kind is NoticeKind.REMOVED:
        return f"NO LONGER WATCHED {matter.name}, the alarm was taken out of the configuration"
    if matter.untold and raised is not None:
        when = f"{matter.short(since(raised))} to {matter.short(event.time)}"
        over = "OVER, told late" if matter.late else "OVER at once"
        return f"{over}: {grade} {matter.in_words(raised, 'was')}, {when}"
    lasted = f" after {matter.lasted}" if matter.lasted else ""
    return f"CLEARED {grade} {_over(matter)}{lasted}"


def _raised(matter: Matter) -> str:
    event, view = matter.event, matter.view
    if not matter.late:
        return matter.in_words(event)
    moment = matter.short(since(event))
    if view is None or view.state not in ACTIVE:
        now = matter.standing(view.state) if view is not None else "normal now"
        return f"{matter.in_words(event, 'was')} at {moment}, told late, {now}"
    if matter.technical:
        return f"{matter.in_words(event)}, since {moment}, told late"
    if not view.measured or view.value is None:
        return f"{matter.in_words(event, 'was')} since {moment}, told late, NOT MEASURED now"
    acknowledged = ", acknowledged" if view.state is AlarmState.ACKED else ""
    return f"{matter.name} now {matter.compared(view.value, event)} since {moment}, told late{acknowledged}"


def _acknowledged(matter: Matter) -> str:
    event, view = matter.event, matter.view
    if matter.technical or event.limit is None:
        return matter.in_words(event)
    if view is not None and view.measured and view.value is not None:
        return f"{matter.name} {matter.compared(view.value, event)}"
    return matter.in_words(event)


def _over(matter: Matter) -> str:
    if matter.technical:
        return f"{matter.name} {matter.words.over}"
    value = matter.event.value
    return f"{matter.name} back in limits" + (f" ({matter.quantity(value)})" if value is not None else "")
