"""`labmon driver test`: every example of driver files over a real line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from labmon.cli.driver_check import loads
from labmon.cli.driver_options import SAID_NO, WRONG_INPUT, folders_option
from labmon.cli.words import many

if TYPE_CHECKING:
    from labmon.drivers.compile import CompiledDriver
    from labmon.drivers.load import DriverLoad
    from labmon.simulate.proof import Trial


@click.command("test")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@folders_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout, with an object for each file.")
def test_drivers(files: tuple[str, ...], folders: tuple[Path, ...], as_json: bool) -> None:
    """Play every example of driver files through the code that serves real lines, over a pty or a socket.

    Both ways: what labmon sends must be what the example says, and what comes back must give its readings; in each
    framing of the file that can say the same. FILE may be a folder (all files in it), the id of a driver, or - for
    stdin. Needs no hardware. Exit code 1: an example fails, or there is none; 2: a file has mistakes.
    """
    sys.exit(asyncio.run(_test(list(loads(files, folders)), as_json)))


async def _test(files: list[tuple[str, DriverLoad]], as_json: bool) -> int:
    """Play the examples of all files at once, and tell of them in their order; the exit code."""
    from labmon.simulate.proof import AT_ONCE, prove

    turns = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        running = [
            None if loaded.driver is None else group.create_task(prove(loaded.driver, turns)) for _, loaded in files
        ]
        return await _tell_all(files, running, as_json)


async def _tell_all(
    files: list[tuple[str, DriverLoad]], running: list[asyncio.Task[list[Trial]] | None], as_json: bool
) -> int:
    told: list[dict[str, Any]] = []
    worst = 0
    for (name, loaded), playing in zip(files, running, strict=True):
        if loaded.driver is None or playing is None:
            worst = WRONG_INPUT
            told.append({"file": name, "ok": False, "errors": [str(error) for error in loaded.errors], "trials": []})
            if not as_json:
                for error in loaded.errors:
                    click.echo(str(error))
                click.echo(f"{name}: {many(len(loaded.errors), 'mistake')}, so nothing was tried")
            continue
        trials = await playing
        failed = [trial for trial in trials if trial.problems]
        if failed or not trials:
            worst = max(worst, SAID_NO)
        told.append({"file": name, "ok": bool(trials) and not failed, "errors": [], "trials": _rows(trials)})
        if not as_json:
            _tell(name, loaded.driver, trials)
    if as_json:
        click.echo(orjson.dumps(told).decode())
    return worst


def _rows(trials: list[Trial]) -> list[dict[str, Any]]:
    return [trial.to_dict() for trial in trials]


def _tell(name: str, driver: CompiledDriver, trials: list[Trial]) -> None:
    from labmon.config.parse import parse

    positions = parse(driver.source_text, name).positions
    for trial in trials:
        line, column = positions.value(("examples", trial.example - 1))
        for problem in trial.problems:
            click.echo(f"{name}:{line}:{column}: example {trial.example}, {trial.title}, {trial.framing}: {problem}")
    failed = {trial.example for trial in trials if trial.problems}
    count = len({trial.example for trial in trials})
    if not count:
        click.echo(f"{name}: there is no example, so nothing is proven")
    elif failed:
        click.echo(f"{name}: {len(failed)} of {many(count, 'example')} fail{'s' if len(failed) == 1 else ''}")
    else:
        framings = ", ".join(f for f in driver.framings if any(trial.framing == f for trial in trials))
        click.echo(f"{name}: {many(count, 'example')} hold{'s' if count == 1 else ''} ({framings})")
