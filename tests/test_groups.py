"""Tests that cannot run beside each other are in one group, and a group is on one worker."""

import os

import pytest


@pytest.mark.xdist_group("groups")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one worker only")
def test_a_group_is_known_to_the_workers(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@groups"), "not --dist loadgroup, or a pytest that xdist does not know"
