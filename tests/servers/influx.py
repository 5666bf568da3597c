"""The time-series servers that the tests run against: InfluxDB 1.x behind an nginx that speaks the v2 write API,
VictoriaMetrics, and where there is one an InfluxDB 2.x or 3.x.

Each is a context manager on free loopback ports and, as a fixture, starts before the tests that use it. A missing one
fails the test.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from servers.influx_newer import InfluxElsewhere, InfluxV2, InfluxV3
from servers.mosquitto import free_port
from servers.timeseries import BUCKET, Child, Point, Server, find_server, http
from servers.victoria import VictoriaMetrics


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class InfluxV1(Server):
    """InfluxDB 1.x, with authentication and a retention of 30 days, behind an nginx that maps `/api/v2/write`.

    `database` is the influxd, `shim` the nginx: each can be stopped, killed and frozen alone.
    """

    name = "influxdb-1"
    token = "labmon-write-token"
    read_token = "labmon-read-token"
    _users = {"writer": "wpw", "reader": "rpw"}

    def __init__(self, folder: Path, *, max_body: str = "25m", retention: str = "30d") -> None:
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._max_body = max_body
        self._retention = retention
        self._admin = {"Authorization": _basic("admin", "adminpw")}
        self._ports()
        influxd, nginx = find_server("influxd", "influxdb"), find_server("nginx", "nginx-light")
        self.database = Child(
            lambda: [influxd, "-config", str(folder / "influxd.conf")],
            lambda: http(f"{self.direct}/ping")[0] == 204,
            folder / "influxd.log",
        )
        self.shim = Child(
            lambda: [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g",
                     "daemon off; master_process off;"],
            lambda: http(f"{self.url}/health")[0] == 200,
            folder / "nginx.log",
        )  # fmt: skip

    def _ports(self) -> None:
        self._port, self._rpc, self._front = free_port(), free_port(), free_port()
        self.direct = f"http://127.0.0.1:{self._port}"
        self.url = f"http://127.0.0.1:{self._front}"

    def start(self) -> None:
        (self._folder / "ng" / "tmp").mkdir(parents=True, exist_ok=True)
        for attempt in range(5):
            (self._folder / "influxd.conf").write_text(self._influxd_conf())
            (self._folder / "nginx.conf").write_text(self._nginx_conf())
            try:
                self.database.start()
                self.shim.start()
                break
            except RuntimeError as error:
                # Another test run may have taken a port between our look and the server's bind.
                self.stop()
                if "in use" not in str(error) or attempt == 4:
                    raise
                self._ports()
        self.query("CREATE USER admin WITH PASSWORD 'adminpw' WITH ALL PRIVILEGES")
        self.query(f"CREATE DATABASE {BUCKET} WITH DURATION {self._retention} NAME main")
        for user, right in (("writer", "WRITE"), ("reader", "READ")):
            self.query(f"CREATE USER {user} WITH PASSWORD '{self._users[user]}'")
            self.query(f"GRANT {right} ON {BUCKET} TO {user}")

    def stop(self) -> None:
        self.shim.stop()
        self.database.stop()

    def query(self, statement: str) -> dict[str, Any]:
        """Run a statement as admin."""
        status, body = http(
            f"{self.direct}/query",
            urllib.parse.urlencode({"q": statement}).encode(),
            {**self._admin, "Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = json.loads(body)
        if status != 200 or "error" in answer or any("error" in r for r in answer["results"]):
            raise RuntimeError(f"{statement}: {status} {answer}")
        return answer

    def points(self, site: str, measurement: str | None = None) -> list[Point]:
        return self.select(site, measurement, self.direct, self._admin)

    def _influxd_conf(self) -> str:
        return f"""
reporting-disabled = true
bind-address = "127.0.0.1:{self._rpc}"
[meta]
  dir = "{self._folder}/meta"
[data]
  dir = "{self._folder}/data"
  wal-dir = "{self._folder}/wal"
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
[continuous_queries]
  enabled = false
[http]
  bind-address = "127.0.0.1:{self._port}"
  auth-enabled = true
  log-enabled = false
"""

    def _nginx_conf(self) -> str:
        tokens = {self.token: "writer", self.read_token: "reader"}
        users = " ".join(f'"Token {t}" "{_basic(u, self._users[u])}";' for t, u in tokens.items())
        paths = " ".join(
            f"{kind}_temp_path ng/tmp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return rf"""
worker_processes 1;
pid ng/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_max_body_size {self._max_body};
  client_body_buffer_size 1m;
  {paths}
  map $arg_precision $v1_precision {{ default ""; "" n; ns n; us u; ms ms; s s; }}
  map $arg_bucket $v1_db {{ default $arg_bucket; "~^(?<d>[^%/]+)(%2F|%2f|/)[^%/]+$" $d; }}
  map $arg_bucket $v1_rp {{ default ""; "~^[^%/]+(%2F|%2f|/)(?<r>[^%/]+)$" $r; }}
  map $http_authorization $v1_auth {{ default ""; {users} }}
  upstream influx1 {{ server 127.0.0.1:{self._port}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{self._front};
    location = /api/v2/write {{
      if ($v1_precision = "") {{ return 400 '{{"code":"invalid","message":"bad precision"}}'; }}
      if ($v1_auth = "") {{ return 401 '{{"code":"unauthorized","message":"unauthorized access"}}'; }}
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization $v1_auth;
      proxy_connect_timeout 2s; proxy_read_timeout 30s;
      proxy_pass http://influx1/write?db=$v1_db&rp=$v1_rp&precision=$v1_precision;
    }}
    location = /health {{ default_type application/json; return 200 '{{"status":"pass"}}'; }}
  }}
}}
"""


@functools.cache
def _influxd_major() -> int:
    program = shutil.which("influxd")
    if program is None:
        return 0
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    return 2 if "v2" in said.lower().split("(")[0] or " 2." in said.split("(")[0] else 1


def validating_servers() -> list[type[Server]]:
    """Servers that refuse bad points. The shim on 1.x is always among them, unless influxd on PATH is a 2.x."""
    kinds: list[type[Server]] = [InfluxV2 if _influxd_major() == 2 else InfluxV1]
    if shutil.which("influxdb3"):
        kinds.append(InfluxV3)
    if os.environ.get("INFLUX_URL") and os.environ.get("INFLUX_TOKEN"):
        kinds.append(InfluxElsewhere)
    return kinds


def all_servers() -> list[type[Server]]:
    """The validating servers and VictoriaMetrics."""
    return [*validating_servers(), VictoriaMetrics]


def running(kind: type[Any], folder: Path) -> Iterator[Any]:
    """Body of a fixture: the server runs until the fixture ends."""
    with kind(folder / kind.name) as server:
        yield server
