"""The alarms of the watch: ids and rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from labmon.alarms.rule import ConditionRule
from labmon.config.site import NoticesConfig, WatchConfig
from labmon.watch.gateway import HEALTH, INGEST, NOTICES, SILENT

BROKER = "watch.broker"
JOURNAL = "watch.journal"
PING = "watch.ping"
FAULT = "watch.fault"
STEADY = 60.0
"""Seconds for which the watch's own troubles must be over: a disk or a mail server that stumbles is one alarm."""
PINGS = 3.0
"""So many pings in a row must fail."""


def of_gateway(gateway: str, name: str) -> str:
    """Id of an alarm about a gateway."""
    return f"watch.{gateway}.{name}"


def names_of(gateway: str, alarms: Collection[str]) -> set[str]:
    """Which alarms of a gateway are among these, without what all their ids begin with."""
    begin = of_gateway(gateway, "")
    return {alarm.removeprefix(begin) for alarm in alarms if alarm.startswith(begin)}


def stores_in(alarms: Collection[str], gateways: Collection[str]) -> dict[str, set[str]]:
    """The stores that ids of alarms name, by gateway: what was learned before the last stop."""
    begin = f"{INGEST}."
    return {
        gateway: {name.removeprefix(begin) for name in names_of(gateway, alarms) if name.startswith(begin)}
        for gateway in gateways
    }


def make_rules(
    config: WatchConfig, notices: NoticesConfig, stores: Mapping[str, Collection[str]]
) -> list[ConditionRule]:
    """Every rule; `stores` are those that each gateway delivers to. Delays before a raise are the sight's to judge."""
    made = [
        _rule(BROKER, on=config.silent_after, off=config.offline_after),
        _rule(JOURNAL, off=STEADY),
        _rule(FAULT, off=STEADY),
        *(_rule(f"watch.notices.{channel.id}", off=STEADY) for channel in notices.channels),
    ]
    if config.ping is not None:
        made.append(_rule(PING, on=PINGS * config.ping.every))
    for gateway, known in stores.items():
        made += [_rule(of_gateway(gateway, name), off=config.offline_after) for name in _names(known)]
    return made


def _names(stores: Collection[str]) -> Iterator[str]:
    yield from (SILENT, HEALTH, NOTICES)
    yield from (f"{INGEST}.{store}" for store in sorted(stores))


def _rule(alarm: str, *, on: float = 0.0, off: float = 0.0) -> ConditionRule:
    return ConditionRule(alarm=alarm, on_delay=on, off_delay=off, self_clearing=True)
