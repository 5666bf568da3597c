"""libyaml reads sooner what ruamel.yaml reads; where the two could differ, ruamel.yaml has the word."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labmon.config import parse as parsing
from labmon.config.builder import Parsed
from labmon.config.errors import Mark
from labmon.config.parse import parse, read_by_libyaml, read_by_ruamel
from labmon.config.shipped import shipped

CASES = Path(__file__).parent / "cases"
SHIPPED = sorted([*shipped("config").rglob("*.yaml"), *shipped("drivers").rglob("*.yaml")])
OTHERS = sorted([*CASES.rglob("*.yaml"), *(CASES.parent.parent / "drivers").rglob("*.yaml")])
SITE = (shipped("config") / "example-site.yaml").read_text()
DRIVER = (shipped("drivers") / "julabo" / "circulator.yaml").read_text()
PROFILES = (shipped("config") / "profiles" / "bioreactor.yaml").read_text()


def everything(parsed: Parsed) -> tuple[object, ...]:
    """Data with types (1 is not 1.0 is not True) and the order of keys, and every position."""
    where = parsed.positions
    return repr(parsed.data), where._keys, where._values, parsed.errors, parsed.broken


def assert_agreed(text: str) -> bool:
    """Whether libyaml was used; and then it said what ruamel.yaml says."""
    quick = read_by_libyaml(text, "f")
    assert quick is None or everything(quick) == everything(read_by_ruamel(text, "f"))
    return quick is not None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_files_are_read_by_libyaml_and_alike(path: Path) -> None:
    assert assert_agreed(path.read_text()), "PyYAML has no libyaml here, or the file holds what only ruamel.yaml reads"


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_mistakes_are_told_by_ruamel(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    assert_agreed(text)
    assert everything(parse(text, "f")) == everything(read_by_ruamel(text, "f"))


@pytest.mark.parametrize(
    "text",
    [
        "k:\tv", "k: v\r\n", "k: a\x85b: c", "k: a\u2028b: c", "\ufeffk: v", "k: a\ufeffb", "k: \udc80", "k: \x7f",
        "%YAML 1.1\n---\nk: yes", "%TAG ! x\n---\nk: v", "k: v\n...\n...", "a: 1\n---\nb: 2",
        "k: &a v", "k: &a [v]", "k: &a {b: c}", "k: *a", "k: !t v", "k: !t [v]", "<<: *a", "k: ! v",
        "k:", "k: \nb: 1", "[a, ]: x", "{a, b}", "- \n- a", "? a", "[?'x'\n:y]", "[? a : b]", "",
        "k: |#\n a", "k: >-#\n a", "k: >\n \n   a\n  b", "k: |+\n  \n\n   # c\n\n # d", "|\n#", "text", "'text'",
        "['a':b]", "['a'\n:b]", 'k: "\\ud83d"', 'k: "\\U00110000"', "k: " + "9" * 50, "a: 1\na: 2",
        "[" * 50 + "]" * 50, "k: @x", "k: a: b", "k: [a", "k: 'a", " k: a\nb: c",
    ],
)  # fmt: skip
def test_what_only_ruamel_reads(text: str) -> None:
    assert read_by_libyaml(text, "f") is None
    assert everything(parse(text, "f")) == everything(read_by_ruamel(text, "f"))


def test_without_libyaml_everything_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = parse(PROFILES, "f")
    monkeypatch.setattr(parsing, "CBaseLoader", None)
    assert read_by_libyaml(PROFILES, "f") is None
    assert everything(parse(PROFILES, "f")) == everything(quick)


@pytest.mark.parametrize(
    ("text", "mark"),
    [('a: 1\nb: "\\U00110000"', Mark(2, 2)), ('b: "\\UFFFFFFFF"', Mark(1, 2)), (f"%YAML {'9' * 5000}.1\n", Mark(1, 1))],
)
def test_a_number_that_the_parser_cannot_hold_is_a_mistake_with_a_place(text: str, mark: Mark) -> None:
    parsed = parse(text, "f")
    assert parsed.data is None
    assert [(e.line, e.column) for e in parsed.errors] == [mark]


PIECES = st.sampled_from(
    [*"{}[]:,-#&*!|>'\"%@?~<=. \n", "\n  ", "\n    ", "\n\n", ": ", "- ", " #", "? ", "|\n", ">-\n  ", "|2-\n", "'y'",
     '"x"', '"x":', "\\", "\\\n", "\\n", "\\x41", "k: v", "{a: 1}", "[1, 2]", "\n---\n", "---", "\n...", "null", "0",
     "é", "😀", "\xa0", "\u3000", "\t", "\r\n", "a" * 1100]
)  # fmt: skip


@given(st.sampled_from(["", "k: ", "k: [", "k: {a: ", "- - ", "k: |", "k: \n  - >", 'k: "']), st.lists(PIECES))
@settings(max_examples=600, deadline=None)
def test_any_pieces_are_read_alike(begin: str, pieces: list[str]) -> None:
    assert_agreed(begin + "".join(pieces))


@given(
    st.sampled_from([SITE, DRIVER, PROFILES]), st.integers(0), st.integers(0, 20), st.lists(PIECES, max_size=3)
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_any_change_to_a_file_is_read_alike(text: str, at: int, cut: int, put: list[str]) -> None:
    lines = text.splitlines(keepends=True)[:40]
    whole = "".join(lines)
    at %= len(whole)
    assert_agreed(whole[:at] + "".join(put) + whole[at + cut :])
