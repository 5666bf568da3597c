"""Forms of values beyond whole registers: encode with the other encoder, decode with ours, and turn it round again."""

from __future__ import annotations

import datetime as dt
import math
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import encoder
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from labmon.drivers import grammar
from labmon.drivers.driver import Answer
from labmon.drivers.load import load_driver
from labmon.drivers.moment import raws_of_time, time_of
from labmon.drivers.query import CompiledQuery
from labmon.drivers.setting import Setting
from labmon.links.errors import Garbled

MODBUS = "framings: [modbus-rtu, modbus-ascii, modbus-tcp]\nserial: {baud: 9600}\n"
TEXT = 'framings: [text]\nserial: {baud: 9600}\naddress: {default: 7, from: 1, to: 9}\nframe: {end: "\\r"}\n'
BINARY = "framings: [binary]\nserial: {baud: 9600}\naddress: {default: 7, from: 1, to: 9}\n"
ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]
WHOLE = {"u8": 8, "i8": 8, "u16": 16, "i16": 16, "u24": 24, "i24": 24, "u32": 32, "i32": 32, "u64": 64, "i64": 64}


def file_of(head: str, requests: str, channels: str, more: str = "") -> str:
    return f"""labmon-driver: 1
maker: Nobody
models: [Test]
title: Test
class: test
manual: {{document: none, revision: none, pages: none}}
{head}{more}queries:
  q:
    every: 1 s
    requests:
{requests}
    channels:
{channels}
"""


def block(fields: str, count: int = 8) -> str:
    return f"      - {{read: holding, at: 0, count: {count}, fields: {{{fields}}}}}"


def channels(*names: str, more: str = "") -> str:
    return "\n".join(f'      - {{id: {name}, name: X, unit: "1"{more}}}' for name in names)


@lru_cache
def compiled(text: str, framing: str | None = None) -> CompiledQuery:
    loaded = load_driver(Path("test/test.yaml"), text=text)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver.queries(framing or loaded.driver.framings[0], 7, {})[0]


@lru_cache
def document(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)


def replies(text: str, raws: dict[str, Any], framing: str | None = None) -> list[bytes]:
    example = {"query": "q", "raws": raws, "address": 7} | ({"framing": framing} if framing else {})
    return [got for _, got in encoder.compose(document(text), example)]


def read(text: str, raws: dict[str, Any], framing: str | None = None) -> tuple[Answer, dict[str, Any]]:
    """What our side makes of the bytes that the other encoder composes, and the raw values; both ways."""
    query = compiled(text, framing)
    payloads = []
    for step, got in zip(query.steps, replies(text, raws, framing), strict=True):
        payload = step.request.match(got, 1)
        assert payload is not None, got
        payloads.append(payload)
    found = query.raws(payloads)
    again = query.raws(query.encode(found))
    assert repr(again) == repr(found), "what is written again is read alike"
    return query.decode(payloads), found


def values(answer: Answer) -> list[Any]:
    return [o.reason if o.value is None else o.value for o in answer.outcomes]


def raw_values(type_: str) -> st.SearchStrategy[Any]:
    if type_ in ("f32", "f64"):
        return st.floats(width=32 if type_ == "f32" else 64, allow_nan=False, allow_infinity=False)
    bits = WHOLE[type_]
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if type_[0] == "i" else st.integers(0, 2**bits - 1)


# ---------------------------------------------------------------- registers


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", ["u24", "i24", "bool", "bcd", "ascii-high", "ascii-low"])
def test_types_that_are_not_whole_registers(type_: str, order: str) -> None:
    kind, _, chars = type_.partition("-")
    more = {"bcd": ", registers: 2", "ascii": f", registers: 4, chars: {chars}"}.get(kind, "")
    text = file_of(
        MODBUS, block(f"x: {{at: 1, type: {kind}, order: {order}{more}}}, y: {{at: 5, type: u16}}"), channels("y")
    )
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "bool": st.integers(0, 1),
        "bcd": st.integers(0, 99_999_999),
        "ascii": st.text("ABCxyz019-", max_size=4),
    }

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(raw=strategies[kind] if kind in strategies else raw_values(kind), y=st.integers(0, 65535))
    def holds(raw: Any, y: int) -> None:
        _, found = read(text, {"x": raw, "y": y})
        assert found == {"x": raw, "y": y}

    holds()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", ["u8", "u16", "i16", "u32", "i32", "u64"])
