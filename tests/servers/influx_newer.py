"""InfluxDB 2.x and 3.x where the machine has them, and one elsewhere that the environment names."""

from __future__ import annotations

import csv
import json
import os
import urllib.parse
from pathlib import Path
from typing import Any

from servers.mosquitto import free_port
from servers.timeseries import BUCKET, Child, Point, Server, find_server, http


class InfluxV2(Server):
    """An InfluxDB 2.x that is on PATH."""

    name = "influxdb-2"
    org = "labmon"
    token = "labmon-all-access-token"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        program = find_server("influxd", "influxdb2")
        self.database = Child(
            lambda: [
                program,
                f"--bolt-path={folder}/influxd.bolt",
                f"--sqlite-path={folder}/influxd.sqlite",
                f"--engine-path={folder}/engine",
                f"--http-bind-address={self.url.removeprefix('http://')}",
                "--reporting-disabled",
            ],
            lambda: http(f"{self.url}/health")[0] == 200,
            folder / "log",
        )

    def start(self) -> None:
        self.database.start()
        status, body = http(
            f"{self.url}/api/v2/setup",
            json.dumps(
                {
                    "username": "labmon",
                    "password": "labmon-password",
                    "org": self.org,
                    "bucket": self.bucket,
                    "token": self.token,
                    "retentionPeriodSeconds": 30 * 86400,
                }
            ).encode(),
            {"Content-Type": "application/json"},
        )
        assert status == 201, body

    def stop(self) -> None:
        self.database.stop()

    def points(self, site: str, measurement: str | None = None) -> list[Point]:
        return _flux(self, site, measurement)


def _flux(server: Server, site: str, measurement: str | None) -> list[Point]:
    """Read by Flux: the annotated CSV of `/api/v2/query`, one row per field."""
    wanted = "" if measurement is None else f' and r._measurement == "{measurement}"'
    query = (
        f'from(bucket: "{server.bucket}") |> range(start: 1970-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)'
        f' |> filter(fn: (r) => r.site == "{site}"{wanted}) |> map(fn: (r) => ({{r with ns: int(v: r._time)}}))'
    )
    status, body = http(
        f"{server.url}/api/v2/query?{urllib.parse.urlencode({'org': server.org})}",
        query.encode(),
        {"Authorization": f"Token {server.token}", "Content-Type": "application/vnd.flux", "Accept": "application/csv"},
    )
    assert status == 200, body
    found: dict[tuple[Any, ...], Point] = {}
    own = {"", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement", "ns"}
    for table in body.decode().replace("\r\n", "\n").split("\n\n"):
        for row in csv.DictReader(table.strip("\n").splitlines()):
            tags = {name: value for name, value in row.items() if name not in own and value}
            key = (row["_measurement"], tuple(sorted(tags.items())), row["ns"])
            point = found.setdefault(key, Point(row["_measurement"], tags, int(row["ns"])))
            number = row["_field"] in {"value", "quality"}
            point.fields[row["_field"]] = float(row["_value"]) if number else row["_value"]
    return list(found.values())


class InfluxV3(Server):
    """An InfluxDB 3.x (`influxdb3`) that is on PATH."""

    name = "influxdb-3"
    token = "anything"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        program = find_server("influxdb3", "influxdb3-core")
        self.database = Child(
            lambda: [
                program,
                "serve",
                "--node-id=labmon",
                "--object-store=file",
                f"--data-dir={folder}/data",
                f"--http-bind={self.url.removeprefix('http://')}",
                "--without-auth",
            ],
            lambda: http(f"{self.url}/health")[0] == 200,
            folder / "log",
        )

    def start(self) -> None:
        self.database.start()

    def stop(self) -> None:
        self.database.stop()

    def points(self, site: str, measurement: str | None = None) -> list[Point]:
        return self.select(site, measurement, self.url, {"Authorization": f"Token {self.token}"})


class InfluxElsewhere(Server):
    """A server that INFLUX_URL and INFLUX_TOKEN name (INFLUX_ORG and INFLUX_BUCKET default to `labmon`)."""

    name = "influxdb-elsewhere"

    def __init__(self, folder: Path) -> None:
        self.url = os.environ["INFLUX_URL"].rstrip("/")
        self.token = os.environ["INFLUX_TOKEN"]
        self.org = os.environ.get("INFLUX_ORG", "labmon")
        self.bucket = os.environ.get("INFLUX_BUCKET", BUCKET)

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It is not ours to stop."""

    def points(self, site: str, measurement: str | None = None) -> list[Point]:
        try:
            return self.select(site, measurement, self.url, {"Authorization": f"Token {self.token}"})
        except RuntimeError:
            return _flux(self, site, measurement)
