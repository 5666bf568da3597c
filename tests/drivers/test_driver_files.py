"""Every shipped driver file: it loads, every example holds both ways, composed bytes come from the other encoder."""

from __future__ import annotations

from pathlib import Path

import encoder
import pytest

from labmon.drivers import examples
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver

FOLDER = Path(__file__).parents[2] / "drivers"
FILES = sorted(FOLDER.glob("*/*.yaml"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def load(path: Path) -> CompiledDriver:
    loaded = load_driver(path)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    return loaded.driver


def test_there_are_driver_files() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_loads_without_errors_and_every_query_has_an_example(path: Path) -> None:
    loaded = load_driver(path)
    assert loaded.driver is not None, "\n".join(map(str, loaded.errors))
    assert loaded.fit
    assert [w.path for w in loaded.warnings] == (["generic"] if loaded.driver.generic else [])
    assert loaded.driver.proven is not loaded.driver.generic
    assert loaded.driver.id == name_of(path)
    assert loaded.driver.source_text == path.read_text()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_examples_hold(path: Path) -> None:
    results = examples.run(load(path))
    assert len(results) == len(encoder.read(path)["examples"])
    broken = [f"example {r.number} {r.title}: {p}" for r in results for p in r.problems]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_composed_bytes_are_the_other_encoders(path: Path) -> None:
    document = encoder.read(path)
    wrong = []
    for number, example in enumerate(document["examples"], 1):
        if "raws" not in example:
            assert "printed" in example["origin"] or "recorded" in example["origin"] or "fails" in example
            continue
        framing = example.get("framing", document["framings"][0])
        written = [
            (examples.bytes_of(e["sent"], framing), examples.bytes_of(e["got"], framing)) for e in example["exchanges"]
        ]
        if encoder.compose(document, example) != written:
            wrong.append(f"example {number}: {encoder.compose(document, example)}")
    assert not wrong, wrong


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_seen_on_hardware_says_whether_any_bytes_are_not_ours(path: Path) -> None:
    origins = {key for example in encoder.read(path)["examples"] for key in example["origin"]}
    assert load(path).seen_on_hardware is bool(origins & {"printed", "recorded"})