def test_parts_of_a_number_stand_side_by_side(type_: str, order: str) -> None:
    bits = WHOLE[type_]

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(cut=st.integers(1, bits - 1), data=st.data())
    def holds(cut: int, data: st.DataObject) -> None:
        fields = (
            f"low: {{at: 2, type: {type_}, order: {order}, part: [0, {cut - 1}]}}, "
            f"high: {{at: 2, type: {type_}, order: {order}, part: [{cut}, {bits - 1}]}}"
        )
        text = file_of(MODBUS, block(fields), channels("low", "high"))
        signed = type_[0] == "i"
        raws = {}
        for name, width in (("low", cut), ("high", bits - cut)):
            first, last = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
            raws[name] = data.draw(st.integers(first, last))
        answer, found = read(text, raws)
        assert found == raws
        assert values(answer) == [float(raws["low"]), float(raws["high"])]

    holds()


def test_digits_of_bcd_above_nine_are_no_value() -> None:
    text = file_of(MODBUS, block("x: {at: 0, type: bcd, registers: 1}", 1), channels("x"))
    query = compiled(text)
    assert values(query.decode([bytes([0x12, 0x34])])) == [1234.0]
    assert values(query.decode([bytes([0x12, 0xA4])])) == ["implausible (12A4)"]


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(year=st.integers(0, 99), month=st.integers(0, 99), second=st.integers(0, 79), halt=st.integers(0, 1))
def test_two_decimal_numbers_in_a_register(order: str, year: int, month: int, second: int, halt: int) -> None:
    """A clock chip's date: two digits in each byte, and a flag above the tens of the seconds."""
    text = file_of(
        MODBUS,
        block(
            f"year: {{at: 1, type: bcd, registers: 1, order: {order}, part: [8, 15]}}, "
            f"month: {{at: 1, type: bcd, registers: 1, order: {order}, part: [0, 7]}}, "
            f"second: {{at: 2, type: bcd, registers: 1, order: {order}, part: [0, 6]}}, "
            f"halt: {{at: 2, type: u16, order: {order}, part: [7, 7]}}"
        ),
        channels("year", "month", "second", "halt"),
    )
    raws = {"year": year, "month": month, "second": second, "halt": halt}
    answer, found = read(text, raws)
    assert found == raws
    assert values(answer) == [float(raw) for raw in raws.values()]


def test_a_part_with_a_digit_above_nine_is_no_value() -> None:
    text = file_of(MODBUS, block("x: {at: 0, type: bcd, registers: 1, part: [8, 15]}", 1), channels("x"))
    query = compiled(text)
    assert values(query.decode([bytes([0x26, 0xFF])])) == [26.0]
    assert values(query.decode([bytes([0x2A, 0x00])])) == ["implausible (002A)"]
    with pytest.raises(ValueError, match="more than 8 bits"):
        query.encode({"x": 100})


@settings(max_examples=30, deadline=None, derandomize=True)
@given(word=st.integers(0, 65535))
def test_named_bits_are_told_by_name_with_either_polarity(word: int) -> None:
    """Trap 3: bits that mean good and bits that mean bad, in one family."""
    text = file_of(
        MODBUS,
        block("s: {at: 0, type: u16, bits: {laser: 0, flow: 1, good: 9}}, x: {at: 1, type: u16}"),
        '      - {id: x, name: X, unit: "1", bad-when: ['
        "{field: s, set: [laser, flow], reason: not-reliable}, {field: s, clear: good, reason: not-ready}, "
        "{field: s, other-than-set: [laser, flow, good], reason: not-available}]}\n"
        '      - {id: good, name: X, unit: "1", from: s, bit: good}\n'
        '      - {id: bad, name: X, unit: "1", from: s, bit: good, true-when: clear}',
    )
    [x, good, bad] = values(read(text, {"s": word, "x": 5})[0])
    assert (good, bad) == (word >> 9 & 1, 1 - (word >> 9 & 1))
    names = [name for name, bit in (("laser", 0), ("flow", 1)) if word >> bit & 1]
    others = [f"bit {n}" for n in range(16) if word >> n & 1 and n not in (0, 1, 9)]
    if names:
        assert x == f"not-reliable ({', '.join(names)})"
    elif not word >> 9 & 1:
        assert x == "not-ready (good)"
    else:
        assert x == (f"not-available ({', '.join(others)})" if others else 5.0)


def test_conditions_together_and_on_texts() -> None:
    text = file_of(
        TEXT,
        '      - {send: Q, reply: "{n} {w}", fields: {n: {type: integer}, w: {type: text}}}',
        '      - {id: n, name: X, unit: "1", bad-when: [{all: [{field: n, above: 3}, {field: w, matches: "E[0-9]+"}], '
        "reason: not-ready}]}",
    )
    assert [values(read(text, {"n": n, "w": w})[0]) for n, w in ((5, "E1"), (5, "E1x"), (2, "E1"))] == [
        ["not-ready"], [5.0], [2.0]
    ]  # fmt: skip


