"""`labmon driver check`: every mistake of driver files, at its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from labmon.cli.driver_options import SAID_NO, WRONG_INPUT, folders_option, is_file
from labmon.cli.words import many

if TYPE_CHECKING:
    from labmon.config.errors import ConfigError
    from labmon.drivers.load import DriverLoad

STDIN = "-"


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@folders_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout, with an object for each file.")
def check_drivers(files: tuple[str, ...], folders: tuple[Path, ...], as_json: bool) -> None:
    """Check driver files: every mistake of each, with file, line and column. Connects to nothing.

    FILE may be a folder (all files in it), the id of a driver, or - for stdin. Exit code 0: fit for service;
    1: right in itself, but something has no example yet; 2: mistakes.
    """
    from labmon.drivers.branches import without_example

    told = []
    worst = 0
    for name, loaded in loads(files, folders):
        missing = without_example(loaded)
        notices = sorted([*missing, *loaded.advice])
        # The map of a generic driver is the site's, so that there are no bytes to show.
        excused = loaded.driver is not None and loaded.driver.generic
        code = WRONG_INPUT if loaded.errors else SAID_NO if missing and not excused else 0
        worst = max(worst, code)
        if as_json:
            rows = [[_row(one) for one in found] for found in (loaded.errors, notices)]
            told.append({"file": name, "fit": code == 0, "errors": rows[0], "notices": rows[1]})
            continue
        for error in loaded.errors:
            click.echo(str(error))
        for notice in notices:
            click.echo(f"{notice} (notice)")
        click.echo(f"{name}: {_verdict(len(loaded.errors), len(missing), len(loaded.advice), excused)}")
    if as_json:
        click.echo(orjson.dumps(told).decode())
    sys.exit(worst)


def loads(files: tuple[str, ...], folders: tuple[Path, ...]) -> Iterator[tuple[str, DriverLoad]]:
    """Each file that is named on the command line (a file, a folder of them, an id, - for stdin), loaded."""
    from labmon.config.errors import ConfigError
    from labmon.drivers.catalogue import Catalogue
    from labmon.drivers.load import DriverLoad, load_driver

    known: dict[str, Path] | None = None
    for name in files:
        if name == STDIN:
            yield name, _from_stdin()
        elif Path(name).is_dir():
            inside = sorted(Path(name).rglob("*.yaml"))
            if not inside:
                yield name, DriverLoad(None, [ConfigError(name, 1, 1, "", "there is no .yaml file in this folder")])
            for path in inside:
                yield str(path), load_driver(path)
        else:
            if known is None and not is_file(name):
                known = Catalogue(folders).paths()
            path = (known or {}).get(name, Path(name)) if not is_file(name) else Path(name)
            yield str(path), load_driver(path)


def _from_stdin() -> DriverLoad:
    from labmon.config.errors import ConfigError
    from labmon.drivers.load import DriverLoad, load_driver

    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return DriverLoad(None, [ConfigError("stdin", 1, 1, "", "is not UTF-8 text")])
    return load_driver(Path("stdin"), "stdin/stdin", text=text)


def _verdict(mistakes: int, missing: int, advice: int, excused: bool) -> str:
    if mistakes:
        return many(mistakes, "mistake")
    more = f"; {many(advice, 'notice')} more" if missing and advice else f"; {many(advice, 'notice')}" if advice else ""
    if not missing:
        return f"no mistake, everything has an example{more}"
    rest = f"{many(missing, 'notice')} of what no example shows{more}"
    return f"no mistake; {rest}" if excused else f"no mistake, but not ready: {rest}"


def _row(error: ConfigError) -> dict[str, Any]:
    return {
        "line": error.line,
        "column": error.column,
        "path": error.path,
        "message": error.message,
        "hint": error.hint,
    }
