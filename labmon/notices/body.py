"""The body of a notice: what is wrong, what holds now, what to do, where, since when, how to acknowledge."""

from __future__ import annotations

from collections.abc import Sequence

from labmon.model.event import AlarmClass, Event
from labmon.notices import technical
from labmon.notices.matter import ACTIVE, UNACKNOWLEDGED, Matter, listed, since
from labmon.notices.notice import NoticeKind
from labmon.notices.words import duration

_TITLE = "What to do:"
_MOST_DEVICES = 100
_ASSESS = "  Have the material assessed by the site's procedure before it is used."
_UNMEANT = "  If this was not meant, watch the material yourself and call an engineer."
_LOOK = "  Go and look, and follow the site's procedure. No instruction is configured."


def body(matter: Matter) -> str:
    """Plain text in sections; a section without content is left out."""
    parts = (_statement, _now, _todo, _affected, _where, _when, _acknowledging, _footer)
    sections = [_title(matter), *("\n".join(part(matter)) for part in parts)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(matter: Matter) -> str:
    side = {"high": "ABOVE", "low": "BELOW"}.get(matter.event.direction, "OUTSIDE")
    what = "TECHNICAL ALARM" if matter.technical else f"{side} {matter.level.upper()}"
    if matter.kind is NoticeKind.CLEARED:
        return f"{what}: OVER BEFORE YOU WERE TOLD" if matter.untold else f"{what}: CLEARED"
    return {
        NoticeKind.RAISED: what,
        NoticeKind.NOT_MEASURED: f"{what}, AND NO LONGER MEASURED",
        NoticeKind.ACKNOWLEDGED: f"{what}: ACKNOWLEDGED",
        NoticeKind.REMOVED: "ALARM TAKEN OUT OF THE CONFIGURATION",
    }[matter.kind]


def _statement(matter: Matter) -> list[str]:
    event, story = matter.event, matter.story
    if matter.kind is NoticeKind.ACKNOWLEDGED:
        lines = [f"{_acknowledgement(matter, event)}.", _acknowledged_what(matter)]
    elif matter.kind is NoticeKind.NOT_MEASURED:
        lines = [
            f"{matter.sentence_name}: the alarm is still active, but its value can no longer be read.",
            "Assume that it is still out of limits, and look at the instrument's own display.",
            "The alarm cannot clear before the value is read again.",
        ]
        lines += [f"Last value: {matter.compared(event.value, event)}."] if event.value is not None else []
    elif matter.kind is NoticeKind.REMOVED:
        lines = [f"{matter.sentence_name}: the alarm {event.detail or 'is watched no more'}."]
    elif matter.kind is NoticeKind.CLEARED:
        lines = [matter.breach(story.raised)] if matter.untold and story.raised is not None else []
        lines.append(_cleared(matter))
    else:
        lines = [matter.breach(event, f"at {matter.short(event.time)} " if matter.late else "")]
    if matter.technical and matter.kind is NoticeKind.RAISED:
        lines.append(matter.words.meaning)
    if story.acknowledged is not None and matter.kind is not NoticeKind.ACKNOWLEDGED:
        lines.append(f"{_acknowledgement(matter, story.acknowledged)}.")
    if event.detail and matter.kind is not NoticeKind.REMOVED:
        lines.append(f"Reported: {event.detail}")
    return [line for line in [*lines, *_merged(matter)] if line]


def _acknowledgement(matter: Matter, event: Event) -> str:
    reason = f", reason: {event.reason.rstrip('.')}" if event.reason else ""
    return f"{matter.house.who(event.user)} acknowledged it at {matter.short(event.time)}{reason}"


def _acknowledged_what(matter: Matter) -> str:
    event, name = matter.event, matter.sentence_name
    if matter.technical or event.limit is None:
        return f"Alarm: {name} {matter.words.is_ if matter.technical else 'out of limits'}."
    return f"Alarm: {name}, {event.direction} {matter.level} {matter.quantity(event.limit)}."


def _cleared(matter: Matter) -> str:
    event = matter.event
    what = "The fault lasted" if matter.technical else "It was out of limits for"
    lasted = f" {what} {matter.lasted}." if matter.lasted else ""
    if matter.technical:
        return f"{matter.sentence_name} {matter.words.over}.{lasted}"
    value = f": {matter.quantity(event.value)}" if event.value is not None else ""
    limit = f" ({event.direction} {matter.level} {matter.quantity(event.limit)})" if event.limit is not None else ""
    peak = matter.view.peak if matter.view is not None else None
    worst = f" The worst value was {matter.quantity(peak)}." if peak is not None else ""
    return f"{matter.sentence_name} is back in limits{value}{limit}.{lasted}{worst}"


def _merged(matter: Matter) -> list[str]:
    story = matter.story
    if story.earlier and story.earliest is not None:
        times = "once" if story.earlier == 1 else f"{story.earlier} times"
        first = matter.short(story.earliest.detected)
        return [f"It had been raised {times} before, first at {first}; you could not be told of that either."]
    if story.before is not None:
        return [f"The alarm before this one cleared at {matter.short(story.before.time)}."]
    return []


def _now(matter: Matter) -> list[str]:
    if not (matter.late or matter.kind is NoticeKind.ACKNOWLEDGED):
        return []
    view, moment = matter.view, matter.short(matter.situation.now)
    lines = [f"Now ({moment}): {_standing_now(matter)}."]
    if matter.late:
        waited = duration(matter.situation.waited)
        lines.append(f"This message waited {waited}: it could not be sent before.")
    if view is None or view.state not in ACTIVE or matter.technical:
        return lines
    if not view.measured:
        lines[0] = f"Now ({moment}): {matter.standing(view.state)}, and NOT being measured."
    elif view.value is not None:
        worst = f", worst {matter.quantity(view.peak)}" if view.peak is not None else ""
        lines[0] = f"Now ({moment}): {matter.standing(view.state)}, {matter.compared(view.value, matter.event)}{worst}."
    return lines


def _standing_now(matter: Matter) -> str:
    if matter.raised_again:
        return "raised again; another message tells of that"
    return matter.standing(matter.view.state) if matter.view is not None else "normal, the alarm is closed"


def _todo(matter: Matter) -> list[str]:
    if matter.kind is NoticeKind.ACKNOWLEDGED:
        return []
    if matter.kind is NoticeKind.REMOVED:
        return [_TITLE, _UNMEANT]
    if matter.kind is NoticeKind.CLEARED:
        return [_TITLE, _ASSESS] if matter.event.alarm_class is AlarmClass.ACTION else []
    texts = [about.instruction for about in (matter.channel, matter.device) if about is not None]
    lines = [f"  {line.strip()}" for text in dict.fromkeys(texts) for line in text.splitlines() if line.strip()]
    if matter.technical and matter.words.check:
        lines.insert(0, f"  {matter.words.check}")
    return [_TITLE, *(lines or [_LOOK])]


def _affected(matter: Matter) -> list[str]:
    if not matter.technical or matter.kind is not NoticeKind.RAISED:
        return []
    lines: list[str] = []
    devices, plant = technical.devices(matter.event, matter.plant), matter.plant
    if devices and technical.blinds(matter.event):
        lines.append("Not monitored now:")
        for device in devices[:_MOST_DEVICES]:
            area = plant.areas.get(device.area)
            lines.append(f"  {device.id} ({device.name}), {area.name if area else device.area}")
        if (rest := len(devices) - _MOST_DEVICES) > 0:
            lines.append(f"  and {rest} more")
    elif devices and (names := [plant.channels[key].name for key in devices[0].channels if key in plant.channels]):
        lines.append(f"Not monitored now: {', '.join(names)}.")
    if blind := technical.blind(matter.event, plant, matter.situation.alarms):
        lines += ["ALREADY IN ALARM, and no longer measured:", *(f"  {line}" for line in blind)]
    return lines


def _where(matter: Matter) -> list[str]:
    event, plant, rows = matter.event, matter.plant, []
    if matter.device is not None:
        asset = f", asset {matter.device.asset}" if matter.device.asset else ""
        rows.append(("Device", f"{matter.device.name} ({matter.device.id}){asset}"))
    elif event.device:
        rows.append(("Device", event.device))
    if matter.channel is not None:
        rows.append(("Channel", f"{matter.channel.name} ({matter.channel.key})"))
        rows.append(("Place", matter.channel.place))
    else:
        rows.append(("Channel", event.channel))
    if (area := plant.areas.get(matter.area)) is not None:
        grade = f", grade {area.grade}" if area.grade != "none" else ""
        rows.append(("Area", f"{area.name}{grade}, {area.state.replace('-', ' ')}"))
    else:
        rows.append(("Area", matter.area))
    if technical.watched(event) == plant.gateway and plant.gateway_name:
        rows.append(("Gateway", f"{plant.gateway_name} ({plant.gateway})"))
    if matter.technical and (line := plant.lines.get(event.line)) is not None:
        rows.append(("Line", f"{line.name} ({line.id}), {line.endpoint}"))
    table = _table(rows)
    return ["Where:", *table] if table else []


def _when(matter: Matter) -> list[str]:
    event, full = matter.event, matter.house.clock.full
    start = matter.story.raised or event
    rows = [("Since" if matter.technical else "Out of limits since", full(since(start)))]
    if matter.story.raised is not None and start.detected - since(start) >= 1_000_000_000:
        rows.append(("Alarm raised", full(start.detected)))
    name = {
        NoticeKind.CLEARED: "Cleared",
        NoticeKind.ACKNOWLEDGED: "Acknowledged",
        NoticeKind.NOT_MEASURED: "Not measured since",
        NoticeKind.REMOVED: "Taken out",
        NoticeKind.RAISED: "",
    }[matter.kind]
    rows += [(name, full(event.time))] if name else []
    return ["When:", *_table(rows)]


def _acknowledging(matter: Matter) -> list[str]:
    if matter.kind is NoticeKind.ACKNOWLEDGED or matter.state not in UNACKNOWLEDGED or not matter.house.acknowledgeable:
        return []
    may = f" ({listed(matter.house.may)} may)" if matter.house.may else ""
    over = matter.kind is NoticeKind.CLEARED or matter.state not in ACTIVE
    lead = "It still has to be acknowledged" if over else "When you have taken charge of it, acknowledge it"
    return [f"{lead}{may}:", f"  {matter.house.how_to_acknowledge(matter.event)}"]


def _footer(matter: Matter) -> list[str]:
    situation, event, plant = matter.situation, matter.event, matter.plant
    lines = [f"Sent by {situation.by} to {listed(situation.to)}."] if situation.to else []
    if matter.kind is NoticeKind.RAISED and matter.state in ACTIVE:
        when = "when it is acknowledged and when it has cleared" if matter.house.acknowledgeable else "when it is over"
        lines.append(f"You will be told {when}.")
    if matter.story.unjournaled:
        whose = "the watch's" if matter.house.teller else "the gateway's"
        lines.append(f"NOT JOURNALED: sent from {whose} memory, because its disk did not record it in time.")
    occurrence = f"occurrence {event.occurrence}, " if event.occurrence else ""
    teller = matter.house.teller or f"gateway {plant.gateway}"
    return [*lines, f"Alarm {event.alarm}, {occurrence}{teller}, {plant.site_name}."]


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    rows = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{width}}  {value}" for name, value in rows]
