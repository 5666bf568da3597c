"""`labmon driver probe`: talk to one real instrument and show everything that it says."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from labmon.cli.driver_options import (
    SAID_NO,
    WRONG_INPUT,
    address_option,
    fail,
    folders_option,
    params_option,
)
from labmon.cli.driver_target import Given, Target, target_or_exit
from labmon.cli.orders import DEFAULT_SOCKET, seconds
from labmon.cli.sites import SERVICE_SITE

if TYPE_CHECKING:
    from labmon.drivers.probing import Probe
    from labmon.drivers.scanning import Scan
    from labmon.drivers.watched import Watched

_MOST_TIMES = 1000


@click.command("probe")
@click.argument("target", metavar="DEVICE|FILE-or-ID")
@click.option(
    "--site", type=click.Path(path_type=Path), default=SERVICE_SITE, show_default=True, help="Site file of DEVICE."
)
@click.option("--port", help="Serial port at which the instrument of a driver FILE is.")
@click.option("--host", metavar="HOST[:PORT]", help="TCP endpoint of it; port 502 where none is given.")
@click.option("--serial", help="Serial settings where they are not as delivered: 9600 8N1.")
@click.option("--framing", help="modbus-rtu, modbus-ascii, modbus-tcp, text, binary; left out: as fits the driver.")
@address_option
@params_option
@folders_option
@click.option("--query", "names", multiple=True, help="Ask only this query; may be given again.")
@click.option("--times", type=click.IntRange(1, _MOST_TIMES), default=5, show_default=True, help="Ask each so often.")
@click.option("--timeout", callback=seconds, help="Wait so long for a reply in a scan: 200 ms. Left out: the file's.")
@click.option("--allow-effects", is_flag=True, help="Ask also what changes something in the instrument, once.")
@click.option("--record", is_flag=True, help="Append what it said to the driver file, as recorded examples.")
@click.option("--unit", "serial_number", help="Serial number of the unit, for --record; left out: what it says itself.")
@click.option("--scan", nargs=2, metavar="WHAT RANGE", help="units 1-247, or holding|input|coils|discrete 0-200.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def probe_driver(
    target: str,
    site: Path,
    port: str | None,
    host: str | None,
    serial: str | None,
    framing: str | None,
    address: str | None,
    params: dict[str, str],
    folders: tuple[Path, ...],
    names: tuple[str, ...],
    times: int,
    timeout: float | None,
    allow_effects: bool,
    record: bool,
    serial_number: str | None,
    scan: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Talk to a real instrument: a DEVICE of the site file, or the instrument of a driver FILE at --port or --host.

    Shows the bytes, the values in all four word orders beside the plausible range, the identity, and how long it takes
    to answer. Reads only; what changes something in the instrument is left out unless --allow-effects. The daemon must
    not hold the line. Exit code 1: no answer, or not the right instrument.
    """
    found = target_or_exit(Given(target, site, port, host, serial, framing, address, params, folders))
    if scan is not None:
        if record or names:
            fail("a scan records nothing and asks no query: give --scan alone", WRONG_INPUT)
        sys.exit(_scan(found, *scan, timeout, as_json))
    unknown = sorted(set(names) - set(found.driver.file.queries))
    if unknown:
        fail(f"{found.driver.id} has no query {', '.join(unknown)}; it has {', '.join(found.driver.file.queries)}", 2)
    if record:
        _refuse_record(found, names, allow_effects=allow_effects)
    sys.exit(_probe(found, names, times, allow_effects, record, serial_number, as_json))


# ---------------------------------------------------------------- the line


def _refuse_held(target: Target) -> None:
    """A line that the running daemon polls is not for a second conversation: they would take each other's replies."""
    from labmon.alarms.errors import CommandRefused
    from labmon.daemon.control import ask

    path = target.socket or Path(os.environ.get("LABMON_SOCKET", DEFAULT_SOCKET))
    try:
        status = ask(path, "status", 5.0)
    except (ConnectionError, CommandRefused):
        return
    for line in status["lines"]:
        if line["endpoint"] == str(target.endpoint):
            fail(
                f"{line['endpoint']} is polled by the daemon (pid {status['pid']}, user {status['user']}), which has "
                f"it as line {line['line']}: sudo systemctl stop labmon, or take the line out of its site file and "
                "labmon reload"
            )


