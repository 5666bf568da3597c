"""The packages that labmon runs with, beside those that it was made for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata

import labmon
from labmon.doctor.case import Case
from labmon.doctor.finding import Finding, fault, ok, unknown

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)(;.*)?")
_BOUND = re.compile(r"(==|>=|<=|!=|~=|>|<)\s*([0-9][0-9.]*)")
_ANEW = "install labmon anew from its package: an environment of its own holds what it was tested with"


def packages(case: Case) -> Iterator[Finding]:
    """Whether every package is there in a version that labmon was made for."""
    try:
        required = metadata.requires("labmon") or []
    except metadata.PackageNotFoundError:
        yield unknown(f"labmon {labmon.__version__} runs from a checkout", "install it: docs/installation.md")
        return
    yield from package_findings(required)
    running = case.status["version"] if case.status is not None else labmon.__version__
    if running != labmon.__version__:
        yield fault(
            f"labmon {running} runs, {labmon.__version__} is installed", "sudo systemctl restart labmon labmon-ingest"
        )


def package_findings(required: list[str]) -> Iterator[Finding]:
    """What is wrong with the packages that these requirements name."""
    wrong = 0
    count = 0
    for requirement in required:
        match = _REQUIREMENT.fullmatch(requirement.strip())
        if match is None or "extra ==" in (match[3] or ""):
            continue
        count += 1
        name, bounds = match[1], match[2].strip(" ()")
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong += 1
            yield fault(f"{name} is missing", _ANEW)
            continue
        if not fits(there, bounds):
            wrong += 1
            yield fault(f"{name} {there} is there, labmon needs {bounds}", _ANEW)
    if not wrong:
        yield ok(f"labmon {labmon.__version__}, Python {sys.version.split()[0]}, {count} packages as required")


def fits(version: str, bounds: str) -> bool:
    """Whether a version is within bounds such as `>=2.1,<2.3` (PEP 440, of released versions)."""
    own = _numbers(version)
    for operator, text in _BOUND.findall(bounds):
        bound = _numbers(text)
        size = max(len(own), len(bound))
        left, right = own + [0] * (size - len(own)), bound + [0] * (size - len(bound))
        good = {
            "==": left == right, ">=": left >= right, "<=": left <= right, "!=": left != right, ">": left > right,
            "<": left < right, "~=": left >= right and own[: len(bound) - 1] == bound[:-1],
        }[operator]  # fmt: skip
        if not good:
            return False
    return True


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]
