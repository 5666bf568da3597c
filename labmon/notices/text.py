"""The texts of notices: plain English, a subject for a locked telephone, a body for somebody woken at three.

All words stand in `subject`, `body`, `matter`, `technical` and `words`. A missing field leaves its line out; nothing
that is missing or wrong stops a notice.
"""

from __future__ import annotations

from labmon.notices.body import body
from labmon.notices.matter import House, Matter, Situation
from labmon.notices.notice import Notice, NoticeKind
from labmon.notices.pending import Pending
from labmon.notices.subject import subject

_LATE = 60.0
_LATE_UNMEASURED = 180.0
"""A message that waited for more seconds says so, and what holds now. A lost measurement is held back on purpose."""


def write(house: House, story: Pending, situation: Situation) -> Notice:
    """The notice for what `story` tells, with what holds now. Never raises: a plain text replaces a faulty one."""
    kind = story.kind or NoticeKind.RAISED
    late = situation.waited > (_LATE_UNMEASURED if kind is NoticeKind.NOT_MEASURED else _LATE)
    try:
        matter = Matter(house, story, situation, kind, late)
        headline, text = subject(matter), body(matter)
    except Exception as exc:  # noqa: BLE001 - a fault in a text must not keep an alarm from people
        headline, text = _plain(story, kind, exc)
    return Notice(
        id=f"{story.newest.uid}.{kind.value}",
        kind=kind,
        event=story.event,
        occurrence=story.event.occurrence,
        subject=" ".join(headline.split()),
        text=text,
        sent=situation.now,
        late=late,
        earlier=story.earlier,
        journaled=not story.unjournaled,
    )


def _plain(story: Pending, kind: NoticeKind, problem: Exception) -> tuple[str, str]:
    event = story.event
    headline = f"{(event.alarm_class or 'alarm').upper()} {event.alarm} {kind.value}"
    fields = "\n".join(f"{name}: {value}" for name, value in event.to_dict().items())
    return headline, f"{headline}\n\n{fields}\n\n(The usual text could not be made: {problem!r})\n"
