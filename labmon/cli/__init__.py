"""The command line: exit code 0 done, 1 refused or failed, 2 wrong input."""

from __future__ import annotations

import click

import labmon
from labmon.cli.demonstrate import demo, simulate
from labmon.cli.orders import alarm, device, status, user
from labmon.cli.sites import check, ingest, run


class _Group(click.Group):
    """A group that names the nearest command when one is mistyped."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = _nearest(args[0], list(self.commands))
            if near is None:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near}?", ctx) from None


def _nearest(word: str, words: list[str]) -> str | None:
    import difflib

    found = difflib.get_close_matches(word, words, 1, 0.5)
    return found[0] if found else None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(labmon.__version__, prog_name="labmon")
def main() -> None:
    """Environmental monitoring for GMP cell therapy plants."""


main.group_class = _Group
main.add_command(check)
main.add_command(run)
main.add_command(ingest)
main.add_command(demo)
main.add_command(simulate)
main.add_command(alarm)
main.add_command(device)
main.add_command(status)
main.add_command(user)
