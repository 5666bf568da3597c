"""Backups: make one, prove that it is whole, put it in place."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import orjson

from labmon.cli.sites import SERVICE_SITE, load_or_exit

if TYPE_CHECKING:
    from labmon.archive.verify import Verified


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--site", type=click.Path(path_type=Path), default=SERVICE_SITE, show_default=True, help="The site file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def backup(folder: Path, site: Path, as_json: bool) -> None:
    """Write a backup into FOLDER while the daemon goes on: journal, site file, drivers, profiles. No secrets."""
    from labmon.archive.backup import make_backup
    from labmon.archive.manifest import BackupError

    loaded = load_or_exit(site)
    os.nice(10)  # polling goes first
    try:
        made, manifest = make_backup(loaded, folder)
    except BackupError as error:
        _fail(error)
    if as_json:
        click.echo(orjson.dumps({"backup": str(made), **manifest.model_dump(by_alias=True)}).decode())
        return
    size = sum(file.size for file in manifest.files)
    click.echo(f"{made}: {len(manifest.files)} files, {size / 1e6:.1f} MB, journal up to entry {manifest.last}")
    if manifest.secrets:
        click.echo(f"Not in it, to be kept elsewhere: {', '.join(manifest.secrets)}")
    click.echo(f"Prove it: labmon restore --verify {made}")


@click.command()
@click.argument("backup", type=click.Path(path_type=Path))
@click.option("--site", type=click.Path(path_type=Path), default=SERVICE_SITE, show_default=True, help="Restore to.")
@click.option("--verify", "only_verify", is_flag=True, help="Read all of it, say whether it is whole; change nothing.")
@click.option("--set-aside", is_flag=True, help="Rename the journal that stands there instead of refusing.")
@click.option("--journal-only", is_flag=True, help="Keep this gateway's site file; restore the journal only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def restore(backup: Path, site: Path, only_verify: bool, set_aside: bool, journal_only: bool, as_json: bool) -> None:
    """Put a BACKUP in place on this gateway, or --verify that this could be done. The daemon must be stopped."""
    from labmon.archive.manifest import BackupError
    from labmon.archive.restore import restore as put_in_place
    from labmon.archive.verify import verify
    from labmon.links.holder import caller

    try:
        if only_verify:
            _tell(verify(backup), as_json)
            return
        done = put_in_place(backup, site, aside=set_aside, site_too=not journal_only, who=caller())
    except BackupError as error:
        _fail(error)
    if as_json:
        told = {"site": str(site), "journal": done.journal, "path": str(done.journal_path)}
        aside = str(done.aside) if done.aside else None
        click.echo(orjson.dumps({**told, "aside": aside, "secrets": done.manifest.secrets}).decode())
        return
    for path in done.placed:
        click.echo(f"placed {path}")
    for path in done.kept:
        click.echo(f"kept {path}: the same as in the backup")
    if done.aside is not None:
        click.echo(f"set aside {done.aside}")
    click.echo(f"restored {done.journal_path} as journal {done.journal}")
    if done.manifest.secrets:
        click.echo(f"Give this gateway its secrets before it starts: {', '.join(done.manifest.secrets)}")
    click.echo(f"Then: labmon check {site}; systemctl start labmon")


def _tell(found: Verified, as_json: bool) -> None:
    manifest = found.manifest
    if as_json:
        counts = {name: getattr(found, name) for name in ("entries", "readings", "events", "damaged", "first", "last")}
        told = {"sound": not found.faults, "site": manifest.site, "gateway": manifest.gateway, "made": manifest.made}
        click.echo(orjson.dumps({**told, **counts, "faults": found.faults, "notes": found.notes}).decode())
    else:
        click.echo(f"gateway {manifest.site}/{manifest.gateway}, made {manifest.made} by labmon {manifest.labmon}")
        click.echo(
            f"journal {manifest.journal}: {found.entries} entries, {found.readings} readings, {found.events} events, "
            f"{_time(found.first)} to {_time(found.last)}"
        )
        for line in (*found.notes, *found.faults):
            click.echo(line)
        click.echo("NOT SOUND" if found.faults else "sound: every file, every entry and the site file were read")
    sys.exit(1 if found.faults else 0)


def _time(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1e9, UTC).isoformat(timespec="seconds") if moment else "-"


def _fail(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        click.echo(f"labmon: {line}", err=True)
    sys.exit(1)
