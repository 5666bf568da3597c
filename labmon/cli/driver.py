"""`labmon driver`: everything that is done with driver files. Each verb has a file of its own."""

from __future__ import annotations

import click

from labmon.cli.driver_check import check_drivers
from labmon.cli.driver_list import list_drivers
from labmon.cli.driver_new import new_driver
from labmon.cli.driver_probe import probe_driver
from labmon.cli.driver_show import show_driver
from labmon.cli.driver_simulate import simulate_driver
from labmon.cli.driver_test import test_drivers
from labmon.cli.group import Group


@click.group(cls=Group)
def driver() -> None:
    """Driver files: list them, look at one, check it, test it, play its instrument.

    Exit code 0: fine; 1: what was asked about is not so; 2: wrong input.
    """


for verb in (
    list_drivers,
    show_driver,
    check_drivers,
    new_driver,
    probe_driver,
    test_drivers,
    simulate_driver,
):
    driver.add_command(verb)
