"""Exchanges and events for the tests of the journal."""

from labmon.journal.encoding import encode_event
from labmon.journal.entries import Group
from labmon.journal.packers import Packers
from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import Reading

SECOND = 10**9
DAY = 86400 * SECOND
NOW = 1_795_000_000 * SECOND


def layout(query: str = "incubator-1.all", channels: int = 4, raw_type: str = "h") -> Layout:
    device = query.split(".")[0]
    return Layout(
        query,
        tuple(
            Column(f"{device}.c{i}", "grade-b", device, f"c{i}", "temperature", "Cel", raw_type, 0.1, -40.0)
            for i in range(channels)
        ),
    )


def exchange(form: Layout, time: int = NOW, number: int = 0, flags: int = 0) -> Exchange:
    received = time + 3_000_000
    readings = []
    for index, column in enumerate(form.columns):
        raw = (number * 7 + index) % 30000
        readings.append(Reading(column.key, time, received, raw * column.scale + column.offset, None, flags, raw))
    return Exchange(form, time, received, readings)


def event(detail: str = "door open", time: int = NOW) -> Event:
    return Event(
        EventKind.RAISED,
        time,
        time + 1,
        detail,
        alarm="incubator-1.temperature.action-high",
        alarm_class=AlarmClass.ACTION,
        state=AlarmState.UNACK,
        value=39.25,
    )


def group(exchanges: list[Exchange] | None = None, events: list[Event] | None = None, **rest: object) -> Group:
    packers = Packers()
    return Group([packers.pack(x) for x in exchanges or []], [(e, encode_event(e)) for e in events or []], **rest)  # type: ignore[arg-type]


def same(a: object, b: object) -> bool:
    """Whether two exchanges hold the same."""
    if not isinstance(a, Exchange) or not isinstance(b, Exchange):
        return False
    return all(getattr(a, name) == getattr(b, name) for name in Exchange.__slots__)
