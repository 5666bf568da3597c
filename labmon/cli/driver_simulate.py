"""`labmon driver simulate`: the instrument of a driver file on a TCP port or a pty."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from labmon.cli.driver_options import SAID_NO, WRONG_INPUT, address_option, fail, folders_option, pairs, params_option
from labmon.cli.orders import seconds

TCP, PTY = "tcp", "pty"


def port(_context: click.Context, _parameter: click.Parameter, given: str) -> tuple[int | None, Path | None]:
    """`pty`, `pty:NAME`, `tcp` or `tcp:PORT`: the TCP port, or the name that shall point to the pty."""
    kind, colon, rest = given.partition(":")
    if kind == PTY and bool(colon) is bool(rest):
        return None, Path(rest) if rest else None
    if kind == TCP and (not colon or (rest.isascii() and rest.isdigit() and int(rest) <= 0xFFFF)):
        return int(rest or 0), None
    raise click.BadParameter(f"{given}: write pty, pty:NAME, tcp or tcp:PORT")


@click.command("simulate")
@click.argument("driver", metavar="FILE")
@click.option(
    "--port", callback=port, default=PTY, show_default=True, metavar="pty[:NAME]|tcp[:PORT]",
    help="Where it is served; NAME shall point to the pty; without PORT, or with 0, a free one.",
)  # fmt: skip
@click.option("--framing", help="One of the file's framings; left out: the first that fits the port.")
@address_option
@params_option
@click.option(
    "--set", "values", multiple=True, callback=pairs, metavar="CHANNEL=VALUE",
    help="Where a channel shall be; may be given again.",
)  # fmt: skip
@click.option(
    "--fault", "commands", multiple=True, metavar="COMMAND",
    help="How it misbehaves from the start, as on stdin: silent, 'late 0.5', 'stuck co2'; may be given again.",
)  # fmt: skip
@click.option(
    "--door", "door_every", callback=seconds, metavar="TIME", help="Somebody opens its door so often: 20 min."
)
@folders_option
def simulate_driver(
    driver: str, port: tuple[int | None, Path | None], framing: str | None, door_every: float | None, **given: Any
) -> None:
    """The instrument of a driver FILE (or the id of a driver), with values that move, on a pty or a TCP port.

    It prints where it is served, and takes commands on stdin: values, faults, its door, its clock; `help` lists them.
    Ctrl-C, SIGTERM or `quit` ends it.
    """
    from labmon.simulate.console import Wanted, serve

    wanted = Wanted(driver, *port, framing, door_every=door_every, **given)
    try:
        code = asyncio.run(serve(wanted))
    except (ValueError, LookupError) as error:
        fail(str(error.args[0] if error.args else error), WRONG_INPUT)
    except OSError as error:
        fail(str(error), SAID_NO)
    sys.exit(code)