def _talk(target: Target, body: Callable[[Watched], Coroutine[Any, Any, None]]) -> str:
    """Open the line, let `body` talk, close it: also on Ctrl-C, with nothing left to be sent. Why it did not, if so."""
    from labmon.drivers.session import close_sessions
    from labmon.drivers.watched import TRACE, Watched
    from labmon.links.errors import LinkLost
    from labmon.links.opening import make_link

    async def main() -> str:
        # By the loop, so that Ctrl-C falls between two callbacks and not into one.
        task = asyncio.current_task()
        if task is not None and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        link = Watched(make_link(target.endpoint, target.framing, quiet=target.quiet, trace=TRACE))
        try:
            await link.open()
        except LinkLost as lost:
            return lost.detail
        try:
            await body(link)
        finally:
            try:
                await close_sessions(link)
            finally:
                await link.close()
        return ""

    _refuse_held(target)
    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return "interrupted"


# ---------------------------------------------------------------- probe


def _refuse_record(target: Target, names: tuple[str, ...], *, allow_effects: bool) -> None:
    from labmon.drivers.given import applies
    from labmon.drivers.probing import effects_of
    from labmon.drivers.records import asked

    if target.path is None:
        fail(
            f"{target.driver.id} came with labmon: copy its file to a folder of yours, and probe with that file",
            WRONG_INPUT,
        )
    if allow_effects:
        return
    for name, query in target.driver.file.queries.items():
        if not applies(query.when, target.setting.params) or (names and name not in names):
            continue
        if effects := effects_of(asked(query, target.setting)[0], target.setting):
            fail(
                f"query {name} changes something in the instrument: {'; '.join(effects)}. Choose others with --query, "
                "or say --allow-effects",
                WRONG_INPUT,
            )


def _probe(
    target: Target,
    names: tuple[str, ...],
    times: int,
    allow_effects: bool,
    record: bool,
    serial_number: str | None,
    as_json: bool,
) -> int:
    from labmon.cli.driver_probed import page, told
    from labmon.cli.paper import show
    from labmon.drivers.probing import Probe, Subject, probe

    found = Probe()

    async def body(link: Watched) -> None:
        subject = Subject(
            target.driver, target.framing, target.setting.address, target.given, link, allow_effects=allow_effects
        )
        await probe(subject, found, names=names, times=times)

    why = _talk(target, body)
    recorded: list[str] = []
    problem = ""
    if record and not why and not found.lost:
        recorded, problem = _record(target, found, serial_number)
    result = told(target, found)
    result["error"] = why or None
    result["recorded"] = len(recorded)
    result["not-recorded"] = problem or None
    if as_json:
        click.echo(orjson.dumps(result).decode())
    elif found.queries or found.identity_exchanges or not why:
        show(page(result))
    if why:
        click.echo(f"labmon: {why}", err=True)
    if record and not as_json and not why:
        for line in problem.splitlines() or [f"{len(recorded)} recorded in {target.path}"]:
            click.echo(f"labmon: {line}" if problem else line, err=bool(problem))
    return SAID_NO if why or problem or not found.good else 0


def _record(target: Target, found: Probe, serial_number: str | None) -> tuple[list[str], str]:
    from labmon.drivers.recording import NotRecorded, append, blocks

    unit = serial_number or found.identity
    if not unit:
        return [], "the instrument does not say who it is: name the unit with --unit"
    if found.identity_error:
        return [], f"not recorded: {found.identity_error}"
    origin = f"unit {unit}, {dt.datetime.now().astimezone().date().isoformat()}"
    made = blocks(target.driver, found.setting or target.setting, found, origin)
    if not made:
        return [], "nothing to record: no whole answer that the file does not show already"
    try:
        assert target.path is not None
        append(target.path, made)
    except NotRecorded as error:
        return [], str(error)
    return made, ""


# ---------------------------------------------------------------- scan


def _scan(target: Target, what: str, range_: str, timeout: float | None, as_json: bool) -> int:
    from labmon.cli.driver_probed import scan_page, scan_told
    from labmon.cli.paper import show
    from labmon.drivers.scanning import ScanRefused, plan, scan

    try:
        found = plan(what, range_, target.setting)
    except ScanRefused as refused:
        fail(str(refused), WRONG_INPUT)
    patience = timeout or target.driver.file.timing.timeout

    async def body(link: Watched) -> None:
        await scan(found, target.setting, link, timeout=patience, progress=_progress(found))

    why = _talk(target, body)
    if sys.stderr.isatty():
        click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
    result = scan_told(target, found)
    result["error"] = why or None
    if as_json:
        click.echo(orjson.dumps(result).decode())
    elif found.asked or not why:
        show(scan_page(result))
    if why:
        click.echo(f"labmon: {why}", err=True)
    return SAID_NO if why or found.lost or not found.hits else 0


def _progress(found: Scan) -> Callable[[Scan], None]:
    if not sys.stderr.isatty():
        return lambda _: None

    def tell(scan: Scan) -> None:
        click.echo(f"\r{scan.asked} of {found.last - found.first + 1}, {len(scan.hits)} found ", nl=False, err=True)

    return tell
