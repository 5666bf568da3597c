"""How long a device's requests may wait for their reply: the site's word, the driver's, and a request's own."""

from __future__ import annotations

import math
from typing import Any

import pytest

from labmon.acquisition.polled import TimedLink


class Waits:
    """A link that notes how long it was told to wait."""

    waited = 0.0

    async def exchange(self, request: Any, timeout: float, *, gap: float = 0.0) -> bytes:
        self.waited = timeout
        return b""


@pytest.mark.parametrize(
    ("site", "driver", "asked", "waited"),
    [
        (None, 0.5, 0.5, 0.5),
        (0.2, 0.5, 0.5, 0.2),
        (2.0, 0.5, 0.5, 2.0),
        (0.2, 0.5, 5.0, 5.0),  # a slow command stays slow
        (8.0, 0.5, 5.0, 8.0),
        (0.2, math.inf, 5.0, 0.2),  # a driver in Python, which says nothing of its own
    ],
)
async def test_the_site_gives_another_timeout_than_the_driver(
    site: float | None, driver: float, asked: float, waited: float
) -> None:
    wire = Waits()
    await TimedLink(wire, site, 0.0, driver).exchange(object(), asked)  # type: ignore[arg-type]
    assert wire.waited == waited
