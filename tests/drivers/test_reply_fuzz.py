"""Bytes that no instrument would send, into every form of reply: a value or a reason, or Garbled, and nothing else."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from test_value_forms import BINARY, MODBUS, TEXT, block, channels, compiled, file_of, replies

from labmon.drivers.query import CompiledQuery
from labmon.links.errors import Garbled, Refused

SEED = 20261123
ROUNDS = 400
SUMMED = TEXT.replace('{end: "\\r"}', '{end: "\\r", checksum: {name: crc8, encoding: hex-upper}}')
LINE = "a: {type: number, sentinels: [{raw: '---', reason: no-sensor}]}"

FORMS = {
    "template": (
        SUMMED,
        f'      - {{send: Q, reply: "{{a}} {{w}}[ {{n}}] {{t}}", fields: {{{LINE}, w: {{type: word, codes: {{A: 1}}}}, '
        'n: {type: integer}, t: {type: time, form: "%d.%m.%y %H:%M:%S"}}}',
        ("a", "w", "n", "t"),
        {"a": "---", "w": 1, "n": 5, "t": 1_000_000_000},
    ),
    "pattern": (
        SUMMED,
        f'      - {{send: Q, pattern: "(?P<a>[^ ]*) (?P<n>.*)", fields: {{{LINE}, n: {{type: integer}}}}}}',
        ("a", "n"),
        None,
    ),
    "delimited": (
        SUMMED,
        '      - {send: Q, starts: "D,", columns: {delimiter: [",", ";"], count: [4, 8]}, fields: {'
        "a: {type: number, column: 1, form: '.3f', comma: false}, b: {type: hex, as: f32, digits: 8, column: 2}, "
        "c: {type: integer, beside: {text: '0.3', first: 3, step: 2}}, d: {type: number, column: 7, optional: true}}}",
        ("a", "b", "c", "d"),
        {"a": 1.5, "b": 2.5, "c": 9},
    ),
    "blanks": (
        SUMMED,
        '      - {send: Q, columns: {delimiter: " ", count: [2, 9]}, fields: {'
        "a: {type: integer, column: 0}, b: {type: hex, part: [4, 7], column: 1}}}",
        ("a", "b"),
        {"a": 12, "b": 7},
    ),
    "fixed": (
        SUMMED,
        "      - {send: Q, columns: fixed, fields: {a: {type: number, from: 0, to: 8, form: '.2f'}, "
        "b: {type: hex, from: 8, to: 12, digits: 4, bits: {one: 3}}, "
        "c: {type: integer, from: 12, to: 15, optional: true}}}",
        ("a", "b", "c"),
        {"a": -1.25, "b": 0xBEEF, "c": 7},
    ),
    "bytes": (
        BINARY + 'frame: {end: "", reply-size: 22, checksum: {name: crc16-modbus, encoding: raw-little}}\n',
        '      - {send: "01", bytes: 20, starts: "42 4D", fields: {'
        "a: {at: 2, type: f32}, b: {at: 6, type: f64, order: CDAB}, "
        "c: {at: 14, type: bcd, length: 3}, d: {at: 17, type: i24, order: DCBA}}}",
        ("a", "b", "c", "d"),
        {"a": 1.5, "b": -2.5, "c": 123456, "d": -7},
    ),
    "registers": (
        MODBUS,
        block(
            "a: {at: 0, type: f32}, b: {at: 2, type: bcd, registers: 2}, c: {at: 4, type: u16, part: [3, 9]}, "
            "e: {at: 5, type: ascii, registers: 2, chars: low}, d: {at: 7, type: bool}"
        ),
        ("a", "b", "c", "d"),
        {"a": 1.5, "b": 42, "c": 5, "e": "ab", "d": 1},
    ),
}  # fmt: skip


def query_of(form: str) -> CompiledQuery:
    head, requests, names, _ = FORMS[form]
    return compiled(file_of(head, requests, channels(*names)))


def good(form: str) -> bytes:
    """A whole reply on the wire."""
    head, requests, names, raws = FORMS[form]
    if raws is None:
        step = query_of(form).steps[0]
        return step.framed(b"1.25 77")  # type: ignore[union-attr]
    return replies(file_of(head, requests, channels(*names)), raws)[0]


def broken(dice: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them lost, changed, doubled or new; or others altogether."""
    if dice.random() < 0.15:
        return dice.randbytes(dice.randrange(0, 300))
    if dice.random() < 0.15:
        return bytes(dice.choices(b" ,;.-+0123456789ABCDEFabcdef_xeE\t\r\n\0\xb2", k=dice.randrange(0, 300)))
    changed = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(changed) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            del changed[at : at + dice.randrange(1, 5)]
        elif kind == 1:
            changed[at:at] = dice.randbytes(1)
        elif kind == 2 and at < len(changed):
            changed[at] ^= dice.randrange(1, 256)
        else:
            changed[at:at] = changed[max(0, at - 3) : at]
    return bytes(changed)


