"""The command line: exit code 0 done, 1 refused or failed, 2 wrong input."""

from __future__ import annotations

import click

import labmon
from labmon.cli.archive import backup, restore
from labmon.cli.demonstrate import demo, simulate
from labmon.cli.doctor import doctor
from labmon.cli.driver import driver
from labmon.cli.group import Group
from labmon.cli.orders import alarm, device, reload, user
from labmon.cli.sites import check, ingest, run, watch
from labmon.cli.status import status


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(labmon.__version__, prog_name="labmon")
def main() -> None:
    """Environmental monitoring for GMP cell therapy plants."""


main.add_command(check)
main.add_command(run)
main.add_command(ingest)
main.add_command(watch)
main.add_command(demo)
main.add_command(simulate)
main.add_command(alarm)
main.add_command(device)
main.add_command(reload)
main.add_command(status)
main.add_command(doctor)
main.add_command(driver)
main.add_command(user)
main.add_command(backup)
main.add_command(restore)
