"""YAML 1.2 to plain data with positions: what a word means, where things stand, and that nothing makes it raise."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from labmon.config.errors import Mark
from labmon.config.load import load_site
from labmon.config.parse import MAX_CHARACTERS, parse
from labmon.config.site import Site
from labmon.config.types import Number, Strict
from labmon.config.yaml import load_model

SITE = (Path(__file__).parent / "cases" / "good" / "site.yaml").read_text()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("No", "No"), ("12:30:00", "12:30:00"), ("2026-01-31", "2026-01-31"), ("010", 10),
        ("0o10", 8), ("0x1F", 31), ("1_000", "1_000"), ("1e3", 1000.0), ("-.5", -0.5), ("+7", 7), (".inf", math.inf),
        ("-.INF", -math.inf), ("~", None), ("", None), ("null", None), ("True", True), ("false", False), ("1.", 1.0),
        ("0b1", "0b1"), ("'5'", "5"), ('"true"', "true"), ("1.2.3", "1.2.3"), ("e5", "e5"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_words_by_the_core_schema(word: str, value: object) -> None:
    parsed = parse(f"key: {word}\n", "f")
    assert not parsed.errors
    assert parsed.data == {"key": value}
    assert type(parsed.data["key"]) is type(value)


def test_nan_is_a_number_for_the_model_to_refuse() -> None:
    assert math.isnan(parse("key: .nan\n", "f").data["key"])


def test_keys_are_text_or_whole_numbers() -> None:
    data = parse("{0: a, true: b, null: c, 1.5: d, yes: e}", "f").data
    assert data == {0: "a", "true": "b", "null": "c", "1.5": "d", "yes": "e"}
    assert [type(k) for k in data] == [int, str, str, str, str]


def test_positions_of_keys_and_values() -> None:
    parsed = parse("a: 1\nb:\n  - x\n  - {c: ü,  d: [5]}\n", "f")
    where = parsed.positions
    assert where.key(("a",)) == Mark(1, 1)
    assert where.value(("a",)) == Mark(1, 4)
    assert where.value(("b", 0)) == Mark(3, 5)
    assert where.key(("b", 1)) == Mark(4, 5)
    assert where.key(("b", 1, "d")) == Mark(4, 13)
    assert where.value(("b", 1, "d", 0)) == Mark(4, 17)
    # What is not there stands where its parent's key does.
    assert where.value(("b", 1, "d", 7, "z")) == Mark(4, 13)
    assert where.value(("none",)) == Mark(1, 1)


def test_a_second_key_is_read_over_whatever_it_holds() -> None:
    parsed = parse("a: {x: 1}\na: {x: [2, {y: *z}]}\nb: 3\nb: 4\nb: 5\n", "f")
    assert parsed.data == {"a": {"x": 1}, "b": 3}
    assert [(e.line, e.column, e.path) for e in parsed.errors] == [(2, 1, "a"), (4, 1, "b"), (5, 1, "b")]


def test_aliases_do_not_multiply() -> None:
    levels = "".join(f"l{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    parsed = parse(f"l0: &a0 [x]\n{levels}", "f")
    assert len(parsed.errors) == 29 * 9
    assert parsed.data["l29"] == [None] * 9


def test_a_long_text_is_refused_before_it_is_read() -> None:
    parsed = parse("#" * (MAX_CHARACTERS + 1), "f")
    assert [e.message for e in parsed.errors] == [f"the file is longer than {MAX_CHARACTERS} characters"]


def test_half_a_character_is_refused_and_every_row_can_be_printed() -> None:
    parsed = parse('a: "\\ud800"\n"b\\ud83d": 1\n"c\\x1b[31m\\n": *x\n', "f")
    rows = [str(e) for e in parsed.errors]
    assert [row.encode().decode()[:7] for row in rows] == ["f:1:4: ", "f:2:1: ", "f:3:16:"]
    assert "c\\x1b[31m\\n: anchors" in rows[2]


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_no_text_makes_it_raise(text: str) -> None:
    parsed = parse(text, "f")
    assert not parsed.errors or text
    for error in parsed.errors:
        assert error.line >= 1
        assert error.column >= 1


NASTY = st.sampled_from(
    [*"{}[]:,-#&*!|>'\"%@`?\t\n\r ~<=", "\u2028", "\x85", "\ufeff", "null", "9" * 500, ": ", "- ", "1e999"]
)


@given(st.integers(0, len(SITE)), st.integers(0, 30), st.lists(NASTY | st.text(max_size=3), max_size=3))
@settings(max_examples=100, deadline=None)
def test_no_change_to_a_site_makes_loading_raise(at: int, cut: int, put: list[str]) -> None:
    text = SITE[:at] + "".join(put) + SITE[at + cut :]
    loaded = load_site(Path("site.yaml"), text=text)
    lines = len(text.splitlines()) + 1
    assert all(1 <= e.line <= lines for e in loaded.errors if e.file == "site.yaml")
    assert loaded.errors or isinstance(loaded.site, Site)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["C"]), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "lines", "devices", "serial", "tcp", "host", "port", "limits", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([f.alias or n for n, f in Site.model_fields.items()]), PLAIN))
@settings(max_examples=60, deadline=None)
def test_no_shape_of_data_makes_the_checks_raise(data: dict[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False)
    assert load_site(Path("site.yaml"), text=text).errors


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    absent = load_site(tmp_path / "absent.yaml")
    assert [str(e) for e in absent.errors] == [f"{tmp_path}/absent.yaml:1:1: cannot be read: No such file or directory"]
    folder = load_site(tmp_path)
    assert [str(e) for e in folder.errors] == [f"{tmp_path}:1:1: cannot be read: Is a directory"]
    odd = load_site(Path("with\0null"))
    assert "cannot be read" in str(odd.errors[0])


# ---------------------------------------------------------------- unions, as driver files have them


class Ask(Strict):
    kind: Literal["ask"]
    text: str


class Read(Strict):
    kind: Literal["read"]
    register_: int
    text: str | None = None


class File(Strict):
    steps: list[Annotated[Ask | Read, Field(discriminator="kind")]] = []
    value: int | list[int] | Ask | None = None
    states: dict[int, str] = {}
    span: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    one: int | None = None
    two: int | None = None

    @model_validator(mode="after")
    def _not_both(self) -> File:
        if self.one is not None and self.two is not None:
            raise ValueError("give one or two, not both")
        return self


def said(text: str) -> list[str]:
    return [str(e) for e in load_model(Path("f"), File, text=text).errors]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("steps:\n  - {kind: ask, txt: a}\n", ["f:2:5: steps.0.text: is missing",
         "f:2:17: steps.0.txt: unknown key; did you mean `text`?"]),
        ("steps:\n  - {kind: read, register: x, text: 5}\n",
         ["f:2:28: steps.0.register: must be a whole number", "f:2:37: steps.0.text: must be text; put it in quotes"]),
        ("steps: [{kind: aks}]", ["f:1:9: steps.0: kind must be one of 'ask', 'read'; did you mean `ask`?"]),
        ("steps: [{text: a}]", ["f:1:9: steps.0: kind is missing"]),
        ("value: x",
         ["f:1:8: value: must be a whole number, or must be a list, or must be a mapping of keys to values"]),
        ("value: {kind: ask, text: 5}", ["f:1:26: value.text: must be text; put it in quotes"]),
        ("value: [1, x]", ["f:1:12: value.1: must be a whole number"]),
        ("states: {0: off, on: 1}",
         ["f:1:18: states.on: must be a whole number", "f:1:22: states.on: must be text; put it in quotes"]),
        ("span: [1]", ["f:1:7: span: must have at least 2 items, not 1"]),
        ("one: 1\ntwo: 2", ["f:1:1: give one or two, not both"]),
    ],
)  # fmt: skip
def test_unions_and_what_else_driver_files_have(text: str, errors: list[str]) -> None:
    assert said(text) == errors
