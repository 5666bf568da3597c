"""What a watch says of a site file that gives it too little, and of a secret that it cannot read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from servers.mail import MailServer
from watch_site import site

from labmon.watch.watch import Watch, serve


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"mqtt": None, "watch": None}, "the site file names no broker (mqtt), through which gateways are seen"),
        ({"notices": None}, "the site file names no notice channel (notices): nobody could be told"),
    ],
)
async def test_a_file_that_says_too_little_is_refused_in_one_line(
    parts: dict[str, Any], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = site(tmp_path, 1, **parts)
    assert await serve(loaded) == 2
    assert [record.getMessage() for record in caplog.records] == [f"watch: {loaded.path}: {words}"]


async def test_a_watch_that_cannot_read_its_password_tells_that_it_is_blind(tmp_path: Path, eventually: Any) -> None:
    (tmp_path / "watch").mkdir()
    async with MailServer() as mail:
        mqtt = {
            "host": "127.0.0.1", "status-every": "300 ms", "watch-user": "w", "watch-password": {"file": "gone"},
        }  # fmt: skip
        watch = Watch(site(tmp_path, mail.port, mqtt=mqtt))
        running = asyncio.create_task(watch.run())
        await eventually(lambda: mail.mails)
        watch.stop.set()
        await running
        assert mail.mails[0].subject == "TECHNICAL the watch cannot see the gateways through the message broker"
        assert "secret file gone: cannot be read: No such file or directory" in mail.mails[0].text


async def test_a_part_that_fails_is_told_and_goes_on(tmp_path: Path, eventually: Any, monkeypatch: Any) -> None:
    (tmp_path / "watch").mkdir()
    monkeypatch.setattr("labmon.tasks.kept.RESTART", (0.05,))
    reports: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with MailServer() as mail:
        watch = Watch(site(tmp_path, mail.port))
        judge, failed = watch._judge, []

        def fail_once() -> None:
            if not failed:
                failed.append(True)
                raise ValueError("planted")
            judge()

        monkeypatch.setattr(watch, "_judge", fail_once)
        running = asyncio.create_task(watch.run())
        await eventually(lambda: len(mail.mails) == 2)
        watch.stop.set()
        await running
    assert reports
    subjects = sorted(m.subject for m in mail.mails)
    assert subjects == [
        "TECHNICAL the watch cannot see the gateways through the message broker",
        "TECHNICAL the watch has a fault in its own software",
    ]
    assert any("judge: failed (ValueError: planted), starts again" in m.text for m in mail.mails)
