"""The site file that an installation begins with: valid as it stands, and with all that is commented out in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labmon.acquisition.load import load

FIRST = Path(__file__).parents[2] / "config/first-site.yaml"


def filled_in(text: str) -> str:
    """Comments that begin with `#key` or with `#  ` are parts of the file to be; the others are prose."""
    text = re.sub(r"^(lines|users): \[\]$", r"\1:", text, flags=re.M)
    return re.sub(r"^#(?=[a-z]|  )", "", text, flags=re.M)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "drivers").mkdir()
    (tmp_path / "profiles").mkdir()
    return tmp_path


@pytest.mark.parametrize("whole", [False, True])
def test_the_first_site_file_has_no_errors(folder: Path, whole: bool) -> None:
    text = FIRST.read_text()
    (folder / "site.yaml").write_text(filled_in(text) if whole else text)
    loaded = load(folder / "site.yaml")
    assert loaded.errors == []
    assert loaded.site is not None
    assert bool(loaded.site.lines) is whole
    assert (loaded.site.mqtt is not None) is whole
