"""What the time-series servers of the tests have in common: a child process, HTTP, points read back."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

_READY = 15.0
_POLL = 0.005
BUCKET = "labmon"


@dataclass
class Point:
    """One point as the server gives it back."""

    measurement: str
    tags: dict[str, str]
    time: int
    fields: dict[str, Any] = field(default_factory=dict)


def find_server(program: str, package: str) -> str:
    """Path of a server's program. A missing one fails the test: it is never skipped in silence."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.fail(f"{program} is not installed: sudo apt-get install {package}")
    return found


def http(
    url: str, body: bytes | None = None, headers: dict[str, str] | None = None, timeout: float = 10.0
) -> tuple[int, bytes]:
    """Status and body, whatever the status. Raises OSError when nobody answers."""
    request = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Child:
    """A server process: start waits until it answers, stop is polite, kill is -9."""

    def __init__(self, command: Callable[[], list[str]], ready: Callable[[], bool], log: Path) -> None:
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running, "already running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _READY
        while time.monotonic() < deadline:
            if not self.running:
                break
            try:
                if self._ready():
                    return
            except OSError:
                pass
            time.sleep(_POLL)
        self.kill()
        raise RuntimeError(f"{self._command()[0]} did not start:\n{self._log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It takes connections (the kernel does) and never answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Server:
    """What the suite needs of any of them. `url`, `org`, `bucket` and `token` are for the client under test."""

    name: str
    url: str
    org = "-"
    bucket = BUCKET
    token: str
    keeps_text = True
    """Whether string fields can be read back."""
    time_unit = 1
    """Nanoseconds to which times are cut."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def write(self, lines: str) -> tuple[int, bytes]:
        """POST line protocol as it is, past the client under test."""
        query = urllib.parse.urlencode({"org": self.org, "bucket": self.bucket, "precision": "ns"})
        return http(
            f"{self.url}/api/v2/write?{query}",
            lines.encode(),
            {"Authorization": f"Token {self.token}", "Content-Type": "text/plain; charset=utf-8"},
        )

    def points(self, site: str, measurement: str | None = None) -> list[Point]:
        """All points of a site, by measurement, tags and time."""
        raise NotImplementedError

    def influxql(self, query: str, database: str, url: str, headers: dict[str, str]) -> dict[str, Any]:
        arguments = urllib.parse.urlencode({"q": query, "db": database, "epoch": "ns"})
        status, body = http(f"{url}/query?{arguments}", headers=headers)
        if status != 200:
            raise RuntimeError(f"{query}: {status} {body[:300]!r}")
        return json.loads(body)

    def select(self, site: str, measurement: str | None, url: str, headers: dict[str, str]) -> list[Point]:
        names = [measurement] if measurement else self._measurements(site, url, headers)
        # A query each: in one over several measurements a field has one type, and values of another are left out.
        queries = [f"SELECT * FROM {_quoted(name)} WHERE site = '{site}' GROUP BY *" for name in names]
        found = self.influxql("; ".join(queries), self.bucket, url, headers)["results"] if queries else []
        points = []
        for series in (series for result in found for series in result.get("series", [])):
            tags = {name: value for name, value in series.get("tags", {}).items() if value}
            for row in series["values"]:
                fields = dict(zip(series["columns"][1:], row[1:], strict=True))
                # JSON knows one kind of number: a whole float comes as an integer.
                plain = {k: float(v) if isinstance(v, int) else v for k, v in fields.items() if v is not None}
                points.append(Point(series["name"], tags, row[0], plain))
        return points

    def _measurements(self, site: str, url: str, headers: dict[str, str]) -> list[str]:
        found = self.influxql(f"SHOW MEASUREMENTS WHERE site = '{site}'", self.bucket, url, headers)["results"][0]
        return [row[0] for series in found.get("series", []) for row in series["values"]]


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
