"""Alarm rules from the plan: limits, silence, quality, dead devices and lines, the gateway's own troubles."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from labmon import units
from labmon.acquisition.plan import LimitedChannel, Plan
from labmon.alarms.rule import ConditionRule, LimitRule, QualityRule, Rule, SilenceRule
from labmon.config.site import Limit, Site
from labmon.model.event import AlarmClass

_linear, _delta = lru_cache(maxsize=1000)(units.linear), lru_cache(maxsize=1000)(units.delta_scale)

SILENCE_PERIODS = 3.0
SILENCE_FLOOR = 10.0
SETTLED = 30.0
"""A line or device that is back must stay so for this long before its alarm is over: one that comes and goes is one
alarm, and not a notice each time. It spans the three polls and the rest of a device that is polled every 5 s."""
STEADY = 60.0
"""The same for the gateway's own troubles: a disk, a broker or a mail server that stumbles every few seconds."""
QUIET = 900.0
"""The same for attempts to guess a PIN: whoever tries goes on when he may again, and is one alarm."""
CLOCK = 300.0
"""A gateway without a clock of its own starts with a wrong time, and its time service needs a while: neither that nor a
time server that is away for minutes is an alarm. The readings are marked meanwhile."""
RECORD_SILENCE = 900.0
"""A counter's own sample interval is not known to the site file: silence of records is told after 15 minutes, or as
the profile says."""


def make_rules(site: Site, plan: Plan) -> list[Rule]:
    """Every rule of a site; alarm ids are unique."""
    rules: list[Rule] = []
    for channel in plan.channels:
        silence = _silence(channel)
        rules += _limits(channel, silence)
        rules += _measured(channel, silence)
    for line in plan.lines:
        rules.append(_technical(f"line.{line.id}.lost", line=line.id, on=5.0, off=SETTLED))
        for device in line.devices:
            rules.append(_technical(f"{device.id}.dead", device=device.id, off=SETTLED))
            if device.identity is not None:
                rules.append(_technical(f"{device.id}.wrong-instrument", device=device.id))
            if any(one.guard is not None for one in (device, *device.variants.values())):
                rules.append(_technical(f"{device.id}.wrong-settings", device=device.id))
            if any(one.clock is not None for one in (device, *device.variants.values())):
                rules.append(_technical(f"{device.id}.clock-drift", device=device.id, inhibits=False))
    rules.append(_technical("gateway.journal", off=STEADY))
    rules.append(_technical("gateway.certificate"))
    rules.append(_technical("gateway.fault", off=STEADY))
    rules.append(_technical("gateway.clock", on=CLOCK, off=STEADY))
    if site.mqtt is not None:
        rules.append(_technical("gateway.broker", on=60.0, off=STEADY))
        rules.append(_technical("gateway.access", off=QUIET))
    for store in site.stores:
        rules.append(_technical(f"gateway.delivery.{store.id}", off=STEADY))
        rules.append(_technical(f"gateway.quarantine.{store.id}"))
    for way in site.notices.channels:
        rules.append(_technical(f"gateway.notices.{way.id}", off=STEADY))
    return rules


def _technical(
    alarm: str, *, line: str = "", device: str = "", on: float = 0.0, off: float = 0.0, inhibits: bool = True
) -> ConditionRule:
    """A condition of a line, of a device or of the gateway, which leaves what is below it without readings or not."""
    return ConditionRule(
        alarm=alarm,
        cls=AlarmClass.TECHNICAL,
        on_delay=on,
        off_delay=off,
        device=device,
        line="" if device else line,
        inhibits=inhibits and bool(device or line),
    )


def _limits(channel: LimitedChannel, silence: float) -> Iterator[Rule]:
    if channel.profile is None:
        return
    scale, offset = _linear(channel.profile.unit, channel.unit)
    delta = _delta(channel.profile.unit, channel.unit)
    for limit in channel.profile.limits:
        if limit.high is not None:
            yield _limit(channel, limit, "high", limit.high * scale + offset, limit.dead_band * delta, silence)
        if limit.low is not None:
            yield _limit(channel, limit, "low", limit.low * scale + offset, limit.dead_band * delta, silence)


def _limit(
    channel: LimitedChannel,
    limit: Limit,
    direction: Literal["high", "low"],
    bound: float,
    dead_band: float,
    silence: float,
) -> LimitRule:
    return LimitRule(
        alarm=f"{channel.key}.{limit.level}-{direction}",
        channel=channel.key,
        device=channel.device,
        level=limit.level,
        direction=direction,
        limit=bound,
        dead_band=dead_band,
        on_delay=limit.on_delay,
        off_delay=limit.off_delay,
        unit=channel.unit,
        cls=AlarmClass(limit.level),
        unmeasured_after=silence,
    )


def _silence(channel: LimitedChannel) -> float:
    """Seconds without a sign of the instrument after which a channel is silent."""
    if channel.profile and channel.profile.silence:
        return channel.profile.silence
    return RECORD_SILENCE if channel.record else max(SILENCE_PERIODS * channel.every, SILENCE_FLOOR)


def _measured(channel: LimitedChannel, silence: float) -> Iterator[Rule]:
    bad = channel.profile.bad_quality if channel.profile and channel.profile.bad_quality else silence
    yield SilenceRule(alarm=f"{channel.key}.silence", channel=channel.key, after=silence)
    yield QualityRule(alarm=f"{channel.key}.quality", channel=channel.key, after=bad)
