"""Text replies: templates read and write, patterns read; optional columns, sentinels, device errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labmon.drivers.load import load_driver
from labmon.drivers.template import TemplateError, TextBlock
from labmon.drivers.text_field import TextField
from labmon.links.errors import Garbled

NUMBER = TextField("a", "number", form="+08.2f", sentinels={"---.--": "no-sensor"})


def block(template: str, *fields: TextField, **more: tuple[str, ...]) -> TextBlock:
    return TextBlock(fields, template, None, **more)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(hundredths=st.integers(-9_999_999, 9_999_999), count=st.integers(0, 2**40), word=st.integers(0, 255))
def test_a_template_reads_what_it_writes(hundredths: int, count: int, word: int) -> None:
    one = block("x={a}, n={n};{h}", NUMBER, TextField("n", "integer"), TextField("h", "hex", digits=2))
    raws = {"a": hundredths / 100, "n": count, "h": word}
    written = one.encode(raws)
    assert list(one.decode(written)) == [pytest.approx(hundredths / 100), count, word]


@pytest.mark.parametrize(
    ("text", "value"),
    [("+0012.50", 12.5), ("12.5", 12.5), ("-.5", -0.5), ("7.", 7.0), ("2.27e3", 2270.0), ("---.--", "---.--")],
)
def test_numbers_as_instruments_write_them(text: str, value: float | str) -> None:
    assert list(block("{a}", NUMBER).decode(text.encode())) == [value]


@pytest.mark.parametrize("text", ["", "12,5", "1 2", "0x12", "nan", "inf", "12.5x", "--.--", "+", "\u0661", "1_0"])
def test_what_is_no_number_is_no_reply(text: str) -> None:
    with pytest.raises(ValueError, match="unexpected reply"):
        block("{a}", NUMBER).decode(text.encode())


@pytest.mark.parametrize("type_", ["integer", "hex"])
@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_an_integer_that_nothing_can_hold_is_no_reply(type_: str, digits: int) -> None:
    with pytest.raises(ValueError):
        block("{a}", TextField("a", type_)).decode(b"9" * digits)


@pytest.mark.parametrize(
    ("text", "value"),
    [("  12.5", 12.5), ("+012.5", 12.5), ("1_0000", None), ("   nan", None), ("1 2  3", None), ("12.5", None)],
)
def test_a_number_of_fixed_width(text: str, value: float | None) -> None:
    one = block("{a}", TextField("a", "number", digits=6))
    if value is None:
        with pytest.raises(ValueError):
            one.decode(text.encode())
    else:
        assert list(one.decode(text.encode())) == [value]


def test_blanks_around_and_between() -> None:
    one = block("A {a} {b}", NUMBER, TextField("b", "word"))
    assert list(one.decode(b" A   +1.00  N2 ")) == [1.0, "N2"]
    with pytest.raises(ValueError, match="unexpected"):
        one.decode(b"A+1.00 N2")


def test_optional_columns() -> None:
    fields = [NUMBER, TextField("b", "number"), TextField("gas", "word"), TextField("flags", "words")]
    one = block("{a}[ {b}] {gas}[ {flags}]", *fields)
    assert list(one.decode(b"1 N2")) == [1.0, None, "N2", None]
    assert list(one.decode(b"1 2 N2 MOV TOV")) == [1.0, 2.0, "N2", "MOV TOV"]
    assert one.encode({"a": 1.0, "gas": "N2", "flags": "MOV"}) == b"+0001.00 N2 MOV"
    sure = TextBlock(fields, "{a}[ {b}] {gas}[ {flags}]", None, certain=["b"])
    with pytest.raises(ValueError, match="unexpected"):
        sure.decode(b"1 N2")
    without = TextBlock([f for f in fields if f.name != "b"], "{a}[ {b}] {gas}[ {flags}]", None, left_out=["b"])
    with pytest.raises(ValueError, match="unexpected"):
        without.decode(b"1 2 N2")


def test_words_stand_for_numbers() -> None:
    one = block("S {a}", TextField("a", "word", codes={"S": 0, "D": 1}))
    assert list(one.decode(b"S D")) == [1]
    assert one.encode({"a": 1}) == b"S D"
    assert list(one.decode(b"S X")) == ["X"]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seconds=st.integers(946684800, 4102444799))
def test_times(seconds: int) -> None:
    one = block("!{t}:", TextField("t", "time", form="%d.%m.%Y;%H:%M:%S"))
    assert list(one.decode(one.encode({"t": seconds}))) == [seconds]


def test_a_time_that_does_not_exist_is_no_reply() -> None:
    with pytest.raises(ValueError):
        block("{t}", TextField("t", "time", form="%d.%m.%y")).decode(b"31.02.10")


def test_patterns_read_named_groups() -> None:
    fields = [TextField("channel-1", "number"), TextField("2-x", "integer")]
    one = TextBlock(fields, None, r"C1=(?P<channel_1>\S+) C3=(?P<_2_x>\d+)")
    assert list(one.decode(b"C1=37.0 C3=5")) == [37.0, 5]
    assert not one.reversible
    with pytest.raises(ValueError, match="turned round"):
        one.encode({})
    with pytest.raises(ValueError):
        one.decode(b"C1=37.x C3=5")


@pytest.mark.parametrize(
    ("template", "message"),
    [("{b}", "`{b}` is none of the fields"), ("x", "field a does not stand in the reply: `{a}` is missing"),
     ("[{a}", "a `[` that is not closed"), ("{a}]", "a `]` without `[`"), ("[[{a}]]", "a `[` within `[ ]`"),
     ("{a", "`{` in the reply at character 1 is not closed or not opened"), ("{a} {a}", "redefinition of group name"),
     ("{a}\u00b0", "is no regular expression")],
)  # fmt: skip
def test_templates_that_cannot_be(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(message)):
        block(template, NUMBER)


def test_literals_are_taken_as_they_are() -> None:
    one = block(r"\[{a}\] (1+1)? \{x\}", NUMBER)
    assert list(one.decode(b"[1.5] (1+1)? {x}")) == [1.5]
    assert one.encode({"a": 1.5}) == b"[+0001.50] (1+1)? {x}"


def test_a_reply_is_matched_with_checksum_and_length_whatever_stands_in_it() -> None:
    """Payloads that hold the delimiter (the Thermo clock), by the length field; junk ahead costs nothing."""
    loaded = load_driver(Path(__file__).parents[2] / "drivers" / "thermo" / "heracell.yaml")
    assert loaded.driver is not None
    clock = loaded.driver.queries("text", None, {})[0]
    request = clock.steps[0].request
    reply = b"!:0010:11:31.07.10;01:02:23:e2\r"
    assert request.encode(0) == b"?:0010:00::c1\r"
    assert request.match(reply, 0) == reply[:-3]
    assert request.match(b"\x00!:x" + reply, 0) == reply[:-3]
    for cut in range(len(reply)):
        assert request.match(reply[:cut], 0) is None
    assert clock.steps[0].framed(reply[:-3]) == reply


def test_a_pattern_without_end_costs_one_reply() -> None:
    text = """\
labmon-driver: 1
maker: A
models: [B]
title: C
class: scale
manual: {document: D, revision: E, pages: F}
framings: [text]
serial: {baud: 9600}
frame: {end: "\\r", error: "(?:a|aa)+!"}
queries:
  x:
    every: 1 s
    requests: [{send: X, pattern: "(?:a|aa)+(?P<x>[0-9])", fields: {x: {type: integer}}}]
    channels: [{id: x, name: X, unit: "1"}]
"""
    loaded = load_driver(Path("d.yaml"), text=text)
    assert loaded.driver is not None, loaded.errors
    (step,) = loaded.driver.queries("text", None, {})[0].steps
    with pytest.raises(Garbled, match="takes too long"):
        step.request.match(b"a" * 300 + b"\r", 0)
