"""Which notices go to whom, and how. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from labmon.config.site import NoticesConfig, Route
from labmon.model.event import AlarmClass, Event
from labmon.model.plant import Plant
from labmon.notices.ledger import Target


class Routes:
    """The routes of a site file. An alarm that is of no area (a gateway's) concerns all areas."""

    def __init__(self, config: NoticesConfig, plant: Plant) -> None:
        self._routes = config.routes
        self._plant = plant
        self._known = {(channel.id, person.id) for channel in config.channels for person in config.people}

    def known(self, target: Target) -> bool:
        """Say whether person and notice channel are still configured."""
        return target in self._known

    def all(self) -> set[Target]:
        """Everybody on every channel that any route names."""
        return {target for route in self._routes for target in _targets(route)} & self._known

    def of(self, event: Event) -> set[Target]:
        """Whom this event's alarm concerns."""
        grade = event.alarm_class or AlarmClass.TECHNICAL
        areas = set(self._areas(event))
        found: set[Target] = set()
        for route in self._routes:
            if grade.value in route.classes and (route.areas is None or not areas or areas & set(route.areas)):
                found |= set(_targets(route))
        return found & self._known

    def _areas(self, event: Event) -> Iterable[str]:
        if event.area:
            return [event.area]
        if event.channel in self._plant.channels:
            return [self._plant.channels[event.channel].area]
        if event.device in self._plant.devices:
            return [self._plant.devices[event.device].area]
        line = self._plant.lines.get(event.line)
        if line is None:
            return []
        return [self._plant.devices[device].area for device in line.devices if device in self._plant.devices]


def _targets(route: Route) -> Iterable[Target]:
    return ((channel, person) for channel in route.by for person in route.to)