# ---------------------------------------------------------------- binary replies


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", [*WHOLE, "f32", "f64"])
def test_every_type_at_a_byte_offset(type_: str, order: str) -> None:
    text = file_of(
        BINARY,
        '      - {send: "01", bytes: 20, starts: "42 4D", fields: {'
        "a: {at: 2, type: u8, part: [0, 3]}, b: {at: 2, type: bit, bit: 7}, "
        f"x: {{at: 3, type: {type_}, order: {order}}}, "
        "c: {at: 12, type: ascii, length: 4}, d: {at: 16, type: bcd, length: 2}}}",
        channels("a", "b", "x", "d"),
        'frame: {end: "", reply-size: 20}\n',
    )

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(
        raw=raw_values(type_), a=st.integers(0, 15), b=st.integers(0, 1), c=st.text("ab1", max_size=4),
        d=st.integers(0, 9999),
    )  # fmt: skip
    def holds(raw: Any, a: int, b: int, c: str, d: int) -> None:
        raws = {"a": a, "b": b, "x": raw, "c": c, "d": d}
        assert read(text, raws)[1] == raws

    holds()


def test_a_binary_reply_may_end_before_its_optional_fields() -> None:
    text = file_of(
        BINARY,
        '      - {send: "01", bytes: true, starts: "42", fields: {state: {at: 1, type: u8}, '
        "x: {at: 2, type: f32, optional: true}, y: {at: 6, type: i16, optional: true}}}",
        channels("state", "x", "y"),
        'frame: {reply-ends: ["7E"], checksum: {name: sum8, encoding: raw}}\n',
    )
    assert replies(text, {"state": 4}) == [bytes.fromhex("42 04 46 7E")]
    for raws in ({"state": 4}, {"state": 0, "x": 1.5}, {"state": 0, "x": 1.5, "y": -2}):
        every = {"x": None, "y": None, **raws}
        answer, found = read(text, raws)
        assert found == every
        assert values(answer) == [every[n] if every[n] is not None else "not-available" for n in ("state", "x", "y")]
    step = compiled(text).steps[0]
    for cut in ("42", "42 04 00", "42 04 00 00 00 00 01"):
        with pytest.raises(Garbled):
            step.decode(bytes.fromhex(cut))
    assert list(step.decode(bytes.fromhex("42 04 00 00 00 00 00 01 99"))) == [4, 0.0, 1]


@pytest.mark.parametrize(
    ("request_", "shown", "made"),
    [
        (
            'columns: {delimiter: ","}, starts: "D,", fields: {x: {type: integer, column: 2}, '
            "y: {type: integer, beside: {text: P, first: 3}}, z: {type: integer, column: 5, optional: true}}",
            b"D,on,1,P,2,3,H",
            b"D,on,7,P,8,,H",
        ),
        (
            "columns: {fixed: 12}, fields: {x: {type: integer, from: 2, to: 5}, y: {type: integer, from: 6, to: 9}, "
            "z: {type: integer, from: 9, to: 11, optional: true}}",
            b"A 123b 45 6c",
            b"A   7b  8  c",
        ),
    ],
    ids=["delimited", "fixed"],
)
def test_what_no_field_reads_is_written_as_it_was_shown(request_: str, shown: bytes, made: bytes) -> None:
    step = compiled(file_of(TEXT, f'      - {{send: "R", {request_}}}', channels("x", "y", "z"))).steps[0]
    raws = {"x": 7, "y": 8, "z": None}
    assert step.block.encode(raws, shown) == made
    assert list(step.decode(made)) == [7, 8, None]
    assert list(step.decode(step.block.encode(raws))) == [7, 8, None]


def test_bits_that_no_field_reads_are_written_as_they_were_shown() -> None:
    fields = "a: {at: 1, type: u8, part: [0, 3]}, x: {at: 2, type: u16, optional: true}"
    text = file_of(
        BINARY, f'      - {{send: "01", bytes: true, fields: {{{fields}}}}}', channels("a"), 'frame: {end: "0D"}\n'
    )
    block = compiled(text).steps[0].block
    shown = bytes.fromhex("42 F1 00 02 99")
    assert block.encode({"a": 5, "x": 0x1234}, shown) == bytes.fromhex("42 F5 12 34 99")
    assert block.encode({"a": 5}, shown) == bytes.fromhex("42 F5")


