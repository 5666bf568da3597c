"""The engine names its next moment rightly: asked only then, it does what it would do if it looked at everything."""

from __future__ import annotations

import math
from typing import Any

from alarm_cases import Run
from hypothesis import given, settings
from hypothesis import strategies as st

SECONDS = st.integers(1, 8).map(lambda n: 2 * n)
RULES = st.fixed_dictionaries(
    {"action-high": st.fixed_dictionaries({"limit": st.just(38), "on-delay": SECONDS, "off-delay": SECONDS})},
    optional={
        "silence": st.fixed_dictionaries({"after": SECONDS}, optional={"off-delay": SECONDS}),
        "quality": st.fixed_dictionaries({"after": SECONDS}, optional={"off-delay": SECONDS}),
        "dead": st.fixed_dictionaries({}, optional={"on-delay": SECONDS, "off-delay": SECONDS}),
        "lost": st.fixed_dictionaries({}, optional={"on-delay": SECONDS, "off-delay": SECONDS}),
    },
)
ACTS = st.one_of(
    st.sampled_from(["37", "39", "bad", "silent"]).map(lambda token: {"read": token}),
    st.sampled_from(["dead", "lost"]).map(lambda name: {"set": name}),
    st.sampled_from(["dead", "lost"]).map(lambda name: {"unset": name}),
    SECONDS.map(lambda seconds: {"out-of-service": seconds}),
)


class Thorough(Run):
    """Each second the engine is made to look at everything."""

    def run_clock(self, until: float) -> None:
        while True:
            self.engine._due = -math.inf
            self.take(self.engine.tick(self.mono, self.now))
            if self.true >= until:
                break
            self.true += 1
        super().run_clock(until)


@given(RULES, st.lists(st.tuples(st.integers(0, 12), ACTS), max_size=25))
@settings(max_examples=250, deadline=None)
def test_asked_only_when_due_it_misses_nothing(rules: dict[str, Any], acts: list[tuple[int, dict[str, Any]]]) -> None:
    script, at = [], 0
    for wait, act in acts:
        at += wait
        name = act.get("set") or act.get("unset")
        if name is None or name in rules:
            script.append({"at": at, **act})
    case = {"rules": rules, "script": script, "end": at + 60, "every": 1}
    assert Run(case).run().lines() == Thorough(case).run().lines()
