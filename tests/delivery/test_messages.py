"""What is encoded is what is decoded; what is not as it should be is refused with the place where it is wrong."""

import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labmon.model.event import AlarmClass, AlarmState, Event, EventKind
from labmon.model.messages import (
    AlarmMessage,
    ChannelTag,
    Command,
    DeviceHealth,
    EventMessage,
    LineHealth,
    Live,
    LiveChannel,
    MessageError,
    Pin,
    RecordEntry,
    RecordRange,
    Reply,
    Status,
    Stored,
    command_id,
)

T = 1_763_800_000_000_000_000
TAGS = tuple(ChannelTag(f"d.c{n}", "room", "d", f"c{n}", "temperature", "Cel") for n in range(3))


def entry(seq: int, **changed: Any) -> RecordEntry:
    fields: dict[str, Any] = {
        "seq": seq,
        "time": T,
        "received": T + 5,
        "columns": (0, 1, 2),
        "values": [1.5, 2.0, None],
        "reasons": [None, None, "silent"],
        "flags": [0, 4, 0],
        "raw": [150, "2.0", None],
    }
    return RecordEntry(**(fields | changed))


def record(*entries: RecordEntry, first: int = 1, last: int = 100) -> RecordRange:
    return RecordRange("j", first, last, TAGS, entries)


def same(a: RecordEntry, b: RecordEntry) -> bool:
    return all(
        (list(x) if isinstance(x, list | tuple) else x) == (list(y) if isinstance(y, list | tuple) else y)
        for x, y in ((getattr(a, n), getattr(b, n)) for n in RecordEntry.__slots__)
    )


def test_a_record_arrives_as_it_was_sent() -> None:
    sent = record(
        entry(3),
        entry(4, received=T, values=[None] * 3, reasons=["silent"] * 3, flags=[1] * 3, raw=[None] * 3),
        entry(9, columns=(2,), values=[-0.25], reasons=[None], flags=[0], raw=[None]),
    )
    got = RecordRange.decode(sent.encode())
    assert (got.journal, got.first, got.last, tuple(got.channels)) == ("j", 1, 100, TAGS)
    assert len(got.entries) == 3
    for a, b in zip(sent.entries, got.entries, strict=True):
        assert same(a, b), (a, b)


columns = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)
raws = (
    st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aä€ ", max_size=9)
)


@st.composite
def entries(draw: st.DrawFn) -> RecordEntry:
    chosen = tuple(draw(columns))
    values = [draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)) for _ in chosen]
    return entry(
        draw(st.integers(1, 100)),
        received=draw(st.integers(T, T + 3)),
        columns=chosen,
        values=values,
        reasons=[draw(st.sampled_from(["silent", "garbled (x)"])) if v is None else None for v in values],
        flags=[draw(st.sampled_from([0, 0, 1, 96])) for _ in chosen],
        raw=[draw(raws) for _ in chosen],
    )


