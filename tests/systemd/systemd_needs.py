"""What tests of the installation need of the machine. In CI all of it has to be there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"


def need(reason: str | None) -> None:
    """Skip for this reason, said loudly; fail where CI is set."""
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set: nothing is skipped)")
    pytest.skip(reason)


def need_program(name: str, package: str) -> str:
    """Path of a program."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    need(None if found else f"{name} is not installed: sudo apt-get install {package}")
    return found or ""
