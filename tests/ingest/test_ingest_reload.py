"""`labmon ingest` on SIGHUP: begins anew with the site file and the secrets as they are, or goes on as before."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import labmon


def write(path: Path, *stores: dict[str, Any]) -> None:
    site = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "gw-1"},
        "areas": [{"id": "room", "name": "Room"}],
        "lines": [],
        "mqtt": {"host": "127.0.0.1", "port": 1},
        "stores": list(stores),
    }
    path.write_text(json.dumps(site, indent=1))


async def test_sighup_has_ingest_begin_anew_or_go_on_and_say_why(tmp_path: Path, eventually: Any) -> None:
    site, log = tmp_path / "site.yaml", tmp_path / "log"
    token = {"id": "b", "influxdb": {"url": "http://127.0.0.1:1", "bucket": "b", "token": {"file": "token"}}}
    write(site, {"id": "a", "sqlite": {"path": "a.db"}})

    def said(text: str, times: int = 1) -> bool:
        return log.read_text().count(text) >= times

    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "labmon", "ingest", str(site)),
            cwd=Path(labmon.__file__).parent.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # without a terminal, as a service
        )
    try:
        await eventually(lambda: said("ingest into store a started"))
        write(site, token)
        process.send_signal(signal.SIGHUP)
        await eventually(lambda: said("secret file token: cannot be read") and said("goes on with the site file"))
        assert not said("ingest into store b started")
        (tmp_path / "token").write_text("t")
        process.send_signal(signal.SIGHUP)
        await eventually(lambda: said("ingest into store a stopped") and said("ingest into store b started"))
        site.write_text("labmon: 2\n")
        process.send_signal(signal.SIGHUP)
        await eventually(lambda: said("site.yaml:1:9:") and said("goes on with the site file", 2))
        site.unlink()
        process.send_signal(signal.SIGHUP)
        await eventually(lambda: said("cannot be read: No such file") and said("goes on with the site file", 3))
        assert process.returncode is None
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert not said("Traceback")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        print(log.read_text())
