"""From a site file and the drivers to what is polled: lines, devices, queries with their layouts, and the plant."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol, cast, get_args

from labmon import units
from labmon.acquisition.variants import column_scaling, variant_plans
from labmon.config.site import ChannelConfig, DeviceConfig, LineConfig, Profile, Site
from labmon.drivers.driver import ChannelSpec, DeviceClock, Driver, Guard, Identity, Query, StreamQuery
from labmon.links.endpoint import Endpoint, SerialEndpoint, TcpEndpoint
from labmon.links.opening import Framing
from labmon.model.exchange import Column, Layout
from labmon.model.ids import channel_key
from labmon.model.plant import Area, Channel, Device, LineInfo, Plant
from labmon.model.reading import Flag

Path = tuple[str | int, ...]

_linear = lru_cache(maxsize=1000)(units.linear)


class Report(Protocol):
    """Where an error of the site file goes: with the path of keys to its place, and a hint."""

    def __call__(self, path: Path, message: str, hint: str = "") -> None:
        """Take one error."""
        ...


class Catalogue(Protocol):
    """Where drivers are found by id."""

    def get(self, driver: str) -> Driver:
        """The driver of that id. Raises LookupError whose text names near misses or every fault of the file."""
        ...


@dataclass(slots=True)
class Slot:
    """One recorded channel of a query: which outcome it takes, and value = outcome * scale + offset."""

    index: int
    key: str
    scale: float
    offset: float
    flags: int
    """Of every reading; `Plan.mark_overdue` keeps them."""
    due: dt.date | None = None
    """The last day of its calibration."""


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """One query of one device as this site polls it."""

    query: Query
    every: float
    layout: Layout
    slots: tuple[Slot, ...]
    waits: float = 1.0
    """Seconds that it lets other queries of the line go first when it is due."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device as this site polls it."""

    id: str
    driver: Driver
    identity: Identity | None
    queries: tuple[QueryPlan, ...]
    timeout: float | None
    address: int | str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    guard: Guard | None = None
    clock: DeviceClock | None = None
    set_clock: bool = False
    """Whether the instrument's clock may be set."""
    variants: Mapping[str, DevicePlan] = field(default_factory=dict)
    """The same device by what it says of itself: the same channels, asked with other parameters."""


@dataclass(frozen=True, slots=True)
class LinePlan:
    """One line as this site polls it."""

    id: str
    endpoint: Endpoint
    framing: Framing
    quiet: float
    devices: tuple[DevicePlan, ...]


@dataclass(frozen=True, slots=True)
class LimitedChannel:
    """A channel with its profile, for the alarm rules."""

    key: str
    device: str
    unit: str
    every: float
    record: bool
    profile_name: str
    profile: Profile | None


@dataclass(slots=True)
class Plan:
    """Everything that a site file says about acquisition, resolved."""

    plant: Plant
    lines: list[LinePlan] = field(default_factory=list)
    channels: list[LimitedChannel] = field(default_factory=list)
    drivers: dict[str, Driver] = field(default_factory=dict)

    def mark_overdue(self, today: dt.date) -> None:
        """Mark the channels whose calibration is overdue on this day, and no others, in all readings from now on."""
        slots = (slot for line in self.lines for d in line.devices for query in d.queries for slot in query.slots)
        for slot in slots:
            if slot.due is not None:
                overdue = Flag.CALIBRATION_DUE if slot.due < today else 0
                slot.flags = int(slot.flags & ~Flag.CALIBRATION_DUE | overdue)


def make_plan(
    site: Site, profiles: Mapping[str, Profile], catalogue: Catalogue, report: Report, today: dt.date
) -> Plan:
    """Resolve a site. Every mismatch with the drivers goes to `report`; what is wrong is left out of the plan."""
    plan = _Planner(site, profiles, catalogue, report).plan()
    plan.mark_overdue(today)
    return plan


