"""Every case of tests/alarms/cases: as written, with a tick each second, and with kill -9 after each step."""

from __future__ import annotations

from typing import Any

import pytest
from alarm_cases import CASES, Run, check, load

ALL = [(path.stem, case) for path in CASES for case in load(path)]
IDS = [f"{stem}: {case['name']}" for stem, case in ALL]


def test_cases_are_found_and_named_once() -> None:
    assert len(ALL) > 40
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=IDS)
def test_as_written(case: dict[str, Any]) -> None:
    check(Run(case).run())


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=IDS)
def test_ticks_in_between_change_nothing(case: dict[str, Any]) -> None:
    check(Run(case, every_second=True).run())


# A delay counted by the absence of readings begins anew in its first half; such cases say `restarts: false`.
@pytest.mark.parametrize(
    "case",
    [case for _, case in ALL if case.get("restarts", True)],
    ids=[i for i, (_, case) in zip(IDS, ALL, strict=True) if case.get("restarts", True)],
)
def test_kill_9_after_each_step_changes_nothing(case: dict[str, Any]) -> None:
    check(Run(case, restart_always=True).run())
