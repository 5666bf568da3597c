"""From a driver file to what a line polls. All that can be decided once is decided here, none of it per reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labmon.drivers import grammar
from labmon.drivers.driver import SerialDefaults
from labmon.drivers.given import applies, settle
from labmon.drivers.guards import CompiledClock, CompiledGuard
from labmon.drivers.identity import CompiledIdentity
from labmon.drivers.query import CompiledQuery
from labmon.drivers.setting import Setting
from labmon.links.pattern import Pattern


class CompiledDriver:
    """A driver file, ready to make queries for devices (labmon.drivers.driver.Driver)."""

    def __init__(self, id_: str, file: grammar.DriverFile, source_text: str, zone: str = "UTC") -> None:
        self.id = id_
        self.file = file
        self.zone = zone
        """The site's time zone, for instruments whose clock shows local time."""
        self.source_text = source_text
        self.title = file.title
        self.framings: tuple[str, ...] = tuple(file.framings)
        self.timeout = file.timing.timeout
        given = file.serial
        settings = given.model_dump(exclude_none=True) if given is not None else {}
        self.serial = SerialDefaults(**settings, known=given is None or given.baud is not None)
        shown = {e.query for e in file.examples if e.readings is not None}
        self.generic = file.generic
        # Its examples show the file; what the site's parameters make of it nobody has shown.
        self.proven = not file.generic and all(name in shown for name in file.queries)
        self.seen_on_hardware = any(e.origin.composed is None for e in file.examples)
        self._queries: dict[str, list[CompiledQuery]] = {}
        """By what they were made for: a query holds nothing of its device, so devices that are set alike share it."""

    def queries(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> list[CompiledQuery]:
        """The queries for one device. Raises ValueError when framing, address or parameters do not fit."""
        made_for = repr((framing, address, params))
        if made_for not in self._queries:
            setting = self.setting(framing, address, params)
            self._queries[made_for] = [
                self.query(name, setting)
                for name, query in self.file.queries.items()
                if applies(query.when, setting.params)
            ]
        return list(self._queries[made_for])

    def query(self, name: str, setting: Setting) -> CompiledQuery:
        """One query, for a setting already made. Raises ValueError for units that do not go together."""
        return CompiledQuery(name, self.file.queries[name], setting)

    def identity(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> CompiledIdentity | None:
        """The identity check for one device, where the file has one. Raises ValueError as `queries`."""
        setting = self.setting(framing, address, params)
        return CompiledIdentity(self.file.identity, setting, params) if self.file.identity is not None else None

    def guard(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> CompiledGuard | None:
        """What watches the settings of one device, where the file does. Raises ValueError as `queries`."""
        setting, guard = self.setting(framing, address, params), self.file.guard
        return CompiledGuard(guard, setting) if guard is not None and applies(guard.when, setting.params) else None

    def clock(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> CompiledClock | None:
        """The clock of one device, where the file reads it. Raises ValueError as `queries`."""
        setting, clock = self.setting(framing, address, params), self.file.clock
        return CompiledClock(clock, setting) if clock is not None and applies(clock.when, setting.params) else None

    def setting(self, framing: str, address: int | str | None, params: Mapping[str, Any]) -> Setting:
        """Check what a site file says of a device. Raises ValueError."""
        if framing not in self.framings:
            raise ValueError(f"{self.id} does not speak {framing}; it speaks {', '.join(self.framings)}")
        return Setting(self.file, framing, self._address(framing, address), settle(self.file.params, params), self.zone)

    def _address(self, framing: str, address: int | str | None) -> int | str | None:
        allowed = self.file.address
        if allowed is None and framing in ("text", "binary"):
            if address is not None:
                raise ValueError(f"{self.id} has no address on a {framing} line")
            return None
        if allowed is None:
            allowed = grammar.Address.model_validate({"from": 1, "to": 247})
        if address is None:
            address = allowed.default
        if address is None:
            raise ValueError(f"{self.id} needs an address")
        if allowed.pattern is not None:
            if not isinstance(address, str) or Pattern(allowed.pattern.encode()).fullmatch(address.encode()) is None:
                raise ValueError(f"address {address!r} does not match {allowed.pattern}")
            return address
        low, high = allowed.from_ or 0, allowed.to or 0
        if isinstance(address, bool) or not isinstance(address, int) or not low <= address <= high:
            raise ValueError(f"address {address!r} is not within {low}..{high}")
        return address