def sound(query: CompiledQuery, payload: bytes) -> bool:
    """Whether a payload makes an answer; what it makes is a finite value or a reason, for every channel."""
    try:
        answer = query.decode([payload])
    except Garbled:
        return False
    for outcome in answer.outcomes:
        assert (outcome.value is None) is not (outcome.reason is None)
        assert outcome.value is None or math.isfinite(outcome.value)
    return True


@pytest.mark.parametrize("form", FORMS)
def test_no_payload_makes_more_than_values_reasons_and_garbled(form: str) -> None:
    query, dice = query_of(form), random.Random(SEED)
    step = query.steps[0]
    payload = step.request.match(good(form), 1)
    assert payload is not None
    assert sound(query, payload)
    taken = 0
    for _ in range(ROUNDS):
        changed = broken(dice, payload)
        if form == "registers":  # whose length the link has verified
            changed = changed[: len(payload)].ljust(len(payload), b"\xff")
        taken += sound(query, changed)
    assert taken < ROUNDS or form == "registers"


@pytest.mark.parametrize("form", FORMS)
def test_no_value_comes_out_of_a_broken_frame(form: str) -> None:
    """Every frame here has a checksum: what is changed is refused, or is the very reply that it was."""
    query, dice = query_of(form), random.Random(SEED)
    request, frame = query.steps[0].request, good(form)
    whole = request.match(frame, 1)
    assert whole is not None
    refused = wrong = 0
    for _ in range(ROUNDS):
        try:
            payload = request.match(broken(dice, frame), 1)
        except (Garbled, Refused):
            payload = None
        refused += payload is None
        wrong += payload is not None and payload != whole
    assert refused > ROUNDS // 2
    # One byte of checksum lets one broken frame of 256 pass, two bytes one of 65536.
    assert wrong <= (0 if form in ("bytes", "registers") else 2 * ROUNDS // 256)


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_frame_is_never_a_reply(form: str) -> None:
    request, frame = query_of(form).steps[0].request, good(form)
    for length in range(len(frame) - 1):
        try:
            assert request.match(frame[:length], 1) is None
        except Garbled:
            continue


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("piece", [b" ", b",", b"; ", b"1 ", b"- ", b"\0", b"D,"])
def test_long_and_empty_columns_end_at_once(form: str, piece: bytes) -> None:
    """What would be divided in endless ways is divided in one: the test's time limit is the assertion."""
    if form == "registers":
        return
    query = query_of(form)
    for data in (piece * 2000, b"D," + piece * 500, piece * 500 + b"x"):
        sound(query, data)


def test_every_form_of_reply_is_among_them() -> None:
    """A new form of reply must be fuzzed, too."""
    sources = (Path(__file__).parents[2] / "labmon" / "drivers").glob("*.py")
    blocks = {
        line.split("(")[0].split(":")[0].removeprefix("class ")
        for source in sources
        for line in source.read_text().splitlines()
        if line.startswith("class ") and line.split("(")[0].split(":")[0].endswith("Block")
    }
    # Coils: in test_driver_values and, as registers, in test_driver_fuzz.
    assert blocks == {"TextBlock", "DelimitedBlock", "FixedBlock", "WordBlock", "ByteBlock", "BitBlock"}
