"""labmon watch as a process that is started, started twice, hindered and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rig import Process
from servers.mail import MailServer
from servers.mosquitto import Mosquitto

pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(90)]

Eventually = Callable[..., Any]


def small(folder: Path, broker: int, mail: int) -> Path:
    """A file for a watch alone, as docs/watch.md shows it."""
    site = {
        "labmon": 1,
        "site": {"id": "lab", "name": "Laboratory"},
        "gateway": {"id": "tower-2"},
        "areas": [],
        "lines": [],
        "mqtt": {"host": "127.0.0.1", "port": broker, "status-every": "300 ms"},
        "notices": {
            "channels": [
                {"id": "mail", "email": {"host": "127.0.0.1", "port": mail, "tls": "none", "from": "w@lab.example"}}
            ],
            "people": [{"id": "duty", "name": "On Duty", "email": "duty@lab.example"}],
            "routes": [{"classes": ["action", "technical"], "to": ["duty"], "by": ["mail"]}],
        },
        "watch": {"gateways": ["gw-1"], "silent-after": "900 ms", "offline-after": "200 ms", "path": "watch.db"},
    }
    path = folder / "site.yaml"
    path.write_text(json.dumps(site))
    return path


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": "2000000"}

    def heard(self, word: str) -> bool:
        try:
            while True:
                self.told += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return word in self.told

    def close(self) -> None:
        self._socket.close()


async def test_it_ends_in_time_whatever_hangs_and_forgets_nothing(tmp_path: Path, eventually: Eventually) -> None:
    with closing(Manager(tmp_path / "notify")) as manager, Mosquitto(tmp_path) as broker:
        async with MailServer() as mail:
            site = small(tmp_path, broker.port, mail.port)
            mail.hang = "data"
            log = tmp_path / "watch.log"
            async with Process(log, "watch", site, environ=os.environ | manager.environ) as watch:
                await eventually(lambda: manager.heard("READY=1"), 20)
                await eventually(lambda: manager.heard("WATCHDOG=1"))
                await eventually(lambda: "gateway-silent: raised" in watch.text())
                await eventually(lambda: mail.connections)

                async with Process(tmp_path / "second.log", "watch", site) as second:
                    await eventually(lambda: not second.running, 20)
                    assert second.code == 1
                    assert f"another one uses {tmp_path}/watch.db; this one does not start" in second.text()

                broker.freeze()
                stopping = asyncio.create_task(watch.stop(within=5.0))
                await eventually(lambda: manager.heard("STOPPING=1"))
                assert await stopping == 0
                broker.thaw()
                mail.release()
                had = len(mail.mails)
                watch.start()
                await eventually(lambda: len(mail.mails) > had, 20)
                assert "Gateway gw-1 is silent." in mail.mails[-1].text
                assert await watch.stop() == 0
                assert watch.faults() == []
