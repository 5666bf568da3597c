"""Reading side of the embedded store: what its file holds now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from labmon.model.reading import Quality

_BUSY: Final = 2.0
_SELECT: Final = """
SELECT r.time, r.received, c.site, c.gateway, m.area, c.device, c.channel, m.kind, m.unit,
    r.value, r.reason, r.quality, r.flags, r.raw
FROM reading AS r JOIN channel AS c ON c.id = r.channel JOIN meaning AS m ON m.id = r.meaning
WHERE r.time >= :since"""


@dataclass(slots=True)
class StoredReading:
    """One reading as it stands in the store; times are UTC ns, `raw` is text."""

    time: int
    received: int
    site: str
    gateway: str
    area: str
    device: str
    channel: str
    kind: str
    unit: str
    value: float | None
    reason: str | None
    quality: Quality
    flags: int
    raw: str | None


class SqliteReadings:
    """Reading side: what a store's file holds now. Opens it for reading only; raises FileNotFoundError without one."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path}: nothing was stored there yet")
        self._file = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY)

    def __enter__(self) -> SqliteReadings:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def count(self) -> int:
        """How many readings are stored."""
        return int(self._file.execute("SELECT count(*) FROM reading").fetchone()[0])

    def select(
        self,
        *,
        site: str | None = None,
        gateway: str | None = None,
        device: str | None = None,
        channel: str | None = None,
        since: int = 0,
        limit: int = -1,
    ) -> Iterator[StoredReading]:
        """Readings from `since` (UTC ns) on, per channel in order of time, at most `limit` (-1: all)."""
        wanted = {"site": site, "gateway": gateway, "device": device, "channel": channel}
        where = "".join(f" AND c.{name} = :{name}" for name, value in wanted.items() if value is not None)
        query = f"{_SELECT}{where} ORDER BY c.site, c.gateway, c.device, c.channel, r.time LIMIT :limit"
        with closing(self._file.execute(query, wanted | {"since": since, "limit": limit})) as rows:
            for row in rows:
                stored = StoredReading(*row)
                stored.quality = Quality(stored.quality)
                yield stored
