"""`labmon doctor`: what a support engineer would look at first."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from labmon.cli.orders import json_option
from labmon.cli.sites import SERVICE_SITE


@click.command()
@click.argument("site", type=click.Path(path_type=Path), default=SERVICE_SITE)
@json_option
@click.option("--all", "everything", is_flag=True, help="Also what is well.")
def doctor(site: Path, as_json: bool, everything: bool) -> None:
    """Look at ports, disk, clock, broker, stores, mail and rights, and say what to do.

    Works with and without the daemon, and does not disturb it. As root it sees more. Exit code 0 when there is no
    fault, 1 when there is one, 2 when the site file (default /etc/labmon/site.yaml) cannot be used.
    """
    from labmon.acquisition.load import load
    from labmon.alarms.errors import CommandRefused
    from labmon.daemon.control import ask
    from labmon.doctor.case import Case
    from labmon.doctor.examine import examine, worst
    from labmon.doctor.finding import Level
    from labmon.doctor.service import socket_of

    site = site.absolute()
    loaded = load(site)
    status, silence = None, ""
    try:
        status = ask(socket_of(loaded.site, site.parent), "status", timeout=5.0)
    except (ConnectionError, CommandRefused) as error:
        silence = str(error)
    findings = examine(Case(loaded, status, silence))
    if as_json:
        click.echo(orjson.dumps({"v": 1, "findings": [finding.to_dict() for finding in findings]}).decode())
    else:
        from labmon.cli.paper import show
        from labmon.cli.prescription import prescription

        show(prescription(findings, everything=everything))
    if loaded.errors:
        sys.exit(2)
    sys.exit(1 if worst(findings) is Level.FAULT else 0)
