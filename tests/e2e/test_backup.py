"""The SD card of a gateway dies; its last backup lives on in a new one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from known import Known
from rig import JournalFile, asked, command, daemon, device, on_tcp, serving, tcp_line, write_site

from labmon.model.event import EventKind

pytestmark = [pytest.mark.xdist_group("heavy")]

Eventually = Callable[..., Any]


async def test_a_backup_of_a_running_gateway_lives_on_in_a_new_one(tmp_path: Path, eventually: Eventually) -> None:
    old, new, stick = tmp_path / "old", tmp_path / "new", tmp_path / "stick"
    for folder in (old, new, stick):
        folder.mkdir()
    async with serving(on_tcp(Known(1))) as line:
        site = write_site(old, lines=[tcp_line(line.port, device("incubator-1", 1))])
        async with daemon(site) as process:
            journal = JournalFile(site)
            await eventually(lambda: journal.exists() and journal.last() > 20, 20, "entries")
            code, out, err = await command("backup", stick, "--site", site, "--json")
            assert (code, err) == (0, "")
            manifest = json.loads(out)
            await eventually(lambda: journal.last() > manifest["last"] + 5, 20, "entries after the backup")
            process.kill()
        shutil.rmtree(old)

        code, out, _ = await command("restore", manifest["backup"], "--verify")
        assert code == 0
        assert "sound" in out
        site = new / "site.yaml"
        code, out, err = await command("restore", manifest["backup"], "--site", site)
        assert (code, err) == (0, "")
        async with daemon(site) as process:
            journal = JournalFile(site)
            await eventually(lambda: journal.last() > manifest["last"] + 20, 20, "entries after the restore")
            status = await asked(site)
            # A second restore is refused while it runs.
            code, _, err = await command("restore", manifest["backup"], "--site", site, "--set-aside")
            assert code == 1
            assert "in use by process" in err
            assert await process.stop() == 0
        assert process.faults() == []
    assert status["journal"]["id"] != manifest["journal"]
    seqs = [entry.seq for entry in journal.entries()]
    assert seqs == list(range(1, len(seqs) + 1))
    kinds = [event.kind for event in journal.events()]
    # No STOPPED between them: the first gateway died.
    assert kinds.index(EventKind.JOURNAL) > kinds.index(EventKind.STARTED)
    assert kinds.count(EventKind.STARTED) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["backup", "{tmp}/none", "--site", "{tmp}/no-site.yaml"], 2, "no-site.yaml"),
        (["restore", "{tmp}/none"], 1, "is this the folder of a backup?"),
        (["restore", "--verify", "{tmp}"], 1, "manifest.json"),
        (["restore"], 2, "BACKUP"),
    ],
)
async def test_a_wrong_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    found, _, err = await command(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert found == code
    assert told in err
    assert "Traceback" not in err
