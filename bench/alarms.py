"""What the alarms cost: a reading in the inner band, beside calling step for each rule, and a tick of a large gateway.

python bench/alarms.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from labmon.alarms.engine import AlarmEngine
from labmon.alarms.given import Value
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.alarms.state import FRESH
from labmon.alarms.step import step
from labmon.model.event import AlarmClass
from labmon.model.plant import Area, Channel, Device, LineInfo, Plant
from labmon.model.reading import Reading

DEVICES, CHANNELS = 1000, 20
LIMITS = (("alert", "high", 37.3), ("action", "high", 37.5), ("alert", "low", 36.7), ("action", "low", 36.5))
ROUNDS = 5


def gateway() -> tuple[Plant, list[Rule]]:
    devices, channels, lines = {}, {}, {}
    rules: list[Rule] = []
    for d in range(DEVICES):
        device, line = f"device-{d}", f"line-{d}"
        keys = tuple(f"{device}.c{c}" for c in range(CHANNELS))
        devices[device] = Device(device, device, "a", line, "x/y", "", keys)
        lines[line] = LineInfo(line, line, "", (device,))
        rules.append(ConditionRule(alarm=f"{device}.dead", device=device, inhibits=True))
        rules.append(ConditionRule(alarm=f"line.{line}.lost", line=line, inhibits=True))
        for key in keys:
            channels[key] = Channel(key, key.partition(".")[2], device, "a", key, "temperature", "Cel")
            rules.append(SilenceRule(alarm=f"{key}.silence", channel=key, after=10))
            rules.append(QualityRule(alarm=f"{key}.quality", channel=key, after=10))
            rules += [
                LimitRule(
                    alarm=f"{key}.{level}-{direction}",
                    channel=key,
                    device=device,
                    level=level,
                    direction=direction,
                    limit=limit,
                    dead_band=0.1,
                    on_delay=300,
                    cls=AlarmClass(level),
                )
                for level, direction, limit in LIMITS
            ]
    return Plant("s", "S", "g", "UTC", {"a": Area("a", "A", "B", "")}, lines, devices, channels), rules


def best(call, count: int) -> float:
    """Nanoseconds for each of `count` things, the best of several rounds."""
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        call()
        found.append((time.perf_counter() - begin) / count * 1e9)
    return min(found)


def main() -> None:
    plant, rules = gateway()
    now, mono = time.time_ns(), time.monotonic()
    begin = time.perf_counter()
    engine = AlarmEngine(rules, plant, {}, mono=mono, now=now)
    print(f"start with {len(rules)} rules: {time.perf_counter() - begin:.2f} s")
    good = [Reading(key, now, now, 37.0, None) for key in plant.channels]
    bad = [Reading(key, now, now, None, "no-sensor") for key in plant.channels]
    limits = [r for r in rules if isinstance(r, LimitRule)]

    def judge(readings: list[Reading], at: float) -> None:
        evaluate = engine.reading
        for reading in readings:
            if evaluate(reading, at):
                raise AssertionError("an alarm")

    def nothing(readings: list[Reading]) -> None:
        for reading in readings:
            if reading.value is None:
                raise AssertionError("no value")

    def steps() -> None:
        for rule in limits:
            step(rule, FRESH, Value(37.0, now), mono, now)

    count = len(good)
    print(f"the loop alone:                       {best(lambda: nothing(good), count):8.0f} ns per reading")
    print(f"a value in the inner band:            {best(lambda: judge(good, mono), count):8.0f} ns per reading")
    print(f"step for each of {len(LIMITS)} limits instead:  {best(steps, count):8.0f} ns per reading")
    print(f"a reading without a value:            {best(lambda: judge(bad, mono + 1), count):8.0f} ns per reading")
    judge(good, mono + 2)
    engine.tick(mono + 2, now)
    passed = mono + 2

    def ticks() -> None:
        nonlocal passed
        for _ in range(20):
            passed += 1
            judge_free(passed)
            engine.tick(passed, now)

    def judge_free(at: float) -> None:
        for watch in engine._watches.values():
            watch.valued = at

    free = best(lambda: [judge_free(passed) for _ in range(20)], 20)
    cost = best(ticks, 20) - free
    print(f"the clock, {count} channels:            {cost / 1e3:8.0f} us per second of running")
    if any(engine.tick(passed + 60, now)):
        print(f"everything silent at once:            {len(engine.views())} alarms raised")


if __name__ == "__main__":
    main()
