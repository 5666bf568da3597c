"""`labmon status`: its JSON is what the schema says, and its page leaves nothing out."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from joined_gateway import room, running
from schema_problems import problems

from labmon.cli import main
from labmon.cli.paper import printable
from labmon.cli.picture import MANY, picture, troubles
from labmon.daemon.daemon import Daemon
from labmon.journal.errors import JournalUnavailable
from labmon.journal.reader import Reader

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/local-status.schema.json").read_text())
Eventually = Callable[..., Any]


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def away() -> dict[str, Any]:
    """A broker, a store and a mail server that nobody serves."""
    email = {"host": "127.0.0.1", "port": closed_port(), "tls": "none", "from": "labmon@lab.example"}
    return {
        "mqtt": {"host": "127.0.0.1", "port": closed_port()},
        "stores": [{"id": "local", "sqlite": {"path": "readings.db"}}],
        "notices": {
            "channels": [{"id": "mail", "email": email}],
            "people": [{"id": "lead", "name": "Lead", "email": "lead@lab.example"}],
            "routes": [{"classes": ["action", "technical"], "to": ["lead"], "by": ["mail"]}],
        },
    }


def up(daemon: Daemon) -> bool:
    """It answers, has read something and written something."""
    socket_ = daemon.loaded.path.with_name("control.sock")
    return socket_.exists() and daemon.pipeline.polled > 3 and daemon.journal.committed_at is not None


def page(found: Any, **options: Any) -> str:
    return "\n".join(line.plain for line in picture(found, **options))


async def status_of(site: Path, *options: str) -> tuple[int, str]:
    arguments = ["status", "--socket", str(site.with_name("control.sock")), *options]
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    return result.exit_code, result.output


async def test_all_is_well(tmp_path: Path, eventually: Eventually) -> None:
    async with room(tmp_path, "probe-1") as gateway, running(gateway.daemon()) as daemon:
        await eventually(lambda: up(daemon))
        code, out = await status_of(gateway.site, "--json")
        found = orjson.loads(out)
        assert (code, problems(found, SCHEMA)) == (0, [])
        assert found["lines"][0]["turns"] > 0
        assert found["lines"][0]["devices"]["probe-1"]["identity"].startswith("vendor Vaisala")
        assert found["journal"]["used"] > 4096 and found["journal"]["free"] > 0
        assert (found["broker"], found["to_publish"], found["stores"]) == (None, None, [])
        assert found["applied"]["file"] == str(gateway.site)
        assert found["applied"]["file_now"] == "same"
        code, out = await status_of(gateway.site)
        assert code == 0
        for words in ("at lab/gw-1", found["configuration"][:12], "ALARMS    none", "probe-1  ok", "JOURNAL   ok"):
            assert words in out
        assert "\x1b" not in out, "no colours where there is no terminal"
        assert await status_of(gateway.site, "--check") == (0, "labmon lab/gw-1: all is well\n")


async def test_everything_is_away(tmp_path: Path, eventually: Eventually) -> None:
    """Alarm, lost line, no broker, no store, no mail: it answers at once, and says each."""
    async with room(tmp_path, "probe-1", "probe-2", **away()) as gateway, running(gateway.daemon()) as daemon:
        await eventually(lambda: up(daemon))
        gateway.probes["probe-1"].jump("co2", 90_000.0)
        await gateway.lines["probe-2"].stop()

        async def seen() -> Any:
            now = await gateway.ask("status")
            way = now["notices"][0]
            ready = now["alarms"] and now["lines"][1]["state"] == "lost" and way["error"] and now["broker"]["error"]
            return now if ready and now["stores"][0]["oldest"] else None

        found = await eventually(seen, 20)
        assert problems(found, SCHEMA) == []
        assert found["stores"][0]["behind"] > 0
        assert found["started"] <= found["stores"][0]["oldest"] + 10**9 <= found["time"] + 10**9
        assert found["to_publish"]["alarms"] >= 1
        assert found["to_publish"]["events"] >= 2, "started, raised"
        assert found["notices"][0]["waiting"] >= 1
        assert found["notices"][0]["people"]["lead"] >= 1
        text = page(found)
        for words in ("LOST", "not asked", "NOT CONNECTED", "probe-1.co2.action-high", "high limit 8", "waiting"):
            assert words in text, words
        alarm = next(a for a in found["alarms"] if a["alarm"] == "probe-1.co2.action-high")
        assert alarm["occurrence"] in text
        code, said = await status_of(gateway.site, "--check")
        assert code == 1
        for words in ("not normal", "line line-probe-2 lost", "broker not connected", "notices by mail fail"):
            assert words in said


async def test_the_site_file_on_the_disk_is_looked_at(tmp_path: Path, eventually: Eventually) -> None:
    async with room(tmp_path, "probe-1") as gateway, running(gateway.daemon()) as daemon:
        await eventually(lambda: up(daemon))

        async def now() -> str:
            found = await gateway.ask("status")
            assert problems(found, SCHEMA) == []
            return str(found["applied"]["file_now"])

        text = gateway.site.read_text()
        gateway.site.write_text(text, encoding="utf-8-sig")
        assert await now() == "same"
        gateway.site.write_text(text + "\n")
        assert await now() == "changed"
        gateway.site.unlink()
        assert await now() == "gone"
        _, out = await status_of(gateway.site)
        assert "it is not there any more" in out


async def test_a_disk_that_does_not_answer_holds_up_no_status(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room(tmp_path, "probe-1", **away()) as gateway, running(gateway.daemon()) as daemon:
        await eventually(lambda: up(daemon))

        def fail(*_: Any) -> Any:
            raise JournalUnavailable("the disk does not answer")

        monkeypatch.setattr(Reader, "cursors", fail)
        monkeypatch.setattr(Reader, "oldest_after", fail)
        monkeypatch.setattr("labmon.daemon.consumers.PATIENCE", 0.05)
        monkeypatch.setattr("labmon.daemon.report.PATIENCE", 0.05)
        monkeypatch.setattr(daemon.journal, "look", lambda _: asyncio.sleep(60))
        found = await gateway.ask("status")
        assert problems(found, SCHEMA) == []
        assert found["journal"]["used"] is None
        assert found["stores"][0]["oldest"] is None
        assert "the disk does not answer" in page(found)


def test_the_page_of_many_devices_shows_those_in_trouble_and_every_alarm(found: dict[str, Any]) -> None:
    line = found["lines"][0]
    [(_, device)] = line["devices"].items()
    line["devices"] = {f"d-{n}": device | {"state": "dead" if n == 7 else "ok"} for n in range(MANY + 60)}
    alarm = {**ALARM, "text": "x" * 500}
    found["alarms"] = [{**alarm, "alarm": f"d-{n}.dead"} for n in range(MANY + 60)]
    text = page(found)
    assert re.search(r"^ +d-7 +dead +answered", text, re.M)
    assert f"and {MANY + 59} devices ok (--all shows them)" in text
    assert all(f" d-{n}.dead" in text for n in range(MANY + 60))
    assert "x" * 500 in text
    assert page(found, every_device=True).count("answered") == MANY + 60


def test_what_a_terminal_would_act_on_is_not_printed(found: dict[str, Any]) -> None:
    [(name, device)] = found["lines"][0]["devices"].items()
    found["lines"][0]["devices"] = {name: device | {"identity": "\x1b]0;gotcha\x07 probe"}}
    text = page(printable(found))
    assert "\x1b" not in text and "gotcha" in text


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("journal", {"state": "failing", "reason": "disk full"}, "journal failing"),
        ("clock", {"trusted": False, "why": "not synchronised"}, "clock not trusted"),
        ("broker", {"endpoint": "b:1", "connected": False, "error": "refused"}, "broker not connected"),
    ],
)
def test_each_trouble_counts(found: dict[str, Any], part: str, change: dict[str, Any], said: str) -> None:
    assert troubles(found) == []
    found[part] = {**(found[part] or {}), **change}
    found["to_publish"] = {"alarms": 0, "events": 0, "oldest_event": None, "ahead_of_journal": 0}
    assert troubles(found) == [said]
    reason = change.get("reason") or change.get("why") or change["error"]
    assert reason in page(found)


CLOCK = {
    "state": "synchronised", "trusted": True, "why": "", "since": 10**18, "offset": 0.0, "estimated_error": 0.0,
    "max_error": 0.0, "steps": 0, "last_step": None,
}  # fmt: skip
ALARM = {
    "alarm": "d-1.dead", "class": "technical", "state": "UNACK", "occurrence": "o1", "since": 10**18, "raised": 10**18,
    "acknowledged": None, "line": "l", "device": "d-1", "value": None, "unit": "", "limit": None, "measured": True,
    "text": "silent",
}  # fmt: skip


@pytest.fixture
def found() -> dict[str, Any]:
    """A status of a gateway that is well, of one device."""
    zero = dict.fromkeys(("exchanges", "failed", "failures_in_a_row", "answered_late", "rests", "retries", "probes"), 0)
    device = {
        **zero, "name": "D", "area": "a", "driver": "x/y", "state": "ok", "since": 10**18, "failures": {},
        "reply_p50": 0.1, "reply_p99": 0.1, "lateness_p50": 0.0, "lateness_p99": 0.0, "lateness_max": 0.0,
        "late_after": None, "missed_ticks": 0, "frames": 0, "frames_passed_over": 0,
        "last_good": 10**18, "last_failed": None, "last_failure": None,
        "identity": "", "variant": "", "clock_drift": None,
    }  # fmt: skip
    line = {
        "line": "l", "endpoint": "/dev/x", "state": "open", "since": 10**18, "detail": "", "losses": 0,
        "last_lost": None, "turns": 3, "exchanges": 0, "failed": 0, "failures": {}, "missed_ticks": 0,
        "devices": {"d-1": device},
    }  # fmt: skip
    made = {
        "v": 1, "time": 10**18 + 10**9, "version": "1", "site": "s", "site_name": "S", "gateway": "g", "pid": 1,
        "user": "labmon", "started": 10**18, "started_by": "labmon", "uptime": 1.0, "configuration": "0" * 64,
        "applied": {"time": 10**18, "by": "u", "file": "/site.yaml", "file_now": "same"}, "clock": dict(CLOCK),
        "polled": 1, "bad": 0, "missed": 0, "lost": {"exchanges": 0},
        "journal": {"id": "j",
                    "path": "/j", "state": "ok", "since": 10**18, "reason": "", "last": 1, "committed": 10**18,
                    "backlog": 0, "size": 10**9, "keep": 1.0, "used": 1, "free": 1, "total": 1, "read_only": False},
        "broker": None, "stores": [], "to_publish": None, "notices": [], "cursors": {}, "lines": [line], "alarms": [],
    }  # fmt: skip
    assert problems(made, SCHEMA) == []
    return made
