"""SIGHUP as a process gets it: from a service manager, and from a terminal that is closed."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rig import command, daemon, write_site

import labmon

Eventually = Callable[..., Any]


async def test_sighup_and_labmon_reload_apply_the_file_of_a_running_daemon(
    tmp_path: Path, eventually: Eventually
) -> None:
    site = write_site(tmp_path)
    socket = ("--socket", tmp_path / "control.sock")
    async with daemon(site) as process:
        await eventually(lambda: (tmp_path / "control.sock").exists(), 20)
        plain = json.loads(site.read_text())
        plain["areas"][0]["name"] = "Another room"
        site.write_text(json.dumps(plain, indent=1))
        code, out, err = await command("reload", site, *socket)
        assert (code, err) == (0, "")
        assert out.splitlines() == ["0 lines untouched", "names, places, grades or instructions changed"]
        site.write_text(json.dumps(plain | {"areas": []}, indent=1))
        os.kill(process.pid, signal.SIGHUP)
        await eventually(lambda: "reload by SIGHUP: applied" in process.text())
        site.write_text("{")
        code, out, err = await command("reload", *socket)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1] == "1 error; the configuration of before goes on"
        assert await process.stop() == 0
        assert not process.faults()


async def test_a_daemon_in_a_terminal_ends_with_it(tmp_path: Path, eventually: Eventually) -> None:
    site = write_site(tmp_path)
    master, slave = pty.openpty()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setsid", "-c", "-w", sys.executable, "-W", "error", "-m", "labmon", "run", str(site)],
            cwd=Path(labmon.__file__).parent.parent,
            stdin=slave,
            stdout=log,
            stderr=log,
        )
    os.close(slave)
    try:
        await eventually(lambda: (tmp_path / "control.sock").exists(), 20)
    finally:
        os.close(master)
    try:
        await asyncio.to_thread(process.wait, 10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    said = (tmp_path / "log").read_text()
    assert "daemon: stopped in" in said
    assert "reload" not in said
