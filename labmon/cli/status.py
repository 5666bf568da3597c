"""`labmon status`: what the daemon is doing, as a page, one JSON object, or one line."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from labmon.cli.orders import ask_daemon, json_option, socket_option


@click.command()
@socket_option
@json_option
@click.option("--check", "only_check", is_flag=True, help="One line; exit code 1 when anything is not well.")
@click.option("--all", "every_device", is_flag=True, help="Each device, also of many that are all well.")
def status(path: Path, as_json: bool, only_check: bool, every_device: bool) -> None:
    """What the daemon is doing: alarms, lines, devices, journal, backlog.

    Needs the daemon and nothing else: no broker, no database, no network. Exit code 0 when it answers.
    """
    found = ask_daemon(path, "status")
    from labmon.cli.paper import printable, show
    from labmon.cli.picture import headline, picture, troubles

    if as_json:
        click.echo(orjson.dumps(found).decode())
    elif only_check:
        click.echo(headline(printable(found)))
    else:
        show(picture(printable(found), every_device=every_device))
    if only_check and troubles(found):
        sys.exit(1)
