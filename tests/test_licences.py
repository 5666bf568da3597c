"""docs/licences.md lists what is locked, with licences that go with Apache-2.0.

Run as a program with a bill of materials (`make licences` does) it writes the page's table anew.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from test_lock import TOP, lock

PAGE = TOP / "docs" / "licences.md"
TABLE = re.compile(r"<!-- licences -->\n(.*?)<!-- end of licences -->\n", re.S)
ACCEPTED = {
    "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0",  # ask for their notice, no more
    "CNRI-Python",  # likewise, of the part of regex that was Python's
    "EPL-2.0", "MPL-2.0",  # and for the source of their own files where somebody changes those: labmon does not
}  # fmt: skip
DECLARED_IN_WORDS = {
    "License :: OSI Approved": None,  # says nothing
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",  # of pyserial, whose LICENSE.txt has three clauses
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def licences_of(component: dict[str, Any]) -> list[str]:
    """What a package declares, as SPDX expressions, each once."""
    found: dict[str, None] = {}
    for one in component.get("licenses", []):
        text = one.get("expression") or one["license"].get("id") or one["license"]["name"]
        text = DECLARED_IN_WORDS.get(text, text)
        if text is not None and not (text.startswith("BSD") and any(f.startswith("BSD") for f in found)):
            found[text] = None
    return list(found)


def unaccepted(licence: str) -> set[str]:
    """The parts of an SPDX expression that are not accepted."""
    return set(re.sub(r"\b(AND|OR)\b|[(),]", " ", licence).split()) - ACCEPTED


def table(bom: dict[str, Any]) -> str:
    rows = {}
    for component in bom["components"]:
        name = re.sub(r"[-_.]+", "-", component["name"]).lower()
        licence = ", ".join(licences_of(component))
        if not licence or unaccepted(licence):
            raise SystemExit(f"{name} {component['version']}: licence {licence or 'not declared'} is not accepted")
        rows[name] = f"| {name} | {component['version']} | {licence} |\n"
    return "| package | version | licence |\n|---|---|---|\n" + "".join(rows[name] for name in sorted(rows))


def listed() -> dict[str, tuple[str, str]]:
    found = TABLE.search(PAGE.read_text())
    assert found
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in found[1].splitlines()[2:]]
    return {name: (version, licence) for name, version, licence in rows}


def test_the_page_lists_what_is_locked() -> None:
    locked = {
        name: version
        for name, (version, requirement, _) in lock().items()
        if requirement.marker is None or requirement.marker.evaluate({"sys_platform": "linux"})
    }
    assert {name: version for name, (version, _) in listed().items()} == locked, "make licences"


@pytest.mark.parametrize("name", sorted(listed()))
def test_a_licence_goes_with_apache(name: str) -> None:
    assert listed()[name][1]
    assert not unaccepted(listed()[name][1])


def test_what_a_package_declares_in_words_is_read() -> None:
    def component(*names: str) -> dict[str, Any]:
        return {"licenses": [{"license": {"name": name}} for name in names]}

    assert licences_of(component("License :: OSI Approved :: BSD License")) == ["BSD-3-Clause"]
    assert licences_of({"licenses": [{"expression": "EPL-2.0 OR BSD-3-Clause"}]}) == ["EPL-2.0 OR BSD-3-Clause"]
    assert licences_of({}) == []


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND AGPL-3.0-or-later", "(LGPL-2.1 OR Proprietary)"])
def test_a_licence_that_is_not_listed_is_refused(licence: str) -> None:
    assert unaccepted(licence)
    with pytest.raises(SystemExit, match="not accepted"):
        table({"components": [{"name": "x", "version": "1", "licenses": [{"expression": licence}]}]})


if __name__ == "__main__":
    new = table(json.loads(Path(sys.argv[1]).read_text()))
    PAGE.write_text(TABLE.sub(lambda _: f"<!-- licences -->\n{new}<!-- end of licences -->\n", PAGE.read_text()))