@settings(deadline=None)
@given(st.lists(entries(), max_size=5, unique_by=lambda e: e.seq))
def test_any_record_arrives_as_it_was_sent(sent: list[RecordEntry]) -> None:
    sent.sort(key=lambda e: e.seq)
    got = RecordRange.decode(record(*sent).encode()).entries
    assert len(got) == len(sent)
    assert all(same(a, b) for a, b in zip(sent, got, strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_goes_out_as_a_bad_one(value: float) -> None:
    sent = record(entry(1, values=[1.0, value, 2.0], reasons=[None] * 3, raw=[value, 1, 2]))
    got = RecordRange.decode(sent.encode()).entries[0]
    assert list(got.values) == [1.0, None, 2.0]
    assert got.reasons[1] is not None
    assert got.reasons[1].startswith("internal (")
    assert got.raw[0] == repr(value)


def test_two_infinities_do_not_hide_each_other() -> None:
    sent = record(entry(1, values=[math.inf, -math.inf, 1.0], reasons=[None] * 3))
    assert list(RecordRange.decode(sent.encode()).entries[0].values) == [None, None, 1.0]


def test_large_numbers_whose_sum_is_infinite_stay_numbers() -> None:
    sent = record(entry(1, values=[1.7e308] * 3, reasons=[None] * 3))
    assert list(RecordRange.decode(sent.encode()).entries[0].values) == [1.7e308] * 3


def test_a_raw_integer_beyond_64_bits_stays_readable() -> None:
    sent = record(entry(1, raw=[2**70, None, None]))
    assert RecordRange.decode(sent.encode()).entries[0].raw[0] == str(2**70)


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": [1.0, 2.0]},
        {"values": [1.0, 2.0, None], "reasons": [None] * 3},
        {"values": [1.0, 2.0, 3.0], "reasons": ["silent", None, None]},
        {"raw": ["x" * 5000, None, None]},
        {"raw": ["\ud800", None, None]},
        {"columns": (), "values": [], "reasons": [], "flags": [], "raw": []},
    ],
)
def test_what_no_reader_would_take_is_not_sent(wrong: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        record(entry(1, **wrong)).encode()


def mutated(path: list[Any], value: Any) -> bytes:
    data = orjson.loads(record(entry(3), entry(4)).encode())
    at = data
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return orjson.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["v"], 2, "record.v"),
        (["v"], True, "record.v"),
        (["journal"], 5, "record.journal"),
        (["journal"], "", "record.journal"),
        (["first"], 0, "record.first"),
        (["first"], "1", "record.first"),
        (["first"], 101, "record.last"),
        (["last"], ..., "record.last"),
        (["extra"], 1, "record"),
        (["channels", 0, 4], ..., "record.channels[0]"),
        (["channels", 0, 4], "x" * 65, "record.channels[0]"),
        (["channels", 0, 4], "", "record.channels[0]"),
        (["channels", 0, 4], 5, "record.channels[0]"),
        (["channels", 0, 4], [], "record.channels[0]"),
        (["channels", 0], ["a", "b", "c", "d", "e", "f"], "record.channels[0]"),
        (["layouts", 0, 0], 3, "record.layouts[0]"),
        (["layouts", 0, 0], -1, "record.layouts[0]"),
        (["layouts", 0, 0], 1, "record.layouts[0]"),
        (["layouts", 0], [], "record.layouts[0]"),
        (["entries", 0, "layout"], 1, "record.entries[0].layout"),
        (["entries", 0, "layout"], -1, "record.entries[0].layout"),
        (["entries", 0, "seq"], 101, "record.entries[0].seq"),
        (["entries", 1, "seq"], 3, "record.entries[1].seq"),
        (["entries", 0, "time"], 2**63, "record.entries[0].time"),
        (["entries", 0, "time"], 1.5, "record.entries[0].time"),
        (["entries", 0, "values"], [1.0, 2.0], "record.entries[0].values"),
        (["entries", 0, "values"], [1.0, True, None], "record.entries[0].values"),
        (["entries", 0, "values"], [1.0, None, None], "record.entries[0]"),
        (["entries", 0, "reasons"], ["silent", None, "silent"], "record.entries[0]"),
        (["entries", 0, "reasons"], [None, None, "x" * 401], "record.entries[0].reasons"),
        (["entries", 0, "flags"], [0, -1, 0], "record.entries[0].flags"),
        (["entries", 0, "flags"], [0, 2**40, 0], "record.entries[0].flags"),
        (["entries", 0, "flags"], "0", "record.entries[0].flags"),
        (["entries", 0, "raw"], [[], None, None], "record.entries[0].raw"),
        (["entries", 0, "raw"], ["x" * 5000, None, None], "record.entries[0].raw"),
        (["entries", 0, "other"], 1, "record.entries[0]"),
        (["entries"], [1], "record.entries[0]"),
        (["entries"], {}, "record.entries"),
        (["channels"], [], "record.layouts[0]"),
    ],
)
def test_a_wrong_record_is_refused_with_the_place(path: list[Any], value: Any, place: str) -> None:
    with pytest.raises(MessageError) as caught:
        RecordRange.decode(mutated(path, value))
    assert caught.value.path == place


