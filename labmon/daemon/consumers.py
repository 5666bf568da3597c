"""What waits for broker, stores and people, as `labmon status` tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labmon.config.site import Site
from labmon.daemon.outside import Outside
from labmon.journal.entries import Backlog
from labmon.journal.errors import JournalUnavailable
from labmon.journal.writer import JournalWriter

PATIENCE = 1.0
"""Seconds that an answer waits for the disk; what the disk does not tell by then is told as unknown."""


@dataclass(frozen=True, slots=True)
class Consumers:
    """JSON-ready answers about everything that leaves the gateway. What is not known now is null."""

    outside: Outside
    journal: JournalWriter

    async def look(self) -> dict[str, Any]:
        """Broker, stores, what is yet to be published, and notices; never waits longer than PATIENCE."""
        site = self.outside.site
        confirmed, published = await self._positions(site)
        backlog = await self._backlog(confirmed, published)
        confirmed |= self._confirmed()  # as it is in the moment of all that follows
        return {
            "broker": self._broker(site),
            "stores": [self._store(store.id, confirmed.get(store.id), backlog) for store in site.stores],
            "to_publish": self._to_publish(backlog) if site.mqtt is not None else None,
            "notices": self._notices(),
        }

    async def _positions(self, site: Site) -> tuple[dict[str, int], int | None]:
        """Up to where each store and the broker's events are done; what is not known is left out, or None."""
        delivery = self.outside.delivery
        from labmon.delivery.log import EVENT_CURSOR, cursor_name  # a tenth of the start: not before it is wanted

        lanes = self._confirmed()
        published = 0 if delivery is None else delivery.events.position
        try:
            async with asyncio.timeout(PATIENCE):
                cursors = await self.journal.cursors()
        except (JournalUnavailable, TimeoutError):
            return lanes, published or None
        saved = {store.id: cursors.get(cursor_name(store.id), 0) for store in site.stores}
        return saved | lanes, max(published, cursors.get(EVENT_CURSOR, 0))

    def _confirmed(self) -> dict[str, int]:
        delivery = self.outside.delivery
        return {} if delivery is None else {store: lane.confirmed for store, lane in delivery.record.lanes.items()}

    async def _backlog(self, confirmed: Mapping[str, int], published: int | None) -> Backlog | None:
        if published is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.journal.behind(confirmed, published)
        except (JournalUnavailable, TimeoutError):
            return None

    def _broker(self, site: Site) -> dict[str, Any] | None:
        if site.mqtt is None:
            return None
        delivery = self.outside.delivery
        return {
            "endpoint": f"{site.mqtt.host}:{site.mqtt.port}",
            "connected": delivery is not None and delivery.connected,
            "error": delivery.error if delivery is not None else "delivery was not started: see gateway.broker",
        }

    def _store(self, store: str, confirmed: int | None, backlog: Backlog | None) -> dict[str, Any]:
        delivery = self.outside.delivery
        lane = delivery.record.lanes.get(store) if delivery is not None else None
        return {
            "store": store,
            "confirmed": confirmed,
            "behind": None if confirmed is None else max(0, self.journal.last_seq - confirmed),
            "oldest": None if backlog is None else backlog.oldest.get(store),
            "under_way": 0 if lane is None else len(lane.flights),
            "error": "" if lane is None else lane.error,
            "quarantined": None if backlog is None else backlog.quarantined.get(store, 0),
        }

    def _to_publish(self, backlog: Backlog | None) -> dict[str, Any]:
        delivery = self.outside.delivery
        return {
            "alarms": None if delivery is None else delivery.alarms.waiting,
            "events": None if backlog is None else backlog.events,
            "oldest_event": None if backlog is None else backlog.oldest_event,
            "ahead_of_journal": 0 if delivery is None else delivery.events.waiting,
        }

    def _notices(self) -> list[dict[str, Any]]:
        notifier = self.outside.notifier
        found = []
        for way in self.outside.site.notices.channels:
            channel = notifier.channels.get(way.id) if notifier is not None else None
            boxes = channel.mailboxes if channel is not None else {}
            stories = [story for box in boxes.values() for story in box.queue()]
            found.append(
                {
                    "channel": way.id,
                    "by": "email" if way.email is not None else "webhook",
                    "waiting": len(stories),
                    "oldest": min((story.oldest for story in stories), default=None),
                    "error": channel.trouble if channel is not None else "was not started: see its alarm",
                    "people": {person: len(box.queue()) for person, box in sorted(boxes.items())},
                }
            )
        return found
