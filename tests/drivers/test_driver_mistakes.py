"""Driver files with mistakes: every one told at its place, in exactly these words, and nothing ever raised."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from labmon.drivers import examples
from labmon.drivers.load import load_driver

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
FILES = sorted((Path(__file__).parents[2] / "drivers").glob("*/*.yaml"))
SEED = 20261122


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_every_mistake_is_told_at_its_place(case: Path) -> None:
    loaded = load_driver(Path(case.name), text=case.read_text())
    assert loaded.driver is None
    assert [str(error) for error in loaded.errors] == case.with_suffix(".txt").read_text().splitlines()


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    loaded = load_driver(tmp_path / "none" / "there.yaml")
    assert [str(e) for e in loaded.errors] == [
        f"{tmp_path}/none/there.yaml:1:1: cannot be read: No such file or directory"
    ]


def test_a_query_without_an_example_is_told_but_loads() -> None:
    path = FILES[0]
    text = path.read_text().split("\nexamples:")[0] + "\n"
    loaded = load_driver(path, text=text)
    assert loaded.errors == []
    assert loaded.driver is not None
    assert not loaded.driver.proven
    assert not loaded.driver.seen_on_hardware
    assert {w.message for w in loaded.warnings} == {"has no example, so the driver does not load into service"}
    assert len(loaded.warnings) == len(loaded.driver.file.queries)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_damaged_file_makes_the_loader_raise(path: Path) -> None:
    """Lines lost, doubled, swapped or with other words: a load ends with a driver or with errors, its examples run."""
    dice = random.Random(SEED)
    lines = path.read_text().splitlines()
    # The head and the first examples hold every construct; the rest repeats them.
    start = lines.index("examples:")
    lines = lines[: start + 12] if lines[start + 1 : start + 12] else lines
    words = sorted({word for line in lines for word in line.replace(",", " ").split()})
    refused = 0
    for _ in range(12):
        damaged = list(lines)
        for _ in range(dice.randrange(1, 3)):
            at = dice.randrange(len(damaged))
            kind = dice.randrange(4)
            if kind == 0:
                del damaged[at]
            elif kind == 1:
                damaged.insert(at, damaged[at])
            elif kind == 2:
                other = dice.randrange(len(damaged))
                damaged[at], damaged[other] = damaged[other], damaged[at]
            else:
                parts = damaged[at].split(" ")
                parts[dice.randrange(len(parts))] = dice.choice(words)
                damaged[at] = " ".join(parts)
        loaded = load_driver(path, text="\n".join(damaged))
        if loaded.driver is None:
            assert loaded.errors
            refused += 1
        else:
            examples.run(loaded.driver)
    assert refused


KEYED = "      key: [year, month-day, hour, minute-second]\n"
"""The key of met-one/6000: its time, and nothing else."""


@pytest.mark.parametrize(
    ("zone", "key", "told"),
    [
        ("utc", KEYED, False),
        ("site", KEYED, True),
        ("Europe/Berlin", KEYED, True),
        ("Asia/Tokyo", KEYED, False),
        ("{param: clock-zone}", KEYED, True),
        ("site", KEYED.replace("]", ", counts-1]"), False),
    ],
)
def test_a_clock_that_is_put_back_is_told_where_nothing_else_is_in_the_key(zone: str, key: str, told: bool) -> None:
    path = next(p for p in FILES if p.match("met-one/6000.yaml"))
    text = path.read_text().replace("zone: utc}\n" + KEYED, f"zone: {zone}}}\n" + key)
    text = text.replace("params:\n", "params:\n  clock-zone: {type: text, doc: Zone, default: site}\n", 1)
    loaded = load_driver(path, text=text)
    assert loaded.errors == []
    assert [("one hour comes twice" in str(a), a.path) for a in loaded.advice] == (
        [(True, "queries.record.record.key")] if told else []
    )
    assert loaded.warnings == [], "it is no reason not to load into service"


def test_what_repeat_has_made_several_of_is_told_once() -> None:
    path = next(p for p in FILES if p.match("lighthouse/remote.yaml"))
    loaded = load_driver(path, text=path.read_text().replace("set: laser, reason", "set: lazer, reason"))
    assert [error.message for error in loaded.errors] == ["field sample-status names no bit lazer"]


def test_channels_that_people_cannot_tell_apart_are_told() -> None:
    """A blank and # begin a comment in YAML: unquoted, all eight names end before the number."""
    path = next(p for p in FILES if p.match("lighthouse/remote.yaml"))
    text = path.read_text()
    assert load_driver(path, text=text).advice == []
    quoted = 'name: "Particles counted in channel # and larger"'
    loaded = load_driver(path, text=text.replace(quoted, quoted.replace('"', "")))
    assert [advice.message for advice in loaded.advice] == [
        "channels counts-1 and counts-2 are both called Particles counted in channel"
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_shipped_file_needs_advice(path: Path) -> None:
    assert load_driver(path).advice == []
