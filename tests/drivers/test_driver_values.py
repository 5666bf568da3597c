"""Encode with the other encoder, decode with ours: every type, order, scale, sentinel, bit and framing."""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import encoder
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from labmon.drivers.compile import CompiledDriver
from labmon.drivers.driver import Answer
from labmon.drivers.load import load_driver
from labmon.drivers.query import CompiledQuery

HEAD = """\
labmon-driver: 1
maker: Nobody
models: [Test]
title: Test
class: test
manual: {document: none, revision: none, pages: none}
framings: [modbus-rtu, modbus-ascii, modbus-tcp]
serial: {baud: 9600}
"""
BITS = {"u16": 16, "i16": 16, "u32": 32, "i32": 32, "u64": 64, "i64": 64, "u8": 8, "i8": 8}
ORDERS = ["ABCD", "CDAB", "BADC", "DCBA"]
SIZES = {"u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}


def driver_of(text: str) -> CompiledDriver:
    loaded = load_driver(Path("test/test.yaml"), text=text)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver


@lru_cache
def compiled(text: str, framing: str = "modbus-rtu") -> CompiledQuery:
    return driver_of(text).queries(framing, 7, {})[0]


@lru_cache
def document(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)


def answer_to(text: str, raws: dict[str, Any], framing: str = "modbus-rtu") -> Answer:
    """Compose the wire's bytes with the other encoder, take them by the link's matcher, decode."""
    query = compiled(text, framing)
    example = {"query": "q", "raws": raws, "framing": framing, "address": 7}
    payloads = []
    for step, (sent, got) in zip(query.steps, encoder.compose(document(text), example), strict=True):
        assert step.request.encode(1) == sent
        payload = step.request.match(got, 1)
        assert payload is not None
        payloads.append(payload)
    return query.decode(payloads)


def one_value(type_: str, order: str, extra: str = "", channel: str = "") -> str:
    """A file with the value in the middle of a block, and neighbours that must not be touched."""
    return f"""{HEAD}
queries:
  q:
    every: 1 s
    requests:
      - read: holding
        at: 100
        count: 8
        fields:
          before: {{at: 101, type: u16}}
          value: {{at: 102, type: {type_}, order: {order}{extra}}}
          after: {{at: {102 + SIZES.get(type_, 1)}, type: i16}}
    channels:
      - {{id: before, name: Before, unit: "1"}}
      - {{id: value, name: Value, unit: "1"{channel}}}
      - {{id: after, name: After, unit: "1"}}
"""


def raw_values(type_: str) -> st.SearchStrategy[Any]:
    if type_ == "f32":
        return st.floats(width=32, allow_nan=False, allow_infinity=False)
    if type_ == "f64":
        return st.floats(allow_nan=False, allow_infinity=False)
    bits = BITS[type_]
    if type_.startswith("u"):
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("type_", ["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"])
def test_every_type_in_every_order_and_framing(type_: str, order: str) -> None:
    text = one_value(type_, order)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(
        raw=raw_values(type_),
        before=st.integers(0, 65535),
        after=st.integers(-32768, 32767),
        framing=st.sampled_from(["modbus-rtu", "modbus-ascii", "modbus-tcp"]),
    )
    def holds(raw: Any, before: int, after: int, framing: str) -> None:
        outcomes = answer_to(text, {"value": raw, "before": before, "after": after}, framing).outcomes
        assert [o.raw for o in outcomes] == [before, raw, after]
        assert [o.value for o in outcomes] == [float(before), float(raw), float(after)]
        query = compiled(text, framing)
        raws = {"value": raw, "before": before, "after": after}
        assert query.raws(query.encode(raws)) == raws

    holds()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("byte", ["high", "low"])
@pytest.mark.parametrize("type_", ["u8", "i8"])
def test_bytes_of_a_register(type_: str, byte: str, order: str) -> None:
    text = one_value(type_, order, f", byte: {byte}")

    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(raw=raw_values(type_))
    def holds(raw: int) -> None:
        assert answer_to(text, {"value": raw}).outcomes[1].value == raw

    holds()


def test_words_of_one_value_are_told_apart_by_order() -> None:
    """The trap of a swapped word: below 65536 it gives n * 65536, and on zero it cannot be seen."""
    counts = {order: answer_to(one_value("u32", order), {"value": 3}).outcomes[1].value for order in ORDERS}
    assert counts == dict.fromkeys(ORDERS, 3.0)
    (sent_got,) = encoder.compose(
        document(one_value("u32", "ABCD")), {"query": "q", "raws": {"value": 3}, "address": 7}
    )
    payload = compiled(one_value("u32", "ABCD")).steps[0].request.match(sent_got[1], 1)
    assert payload is not None
    assert compiled(one_value("u32", "CDAB")).decode([payload]).outcomes[1].value == 3 * 65536


@pytest.mark.parametrize(
    ("type_", "written", "raw"),
    [("i16", "0x8000", -32768), ("i16", "-32768", -32768), ("u16", "0x8000", 0x8000), ("i16", "0x7FFF", 32767),
     ("i32", "0x80000000", -(2**31)), ("u32", "0xFFFFFFFF", 2**32 - 1), ("i8", "0x80", -128), ("f32", "-127.0", -127.0),
     ("f64", "9999", 9999.0), ("u16", "0", 0), ("i64", "0x8000000000000000", -(2**63))],
)  # fmt: skip
@pytest.mark.parametrize("order", ORDERS)
def test_sentinels_stand_for_raw_words(type_: str, written: str, raw: float, order: str) -> None:
    text = one_value(type_, order, f", sentinels: [{{raw: {written}, reason: no-sensor}}]", ", scale: 0.1, offset: 5")
    outcome = answer_to(text, {"value": raw}).outcomes[1]
    assert (outcome.value, outcome.reason, outcome.raw) == (None, "no-sensor", raw)
    near = raw - 1 if raw > 0 else raw + 1
    assert answer_to(text, {"value": near}).outcomes[1].value == pytest.approx(near * 0.1 + 5)


@pytest.mark.parametrize(("number", "reason"), [(math.nan, "not-available"), (math.inf, "implausible (inf)")])
@pytest.mark.parametrize("type_", ["f32", "f64"])
def test_no_float_that_is_no_number_is_a_value(type_: str, number: float, reason: str) -> None:
    outcome = answer_to(one_value(type_, "CDAB"), {"value": number}).outcomes[1]
    assert (outcome.value, outcome.reason) == (None, reason)


def test_a_file_may_say_what_nan_means() -> None:
    text = one_value("f32", "CDAB", ", sentinels: [{raw: .nan, reason: not-ready}]")
    assert answer_to(text, {"value": math.nan}).outcomes[1].reason == "not-ready"


@settings(max_examples=30, deadline=None, derandomize=True)
@given(raw=st.integers(-32768, 32767))
def test_scale_offset_and_range(raw: int) -> None:
    text = one_value("i16", "ABCD", "", ", scale: 0.1, offset: -5, range: [-100, 100]")
    outcome = answer_to(text, {"value": raw}).outcomes[1]
    expected = raw * 0.1 - 5
    if -100 <= expected <= 100:
        assert (outcome.value, outcome.reason) == (expected, None)
    else:
        assert outcome.value is None
        assert outcome.reason == f"implausible ({expected:g})"
    assert outcome.raw == raw


@pytest.mark.parametrize("order", ["ABCD", "BADC"])
@pytest.mark.parametrize("bit", range(16))
def test_bits_of_a_register_with_either_polarity(bit: int, order: str) -> None:
    text = f"""{HEAD}
order: {order}
queries:
  q:
    every: 1 s
    requests:
      - read: input
        at: 0
        count: 2
        fields:
          one: {{at: 1, type: bit, bit: {bit}}}
          word: {{at: 0, type: u16}}
    channels:
      - {{id: one, name: One, unit: "1"}}
      - {{id: good, name: Good, unit: "1", from: one, true-when: clear}}
      - {{id: of-word, name: Of word, unit: "1", from: word, bit: {bit}}}
      - {{id: of-word-clear, name: Of word, unit: "1", from: word, bit: {bit}, true-when: clear}}
"""
    word = 1 << bit
    assert [o.value for o in answer_to(text, {"one": 1, "word": word}).outcomes] == [1, 0, 1, 0]
    assert [o.value for o in answer_to(text, {"one": 0, "word": 0xFFFF ^ word}).outcomes] == [0, 1, 0, 1]
    query = compiled(text)
    raws = query.raws_of({"good": 1, "of-word": 1}, {"one": 1, "word": 0})
    assert raws == {"one": 0, "word": word}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(bits=st.lists(st.integers(0, 1), min_size=11, max_size=11))
@pytest.mark.parametrize("table", ["coils", "discrete"])
def test_coils_and_discrete_inputs(table: str, bits: list[int]) -> None:
    fields = "\n".join(f"          b{n}: {{at: {5 + n}, type: bit}}" for n in range(11))
    channels = "\n".join(f'      - {{id: b{n}, name: B, unit: "1"}}' for n in range(11))
    text = f"""{HEAD}
queries:
  q:
    every: 1 s
    requests:
      - read: {table}
        at: 5
        count: 11
        fields:
{fields}
    channels:
{channels}
"""
    raws = {f"b{n}": bit for n, bit in enumerate(bits)}
    assert [o.value for o in answer_to(text, raws).outcomes] == bits
    query = compiled(text)
    assert query.raws(query.encode(raws)) == raws


@pytest.mark.parametrize("order", ["ABCD", "BADC"])
def test_ascii_ends_at_nul_and_sheds_blanks(order: str) -> None:
    text = f"""{HEAD}
order: {order}
identity:
  requests:
    - read: holding
      at: 0
      count: 4
      fields:
        name: {{at: 0, type: ascii, registers: 4}}
  show: [name]
queries:
  q:
    every: 1 s
    requests:
      - read: holding
        at: 0
        count: 1
        fields: {{a: {{at: 0, type: u16}}}}
    channels: [{{id: a, name: A, unit: "1"}}]
"""
    identity = driver_of(text).identity("modbus-rtu", 7, {})
    assert identity is not None
    for written, found in (("AB12", "name AB12"), ("ABCDEFGH", "name ABCDEFGH"), (" AB ", "name AB"), ("", "name ")):
        payload = encoder.words("ascii", order, written, 4)
        assert identity.decode([payload]).text == found
        assert identity.encode({"name": written}) == [payload]


@pytest.mark.parametrize(
    ("base", "table", "at", "pdu"),
    [("0", "holding", 0, 0), ("1", "holding", 2090, 2089), ("modicon", "holding", 40025, 24),
     ("modicon", "input", 30001, 0), ("modicon", "discrete", 10010, 9), ("modicon", "coils", 8, 7),
     ("modicon", "holding", 400025, 24)],
)  # fmt: skip
def test_address_conventions(base: str, table: str, at: int, pdu: int) -> None:
    kind = "bit" if table in ("coils", "discrete") else "u16"
    text = f"""{HEAD}
base: {base}
queries:
  q:
    every: 1 s
    requests:
      - read: {table}
        at: {at}
        count: 1
        fields: {{a: {{at: {at}, type: {kind}}}}}
    channels: [{{id: a, name: A, unit: "1"}}]
"""
    sent = compiled(text).steps[0].request.encode(0)
    assert struct.unpack(">H", sent[2:4]) == (pdu,)


def test_enums_name_states_and_unknown_numbers_are_no_values() -> None:
    text = one_value("u16", "ABCD", "", ", states: {0: idle, 3: error}")
    assert answer_to(text, {"value": 3}).outcomes[1].value == 3
    assert answer_to(text, {"value": 4}).outcomes[1].reason == "implausible (unknown state 4)"
    kept = one_value("u16", "ABCD", "", ", states: {0: idle}, otherwise: keep")
    assert answer_to(kept, {"value": 4}).outcomes[1].value == 4
    mapped = one_value("u16", "ABCD", "", ", states: {0: idle}, otherwise: not-ready")
    assert answer_to(mapped, {"value": 4}).outcomes[1].reason == "not-ready (unknown state 4)"


@pytest.mark.parametrize(
    ("condition", "bad", "good"),
    [("set: 3", 8, 7), ("set: [0, 1]", 2, 4), ("clear: 0", 2, 3), ("clear: [0, 1]", 1, 3), ("is: 5", 5, 4),
     ("is: [5, 6]", 6, 4), ("is-not: 5", 4, 5), ("is-not: [5, 6]", 7, 6), ("below: 10", 9, 10), ("above: 10", 11, 10)],
)  # fmt: skip
def test_conditions(condition: str, bad: int, good: int) -> None:
    rule = f"bad-when: [{{field: before, {condition}, reason: not-ready}}]"
    text = one_value("u16", "ABCD", "", f", {rule}")
    assert answer_to(text, {"before": bad, "value": 1}).outcomes[1].reason == "not-ready"
    assert answer_to(text, {"before": good, "value": 1}).outcomes[1].value == 1
    warned = one_value("u16", "ABCD", "", f", warn-when: [{{field: before, {condition}}}]")
    assert answer_to(warned, {"before": bad, "value": 1}).outcomes[1] == (1.0, None, 4, 1)
    assert answer_to(warned, {"before": good, "value": 1}).outcomes[1] == (1.0, None, 0, 1)


def test_computed_channels_take_over_quality() -> None:
    text = f"""{HEAD}
queries:
  q:
    every: 1 s
    requests:
      - read: holding
        at: 0
        count: 4
        fields:
          a: {{at: 0, type: i16, sentinels: [{{raw: -1, reason: no-sensor}}]}}
          b: {{at: 1, type: i16}}
          volume: {{at: 2, type: u16}}
          status: {{at: 3, type: u16}}
    channels:
      - {{id: a, name: A, unit: "{{#}}"}}
      - {{id: b, name: B, unit: "{{#}}", warn-when: [{{field: status, set: 0}}]}}
      - {{id: volume, name: V, unit: L}}
      - {{id: sum, name: S, unit: "{{#}}", compute: {{sum: [a, b]}}}}
      - {{id: difference, name: D, unit: "{{#}}", compute: {{difference: [a, b]}}}}
      - {{id: ratio, name: R, unit: "%", compute: {{ratio: [a, b]}}}}
      - {{id: scaled, name: X, unit: "1", compute: {{scale: {{of: b, by: 2, plus: 1}}}}}}
      - {{id: per-m3, name: C, unit: "{{#}}/m3", compute: {{counts-per-volume: {{counts: a, volume: volume}}}}}}
"""
    good = answer_to(text, {"a": 3, "b": 4, "volume": 100}).outcomes
    assert [o.value for o in good[3:]] == [7, -1, 75, 9, pytest.approx(30)]
    assert all(o.raw is None for o in good[3:])
    warned = answer_to(text, {"a": 3, "b": 4, "volume": 100, "status": 1}).outcomes
    assert [o.flags for o in warned] == [0, 4, 0, 4, 4, 4, 4, 0]
    bad = answer_to(text, {"a": -1, "b": 0, "volume": 0}).outcomes
    assert [o.reason for o in bad[3:]] == ["input-bad (a)"] * 3 + [None, "input-bad (a)"]
    zero = answer_to(text, {"a": 3, "b": 0, "volume": 0}).outcomes
    assert zero[5].reason == "not-available (division by zero)"
    assert zero[7].reason == "not-available (division by zero)"
