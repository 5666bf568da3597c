"""The seed of a hostile run, told whether it fails or not."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def hostile_seed() -> str:
    """HOSTILE_SEED, or always the same: `make hostile` chooses another each time."""
    return os.environ.get("HOSTILE_SEED", "labmon")


@pytest.fixture(scope="session")
def hostile_exchanges() -> int:
    """HOSTILE_EXCHANGES: how many exchanges with all kinds of links together, at least."""
    return int(os.environ.get("HOSTILE_EXCHANGES", "6000"))
