"""What every driver file that labmon ships must have, so that an engineer can rely on it and a simulator can play it.

A file that is to be shipped without one of these says why in `faults` or gets an entry in one of the tables below, with
the reason beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import encoder
import pytest
from encoder_values import expanded

from labmon.drivers.load import load_driver

FOLDER = Path(__file__).parents[2] / "drivers"
FILES = {f"{p.parent.name}/{p.stem}": p for p in sorted(FOLDER.glob("*/*.yaml"))}
LEAST = 24
"""Files that the library holds at least."""

CHECKED = {"modbus-rtu", "modbus-ascii"}
"""Framings with a checksum of their own."""
REFUSING = {"modbus-rtu", "modbus-ascii", "modbus-tcp"}
"""Framings in which an instrument refuses in a way that all know (an exception)."""


def lacking(document: dict[str, Any]) -> list[str]:
    """What a driver file lacks. Looks at the plain text of the file, not at what labmon makes of it."""
    manual = document.get("manual", {})
    found = [f"manual.{key}" for key in ("document", "revision", "pages") if not str(manual.get(key, "")).strip()]
    if not document.get("generic") and not manual.get("source"):
        found.append("manual.source")
    found += [key for key in ("maker", "models", "title", "class") if not document.get(key)]
    if not document.get("faults"):
        found.append("faults: known faults and open questions, or that none are known")
    examples = document.get("examples", [])
    found += _badly_told(document, examples)
    found += _queries(document, examples)
    if "identity" in document:
        found += _identity(document, examples)
    return found


def _badly_told(document: dict[str, Any], examples: list[dict[str, Any]]) -> list[str]:
    """Which of the ways in which a line can fail no example shows."""
    fails = {e["fails"] for e in examples if "fails" in e and "identity" not in e}
    found = [] if "silent" in fails else ["an example of a reply cut short (fails: silent)"]
    framings = set(document["framings"])
    frame = document.get("frame", {})
    streams = all(q.get("kind") == "stream" for q in document["queries"].values())
    if (framings & CHECKED or "checksum" in frame) and "garbled" not in fails:
        found.append("an example of a wrong checksum (fails: garbled)")
    if not framings & CHECKED and "garbled" not in fails:
        found.append("an example of another reply (fails: garbled)")
    if (framings & REFUSING or "error" in frame) and not streams and "refused" not in fails:
        found.append("an example of a refusal (fails: refused)")
    return found


def _queries(document: dict[str, Any], examples: list[dict[str, Any]]) -> list[str]:
    found = []
    for name, query in document["queries"].items():
        mine = [e["readings"] for e in examples if e.get("query") == name and "readings" in e]
        if not mine:
            found.append(f"an example of query {name}")
        good = {id_ for readings in mine for id_, value in readings.items() if isinstance(value, (int, float))}
        for channel in query["channels"]:
            found += [f"an example in which {name}.{id_} has a value" for id_ in _ids(channel) if id_ not in good]
        if (
            not document.get("generic")
            and _can_be_bad(query)
            and not any(isinstance(v, str) for readings in mine for v in readings.values())
        ):
            found.append(f"an example of query {name} in which the instrument has no value")
    return found


def _ids(channel: dict[str, Any]) -> list[str]:
    return [channel["id"].replace("#", str(n)) for n in range(1, channel.get("repeat", 1) + 1)]


def _can_be_bad(query: dict[str, Any]) -> bool:
    """Whether the file says of anything in the query that it is no value."""
    if query.get("bad-when") or any(c.get("bad-when") for c in query["channels"]):
        return True
    return any(f.get("sentinels") for r in query["requests"] for f in r.get("fields", {}).values())


def _identity(document: dict[str, Any], examples: list[dict[str, Any]]) -> list[str]:
    mine = [e for e in examples if "identity" in e]
    found = [] if any("found" in e for e in mine) else ["an example of the identity"]
    judges = {"expect", "wrong-when", "self-test", "variants"} & set(document["identity"])
    if judges and not any(e.get("fails") == "wrong-instrument" for e in mine):
        found.append("an example of the wrong instrument")
    return found


def whole(path: Path) -> dict[str, Any]:
    """A file with what it takes over from the one below it, by its own plain reading."""
    document: dict[str, Any] = expanded(encoder.read(path))
    below = document.get("extends")
    if below is None:
        return document
    return merged(whole(FILES[below]), document)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    for path in above.get("leave-out", []):
        part = out
        *inner, last = path.split(".")
        for key in inner:
            part = part[key]
        del part[last]
    return out


def test_the_library_is_as_large_as_it_says() -> None:
    assert len(FILES) >= LEAST, sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_has_everything(name: str) -> None:
    assert lacking(whole(FILES[name])) == []


@pytest.mark.parametrize("name", FILES)
def test_every_example_says_where_it_is_from(name: str) -> None:
    for number, example in enumerate(whole(FILES[name])["examples"], 1):
        origin = example["origin"]
        assert len(origin) == 1, number
        assert set(origin) <= {"printed", "recorded", "composed"}, number
        assert all(str(text).strip() for text in origin.values()), number


def test_titles_are_told_apart() -> None:
    titles = [whole(path)["title"] for path in FILES.values()]
    assert len(set(titles)) == len(titles)


GOOD = """\
labmon-driver: 1
maker: Nobody
models: [T-1]
title: T-1
class: thermometer
manual: {document: T-1, revision: A, pages: "1", source: nobody.example}
faults: [None is known.]
framings: [modbus-rtu]
serial: {baud: 9600}
queries:
  temperature:
    every: 1 s
    requests:
      - read: input
        at: 0
        count: 1
        fields: {temperature: {at: 0, type: i16, sentinels: [{raw: 0x8000, reason: no-sensor}]}}
    channels: [{id: temperature, name: Temperature, unit: Cel}]
examples:
  - {query: temperature, origin: {printed: p. 1}, exchanges: [], readings: {temperature: 21}}
  - {query: temperature, origin: {composed: no sensor}, exchanges: [], readings: {temperature: no-sensor}}
  - {query: temperature, origin: {composed: checksum}, exchanges: [], fails: garbled}
  - {query: temperature, origin: {composed: cut}, exchanges: [], fails: silent}
  - {query: temperature, origin: {composed: exception}, exchanges: [], fails: refused}
"""


@pytest.mark.parametrize(
    ("line", "lack"),
    [
        ("", ""),
        ("faults: [None is known.]", "faults"),
        ("readings: {temperature: 21}", "temperature.temperature has a value"),
        ("readings: {temperature: no-sensor}", "has no value"),
        ("fails: garbled", "checksum"),
        ("fails: silent", "cut short"),
        ("fails: refused", "refusal"),
        ("title: T-1", "title"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, line: str, lack: str) -> None:
    lines = [text for text in GOOD.splitlines() if not line or line not in text]
    path = tmp_path / "t-1.yaml"
    path.write_text("\n".join(lines) + "\n")
    found = lacking(encoder.read(path))
    assert (len(found) == 1 and lack in found[0]) if lack else found == []


def test_manual_and_revision_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t-1.yaml"
    path.write_text(GOOD.replace('revision: A, pages: "1", source: nobody.example', 'revision: ""'))
    assert lacking(encoder.read(path)) == ["manual.revision", "manual.pages", "manual.source"]


def test_a_file_of_the_library_loads_into_service() -> None:
    for name, path in FILES.items():
        loaded = load_driver(path)
        assert loaded.errors == [], name
        assert loaded.fit, name
