"""What the verbs of `labmon driver` share: options, how a driver is named, and how a failure ends them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from labmon.drivers.compile import CompiledDriver

SAID_NO = 1
"""Exit code: what was asked about is not so."""
WRONG_INPUT = 2

folders_option = click.option(
    "--drivers", "folders", multiple=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder of driver files to search before the shipped one; may be given again.",
)  # fmt: skip


def fail(text: str, code: int = SAID_NO) -> NoReturn:
    """Say why on stderr, each line with its place where it has one, and end."""
    for line in text.splitlines():
        click.echo(f"labmon: {line}", err=True)
    sys.exit(code)


def is_file(name: str) -> bool:
    """Whether a driver is named by its file and not by its id."""
    return name.endswith((".yaml", ".yml")) or Path(name).is_file()


def driver_or_exit(name: str, folders: tuple[Path, ...]) -> CompiledDriver:
    """The driver of a file or of an id (`maker/model`). Prints every mistake and ends with 2 where there is none."""
    from labmon.drivers.catalogue import Catalogue
    from labmon.drivers.load import load_driver

    if is_file(name):
        loaded = load_driver(Path(name))
        if loaded.driver is None:
            for error in loaded.errors:
                click.echo(str(error), err=True)
            sys.exit(WRONG_INPUT)
        return loaded.driver
    try:
        return Catalogue(folders).get(name)
    except LookupError as error:
        fail(str(error.args[0]), WRONG_INPUT)


def pairs(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE options as a mapping."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text}: write NAME=VALUE")
        found[name] = value
    return found


params_option = click.option(
    "--param", "params", multiple=True, callback=pairs, metavar="NAME=VALUE",
    help="A parameter of the driver; may be given again.",
)  # fmt: skip
address_option = click.option("--address", help="Modbus unit id, or what the driver calls an address.")


def typed_params(driver: CompiledDriver, given: dict[str, str]) -> dict[str, Any]:
    """Parameters as their types in the file say. Raises ValueError for a text that is no such value."""
    found: dict[str, Any] = {}
    for name, text in given.items():
        declared = driver.file.params.get(name)
        kind = "text" if declared is None else declared.type
        if kind == "switch":
            if text.lower() not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
                raise ValueError(f"parameter {name}: {text!r} is neither true nor false")
            found[name] = text.lower() in ("true", "yes", "on", "1")
        elif kind == "text":
            found[name] = text
        else:
            try:
                found[name] = int(text, 0) if kind == "integer" else float(text)
            except ValueError:
                raise ValueError(f"parameter {name}: {text!r} is no {kind}") from None
    return found


def typed_address(text: str | None) -> int | str | None:
    """An address as the site file would hold it: a number where it is one."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text
