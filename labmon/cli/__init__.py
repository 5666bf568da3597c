"""The command line."""

from __future__ import annotations

import click

import labmon


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(labmon.__version__, prog_name="labmon")
def main() -> None:
    """Environmental monitoring for GMP cell therapy plants."""
