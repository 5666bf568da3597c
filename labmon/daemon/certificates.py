"""Certificates that end: an alarm a month ahead, while there is time to ask for new ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from labmon.config.site import Site
from labmon.delivery.broker import watched_files
from labmon.mqtt.certificate import Server, Watched, look

CERTIFICATE = "gateway.certificate"
EVERY = 3600.0
"""Seconds between two looks at the files."""
LOOK = 10.0
"""Seconds between two looks at whether the broker has shown another certificate."""
_TEXT = 1000


def watched(site: Site, folder: Path) -> list[Watched]:
    """Every file of certificates that the gateway's connections stand on."""
    found = [] if site.mqtt is None else watched_files(site.mqtt, folder)
    for channel in site.notices.channels:
        for way in (channel.email, channel.webhook):
            if way is not None and way.ca is not None:
                found.append(Watched(f"authority of notice channel {channel.id}", folder / way.ca, authority=True))
    once: dict[Path, Watched] = {}
    for one in found:
        once.setdefault(one.path, one)
    return list(once.values())


class CertificateWatch:
    """Tells the condition `gateway.certificate`: hourly, when the broker has shown another certificate, and when other
    files are named.
    """

    def __init__(
        self,
        files: Callable[[], Sequence[Watched]],
        server: Callable[[], Server | None],
        on_condition: Callable[[str, bool, str], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = files
        self._server = server
        self._on_condition = on_condition
        self._clock = clock

    async def run(self) -> None:
        """Look for ever."""
        seen: tuple[object, object] = None, None
        due = float("-inf")
        while True:
            server, files = self._server(), self._files()
            if (server, files) != seen or time.monotonic() >= due:
                seen, due = (server, files), time.monotonic() + EVERY
                lines = await look(files, server, self._clock())
                self._on_condition(CERTIFICATE, bool(lines), "; ".join(lines)[:_TEXT])
            await asyncio.sleep(LOOK)
