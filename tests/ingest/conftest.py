"""Servers that the tests of this folder share: they start once per worker and hold every test's own site."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from servers.influx import InfluxV1, Server, VictoriaMetrics, all_servers, running, validating_servers


@pytest.fixture(scope="session", params=validating_servers(), ids=lambda kind: kind.name)
def influx(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that refuses bad points."""
    yield from running(request.param, tmp_path_factory.mktemp("influx"))


@pytest.fixture(scope="session")
def influx_v1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxV1]:
    """InfluxDB 1.x, for what only it is known to do."""
    yield from running(InfluxV1, tmp_path_factory.mktemp("influx-v1"))


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """VictoriaMetrics."""
    yield from running(VictoriaMetrics, tmp_path_factory.mktemp("victoria"))


@pytest.fixture(scope="session", params=all_servers(), ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each server there is."""
    yield from running(request.param, tmp_path_factory.mktemp("server"))


@pytest.fixture
def site() -> str:
    """A site of the test's own, so that tests do not see each other's points."""
    return f"site-{secrets.token_hex(4)}"
