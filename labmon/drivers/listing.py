"""The drivers that there are: one row for each file, also for one that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labmon.config.errors import ConfigError
from labmon.drivers.catalogue import Catalogue
from labmon.drivers.compile import CompiledDriver
from labmon.drivers.load import load_driver

Seen = Literal["recorded", "printed", "no"]
"""The best origin of its examples: bytes of a real unit, bytes from a manual, or neither."""


@dataclass(frozen=True, slots=True)
class Row:
    """One driver of a catalogue. Without `driver` its file has `errors`."""

    id: str
    path: Path
    driver: CompiledDriver | None
    errors: tuple[ConfigError, ...] = ()


def rows(folders: Sequence[Path] = ()) -> list[Row]:
    """Every driver that can be found, in the order of their ids. A broken file costs the others nothing."""
    found = []
    for name, path in Catalogue(folders).paths().items():
        loaded = load_driver(path, name)
        found.append(Row(name, path, loaded.driver, tuple(loaded.errors)))
    return found


def origins(driver: CompiledDriver) -> dict[str, int]:
    """How many of its examples are printed, recorded and composed."""
    counts = {"printed": 0, "recorded": 0, "composed": 0}
    for example in driver.file.examples:
        for kind in example.origin.model_fields_set:
            counts[kind] += 1
    return counts


def seen(driver: CompiledDriver) -> Seen:
    """Whether its examples come from hardware, and how near."""
    counts = origins(driver)
    return "recorded" if counts["recorded"] else "printed" if counts["printed"] else "no"


def transports(driver: CompiledDriver) -> tuple[str, ...]:
    """By what it is reached: serial, tcp or both."""
    tcp = "modbus-tcp" in driver.framings
    serial = any(framing != "modbus-tcp" for framing in driver.framings)
    return (*(("serial",) if serial else ()), *(("tcp",) if tcp else ()))


def matches(
    driver: CompiledDriver,
    *,
    maker: str | None = None,
    model: str | None = None,
    class_: str | None = None,
    transport: str | None = None,
) -> bool:
    """Whether a driver is what is looked for: each text is part of what the file says, in any case of letters."""
    file = driver.file
    said = (
        (maker, [file.maker, driver.id.partition("/")[0]]),
        (model, [*file.models, driver.id.partition("/")[2]]),
        (class_, [file.class_]),
        (transport, [*driver.framings, *transports(driver)]),
    )
    return all(wanted is None or any(wanted.casefold() in text.casefold() for text in texts) for wanted, texts in said)
