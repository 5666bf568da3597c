"""Patterns of driver files end: a bad one costs its device a reply, not every line its daemon."""

from __future__ import annotations

import re

import pytest

from labmon.links.errors import Garbled
from labmon.links.pattern import PAUSE, Pattern, PatternError


@pytest.mark.parametrize("pattern", [rb"(?:a|aa)+$b", rb"(?:a|aa)+[bc]"])
def test_a_pattern_that_takes_for_ever_is_a_garbled_reply(pattern: bytes) -> None:
    with pytest.raises(Garbled, match="takes too long"):
        Pattern(pattern).fullmatch(b"a" * 200 + b"!")
    with pytest.raises(Garbled, match="takes too long"):
        Pattern(pattern).search(b"a" * 200 + b"!")


def test_a_pattern_that_takes_for_ever_does_so_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred such lines a second would leave nothing of the loop for the other devices."""
    now = 100.0
    monkeypatch.setattr("labmon.links.pattern.time.monotonic", lambda: now)
    pattern = Pattern(rb"(?:a|aa)+$b|c")
    with pytest.raises(Garbled, match="takes too long on"):
        pattern.fullmatch(b"a" * 200 + b"!")
    for _ in range(10):
        with pytest.raises(Garbled, match="not tried"):
            pattern.fullmatch(b"c")
    now += PAUSE
    assert pattern.fullmatch(b"c") is not None


def test_it_matches_as_re_does() -> None:
    line = b"S S     100.00 g"
    pattern = rb"S (?P<state>[SDI]) +(?P<value>[-+]?\d+\.\d*) (?P<unit>\w+)"
    found, expected = Pattern(pattern).fullmatch(line), re.fullmatch(pattern, line)
    assert found is not None
    assert expected is not None
    assert found.groupdict() == expected.groupdict()
    assert Pattern(rb".").fullmatch(b"\n") is not None
    assert Pattern(rb"a").fullmatch(b"ab") is None
    assert Pattern(rb"b").search(b"ab") is not None


@pytest.mark.parametrize("text", [b"(", b"a{2,1}", b"[", b"(?P<a>x)(?P<a>y)", b"*"])
def test_what_is_no_pattern_says_so(text: bytes) -> None:
    with pytest.raises(PatternError):
        Pattern(text)
