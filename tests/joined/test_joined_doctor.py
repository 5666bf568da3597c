"""`labmon doctor` beside a daemon at work, and without one: exit codes, JSON form, and that it disturbs nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from joined_gateway import room, running
from schema_problems import problems

from labmon.cli import main

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/local-doctor.schema.json").read_text())
Eventually = Callable[..., Any]


def doctor(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["doctor", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


async def test_beside_a_daemon(tmp_path: Path, eventually: Eventually) -> None:
    clock = {"id": "gw-1", "clock": {"trusted": "test"}}
    async with room(tmp_path, "probe-1", "probe-2", gateway=clock) as gateway, running(gateway.daemon()) as daemon:
        await eventually(lambda: (tmp_path / "control.sock").exists() and daemon.pipeline.polled > 5)
        await gateway.lines["probe-2"].stop()
        await eventually(lambda: daemon.health["line-probe-2"].state == "lost")
        losses = daemon.health["line-probe-1"].losses
        missed = sum(d.missed_ticks for d in daemon.health["line-probe-1"].devices.values())
        result = await asyncio.to_thread(doctor, gateway.site, "--json")
        found = json.loads(result.stdout)
        assert problems(found, SCHEMA) == []
        faults = [f for f in found["findings"] if f["level"] == "fault"]
        assert result.exit_code == 1
        assert [f["check"] for f in faults] == ["tcp lines"], faults
        assert "line line-probe-2: the daemon says: " in faults[0]["what"]
        oks = [f["what"] for f in found["findings"] if f["level"] == "ok"]
        assert any("is open, the daemon says" in what for what in oks)
        assert any("answers, pid" in what for what in oks)
        assert daemon.health["line-probe-1"].losses == losses
        assert sum(d.missed_ticks for d in daemon.health["line-probe-1"].devices.values()) == missed
        page = (await asyncio.to_thread(doctor, gateway.site)).stdout
        assert "FAULT" in page and "-> " in page
        assert "\x1b" not in page
        await gateway.lines["probe-2"].start()
        await eventually(lambda: daemon.health["line-probe-2"].state == "open", 20)
        result = await asyncio.to_thread(doctor, gateway.site)
        assert result.exit_code == 0, result.stdout


def test_a_site_file_that_is_not_there(tmp_path: Path) -> None:
    result = doctor(tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stdout
    assert "put " in result.stdout
    assert "clock" in result.stdout, "the rest is examined all the same"
    assert doctor("a", "b").exit_code == 2
