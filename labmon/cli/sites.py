"""Commands on a site file: check it, run its daemon, run its ingest."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from labmon.acquisition.load import Loaded
    from labmon.config.site import Site

SERVICE_SITE = Path("/etc/labmon/site.yaml")
"""Of a gateway in service."""
_SITE = click.argument("site", type=click.Path(path_type=Path))


def start_logging(level: str) -> None:
    """Log to stderr; under systemd with its priority prefixes and without a time of our own."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Prefixed() if under_systemd else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class _Prefixed(logging.Formatter):
    """`<4>text`: the priority as systemd reads it."""

    _LEVELS = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}

    def format(self, record: logging.LogRecord) -> str:
        return f"<{self._LEVELS.get(record.levelno, 6)}>{super().format(record)}"


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end in uvloop where it is there, else in asyncio's own loop; nothing that hangs holds up the end."""
    from labmon.tasks.process import run as run_to_end

    try:
        import uvloop

        factory: Any = uvloop.new_event_loop
    except ImportError:
        factory = None
    return run_to_end(main, factory)


def load_or_exit(site: Path) -> Loaded:
    """Load, or print every error and exit 2."""
    from labmon.acquisition.load import load

    loaded = load(site)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if loaded.errors:
        for error in loaded.errors:
            click.echo(str(error), err=True)
        count = len(loaded.errors)
        click.echo(f"{count} error{'s' if count > 1 else ''}", err=True)
        sys.exit(2)
    return loaded


@click.command()
@_SITE
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def check(site: Path, as_json: bool) -> None:
    """Check a site file and print what it will poll, deliver and store. Connects to nothing."""
    from labmon.daemon.checked import summary, text

    found = summary(load_or_exit(site))
    click.echo(orjson.dumps(found).decode() if as_json else text(found))


@click.command()
@_SITE
@click.option("--log", "level", default="info", type=click.Choice(["debug", "info", "warning"]), show_default=True)
def run(site: Path, level: str) -> None:
    """Run the daemon of a site file until SIGTERM or SIGINT."""
    import gc

    from labmon.tasks.process import heed_signals_early

    heed_signals_early()
    gc.disable()  # until the daemon stands: collections cost a tenth of its start and find nothing
    from labmon.daemon.serve import serve

    loaded = load_or_exit(site)
    start_logging(level)
    sys.exit(run_loop(serve(loaded)))


@click.command()
@_SITE
@click.option("--store", default=None, help="Id of the store to write to; left out: the site's only one.")
@click.option("--log", "level", default="info", type=click.Choice(["debug", "info", "warning"]), show_default=True)
def ingest(site: Path, store: str | None, level: str) -> None:
    """Write what gateways deliver into a store, and confirm it. Any number may run, anywhere."""
    from labmon.tasks.process import heed_signals_early

    heed_signals_early()
    from labmon.config.secrets import SecretError
    from labmon.ingest.process import IngestNotConfigured, run_ingest

    loaded = load_or_exit(site)
    start_logging(level)

    def again() -> Site | None:
        from labmon.acquisition.load import load

        now = load(site)
        for error in now.errors:
            logging.getLogger("labmon.ingest").error("%s", error)
        return None if now.errors else now.site

    async def body() -> int:
        if loaded.site is None:
            return 2
        try:
            await run_ingest(loaded.site, store, folder=site.parent, again=again)
        except (IngestNotConfigured, SecretError) as error:
            click.echo(f"labmon ingest: {site}: {error}", err=True)
            return 2
        return 0

    sys.exit(run_loop(body()))


@click.command()
@_SITE
@click.option("--log", "level", default="info", type=click.Choice(["debug", "info", "warning"]), show_default=True)
def watch(site: Path, level: str) -> None:
    """Tell people when a gateway or ingest falls silent. To be run elsewhere than on the gateway."""
    from labmon.tasks.process import heed_signals_early

    heed_signals_early()
    from labmon.watch.watch import serve

    loaded = load_or_exit(site)
    start_logging(level)
    sys.exit(run_loop(serve(loaded)))
