"""An exchange comes out of the journal as it went in, whatever an instrument sends."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labmon.journal.errors import Unpackable
from labmon.journal.layouts import decode_layout, encode_layout
from labmon.journal.packing import Packer, received_of
from labmon.model.exchange import Column, Exchange, Layout
from labmon.model.reading import Reading

TIME = 1_763_800_000_000_000_000
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.sampled_from("+-0123456789. eE_naif°\n\x00\udc80"), max_size=200)
RAW = st.one_of(
    st.none(),
    st.integers(),
    st.integers(-70000, 70000),
    FINITE,
    FINITE.map(lambda x: struct.unpack("<f", struct.pack("<f", math.fmod(x, 1e30)))[0]),
    TEXT,
    FINITE.map(str),
)


def bits(reading: Reading) -> tuple[object, ...]:
    """Everything of a reading, floats by their bits, so that -0.0, NaN and int against float count."""
    value = None if reading.value is None else struct.pack("<d", reading.value)
    raw = struct.pack("<d", reading.raw) if isinstance(reading.raw, float) else reading.raw
    return (
        reading.channel,
        reading.time,
        reading.received,
        value,
        reading.reason,
        reading.flags,
        type(reading.raw),
        raw,
    )


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    columns = tuple(
        Column(
            f"d.c{i}",
            "room",
            "d",
            f"c{i}",
            "temperature",
            "Cel",
            draw(st.sampled_from("hHiIqQfds-")),
            draw(st.sampled_from([1.0, 0.1, -0.01, 1e300])),
            draw(st.sampled_from([0.0, -40.0, 1e-9])),
        )
        for i in range(draw(st.integers(0, 5)))
    )
    time = TIME + draw(st.integers(-(2**61), 2**61))
    received = time + draw(st.integers(-(2**62), 2**62))
    readings = []
    for column in columns:
        raw = draw(RAW)
        if draw(st.booleans()) and isinstance(raw, (int, float)) and abs(raw) < 1e15 and column.scale < 10:
            value = raw * column.scale + column.offset
            if draw(st.booleans()):
                value = math.nextafter(value, draw(st.sampled_from([math.inf, -math.inf])))
        else:
            value = draw(st.one_of(st.none(), FINITE))
        reason = (
            draw(st.sampled_from(["silent", "refused (2 illegal data address)", "no-sensor (°)"]))
            if value is None
            else None
        )
        readings.append(
            Reading(column.key, time, received, value, reason, draw(st.sampled_from([0, 0, 1, 64, 5000])), raw)
        )
    return Exchange(Layout("d.q", columns), time, received, readings, draw(st.sampled_from([0, 0, 7, 10**6])))


@settings(deadline=None)
@given(exchanges())
def test_what_goes_in_comes_out(exchange: Exchange) -> None:
    packer = Packer(exchange.layout)
    packed = packer.pack(exchange)
    back = Packer(decode_layout(encode_layout(exchange.layout))).unpack(exchange.time, packed)
    assert list(map(bits, back.readings)) == list(map(bits, exchange.readings))
    assert (back.layout, back.time, back.received, back.skipped) == (
        exchange.layout,
        exchange.time,
        exchange.received,
        exchange.skipped,
    )
    assert received_of(exchange.time, packed) == exchange.received


@settings(deadline=None)
@given(exchanges(), st.data())
def test_cut_or_lengthened_bytes_are_refused(exchange: Exchange, data: st.DataObject) -> None:
    packer = Packer(exchange.layout)
    packed = packer.pack(exchange)
    with pytest.raises(ValueError):
        packer.unpack(exchange.time, packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(ValueError):
        packer.unpack(exchange.time, packed + b"\x00")


def layout(*columns: tuple[str, float, float]) -> Layout:
    return Layout(
        "d.q", tuple(Column(f"d.c{i}", "room", "d", f"c{i}", "temperature", "Cel", *c) for i, c in enumerate(columns))
    )


def exchange_of(form: Layout, *pairs: tuple[float | None, object], reason: str = "silent", flags: int = 0) -> Exchange:
    readings = [
        Reading(c.key, TIME, TIME, v, reason if v is None else None, flags, r)
        for c, (v, r) in zip(form.columns, pairs, strict=True)
    ]
    return Exchange(form, TIME, TIME, readings)


def test_a_value_that_follows_from_the_raw_one_costs_nothing() -> None:
    form = layout(*[("h", 0.1, -40.0)] * 20)
    plain = Packer(form).pack(exchange_of(form, *[(770 * 0.1 - 40.0, 770)] * 20))
    assert len(plain) == 2 + 20 * 2


def test_a_value_off_by_rounding_costs_one_byte() -> None:
    form = layout(*[("h", 0.1, -40.0)] * 20)
    value = math.nextafter(770 * 0.1 - 40.0, 100)
    packed = Packer(form).pack(exchange_of(form, *[(value, 770)] * 20))
    assert len(packed) == 2 + 20 * 3


def test_a_number_sent_as_text_is_stored_once() -> None:
    form = layout(("s", 1.0, 0.0))
    assert len(Packer(form).pack(exchange_of(form, (37.02, "+037.02")))) == 2 + 1 + 7


def test_a_silent_device_costs_a_few_bytes() -> None:
    form = layout(*[("f", 1.0, 0.0)] * 20)
    assert len(Packer(form).pack(exchange_of(form, *[(None, None)] * 20))) == 2 + 1 + len("silent")


def test_a_common_flag_costs_one_byte() -> None:
    form = layout(*[("h", 1.0, 0.0)] * 20)
    readings = [(5.0, 5)] * 20
    assert (
        len(Packer(form).pack(exchange_of(form, *readings, flags=1)))
        == len(Packer(form).pack(exchange_of(form, *readings))) + 1
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
@pytest.mark.parametrize("raw", [5, None, "x"])
def test_no_nan_enters_as_a_value(value: float, raw: object) -> None:
    form = layout(("h", 1.0, 0.0), ("h", 1.0, 0.0))
    for other in ((1.0, 1), (None, None)):
        with pytest.raises(Unpackable):
            Packer(form).pack(exchange_of(form, (value, raw), other))


def test_a_raw_nan_is_kept_beside_its_reason() -> None:
    form = layout(("f", 1.0, 0.0))
    back = Packer(form).unpack(TIME, Packer(form).pack(exchange_of(form, (None, math.nan), reason="no-sensor")))
    raw = back.readings[0].raw
    assert isinstance(raw, float) and math.isnan(raw) and back.readings[0].reason == "no-sensor"


def test_readings_that_are_not_the_layouts_are_refused() -> None:
    form = layout(("h", 1.0, 0.0), ("h", 1.0, 0.0))
    good = exchange_of(form, (1.0, 1), (2.0, 2))
    packer = Packer(form)
    packer.pack(good)
    for change in (
        lambda x: x.readings.reverse(),
        lambda x: x.readings.pop(),
        lambda x: setattr(x.readings[1], "time", TIME + 1),
        lambda x: setattr(x.readings[0], "received", TIME + 1),
        lambda x: setattr(x, "skipped", -1),
        lambda x: setattr(x.readings[0], "flags", -1),
    ):
        broken = exchange_of(form, (1.0, 1), (2.0, 2))
        change(broken)
        with pytest.raises(Unpackable):
            packer.pack(broken)


def test_a_layout_that_cannot_be_packed_is_refused() -> None:
    for column in (("x", 1.0, 0.0), ("h", math.nan, 0.0), ("h", 1.0, math.inf)):
        with pytest.raises(ValueError):
            Packer(layout(column))
    with pytest.raises(ValueError):
        decode_layout(encode_layout(layout()).replace(b'"packing":1', b'"packing":2'))