def test_fields_in_a_reply_of_hex() -> None:
    text = file_of(
        BINARY,
        '      - {send: "02 {address:byte}", reply: "02 {address:byte} {a} .. {x} 03", fields: '
        "{a: {type: u8}, x: {type: f32, order: DCBA}}}",
        channels("a", "x"),
        'frame: {end: ""}\n',
    )
    assert replies(text, {"a": 9, "x": 1.0}) == [bytes.fromhex("02 07 09 00 00 00 80 3F 03")]
    assert values(read(text, {"a": 9, "x": 1.0})[0]) == [9.0, 1.0]
    step = compiled(text).steps[0]
    with pytest.raises(Garbled):
        step.decode(bytes.fromhex("02 06 09 00 00 00 80 3F 03"))


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"])
def test_hex_text_of_every_number(type_: str, order: str) -> None:
    digits = 2 * {"f32": 4, "f64": 8}.get(type_, WHOLE.get(type_, 0) // 8)
    text = file_of(
        TEXT,
        '      - {send: Q, reply: ":{x}", fields: {'
        f"x: {{type: hex, as: {type_}, digits: {digits}, order: {order}}}}}}}",
        channels("x"),
    )

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(raw=raw_values(type_))
    def holds(raw: Any) -> None:
        assert read(text, {"x": raw})[1] == {"x": raw}

    holds()


def test_hex_text_that_is_no_number_and_its_sentinel() -> None:
    """Bronkhorst's 459CFFAE is 5023.96; not a number is no value."""
    text = file_of(
        TEXT,
        '      - {send: Q, reply: "{x}", fields: {'
        "x: {type: hex, as: f32, digits: 8, sentinels: [{raw: -127.0, reason: no-sensor}]}}}",
        channels("x"),
    )
    query = compiled(text)
    assert values(query.decode([b"459CFFAE"])) == [pytest.approx(5023.96, abs=0.005)]
    assert values(query.decode([b"7FC00000"])) == ["not-available"]
    assert values(query.decode([b"C2FE0000"])) == ["no-sensor"]
    with pytest.raises(Garbled):
        query.decode([b"459CFFA"])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=st.integers(-99999, 99999), blanks=st.integers(0, 5))
def test_decimals_with_commas_and_signs_that_stand_apart(x: int, blanks: int) -> None:
    text = file_of(TEXT, '      - {send: Q, reply: "V {x}", fields: {x: {type: number, comma: true}}}', channels("x"))
    query = compiled(text)
    shown = f"{'-' if x < 0 else '+'}{' ' * blanks}{abs(x) // 100},{abs(x) % 100:02d}"
    assert values(query.decode([f"V {shown}".encode()])) == [x / 100]
    with pytest.raises(Garbled):
        query.decode([f"V {shown}".replace(",", ".").encode()])


COLUMNS = file_of(
    TEXT,
    '      - {send: Q, starts: "D,", columns: {delimiter: ",", count: [6, 8]}, fields: {'
    'a: {type: number, column: 1, form: ".3f"}, '
    'small: {type: integer, beside: {text: ["0.3", "0.30"], first: 2, step: 2}}, '
    'large: {type: integer, beside: {text: "5.0", first: 2, step: 2}}, '
    "mode: {type: word, column: 6, codes: {A: 1, B: 2}, optional: true}}}",
    channels("a", "small", "large", "mode"),
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    a=st.integers(-99999, 99999), small=st.integers(0, 99999), large=st.integers(0, 99999),
    mode=st.sampled_from([1, 2, None]),
)  # fmt: skip
def test_columns_and_those_beside_a_text(a: int, small: int, large: int, mode: int | None) -> None:
    raws = {"a": a / 1000, "small": small, "large": large} | ({} if mode is None else {"mode": mode})
    answer, found = read(COLUMNS, raws)
    assert found == {"mode": None, **raws}
    assert values(answer)[3] == ("not-available" if mode is None else float(mode))


def test_columns_in_another_order_of_sizes_and_broken_ones() -> None:
    query = compiled(COLUMNS)
    assert values(query.decode([b"D,1,5.0,7,0.30,9"]))[:3] == [1.0, 9.0, 7.0]
    assert values(query.decode([b"D, 1 , 0.5,7,0.3, 9 ,B"])) == [1.0, 9.0, "not-available", 2.0]
    for broken in (
        b"1,0.3,7,5.0,9", b"D,1,0.3,7,5.0", b"D,1,0.3,7,0.30,9", b"D,1,0.3,x,5.0,9", b"D,,0.3,7,5.0,9",
        b"D,1,0.3,7,5.0,9,A,x,y", b"D;1;0.3;7;5.0;9", b"",
    ):  # fmt: skip
        with pytest.raises(Garbled):
            query.decode([broken])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(a=st.integers(-9999, 9999), b=st.integers(0, 0xFFFF), c=st.text("ABC", min_size=1, max_size=4))
