"""README and docs say what the code does: commands exist and run, snippets load, links lead somewhere, tables are true.

Run as a program it writes the generated tables (drivers, profiles, units) anew.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from labmon.acquisition.load import load
from labmon.cli import main
from labmon.config.parse import parse
from labmon.config.site import ProfileFile, Role, Site
from labmon.config.yaml import load_model
from labmon.drivers import examples, reference
from labmon.drivers.catalogue import Catalogue
from labmon.drivers.load import load_driver
from labmon.model.reading import Reason
from labmon.units import KINDS, UNITS

ROOT = Path(__file__).parent.parent
README, SITE, DRIVERS, OPERATION = (
    ROOT / name for name in ("README.md", "docs/site-file.md", "docs/drivers.md", "docs/operation.md")
)
REFERENCE = ROOT / "docs/driver-reference.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
LEVELS = ("alert", "action")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    content = page.read_text()
    return [
        Block(page, content.count("\n", 0, m.start()) + 1, m["info"].strip(), m["text"])
        for m in BLOCK.finditer(content)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of_kind(*infos: str) -> list[Block]:
    return [block for block in BLOCKS if block.info in infos]


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


# ---------------------------------------------------------------- generated tables


def driver_table() -> str:
    """Every shipped driver with what its examples rest on."""
    catalogue = Catalogue()
    rows = ["| id | instrument | framings | examples | seen on hardware |", "|---|---|---|---|---|"]
    for name, path in catalogue.paths().items():
        driver = catalogue.get(name)
        origins = [origin for e in driver.file.examples for origin in e.origin.model_fields_set]
        counts = [(kind, origins.count(kind)) for kind in ("printed", "recorded", "composed")]
        told = ", ".join(f"{count} {kind}" for kind, count in counts if count)
        seen = (
            "recorded" if "recorded" in origins else "bytes from a manual" if "printed" in origins else "not yet seen"
        )
        link = f"[{name}]({path.relative_to(ROOT).as_posix()})"
        rows.append(f"| {link} | {driver.title} | {', '.join(driver.framings)} | {told} | {seen} |")
    return "\n".join(rows)


def profile_table() -> str:
    """Every shipped profile with its limits."""
    rows = ["| profile | for | alert | action | on-delay | unit | figures are |", "|---|---|---|---|---|---|---|"]
    for path in sorted((ROOT / "config/profiles").glob("*.yaml")):
        loaded = load_model(path, ProfileFile)
        assert loaded.model is not None, loaded.errors
        for name, profile in loaded.model.profiles.items():
            bounds = dict.fromkeys(LEVELS, "-")
            for limit in profile.limits:
                sides = [f"{w} {v:.10g}" for w, v in (("below", limit.low), ("above", limit.high)) if v is not None]
                bounds[limit.level] = ", ".join(sides)
            delays = sorted({limit.on_delay for limit in profile.limits})
            delay = ", ".join("none" if d == 0 else f"{d:g} s" if d < 60 else f"{d / 60:g} min" for d in delays)
            use = f"grade {profile.grade}, {profile.state}" if profile.grade else "-"
            proposed = "proposal" in (profile.source or "proposal")
            cells = (
                f"`{name}`",
                use,
                bounds["alert"],
                bounds["action"],
                delay,
                f"`{profile.unit}`",
                "proposal in part or whole" if proposed else "regulation",
            )
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def unit_table() -> str:
    """Every unit code by kind."""
    rows = ["| kind | what | codes |", "|---|---|---|"]
    for kind, words in KINDS.items():
        codes = ", ".join(f"`{unit.code}`" for unit in UNITS.values() if unit.kind == kind)
        rows.append(f"| {kind} | {words} | {codes} |")
    return "\n".join(rows)


TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    "drivers": (README, driver_table),
    "profiles": (SITE, profile_table),
    "units": (SITE, unit_table),
}


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.S)


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_are_those_of_the_files(name: str) -> None:
    page, table = TABLES[name]
    found = between(name).search(page.read_text())
    assert found is not None, f"{page.name} has no place for the table of {name}"
    assert found[0] == table() + "\n", "out of date: `python tests/test_readme.py` writes it anew"


# ---------------------------------------------------------------- links


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    content = BLOCK.sub("", page.read_text())
    for match in LINK.finditer(content):
        target, _, anchor = match["target"].partition("#")
        if "://" in target:
            continue
        to = (page.parent / target).resolve() if target else page
        assert to.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(to), f"{page.name}: {to.name} has no heading #{anchor}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.M)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---------------------------------------------------------------- commands


def lines_of(block: Block) -> list[str]:
    return [line for line in block.text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


# Words in code style that look like a command: what the proof of a command begins with.
NO_COMMANDS = {"labmon command 1"}


def inline_commands(page: Path) -> Iterator[str]:
    content = BLOCK.sub("", page.read_text())
    found = {" ".join(m[1].split()) for m in re.finditer(r"`((?:labmon|make) [^`]+)`", content)}
    yield from sorted(found - NO_COMMANDS)


def commands() -> list[tuple[str, str]]:
    found = [(str(block), line.strip()) for block in of_kind("sh", "sh run") for line in lines_of(block)]
    found += [(page.name, text) for page in PAGES for text in inline_commands(page)]
    told = [(str(b), m) for b in of_kind("text") for m in re.findall(r"^  (labmon .+)$", b.text, re.M)]
    shown = [block for block in BLOCKS if block.info in ("sh tutorial", "sh background")]  # run by test_drivers_page.py
    return found + told + [(str(b), m) for b in shown for m in re.findall(r"^labmon driver [a-z]+", b.text, re.M)]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize(("where", "command"), commands())
def test_every_command_exists_with_its_options(where: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "sudo" and words[1] != "apt-get":
        words = words[1:]
    if words[0] == "sh":
        script = ROOT / words[1].replace("dist/", "systemd/")  # `make wheel` puts it there
        assert all(word in script.read_text() for word in words[2:] if word.startswith("-")), f"{where}: {command}"
    elif words[0] == "systemctl":
        assert (ROOT / f"systemd/{words[-1]}.service").exists(), f"{where}: {command}"
    elif words[0] in ("adduser", "systemd-creds"):
        assert "labmon" in words[-1], f"{where}: {command}"
    elif words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        targets = re.findall(r"^([a-z]+):", makefile, re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), where
        assert all(f"$({word.partition('=')[0]})" in makefile for word in words[1:] if "=" in word), where
    elif words[0] == "labmon":
        exists(words[1:], where)
    elif words[0] in ("python", "python3"):
        assert all((ROOT / word).exists() for word in words[1:] if word.endswith(".py")), f"{where}: {command}"
    else:
        assert words[:3] == ["sudo", "apt-get", "install"] or words[:2] == ["pip", "install"], f"{where}: {command}"


def exists(words: list[str], where: str) -> None:
    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if isinstance(command, click.Group):
        assert not words or words[0].startswith("-"), f"{where}: labmon has no command {words[0]}"
    options = {name for parameter in command.params for name in parameter.opts}
    given = [word.partition("=")[0] for word in words if word.startswith("-")]
    assert set(given) <= options | {"--help", "-h"}, f"{where}: {command.name} has only {sorted(options)}"
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    # Named in a sentence, a command may stand without its arguments.
    assert arguments or not [w for w in words if not w.startswith("-")] or given, f"{where}: too many words"


def test_every_command_that_there_is_stands_in_the_docs() -> None:
    told = " ".join(command for _, command in commands())
    for name, command in main.commands.items():
        for below in command.commands if isinstance(command, click.Group) else [""]:
            full = f"labmon {name} {below}".strip()
            assert full in told, f"{full} is described nowhere"


@pytest.fixture(scope="module")
def path_with_labmon(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "labmon"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m labmon "$@"\n')
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("block", of_kind("sh run"), ids=str)
def test_commands_that_need_nothing_run_and_say_what_the_page_says(block: Block, path_with_labmon: str) -> None:
    run = subprocess.run(
        ["sh", "-eu"], input=block.text, cwd=ROOT, env={**os.environ, "PATH": path_with_labmon},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    here = blocks_of(block.page)
    following = [after for before, after in pairwise(here) if before == block and after.info == "text"]
    assert following, f"{block}: what the command says does not stand below it"
    said = run.stdout.splitlines()
    for line in following[0].text.splitlines():
        assert line == "..." or line in said, f"{block}: the command does not say {line!r}"


# ---------------------------------------------------------------- snippets


def plain(text: str) -> Any:
    parsed = parse(text, "snippet")
    assert not parsed.errors, "\n".join(map(str, parsed.errors))
    return parsed.data


def merged(base: Any, part: Any) -> Any:
    """`part` over `base`: mappings key by key, lists of things with ids by id; anything else replaces."""
    if isinstance(base, dict) and isinstance(part, dict):
        return base | {key: merged(base.get(key), value) for key, value in part.items()}
    if isinstance(base, list) and isinstance(part, list) and all(has_id(item) for item in [*base, *part]):
        by_id = {item["id"]: item for item in base}
        return list((by_id | {item["id"]: merged(by_id.get(item["id"]), item) for item in part}).values())
    return part


def yaml_of(data: Any) -> str:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(data, stream)
    return stream.getvalue()


def has_id(item: Any) -> bool:
    return isinstance(item, dict) and "id" in item


def only(info: str) -> Any:
    [block] = of_kind(info)
    return plain(block.text)


def site_errors(data: Any, folder: Path) -> list[str]:
    for name in [*data.get("drivers", []), *data.get("profile-folders", [])]:
        (folder / name).mkdir()
    path = folder / "site.yaml"
    path.write_text(yaml_of(data))
    return [str(found) for found in load(path).errors]


@pytest.mark.parametrize("block", of_kind("yaml site", "yaml site-part"), ids=str)
def test_site_snippets_load(block: Block, tmp_path: Path) -> None:
    data = plain(block.text)
    whole = data if block.info == "yaml site" else merged(only("yaml site"), data)
    assert site_errors(whole, tmp_path) == []


def test_a_wrong_site_snippet_would_be_found(tmp_path: Path) -> None:
    assert site_errors(merged(only("yaml site"), {"users": [{"id": "a", "name": "A", "role": "boss"}]}), tmp_path)


@pytest.mark.parametrize(
    "block",
    of_kind("yaml driver", "yaml driver-text", "yaml driver-binary", "yaml driver-stream", "yaml driver-above"),
    ids=str,
)
def test_whole_driver_snippets_go_into_service(block: Block) -> None:
    loaded = load_driver(Path("snippet.yaml"), "example/snippet", text=block.text)
    assert loaded.driver is not None, loaded.errors
    assert not loaded.warnings
    assert [problem for result in examples.run(loaded.driver) for problem in result.problems] == []


@pytest.mark.parametrize("block", of_kind("yaml driver-part", "yaml driver-text-part"), ids=str)
def test_driver_fragments_load_in_a_driver(block: Block) -> None:
    whole = merged(only(block.info.removesuffix("-part")), plain(block.text))
    if any(param.get("required") for param in whole.get("params", {}).values()):
        whole["examples"] = []  # those of the whole file are of a device that has none of its own
    assert load_driver(Path("snippet.yaml"), text=yaml_of(whole)).errors == []


def test_examples_of_fragments_hold() -> None:
    parts = [(block, plain(block.text)) for block in of_kind("yaml driver-part")]
    shown = [(block, part) for block, part in parts if "examples" in part]
    assert shown
    for block, part in shown:
        whole = merged(only("yaml driver"), part)
        loaded = load_driver(Path("snippet.yaml"), text=yaml_of(whole))
        assert loaded.driver is not None
        assert [p for result in examples.run(loaded.driver) for p in result.problems] == [], str(block)


def test_every_yaml_block_is_checked() -> None:
    known = {
        "yaml site",
        "yaml site-part",
        "yaml driver",
        "yaml driver-part",
        "yaml driver-text",
        "yaml driver-above",
        "yaml driver-binary",
        "yaml driver-stream",
        "yaml driver-text-part",
    }
    known |= {"sh", "sh run", "text", "json", "python", "toml"}  # run in tests/delivery and test_python_drivers.py
    tutorial = re.compile(r"yaml (?:file|in) [a-z0-9/-]+\.yaml|sh tutorial|sh background")  # tests/test_drivers_page.py
    unknown = [block for block in BLOCKS if block.info not in known]
    assert [str(block) for block in unknown if block.page != DRIVERS or not tutorial.fullmatch(block.info)] == []


# ---------------------------------------------------------------- completeness


def keys_of(model: type[BaseModel]) -> set[str]:
    seen: set[type[BaseModel]] = set()
    keys: set[str] = set()
    waiting: list[Any] = [model]
    while waiting:
        part = waiting.pop()
        if not (isinstance(part, type) and issubclass(part, BaseModel)):
            waiting += get_args(part)
        elif part not in seen:
            seen.add(part)
            keys |= {info.alias or name for name, info in part.model_fields.items()}
            waiting += [info.annotation for info in part.model_fields.values()]
    return keys


def test_every_key_that_a_site_file_may_have_is_shown() -> None:
    text = "\n".join(block.text for block in blocks_of(SITE) if block.info.startswith("yaml site"))
    shown = set(re.findall(r"([a-z0-9-]+):(?=\s|$)", text, re.M))
    assert keys_of(Site) - shown - {"doc"} == set()


def test_every_key_that_a_driver_file_may_have_is_on_the_reference_page() -> None:
    assert REFERENCE.read_text() == reference.page(), "out of date: `python tests/test_readme.py` writes it anew"


def test_every_reason_and_role_is_explained() -> None:
    operation, site = OPERATION.read_text(), SITE.read_text()
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in operation] == []
    assert [role for role in get_args(Role) if not re.search(rf"^\|[^|]*\b{role}\b[^|]*\|", site, re.M)] == []


if __name__ == "__main__":
    REFERENCE.write_text(reference.page())
    for name, (page, table) in TABLES.items():
        page.write_text(between(name).sub(lambda _, table=table: table() + "\n", page.read_text()))
