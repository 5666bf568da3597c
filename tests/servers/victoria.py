"""A real VictoriaMetrics as a child process on loopback."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path
from typing import Any

from servers.mosquitto import free_port
from servers.timeseries import Child, Point, Server, find_server, http


class VictoriaMetrics(Server):
    """VictoriaMetrics: takes the v2 write API, answers 204 to anything, knows numbers only, cuts times to ms."""

    name = "victoria-metrics"
    token = "anything"
    keeps_text = False
    time_unit = 1_000_000

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        program = find_server("victoria-metrics", "victoria-metrics")
        self.database = Child(
            lambda: [
                program,
                f"-httpListenAddr=127.0.0.1:{self._port}",
                f"-storageDataPath={folder}/data",
                "-retentionPeriod=12",
                # What is written twice shall be one sample here too.
                "-dedup.minScrapeInterval=1ms",
                "-memory.allowedBytes=100MB",
            ],
            lambda: http(f"{self.url}/health")[0] == 200,
            folder / "log",
        )

    def start(self) -> None:
        self.database.start()

    def stop(self) -> None:
        self.database.stop()

    def points(self, site: str, measurement: str | None = None) -> list[Point]:
        http(f"{self.url}/internal/force_flush")
        arguments = urllib.parse.urlencode({"match[]": f'{{site="{site}"}}', "reduce_mem_usage": "0"})
        status, body = http(f"{self.url}/api/v1/export?{arguments}")
        assert status == 200, body
        found: dict[tuple[Any, ...], Point] = {}
        for line in body.splitlines():
            series = json.loads(line)
            tags = dict(series["metric"])
            kind, name = tags.pop("__name__").rsplit("_", 1)
            tags.pop("db", None)
            if measurement not in (None, kind):
                continue
            for milliseconds, value in zip(series["timestamps"], series["values"], strict=True):
                key = (kind, tuple(sorted(tags.items())), milliseconds)
                point = found.setdefault(key, Point(kind, tags, milliseconds * 1_000_000))
                point.fields[name] = value
        return list(found.values())