def test_columns_of_fixed_width(a: int, b: int, c: str) -> None:
    text = file_of(
        TEXT,
        "      - {send: Q, columns: fixed, fields: {a: {type: number, from: 0, to: 8, form: '.2f'}, "
        "b: {type: hex, from: 8, to: 12, digits: 4}, c: {type: word, from: 12, to: 16}}}",
        channels("a", "b"),
    )
    raws = {"a": a / 100, "b": b, "c": c}
    assert read(text, raws)[1] == raws
    line = replies(text, raws)[0][:-1]
    query = compiled(text)
    for other in (line[1:], line[:11]):
        with pytest.raises(Garbled):
            query.decode([other])


def test_blanks_and_several_delimiters_stand_between_columns() -> None:
    fields = "fields: {a: {type: integer, column: 0}, b: {type: integer, column: 2}}}"
    blank = compiled(file_of(TEXT, f'      - {{send: Q, columns: {{delimiter: " "}}, {fields}', channels("a", "b")))
    assert values(blank.decode([b"  1   x    3  "])) == [1.0, 3.0]
    several = compiled(
        file_of(TEXT, f'      - {{send: Q, columns: {{delimiter: [";", ":"]}}, {fields}', channels("a", "b"))
    )
    assert values(several.decode([b"1;2:3"])) == [1.0, 3.0]
    with pytest.raises(Garbled):
        several.decode([b"1;2:3:4"])


def test_a_reply_that_holds_its_delimiter_is_read_by_its_length() -> None:
    """Trap 6: a time with colons in a frame whose parts stand between colons."""
    text = file_of(
        TEXT,
        '      - {send: Q, reply: "!:{made}:", fields: {made: {type: time, form: "%d.%m.%y;%H:%M:%S"}}}',
        "      - {id: made, name: X, unit: s}",
    )
    moment = dt.datetime(2010, 7, 31, 1, 2, 23, tzinfo=dt.UTC).timestamp()
    assert values(compiled(text).decode([b"!:31.07.10;01:02:23:"])) == [moment]


# ---------------------------------------------------------------- what the instrument says of its values

SAID = file_of(
    MODBUS,
    block(
        "mode: {at: 0, type: u16, bits: {float: 7}}, i: {at: 1, type: u16}, f: {at: 2, type: f32}, "
        "e: {at: 4, type: i16}, unit: {at: 5, type: u16}, cap: {at: 6, type: u16}, age: {at: 7, type: u16}"
    ),
    "      - {id: flow, name: X, unit: L/min, from: [{field: i, scale: 0.1, if: {field: mode, clear: float}}, "
    "{field: f, if: {field: mode, set: float}}], scale-by: [{field: e, as: power-of-ten}]}\n"
    "      - {id: temperature, name: X, unit: Cel, from: f, "
    "unit-by: {field: unit, codes: {0x2: K, 0x4: Cel, 0x8: '[degF]'}}}\n"
    "      - {id: share, name: X, unit: L/min, from: i, scale: 3.125e-05, scale-by: [{field: cap, as: factor}]}\n"
    "      - {id: part, name: X, unit: L/min, from: i, scale-by: [{field: cap, as: divisor}]}\n"
    "      - {id: coded, name: X, unit: '{#}/m3', from: i, scale-by: [{field: unit, codes: {0: 1, 2: 1000}}]}\n"
    "      - {id: young, name: X, unit: '1', from: i, max-age: {field: age, at-most: 2 min}}",
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    mode=st.sampled_from([0, 128, 255]), i=st.integers(0, 32000), f=st.floats(-1000, 1000, width=32),
    e=st.integers(-40, 40), unit=st.sampled_from([0, 2, 4, 8, 16]), cap=st.integers(0, 1000), age=st.integers(0, 200),
)  # fmt: skip
def test_sources_factors_units_and_age(mode: int, i: int, f: float, e: int, unit: int, cap: int, age: int) -> None:
    """Trap 4: one quantity in many scales; which one holds is what the instrument says."""
    raws = {"mode": mode, "i": i, "f": f, "e": e, "unit": unit, "cap": cap, "age": age}
    flow, temperature, share, part, coded, young = values(read(SAID, raws)[0])
    source = f if mode & 128 else i * 0.1
    assert flow == (pytest.approx(source * 10.0**e) if abs(e) <= 30 else "not-available (e)")
    wanted = {2: f - 273.15, 4: f, 8: (f - 32) * 5 / 9}.get(unit)
    assert temperature == (f"wrong-mode (unit {unit})" if wanted is None else pytest.approx(wanted, abs=1e-9))
    assert share == pytest.approx(i / 32000 * cap)
    assert part == (pytest.approx(i / cap) if cap else "not-available (cap)")
    assert coded == ({0: float(i), 2: i * 1000.0}.get(unit, f"wrong-mode (unit {unit})"))
    assert young == (float(i) if age <= 120 else f"not-reliable ({age} s old)")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    mode=st.sampled_from([0, 128]), e=st.integers(-3, 3), unit=st.sampled_from([0, 2, 4, 8, 99]),
    flow=st.integers(0, 60), cap=st.integers(0, 100), age=st.integers(0, 999),
)  # fmt: skip
def test_a_simulator_says_what_it_is_told_to(mode: int, e: int, unit: int, flow: int, cap: int, age: int) -> None:
    query = compiled(SAID)
    start = {"mode": mode, "i": 1, "f": 1.0, "e": e, "unit": unit, "cap": cap, "age": age}
    names = [spec.id for spec in query.channels]
    for name, value in (
        ("flow", flow * 10.0**e),
        ("temperature", 36.5),
        ("share", 0.0),
        ("coded", 2000.0),
        ("young", 3.0),
    ):
        raws = query.raws_of({name: value}, start)
        told = values(query.decode(query.encode(raws)))[names.index(name)]
        assert told == pytest.approx(value, abs=1e-3), name
    for name, reason in (("temperature", "wrong-mode"), ("coded", "wrong-mode"), ("young", "not-reliable")):
        raws = query.raws_of({name: reason}, start)
        assert str(values(query.decode(query.encode(raws)))[names.index(name)]).startswith(reason)
    with pytest.raises(ValueError, match="knows no way"):
        query.raws_of({"share": "no-sensor"}, start)