MESSAGES: list[Any] = [
    record(entry(3), entry(4)),
    Stored("j", 1, 9, ((3, "field type conflict"), (3, "another point")), None),
    Stored("j", 1, 9, (), "401 unauthorized"),
    Live(
        "d",
        {
            "c0": LiveChannel(T, 1.5, None, 0, "temperature", "Cel"),
            "c1": LiveChannel(T, 1.5, None, 4, "temperature", "Cel"),
            "c2": LiveChannel(T, None, "silent", 0, "temperature", "Cel"),
        },
    ),
    AlarmMessage(
        "d.c0.action-high",
        AlarmState.UNACK,
        T,
        "occ",
        AlarmClass.ACTION,
        T - 5,
        "room",
        "line",
        "d",
        "c0",
        38.2,
        "Cel",
        38.0,
        "high",
        False,
        False,
        "text",
    ),
    AlarmMessage("line.a.lost", AlarmState.NORM, T),
    EventMessage("j", 12, Event(EventKind.RAISED, T, T, "text", "a", state=AlarmState.UNACK, value=0.0, uid="u")),
    EventMessage("j", None, Event(EventKind.STARTED, T, T, uid="u", journaled=False)),
    Command("c-1", "ana", "ab12", T, "d.c0.action-high", "occ", "d", "seen", T + 10**9),
    Command("c-1", "ana", "ab12", T),
    Pin("qa-officer", bytes(range(16)), 2**15, 8, 1),
    Reply("c-1", False, "no such alarm", T),
    LineHealth("a", "up", T, T, "", (DeviceHealth("d", "resting", T, "silent"),), {"polls": 5}),
    Status(True, 17, "0.1.0", T, T),
    Status(True, 17, "0.1.0", T, T, 2, {"influx": 5, "local": None}, ("mail",)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_arrives_as_it_was_sent(message: Any) -> None:
    got = type(message).decode(message.encode())
    assert got.encode() == message.encode()
    if not isinstance(message, RecordRange):
        assert got == message


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        found += places(value, (*at, key))
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(MESSAGES),
    st.randoms(use_true_random=False),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text("aä€ ", max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aé", max_size=3), inner, max_size=3),
        max_leaves=4,
    ),
)
def test_whatever_is_put_in_is_taken_or_refused_and_nothing_else(message: Any, random: Any, value: Any) -> None:
    data = orjson.loads(message.encode())
    path = random.choice(places(data))
    at = data
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    try:
        got = type(message).decode(orjson.dumps(data))
    except MessageError as error:
        assert error.path.startswith(message.path)
    else:
        assert type(message).decode(got.encode()).encode() == got.encode()


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_junk_is_refused(junk: bytes) -> None:
    for message in MESSAGES:
        with pytest.raises(MessageError):
            type(message).decode(junk)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_an_unknown_field_and_an_oversized_message_are_refused(message: Any) -> None:
    data = orjson.loads(message.encode())
    with pytest.raises(MessageError, match="unknown surprise"):
        type(message).decode(orjson.dumps(data | {"surprise": 1}))
    with pytest.raises(MessageError, match="at most"):
        type(message).decode(message.encode() + b" " * (5 * 2**20))


def test_refused_rows_lie_within_their_range() -> None:
    with pytest.raises(MessageError) as caught:
        Stored.decode(Stored("j", 5, 9, ((10, "why"),)).encode())
    assert caught.value.path == "stored.refused[0].seq"


def test_live_quality_must_fit() -> None:
    data = orjson.loads(Live("d", {"c": LiveChannel(T, 1.0, None, 4, "temperature", "Cel")}).encode())
    assert data["channels"]["c"]["quality"] == "uncertain"
    data["channels"]["c"]["quality"] = "good"
    with pytest.raises(MessageError, match="quality"):
        Live.decode(orjson.dumps(data))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"id":"abc"}', "abc"),
        (b'{"v":7,"id":"abc","user":[]}', "abc"),
        (b'{"id":"a/b"}', None),
        (b'{"id":"#"}', None),
        (b'{"id":5}', None),
        (b'["id"]', None),
        (b"\xff", None),
        (b'{"id":"abc"' + b" " * 9000 + b"}", None),
    ],
)
def test_the_id_of_a_broken_command_is_found_where_it_can_be(payload: bytes, expected: str | None) -> None:
    assert command_id(payload) == expected


def test_long_texts_of_an_event_are_cut_not_refused() -> None:
    sent = EventMessage("j", 1, Event(EventKind.COMMAND, T, T, "x" * 9000, value=math.nan))
    got = EventMessage.decode(sent.encode())
    assert got.event.detail == "x" * 2000
    assert got.event.value is None
