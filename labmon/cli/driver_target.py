"""Which instrument `labmon driver probe` talks to: a device of a site file, or a driver and where it is reached."""

from __future__ import annotations

import dataclasses
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from labmon.cli.driver_options import WRONG_INPUT, driver_or_exit, fail, typed_address, typed_params

if TYPE_CHECKING:
    from labmon.drivers.compile import CompiledDriver
    from labmon.drivers.setting import Setting
    from labmon.links.endpoint import Endpoint, SerialEndpoint
    from labmon.links.opening import Framing

_SERIAL = re.compile(r"(\d+)(?:[\s/-]*([78])([NEO])([12]))?")


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says of the instrument."""

    target: str
    site: Path
    port: str | None
    host: str | None
    serial: str | None
    framing: str | None
    address: str | None
    params: dict[str, str]
    folders: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One instrument and how it is reached."""

    driver: CompiledDriver
    path: Path | None
    """The driver's file, where it is one that may be written to."""
    setting: Setting
    given: dict[str, Any]
    """The parameters that are set, and not by the file."""
    endpoint: Endpoint
    framing: Framing
    quiet: float
    socket: Path | None
    """Where the daemon that may hold the line answers; None: at the usual place."""


def target_or_exit(given: Given) -> Target:
    """Find it, or say everything that is wrong and end with 2."""
    if given.port is not None and given.host is not None:
        fail("give one of --port and --host, not both", WRONG_INPUT)
    if given.port is None and given.host is None:
        return _device(given)
    driver = driver_or_exit(given.target, given.folders)
    framing = given.framing or _framing(driver, tcp=given.host is not None)
    try:
        params = typed_params(driver, given.params)
        setting = driver.setting(framing, typed_address(given.address), params)
        endpoint = _endpoint(given, driver)
        if framing == "modbus-tcp" and given.port is not None:
            raise ValueError(f"modbus-tcp does not run on a serial port; {driver.id} speaks {_or(driver)}")
    except ValueError as error:
        fail(str(error), WRONG_INPUT)
    path = Path(given.target)
    return Target(
        driver, path if path.is_file() else None, setting, params, endpoint, cast("Framing", framing), 0.0, None
    )


def _or(driver: CompiledDriver) -> str:
    return " or ".join(driver.framings)


def _framing(driver: CompiledDriver, *, tcp: bool) -> str:
    return next((f for f in driver.framings if (f == "modbus-tcp") is tcp), driver.framings[0])


def _endpoint(given: Given, driver: CompiledDriver) -> Endpoint:
    from labmon.drivers.wire_time import endpoint_of
    from labmon.links.endpoint import TcpEndpoint

    if given.port is not None:
        if given.serial is None and not driver.serial.known:
            raise ValueError(f"the speed of {driver.id} is not known: say it, as in --serial '9600 8N1'")
        return set_as(endpoint_of(driver.serial, given.port), given.serial)
    if given.serial is not None:
        raise ValueError("--serial is for a serial port; a TCP gateway is set on itself")
    host, colon, port = (given.host or "").rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        host, port = given.host or "", "502"
    if not port.isdigit() or not 1 <= int(port) <= 65535 or not host:
        raise ValueError(f"{given.host} is no host: write NAME or NAME:PORT")
    return TcpEndpoint(host.strip("[]"), int(port))


def set_as(line: SerialEndpoint, text: str | None) -> SerialEndpoint:
    """A serial line with the settings of a text: `19200`, or `9600 8E1`. Raises ValueError."""
    if text is None:
        return line
    found = _SERIAL.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text}: write serial settings as 9600 8N1")
    baud, bits, parity, stop = found.groups()
    line = dataclasses.replace(line, baud=int(baud))
    if bits is None:
        return line
    return dataclasses.replace(
        line,
        bits=cast(Literal[7, 8], int(bits)),
        parity=cast(Literal["N", "E", "O"], parity),
        stop=cast(Literal[1, 2], int(stop)),
    )


def _device(given: Given) -> Target:
    """A device of the site file, set as the daemon would set it."""
    from labmon.acquisition.load import load
    from labmon.drivers.catalogue import Catalogue, shipped_folder
    from labmon.drivers.compile import CompiledDriver

    only = [("--serial", given.serial), ("--framing", given.framing), ("--address", given.address)]
    if extra := [name for name, value in only if value is not None] or (["--param"] if given.params else []):
        fail(
            f"{', '.join(extra)}: the site file says that of device {given.target}; with a driver FILE say also "
            "--port or --host",
            WRONG_INPUT,
        )
    if "/" in given.target or given.target.endswith(".yaml"):
        fail(f"{given.target} is a driver: say also where the instrument is, by --port or --host", WRONG_INPUT)
    loaded = load(given.site)
    plan = loaded.plan
    found = [] if plan is None else [(line, d) for line in plan.lines for d in line.devices if d.id == given.target]
    if not found:
        if loaded.errors:
            for error in loaded.errors:
                click.echo(str(error), err=True)
            sys.exit(WRONG_INPUT)
        names = [] if plan is None else [d.id for line in plan.lines for d in line.devices]
        from labmon.config.errors import did_you_mean

        hint = did_you_mean(given.target, names) or f"it has {', '.join(names) or 'none'}"
        fail(
            f"{given.site} has no device {given.target}; {hint}. For a driver FILE say --port or --host as well",
            WRONG_INPUT,
        )
    line, device = found[0]
    driver = device.driver
    if not isinstance(driver, CompiledDriver):
        fail(f"{driver.id} is written in Python: probe works with driver files", WRONG_INPUT)
    site = loaded.site
    folders = [given.site.parent / folder for folder in site.drivers] if site is not None else []
    path = Catalogue(folders).paths().get(driver.id)
    return Target(
        driver,
        None if path is None or path.is_relative_to(shipped_folder()) else path,
        driver.setting(line.framing, device.address, device.params),
        dict(device.params),
        line.endpoint,
        line.framing,
        line.quiet,
        given.site.parent / site.socket if site is not None else None,
    )