def test_a_word_or_number_that_is_not_known_becomes_what_the_file_says() -> None:
    text = file_of(
        TEXT,
        '      - {send: Q, reply: "{w} {n}", fields: {w: {type: word, codes: {S: 0, D: 1}}, n: {type: integer}}}',
        "      - {id: w, name: X, unit: '1', states: {0: stable, 1: dynamic, 9: other}, otherwise: 9}\n"
        "      - {id: v, name: X, unit: '1', from: w, states: {0: stable, 1: dynamic}, otherwise: not-ready}\n"
        "      - {id: n, name: X, unit: '1', states: {0: idle, 7: other}, otherwise: 7}",
    )
    query = compiled(text)
    assert values(query.decode([b"S 0"])) == [0.0, 0.0, 0.0]
    assert values(query.decode([b"X 3"])) == [9.0, "not-ready (X)", 7.0]


def test_a_number_with_two_meanings() -> None:
    """Trap 7: firmware 100 is 1.00, and 1 to 26 are letters."""
    text = file_of(
        MODBUS,
        block("fw: {at: 0, type: u16}", 1),
        "      - {id: version, name: X, unit: '1', from: [{field: fw, scale: 0.01, if: {field: fw, above: 26}}]}\n"
        "      - {id: letter, name: X, unit: '1', "
        "from: [{field: fw, if: [{field: fw, above: 0}, {field: fw, below: 27}]}]}",
    )
    told = {raw: values(read(text, {"fw": raw})[0]) for raw in (0, 1, 26, 27, 135)}
    assert told == {
        0: ["wrong-mode", "wrong-mode"], 1: ["wrong-mode", 1.0], 26: ["wrong-mode", 26.0],
        27: [pytest.approx(0.27), "wrong-mode"], 135: [pytest.approx(1.35), "wrong-mode"],
    }  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_the_right_magnitude_from_the_wrong_place_is_not_what_is_read(order: str) -> None:
    """Trap 1: one register off, or the words exchanged, must give another value than the one that stands there."""
    head = MODBUS + "order: " + order + "\n"
    here = file_of(head, block("x: {at: 2, type: u32}"), channels("x"))
    off = file_of(head, block("x: {at: 3, type: u32}"), channels("x"))
    [got] = replies(here, {"x": 70_000})
    payload = compiled(here).steps[0].request.match(got, 1)
    assert payload is not None
    assert values(compiled(here).decode([payload])) == [70_000.0]
    assert values(compiled(off).decode([payload])) != [70_000.0]
    for other in ORDERS:
        exchanged = compiled(here.replace(f"order: {order}", f"order: {other}"))
        assert (values(exchanged.decode([payload])) == [70_000.0]) is (other == order)
    [zero] = replies(here, {"x": 0})
    nothing = compiled(here).steps[0].request.match(zero, 1)
    assert nothing is not None
    assert {values(compiled(here.replace(f"order: {order}", f"order: {o}")).decode([nothing]))[0] for o in ORDERS} == {
        0.0
    }


