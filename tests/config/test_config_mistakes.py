"""Each folder of `cases` holds a site file and, exactly, what is said of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labmon.config.load import load_site
from labmon.config.site import Site

CASES = Path(__file__).parent / "cases"
NAMES = sorted(p.name for p in CASES.iterdir())


def told(folder: Path) -> str:
    """All errors and warnings of a case, with paths relative to its folder."""
    loaded = load_site(folder / "site.yaml")
    rows = [*map(str, loaded.errors), *(f"warning: {w}" for w in loaded.warnings)]
    return "".join(f"{row}\n" for row in rows).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_mistake(name: str) -> None:
    assert told(CASES / name) == (CASES / name / "expected.txt").read_text()


def test_there_are_many_cases_and_only_a_few_are_without_fault() -> None:
    silent = {name for name in NAMES if not (CASES / name / "expected.txt").read_text()}
    assert silent == {"good", "byte-order-mark"}
    assert len(NAMES) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_place_and_no_secret(name: str) -> None:
    folder = CASES / name
    lines = (folder / "site.yaml").read_bytes().count(b"\n") + 1
    for row in told(folder).splitlines():
        place = re.match(r"(?:warning: )?([\w/.-]+\.yaml):(\d+):(\d+): ", row)
        assert place, row
        assert place[1] != "site.yaml" or 1 <= int(place[2]) <= lines
        assert not re.search(r"s3cret|hunter2|271828", row)


def test_with_mistakes_between_parts_only_the_site_is_still_there_for_further_checks() -> None:
    assert isinstance(load_site(CASES / "unknown-area" / "site.yaml").site, Site)
    assert load_site(CASES / "unknown-key" / "site.yaml").site is None
    assert load_site(CASES / "line-endpoints" / "site.yaml").site is None
