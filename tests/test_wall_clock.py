"""Delays, intervals and schedules run on the monotonic clock: every use of the wall clock is known here, with its why.

A new use fails this test. It belongs into the table when it makes a time stamp or a text; when something waits for it,
compares with it or lasts by it, it has to be written with `time.monotonic` instead.
"""

from __future__ import annotations

import ast
from pathlib import Path

import labmon

ROOT = Path(labmon.__file__).parent
FOLDERS = (
    "acquisition", "alarms", "daemon", "delivery", "health", "ingest", "journal", "links", "model", "mqtt", "notices",
    "tasks", "watch",
)  # fmt: skip
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
USES = {
    "daemon/certificates.py": "days until a certificate ends",
    "ingest/process.py": "days until a certificate ends",
    "acquisition/guards.py": "how far off an instrument's clock is, and what it is set to",
    "acquisition/taking.py": "when a reading was received",
    "acquisition/listening.py": "when a frame was received",
    "acquisition/load.py": "whether a calibration is overdue",
    "acquisition/pipeline.py": "when an event was",
    "daemon/clock.py": "is about it",
    "daemon/commands.py": "when a command came; the end of out of service as it is told",
    "daemon/daemon.py": "when an event was; the beginning of the run as it is told",
    "daemon/making.py": "an end in a command by MQTT, whose time was checked a moment ago: a duration at once",
    "daemon/reload.py": "when an event was",
    "daemon/report.py": "what is told of durations",
    "delivery/alarms.py": "when a message was made",
    "delivery/commands.py": "a command is taken within a minute of the time that stands in it, also by a wrong clock",
    "delivery/gateway.py": "what is told of durations",
    "delivery/status.py": "when a message was made",
    "delivery/trouble.py": "when an event was",
    "ingest/influx.py": "Retry-After as a date; bounded",
    "journal/committer.py": "when an entry was made; ages for retention, only while the clock is trusted",
    "journal/store.py": "name of a file",
    "journal/watch.py": "since when the disk is in trouble, as it is told",
    "journal/writer.py": "when an entry was made",
    "model/ids.py": "ids that sort roughly by time; nothing relies on it",
    "notices/outbox.py": "when a notice was sent; how old what an earlier run left is",
    "notices/webhook.py": "time stamp of the signature",
    "watch/memory.py": "when an event was",
    "watch/watch.py": "when an event was; the beginning of the run as it is told",
}


def uses(path: Path) -> list[str]:
    """Attribute accesses of a file that are the wall clock, called or handed on."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).rpartition(".")[2]
            if f"{owner}.{node.attr}" in WALL:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found.append(f"line {node.lineno}: from time import: say time.monotonic or time.time")
    return found


def test_every_use_of_the_wall_clock_is_known() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for folder in FOLDERS
        for path in sorted((ROOT / folder).glob("*.py"))
        if (lines := uses(path))
    }
    assert {name: lines for name, lines in found.items() if name not in USES} == {}, __doc__
    assert sorted(USES) == sorted(found), "the table names files that have none any more"


def test_a_use_is_found_in_whatever_way_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    for text in (
        "import time\ntime.time()",
        "import time\ndef f(clock=time.time_ns): ...",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "from datetime import date\ndate.today()",
        "from time import time",
    ):
        path.write_text(text)
        assert uses(path), text
    path.write_text("import time\ntime.monotonic()")
    assert uses(path) == []
