"""Commands that need no hardware: the demonstration, and one simulated instrument."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from labmon.cli.orders import seconds
from labmon.cli.sites import run_loop


@click.command()
@click.option(
    "--for", "how_long", callback=seconds, help="End by itself after 60s, 2 min, ...; left out: Ctrl-C ends it."
)
@click.option("--json", "as_json", is_flag=True, help="No picture; the last line on stdout is one JSON object.")
@click.option("--picture", type=click.Path(path_type=Path), help="Write the last picture to this SVG.")
def demo(how_long: float | None, as_json: bool, picture: Path | None) -> None:
    """A simulated facility with daemon, broker, ingest and store, on this machine, as any user, without network.

    Within a minute a door is left open, a probe fails and a line dies. Exit code 0: nothing was lost and every
    expected alarm came. INFLUX_URL and INFLUX_TOKEN, where set, name the store.
    """
    from labmon.demo.demo import play

    sys.exit(run_loop(play(how_long, as_json, picture)))


def _pairs(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text}: write NAME=VALUE")
        pairs[name] = value
    return pairs


@click.command()
@click.argument("driver")
@click.option("--tcp", type=click.IntRange(0, 65535), help="Serve on this TCP port of loopback; 0 takes a free one.")
@click.option("--pty", "link", type=click.Path(path_type=Path), help="Serve on a pty, to which this name shall point.")
@click.option("--framing", help="modbus-rtu, modbus-ascii, modbus-tcp or text; left out: as fits the driver.")
@click.option("--address", help="Modbus unit id, or what the driver calls an address.")
@click.option(
    "--param", "params", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="A parameter of the driver."
)
@click.option(
    "--set", "values", multiple=True, callback=_pairs, metavar="CHANNEL=VALUE", help="Where a channel shall be."
)
@click.option(
    "--drivers", "folders", multiple=True, type=click.Path(path_type=Path), help="Further folders of drivers."
)
def simulate(
    driver: str,
    tcp: int | None,
    link: Path | None,
    framing: str | None,
    address: str | None,
    params: dict[str, str],
    values: dict[str, str],
    folders: tuple[Path, ...],
) -> None:
    """One instrument from its DRIVER file (maker/model, or the file itself) on a TCP port or a pty.

    Its values move; commands on stdin change what it says and how: `help` lists them.
    """
    from labmon.simulate.console import Wanted, serve

    if tcp is not None and link is not None:
        raise click.UsageError("give one of --tcp and --pty, not both")
    wanted = Wanted(driver, tcp, link, framing, address, params, values, folders)
    try:
        code = asyncio.run(serve(wanted))
    except (ValueError, LookupError) as error:
        click.echo(f"labmon simulate: {error.args[0] if error.args else error}", err=True)
        code = 2
    except OSError as error:
        click.echo(f"labmon simulate: {error}", err=True)
        code = 1
    sys.exit(code)
