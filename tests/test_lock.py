"""requirements.lock is what pyproject.toml asks for, whole, and nothing in it can be exchanged on its way."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TOP = Path(__file__).parents[1]
ENTRY = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))?(?P<hashes>( \\\n    --hash=\S+)*)\n"
)
GATEWAYS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine,
        "extra": "",
    }
    for python in ("3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64", "armv7l")
]


def lock() -> dict[str, tuple[str, Requirement, list[str]]]:
    """name -> (version, requirement with its marker, hashes). Anything else than pinned entries fails."""
    text = re.sub(r"(?m)^ *#.*\n", "", (TOP / "requirements.lock").read_text())
    entries = {}
    position = 0
    while position < len(text):
        found = ENTRY.match(text, position)
        assert found, f"not a pinned entry: {text[position : position + 80]!r}"
        position = found.end()
        name = canonicalize_name(found["name"])
        assert name not in entries, f"{name} twice"
        marker = f"; {found['marker']}" if found["marker"] else ""
        requirement = Requirement(f"{name}=={found['version']}{marker}")
        entries[name] = found["version"], requirement, re.findall(r"--hash=(\S+)", found["hashes"])
    return entries


def wanted(requirements: list[str]) -> Iterator[tuple[Requirement, dict[str, str]]]:
    for text in requirements:
        requirement = Requirement(text)
        for gateway in GATEWAYS:
            if requirement.marker is None or requirement.marker.evaluate(gateway):
                yield requirement, gateway


def satisfied(requirements: list[str], whose: str) -> None:
    entries = lock()
    for requirement, gateway in wanted(requirements):
        name = canonicalize_name(requirement.name)
        assert name in entries, f"{whose} needs {requirement}, which is not locked: make lock"
        version, entry, _ = entries[name]
        assert entry.marker is None or entry.marker.evaluate(gateway), f"{entry} is left out on {gateway}"
        assert requirement.specifier.contains(Version(version), prereleases=True), (
            f"{name} {version} is locked, {whose} needs {requirement}: make lock"
        )


def test_the_lock_satisfies_pyproject() -> None:
    satisfied(tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["dependencies"], "labmon")


def test_every_entry_has_hashes() -> None:
    for name, (_, _, hashes) in lock().items():
        assert hashes, f"{name} has no hash: make lock"
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes)


def test_what_the_locked_ones_need_is_locked_too() -> None:
    looked_at = 0
    for name, (version, _, _) in lock().items():
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed.version == version:  # the tests run with the newest that fits, which may be a later one
            satisfied(installed.requires or [], f"{name} {version}")
            looked_at += 1
    assert looked_at > 5, "next to nothing here is what is locked: make lock LOCK_ARGS=--upgrade"


def test_the_lock_names_no_place_to_fetch_from() -> None:
    text = (TOP / "requirements.lock").read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host| @ ", text)
