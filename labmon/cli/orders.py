"""Commands to a running daemon over its local socket: they work with broker and network away."""

from __future__ import annotations

import datetime as dt
import getpass
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson

from labmon.cli.group import Group

RELOAD = 120.0
"""Seconds that a reload may take: the consumers of a large site end, each within seconds, and begin again."""
DEFAULT_SOCKET = "/run/labmon/control.sock"

socket_option = click.option(
    "--socket", "path", type=click.Path(path_type=Path), default=DEFAULT_SOCKET, envvar="LABMON_SOCKET",
    show_default=True, show_envvar=True, help="Control socket of the daemon.",
)  # fmt: skip
_reason = click.option("--reason", required=True, help="Why; it is recorded with your name.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def ask_daemon(path: Path, verb: str, patience: float = 10.0, **arguments: Any) -> Any:
    """The daemon's answer. Ends the command with exit code 1 when it refuses, or does not answer."""
    from labmon.alarms.errors import CommandRefused
    from labmon.daemon.control import ask

    try:
        return ask(path, verb, patience, **arguments)
    except CommandRefused as refused:
        _fail(str(refused))
    except ConnectionError as error:
        _fail(f"{error}: {_remedy(error.__cause__)}")


def _remedy(error: BaseException | None) -> str:
    match error:
        case PermissionError():
            return f"sudo usermod -aG labmon {getpass.getuser()}, then log in anew"
        case FileNotFoundError() | ConnectionRefusedError():
            return "is it running (systemctl status labmon), and is --socket its socket? sudo labmon doctor finds out"
        case _:
            return "is --socket the daemon's socket? sudo labmon doctor finds out"


def _fail(text: str) -> NoReturn:
    click.echo(f"labmon: {text}", err=True)
    sys.exit(1)


def seconds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """A duration as the site file writes it, in seconds."""
    from labmon.config.types import parse_duration

    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group(cls=Group)
def alarm() -> None:
    """Alarms: list them, acknowledge one."""


@alarm.command("list")
@socket_option
@json_option
def alarm_list(path: Path, as_json: bool) -> None:
    """Every alarm that is not normal."""
    alarms = ask_daemon(path, "alarms")
    if as_json:
        click.echo(orjson.dumps(alarms).decode())
        return
    if not alarms:
        click.echo("no alarm")
    for row in alarms:
        since = dt.datetime.fromtimestamp(row["since"] / 1e9).astimezone() if row.get("since") else None
        click.echo(f"{row['state']:12} {row['class']:10} {row['alarm']}")
        click.echo(f"{'':12} {row.get('text', '')}")
        click.echo(
            f"{'':12} occurrence {row['occurrence']}" + (f", since {since:%Y-%m-%d %H:%M:%S %Z}" if since else "")
        )


@alarm.command("ack")
@click.argument("name")
@click.option("--occurrence", default=None, help="Occurrence id as told in the notice; left out: the present one.")
@_reason
@socket_option
def alarm_ack(name: str, occurrence: str | None, reason: str, path: Path) -> None:
    """Acknowledge an alarm occurrence, in your name."""
    if occurrence is None:
        known = {row["alarm"]: row["occurrence"] for row in ask_daemon(path, "alarms")}
        if name not in known:
            _fail(f"no alarm {name} to acknowledge; `labmon alarm list` shows them")
        occurrence = known[name]
    click.echo(ask_daemon(path, "alarm-ack", alarm=name, occurrence=occurrence, reason=reason))


@click.group(cls=Group)
def device() -> None:
    """Devices: out of service and back."""


@device.command("out-of-service")
@click.argument("name")
@click.option("--for", "how_long", required=True, callback=seconds, help="For how long: 30 min, 2 h, 3 d.")
@_reason
@socket_option
def device_out(name: str, how_long: float, reason: str, path: Path) -> None:
    """Take a device out of service: still measured and recorded, its alarms are not annunciated. Ends by itself."""
    click.echo(ask_daemon(path, "device-out-of-service", device=name, seconds=how_long, reason=reason))


@device.command("in-service")
@click.argument("name")
@_reason
@socket_option
def device_in(name: str, reason: str, path: Path) -> None:
    """Put a device back into service."""
    click.echo(ask_daemon(path, "device-in-service", device=name, reason=reason))


@click.command()
@click.argument("site", required=False, type=click.Path(path_type=Path))
@socket_option
@json_option
def reload(site: Path | None, path: Path, as_json: bool) -> None:
    """Have the running daemon take its site file as it is now; lines that are the same go on undisturbed.

    The whole file is checked first. With any error nothing is applied, every error is printed and the exit code is 2.
    SITE may be given to make sure that it is the file that the daemon runs.
    """
    found = ask_daemon(path, "reload", patience=RELOAD, **({"site": str(site.absolute())} if site is not None else {}))
    outcome = found["outcome"]
    good = outcome in ("applied", "unchanged")
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        for warning in found["warnings"]:
            click.echo(f"warning: {warning}", err=True)
        for row in [*found["errors"], *found["done"]]:
            click.echo(row, err=not good)
    sys.exit(0 if good else 2 if outcome == "invalid" else 1)


@click.group(cls=Group)
def user() -> None:
    """Users of the site file."""


@user.command("pin")
def user_pin() -> None:
    """Ask for a PIN twice and print its hash, for the file that the site file's `pin:` names."""
    from labmon.config.secrets import MIN_PIN, hash_pin

    pin = getpass.getpass("PIN: ")
    if len(pin) < MIN_PIN:
        _fail(f"a PIN has at least {MIN_PIN} characters")
    if pin != getpass.getpass("again: "):
        _fail("the two differ")
    click.echo(hash_pin(pin))
