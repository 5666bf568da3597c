"""`labmon driver list`: the drivers that there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from labmon.cli.driver_options import SAID_NO, folders_option
from labmon.cli.words import many

if TYPE_CHECKING:
    from rich.text import Text

    from labmon.drivers.listing import Row

_SEEN = {"recorded": "recorded from a unit", "printed": "bytes from its manual", "no": "not yet seen on hardware"}


@click.command("list")
@click.option("--maker", help="Only of this maker; part of the name will do, in this and the next.")
@click.option("--model", help="Only of this model.")
@click.option("--class", "class_", help="Only this kind of instrument: incubator, particle-counter, ...")
@click.option("--transport", help="Only over this: modbus-rtu, modbus-ascii, modbus-tcp, text, binary, serial, tcp.")
@folders_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def list_drivers(
    maker: str | None,
    model: str | None,
    class_: str | None,
    transport: str | None,
    folders: tuple[Path, ...],
    as_json: bool,
) -> None:
    """The drivers that there are, each with its instruments and what its examples rest on.

    A broken file is named at the end and costs the others nothing. Exit code 1: none is as wanted.
    """
    from labmon.cli.paper import show
    from labmon.drivers.listing import matches, rows

    everything = rows(folders)
    wanted = [
        row
        for row in everything
        if row.driver is not None and matches(row.driver, maker=maker, model=model, class_=class_, transport=transport)
    ]
    narrowed = any(word is not None for word in (maker, model, class_, transport))
    broken = [] if narrowed else [row for row in everything if row.driver is None]
    if as_json:
        click.echo(orjson.dumps([_told(row) for row in [*wanted, *broken]]).decode())
    else:
        show(_lines(wanted))
        for row in broken:
            click.echo(
                f"labmon: {row.id}: {many(len(row.errors), 'mistake')}; labmon driver check {row.path}", err=True
            )
        if narrowed and not wanted:
            click.echo("labmon: no driver is like that; labmon driver list shows all", err=True)
    sys.exit(0 if wanted or broken else SAID_NO)


def _told(row: Row) -> dict[str, Any]:
    from labmon.drivers.listing import origins, seen, transports

    driver = row.driver
    if driver is None:
        errors = [str(error) for error in row.errors]
        return {"id": row.id, "path": str(row.path), "usable": False, "errors": errors}
    file = driver.file
    return {
        "id": row.id,
        "path": str(row.path),
        "usable": True,
        "maker": file.maker,
        "models": file.models,
        "title": file.title,
        "class": file.class_,
        "framings": list(driver.framings),
        "transports": list(transports(driver)),
        "proven": driver.proven,
        "seen": seen(driver),
        "examples": origins(driver),
        "errors": [],
    }


def _lines(rows: Sequence[Row]) -> Iterator[Text]:
    from rich.text import Text

    from labmon.drivers.listing import seen

    drivers = [(row.id, row.driver) for row in rows if row.driver is not None]
    wide = max((len(name) for name, _ in drivers), default=0)
    for name, driver in drivers:
        said = seen(driver)
        yield Text.assemble((f"{name:{wide}}", "bold"), f"  {driver.file.class_}, {', '.join(driver.framings)}")
        yield Text.assemble(
            f"{'':{wide}}  {driver.title}; ", (_SEEN[said], "yellow" if said == "no" else "green"),
            "" if driver.proven else ("; a query has no example", "yellow"),
        )  # fmt: skip
    if drivers:
        yield Text(many(len(drivers), "driver"), style="bold")