# ---------------------------------------------------------------- computed


def test_computed_functions_and_the_flags_of_their_inputs() -> None:
    text = file_of(
        MODBUS,
        block("t: {at: 0, type: i16}, h: {at: 1, type: u16}, s: {at: 2, type: u16}"),
        "      - {id: t, name: X, unit: '[degF]', scale: 0.1, warn-when: [{field: s, set: 0}]}\n"
        "      - {id: h, name: X, unit: '%{RH}', scale: 0.1}\n"
        "      - {id: dew, name: X, unit: Cel, compute: {dew-point: {temperature: t, humidity: h}}}\n"
        "      - {id: p, name: X, unit: '1', compute: {product: [t, h]}}\n"
        "      - {id: m, name: X, unit: '[degF]', compute: {mean: [t, t]}}\n"
        "      - {id: c, name: X, unit: mV, compute: {table: {of: h, points: [[0, 5], [50, 10], [60, 0]]}}, "
        "bad-when: [{field: s, set: 1, reason: not-ready}]}",
    )
    query = compiled(text)
    assert [spec.derived for spec in query.channels] == [False, False, True, True, True, True]
    # 68 degF are 20 Cel; at 50 % the dew point is 9.3 Cel (any psychrometric table).
    answer, _ = read(text, {"t": 680, "h": 500, "s": 1})
    assert [o.flags for o in answer.outcomes] == [4, 0, 4, 4, 4, 0]
    assert values(answer)[2:] == [pytest.approx(9.26, abs=0.02), pytest.approx(3400), pytest.approx(68.0), 10.0]
    for h, curve in ((0, 5.0), (250, 7.5), (550, 5.0), (600, 0.0)):
        assert values(read(text, {"t": 680, "h": h, "s": 0})[0])[5] == pytest.approx(curve)
    outside = values(read(text, {"t": 680, "h": 601, "s": 2})[0])
    assert outside[5] == "not-ready"
    assert values(read(text, {"t": 680, "h": 601, "s": 0})[0])[5] == "not-available (60.1 is outside of the table)"
    assert values(read(text, {"t": 680, "h": 0, "s": 0})[0])[2] == "not-available (no dew point at 20 Cel and 0 %)"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(t=st.integers(-400, 590), h=st.integers(1, 1000))
def test_the_dew_point_is_where_the_air_would_be_saturated(t: int, h: int) -> None:
    text = file_of(
        MODBUS,
        block("t: {at: 0, type: i16}, h: {at: 1, type: u16}"),
        "      - {id: t, name: X, unit: Cel, scale: 0.1}\n      - {id: h, name: X, unit: '%{RH}', scale: 0.1}\n"
        "      - {id: dew, name: X, unit: Cel, compute: {dew-point: {temperature: t, humidity: h}}}",
    )
    dew = values(read(text, {"t": t, "h": h})[0])[2]

    def pressure(at: float) -> float:
        return 6.112 * math.exp(17.62 * at / (243.12 + at))

    assert pressure(dew) == pytest.approx(pressure(t * 0.1) * h * 0.001, rel=1e-9)


# ---------------------------------------------------------------- repeat


def test_what_is_repeated_stands_where_it_would_have_been_written() -> None:
    text = file_of(
        MODBUS,
        "      - {read: input, at: 10, count: 40, fields: {'n-#': {at: 10, type: u32, repeat: 4}, "
        "'v-#': {at: 20, type: u16, repeat: [0, 3], stride: 2}, mask: {at: 40, type: u16, bits: {'size-#': [0, 3]}}}}\n"
        "      - {repeat: 2, stride: 8, read: holding, at: 100, count: 2, fields: {'k-#': {at: 101, type: u16}}}",
        "      - {repeat: 4, id: 'n-#', name: 'Size #', unit: '{#}', "
        "bad-when: [{field: mask, clear: 'size-#', reason: not-available, detail: 'size # of {#}'}]}\n"
        "      - {repeat: [0, 3], id: 'v-#', name: 'V #', unit: '1'}\n"
        "      - {repeat: 2, id: 'k-#', name: K, unit: '1'}",
    )
    raws = {**{f"n-{n}": n * 70_000 for n in range(1, 5)}, **{f"v-{n}": n for n in range(4)}, "k-1": 11, "k-2": 12}
    answer, _ = read(text, {**raws, "mask": 0b0101})
    assert values(answer) == [
        70_000.0, "not-available (size 2 of {#})", 210_000.0, "not-available (size 4 of {#})", 0, 1, 2, 3, 11, 12
    ]  # fmt: skip
    assert [spec.name for spec in compiled(text).channels][:5] == ["Size 1", "Size 2", "Size 3", "Size 4", "V 0"]
    assert compiled(text).channels[0].unit == "{#}"