class _Planner:
    def __init__(self, site: Site, profiles: Mapping[str, Profile], catalogue: Catalogue, report: Report) -> None:
        self.site = site
        self.profiles = profiles
        self.catalogue = catalogue
        self.report = report
        self.drivers: dict[str, Driver] = {}
        self.devices: dict[str, Device] = {}
        self.channels: dict[str, Channel] = {}
        self.limited: list[LimitedChannel] = []

    def plan(self) -> Plan:
        lines = [self._line(("lines", i), line) for i, line in enumerate(self.site.lines)]
        infos = {
            config.id: LineInfo(
                config.id, config.name or config.id, str(line.endpoint), tuple(d.id for d in config.devices)
            )
            for config, line in zip(self.site.lines, lines, strict=True)
            if line is not None
        }
        plant = Plant(
            site=self.site.site.id,
            site_name=self.site.site.name,
            gateway=self.site.gateway.id,
            timezone=self.site.site.timezone,
            areas={a.id: Area(a.id, a.name, a.grade, a.state) for a in self.site.areas},
            lines=infos,
            devices=self.devices,
            channels=self.channels,
            gateway_name=self.site.gateway.name or "",
        )
        return Plan(plant, [line for line in lines if line is not None], self.limited, self.drivers)

    def _line(self, path: Path, line: LineConfig) -> LinePlan | None:
        medium = "tcp" if line.tcp is not None else "serial"
        framings: dict[str, Framing] = {}
        devices: list[DevicePlan] = []
        first: Driver | None = None
        for i, config in enumerate(line.devices):
            place = (*path, "devices", i)
            driver = self._driver((*place, "driver"), config.driver)
            if driver is None:
                continue
            framing = line.framing or _preferred(driver, medium)
            if framing not in driver.framings:
                self.report(
                    (*place, "driver"), f"{driver.id} does not speak {framing}", f"it speaks {_or(driver.framings)}"
                )
                continue
            framings[config.id] = framing
            first = first or driver
            device = self._device(place, config, line, driver, framing)
            if device is not None:
                devices.append(device)
        if len(set(framings.values())) > 1:
            self.report(
                path,
                f"the devices of one line must share one framing, these want {_or(sorted(set(framings.values())))}",
            )
            return None
        if first is None:
            return None
        self._told_apart(path, line, devices)
        framing = next(iter(framings.values()))
        return LinePlan(line.id, self._endpoint(path, line, first), framing, line.quiet or 0.0, tuple(devices))

    def _told_apart(self, path: Path, line: LineConfig, devices: Sequence[DevicePlan]) -> None:
        """Who speaks unasked shares its line only with its like, and only where each frame says whose it is."""
        places = {config.id: (*path, "devices", i) for i, config in enumerate(line.devices)}
        speaking = [d for d in devices if any(q.query.kind == "stream" for q in d.queries)]
        if not speaking or len(devices) == 1:
            return
        for device in devices:
            if device.driver.id != speaking[0].driver.id:
                self.report(
                    (*places[device.id], "driver"),
                    f"{speaking[0].id} sends without being asked: its line has no devices of another driver",
                )
        for device in speaking:
            streams = [cast(StreamQuery, q.query) for q in device.queries if q.query.kind == "stream"]
            if not all(query.addressed for query in streams):
                self.report(
                    places[device.id],
                    f"{device.driver.id} sends without being asked, and its frames do not say which device sends them",
                    "give each of them a line of its own",
                )
            elif any(other.address == device.address for other in speaking if other is not device):
                self.report(places[device.id], f"another device of this line sends as {device.address} too")

    def _driver(self, path: Path, name: str) -> Driver | None:
        if name not in self.drivers:
            try:
                self.drivers[name] = self.catalogue.get(name)
            except LookupError as error:
                self.report(path, str(error.args[0]))
                return None
        return self.drivers[name]

    def _endpoint(self, path: Path, line: LineConfig, driver: Driver) -> Endpoint:
        if line.tcp is not None:
            return TcpEndpoint(line.tcp.host, line.tcp.port)
        serial = line.serial
        if serial is None:
            raise ValueError(f"line {line.id} has neither serial nor tcp")
        default = driver.serial
        if serial.baud is None and not default.known:
            self.report(
                (*path, "serial"), f"the speed of {driver.id} is not known: give `baud`", "see the instrument's manual"
            )
        return SerialEndpoint(
            serial.port,
            serial.baud or default.baud,
            serial.bits or default.bits,
            serial.parity or default.parity,
            serial.stop or default.stop,
            default.rtscts if serial.rtscts is None else serial.rtscts,
            serial.local_echo,
        )

    def _device(
        self, path: Path, config: DeviceConfig, line: LineConfig, driver: Driver, framing: str
    ) -> DevicePlan | None:
        try:
            queries = driver.queries(framing, config.address, config.params)
            identity = driver.identity(framing, config.address, config.params)
            guard = driver.guard(framing, config.address, config.params)
            clock = driver.clock(framing, config.address, config.params)
        except ValueError as error:
            self.report(path, str(error))
            return None
        if not driver.proven and not driver.generic:
            self.report((*path, "driver"), f"{driver.id} has a query without an example and does not load into service")
            return None
        for name in set(config.every) - {q.name for q in queries}:
            self.report(
                (*path, "every", name), f"{driver.id} has no query {name}", f"it has {_or([q.name for q in queries])}"
            )
        wanted = self._wanted(path, config, queries)
        before = len(self.channels)
        plans = tuple(
            plan for q in queries if (plan := self._query(config, driver, q, wanted, config.every.get(q.name, q.every)))
        )
        keys = tuple(islice(self.channels, before, None))
        self.devices[config.id] = Device(
            config.id, config.name, config.area, line.id, driver.id, config.asset, keys, config.instruction
        )
        device = DevicePlan(
            config.id,
            driver,
            identity,
            plans,
            config.timeout,
            config.address,
            config.params,
            guard,
            clock,
            config.set_clock,
        )
        if config.set_clock and (clock is None or not clock.can_be_set):
            self.report((*path, "set-clock"), f"{driver.id} does not know how to set the instrument's clock")
        try:
            return replace(device, variants=variant_plans(device, framing))
        except ValueError as error:
            self.report((*path, "driver"), f"{driver.id}: {error}")
            return None

    def _wanted(
        self, path: Path, config: DeviceConfig, queries: Sequence[Query]
    ) -> dict[str, list[tuple[Path, ChannelConfig]]]:
        """The site's channels by the driver's channel id; with none named, all of the driver's under their own ids."""
        offered = [spec.id for query in queries for spec in query.channels]
        if config.channels is None:
            return {name: [(path, ChannelConfig.model_validate({"id": name}))] for name in offered}
        wanted: dict[str, list[tuple[Path, ChannelConfig]]] = {}
        for i, channel in enumerate(config.channels):
            source = channel.from_ or channel.id
            place = (*path, "channels", i)
            if source not in offered:
                self.report(
                    (*place, "from" if channel.from_ else "id"),
                    f"{config.driver} has no channel {source}",
                    f"it has {_or(offered)}",
                )
                continue
            wanted.setdefault(source, []).append((place, channel))
        return wanted

    def _query(
        self,
        config: DeviceConfig,
        driver: Driver,
        query: Query,
        wanted: Mapping[str, list[tuple[Path, ChannelConfig]]],
        every: float,
    ) -> QueryPlan | None:
        columns: list[Column] = []
        slots: list[Slot] = []
        for index, spec in enumerate(query.channels):
            for path, channel in wanted.get(spec.id, ()):
                made = self._channel(path, config, driver, query, spec, channel, every)
                if made is not None:
                    column, (key, scale, offset) = made
                    columns.append(column)
                    flags = 0 if driver.proven else int(Flag.MAP_NOT_PROVEN)
                    slots.append(Slot(index, key, scale, offset, flags, _due(channel)))
        if not slots:
            return None
        layout = Layout(f"{config.id}.{query.name}", tuple(columns))
        return QueryPlan(query, every, layout, tuple(slots), getattr(query, "waits", 1.0))

    def _channel(
        self,
        path: Path,
        device: DeviceConfig,
        driver: Driver,
        query: Query,
        spec: ChannelSpec,
        channel: ChannelConfig,
        every: float,
    ) -> tuple[Column, tuple[str, float, float]] | None:
        key = channel_key(device.id, channel.id)
        unit = channel.unit or spec.unit
        try:
            scale, offset = _linear(spec.unit, unit)
        except units.UnknownUnit:
            return None  # the site file's own pass has said so
        except units.IncompatibleUnits as error:
            self.report((*path, "unit"), str(error))
            return None
        if channel.calibration is not None:
            scale, offset = (
                scale * channel.calibration.gain,
                offset * channel.calibration.gain + channel.calibration.offset,
            )
        profile = self._profile(path, channel, unit)
        column = Column(
            key,
            device.area,
            device.id,
            channel.id,
            spec.kind,
            unit,
            spec.raw_type,
            *column_scaling(spec, scale, offset),
        )
        self.channels[key] = Channel(
            key,
            channel.id,
            device.id,
            device.area,
            channel.name or spec.name,
            spec.kind,
            unit,
            channel.place,
            _decimals(spec.decimals, scale),
            spec.states,
            channel.instruction or device.instruction,
        )
        self.limited.append(
            LimitedChannel(key, device.id, unit, every, query.kind == "record", channel.limits or "", profile)
        )
        return column, (key, scale, offset)

    def _profile(self, path: Path, channel: ChannelConfig, unit: str) -> Profile | None:
        if channel.limits is None:
            return None
        profile = self.profiles.get(channel.limits)
        if profile is None:
            return None  # the site file's own pass has said so
        try:
            _linear(profile.unit, unit)
        except units.UnknownUnit:
            return None  # as above
        except units.IncompatibleUnits as error:
            self.report(
                (*path, "limits"), f"profile {channel.limits} is in {profile.unit}, the channel in {unit}: {error}"
            )
            return None
        return profile


def _decimals(decimals: int, scale: float) -> int:
    """Decimals worth showing after a conversion: ppm without any are per cent with three."""
    return min(max(decimals, 3), max(0, decimals + round(-math.log10(scale))))


def _preferred(driver: Driver, medium: str) -> Framing:
    known = [f for f in get_args(Framing) if f in driver.framings]
    suits = [f for f in driver.framings if (f == "modbus-tcp") is (medium == "tcp") and f in known]
    wanted = (suits or list(driver.framings))[0]
    return next(f for f in known if f == wanted)


def _or(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(names))


def _due(channel: ChannelConfig) -> dt.date | None:
    due = channel.calibration.due if channel.calibration else None
    return None if due is None else dt.date.fromisoformat(due)
