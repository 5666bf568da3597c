"""Everything that leaves the gateway: the two connections to the broker, and notices to people."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from labmon.acquisition.pipeline import Pipeline
from labmon.config.secrets import SecretError, read_secret
from labmon.config.site import Site
from labmon.config.types import Secret
from labmon.daemon.commands import Commands
from labmon.health.line import LineHealth
from labmon.journal.errors import JournalUnavailable
from labmon.journal.writer import JournalWriter
from labmon.model.event import Event
from labmon.model.exchange import Exchange
from labmon.model.plant import Plant
from labmon.notices.outbox import Notifier


class Outside:
    """Carries what the journal commits, and what it cannot commit, to whoever waits for it."""

    def __init__(self, folder: Path, site: Site, plant: Plant, health: Mapping[str, LineHealth]) -> None:
        self.folder = folder
        self.site = site
        self.plant = plant
        self.health = health
        self.notifier: Notifier | None = None
        self._behind: dict[str, int] = {}

    def connect(self, pipeline: Pipeline, journal: JournalWriter, commands: Commands) -> None:
        """Make the consumers; nothing is started."""
        self.pipeline, self.journal = pipeline, journal
        if self.site.notices.channels:
            self.notifier = Notifier(
                self.plant,
                self.site.notices,
                journal,
                pipeline.engine.views,
                pipeline.condition,
                pipeline.record,
                self._secret,
                users=self.site.users,
            )

    def _secret(self, secret: Secret) -> str:
        return read_secret(secret, self.folder)

    # What the pipeline and the journal tell

    def live(self, exchange: Exchange) -> None:
        """The latest of a device."""

    def committed(self, first: int, last: int, events: list[tuple[int, Event]]) -> None:
        """The journal has new entries."""
        if events and self.notifier is not None:
            self.notifier.wake()

    def urgent(self, events: list[Event]) -> None:
        """Events that the journal does not have in time go on from memory (design rule 4)."""
        if self.notifier is not None:
            self.notifier.urgent(events)

    # Life

    async def start(self) -> None:
        """Start every consumer; none of them needs its far end to be there."""
        if self.notifier is not None:
            self.notifier.start()

    async def stop(self, timeout: float) -> None:
        """End everything within `timeout` seconds, whatever the far ends do."""
        ends = [self.notifier.stop()] if self.notifier is not None else []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*ends, return_exceptions=True)

    def behind(self) -> dict[str, int]:
        """Entries that each store has not confirmed."""
        return {}


__all__ = ["JournalUnavailable", "Outside", "SecretError"]