# ---------------------------------------------------------------- time


def moment_of(spec: dict[str, Any] | str, raws: dict[str, Any], zone: str = "UTC") -> int | None:
    made = spec if isinstance(spec, str) else grammar.TimeParts.model_validate(spec)
    index = {name: at for at, name in enumerate(raws)}
    return time_of(made, index, setting(zone))(list(raws.values()))


def setting(zone: str) -> Setting:
    text = file_of(MODBUS, block("x: {at: 0, type: u16}"), channels("x"))
    loaded = load_driver(Path("t/t.yaml"), text=text, zone=zone)
    assert loaded.driver is not None
    return loaded.driver.setting("modbus-rtu", 1, {})


SPECS: list[dict[str, Any] | str] = [
    "u",
    {"unix": "u"},
    {"unix": "u", "millisecond": "ms"},
    {"text": "u"},
    {"date": "d", "time": "u"},
    {"year": "y", "month": "m", "day": "d", "hour": "h", "minute": "i", "second": "s"},
    {"year": "y", "month-day": "md", "hour": "h", "minute-second": "is"},
    {"year": "y", "month-day": "md", "hour-minute": "hi", "second": "s", "millisecond": "ms"},
]


ZONES = ["utc", "site", "America/New_York"]


@pytest.mark.parametrize(
    ("spec", "zone"),
    [(spec, zone) for spec in SPECS for zone in (["utc"] if isinstance(spec, str) else ZONES)],
    ids=str,
)
def test_times_of_every_form_and_zone_and_back(spec: dict[str, Any] | str, zone: str) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(seconds=st.integers(946_684_800, 4_000_000_000), ms=st.integers(0, 999))
    def holds(seconds: int, ms: int) -> None:
        made = spec if isinstance(spec, str) else {**spec, "zone": zone}
        checked = made if isinstance(made, str) else grammar.TimeParts.model_validate(made)
        moment = seconds * 10**9 + (ms * 10**6 if "millisecond" in spec else 0)
        raws = raws_of_time(checked, moment, setting("Europe/Berlin"))
        found = moment_of(made, raws, "Europe/Berlin")
        assert found is not None
        rules = {"utc": dt.UTC, "site": ZoneInfo("Europe/Berlin")}.get(zone) or ZoneInfo(zone)
        # Of two moments with one local time the earlier is meant.
        local = dt.datetime.fromtimestamp(seconds, rules)
        assert found == moment - (3600 * 10**9 if local.fold else 0)

    holds()


def test_the_hour_that_comes_twice_and_the_one_that_does_not_come() -> None:
    spec = {"unix": "u", "zone": "Europe/Berlin"}

    def utc(*local: int) -> str:
        naive = int(dt.datetime(*local, tzinfo=dt.UTC).timestamp())
        found = moment_of(spec, {"u": naive})
        assert found is not None
        return dt.datetime.fromtimestamp(found / 10**9, dt.UTC).strftime("%H:%M")

    assert [utc(2026, 10, 25, hour, 30) for hour in (1, 2, 3)] == ["23:30", "00:30", "02:30"]
    assert [utc(2026, 3, 29, hour, 30) for hour in (1, 2, 3)] == ["00:30", "01:30", "01:30"]


@pytest.mark.parametrize(
    ("spec", "raws"),
    [
        ("u", {"u": None}), ("u", {"u": math.nan}), ("u", {"u": -5}), ("u", {"u": math.inf}), ("u", {"u": "x"}),
        (SPECS[5], {"y": 2026, "m": 13, "d": 1, "h": 0, "i": 0, "s": 0}),
        (SPECS[5], {"y": 2026, "m": 2, "d": 29, "h": 0, "i": 0, "s": 0}),
        (SPECS[5], {"y": 2026, "m": 2, "d": 1, "h": 24, "i": 0, "s": 0}),
        (SPECS[6], {"y": 0, "md": 0, "h": 0, "is": 0}), ({"unix": "u", "millisecond": "ms"}, {"u": 5, "ms": 1000}),
    ],
)  # fmt: skip
def test_what_is_no_time_is_none(spec: dict[str, Any] | str, raws: dict[str, Any]) -> None:
    """Trap 8, and trap 2's zeros: a clock that was never set says no moment of a calendar."""
    assert moment_of(spec, raws) is None
