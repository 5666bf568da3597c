"""What must hold between the parts of a site file.

Works on plain data of which any part may be missing or wrong, so that a mistake in one place hides none in another:
whatever has not the form that a check needs is left to the model, which reports it.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Protocol

from labmon.config.errors import Path, did_you_mean, one_of
from labmon.config.profiles import check_profile, check_unit, named, no_default
from labmon.config.site import ENDPOINT
from labmon.units import UNITS, IncompatibleUnits, linear

RESERVED = {"line", "gateway"}
"""No device is called so: the ids of technical alarms begin with these words."""

Plain = Mapping[str, Any]


class Found(Protocol):
    """Where mistakes and warnings go."""

    def error(self, path: Path, message: str, hint: str = "") -> None:
        """Take a mistake."""
        ...

    def warning(self, path: Path, message: str, hint: str = "") -> None:
        """Take a warning."""
        ...


def check_site(data: Plain, folder: FilePath, profiles: Mapping[str, Plain], known: set[str], found: Found) -> None:
    """Check a site file. `profiles` are the plain ones of the file and of all folders, `known` their names."""
    _timezone(data, found)
    for section in ("areas", "lines", "users", "stores"):
        unique(items(data, (section,)), found)
    _folders(data, folder, found)
    for name, plain in named(data):
        check_profile(plain, ("profiles", name), found.error)
    _lines(data, found)
    _devices(data, profiles, known, found)
    _system_users(data, found)


# ---------------------------------------------------------------- reading plain data


def items(data: Any, path: Path) -> list[tuple[Path, Plain]]:
    """The mappings in the list at `path`, each with its own path."""
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    if not isinstance(data, list):
        return []
    return [((*path, index), item) for index, item in enumerate(data) if isinstance(item, dict)]


def below(path: Path, item: Plain, key: str) -> list[tuple[Path, Plain]]:
    """The mappings in the list under `key` of an item that stands at `path`."""
    return [((*path, *inner), found) for inner, found in items(item, (key,))]


def text(item: Any, key: str) -> str | None:
    """The text under a key, where there is one."""
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, str) else None


def ids(data: Plain, *path: str) -> set[str] | None:
    """Ids of the list at `path`; None when there is no such list, so that references cannot be judged."""
    place: Any = data
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, list):
        return None
    return {name for item in place if (name := text(item, "id")) is not None}


def refer(path: Path, name: str | None, known: set[str] | None, what: str, found: Found) -> None:
    """Report a name that is not among the known ones."""
    if name is not None and known is not None and name not in known:
        found.error(path, f"unknown {what} `{name}`", did_you_mean(name, known) or one_of(sorted(known)))


def unique(entries: list[tuple[Path, Plain]], found: Found) -> None:
    """Report each id that an earlier entry has."""
    seen: set[str] = set()
    for path, item in entries:
        if (name := text(item, "id")) is None:
            continue
        if name in seen:
            found.error((*path, "id"), f"id `{name}` is used a second time")
        seen.add(name)


def one(path: Path, item: Plain, a: str, b: str, message: str, found: Found) -> None:
    """Report when both or neither of two keys are there."""
    if (a in item) == (b in item):
        found.error(path, message)


# ---------------------------------------------------------------- site, folders, users


def _timezone(data: Plain, found: Found) -> None:
    name = text(data.get("site"), "timezone")
    if name is None:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, zoneinfo.available_timezones())
        found.error(("site", "timezone"), f"unknown time zone `{name}`", hint or "a name such as Europe/Berlin")


def _folders(data: Plain, folder: FilePath, found: Found) -> None:
    for section in ("drivers", "profile-folders"):
        entries = data.get(section)
        for index, name in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(name, str) and not (folder / name).is_dir():
                found.error((section, index), f"there is no folder {name}", "it is taken relative to the site file")


def _system_users(data: Plain, found: Found) -> None:
    seen: set[str] = set()
    for path, user in items(data, ("users",)):
        name = text(user, "system-user")
        if name is not None and name in seen:
            found.error((*path, "system-user"), f"system user `{name}` is used a second time")
        seen |= {name} if name else set()


# ---------------------------------------------------------------- lines


def _lines(data: Plain, found: Found) -> None:
    endpoints: dict[str, str] = {}
    for path, line in items(data, ("lines",)):
        one(path, line, "serial", "tcp", ENDPOINT, found)
        serial, tcp = line.get("serial"), line.get("tcp")
        if isinstance(serial, dict) and line.get("framing") == "modbus-tcp":
            found.error((*path, "framing"), "modbus-tcp is not spoken on a serial port")
        places = (((*path, "serial", "port"), _serial(serial)), ((*path, "tcp"), _tcp(tcp)))
        for place, endpoint in places:
            if endpoint is None:
                continue
            if endpoint in endpoints:
                found.error(place, f"is the endpoint of line {endpoints[endpoint]} already: {endpoint}", "one line, "
                            "however many devices stand behind it")  # fmt: skip
            endpoints.setdefault(endpoint, text(line, "id") or "?")
        port = text(serial, "port")
        if port is not None and re.fullmatch(r"/dev/tty(USB|ACM)\d+", port):
            found.warning(
                (*path, "serial", "port"),
                f"{port} may be another adapter after the next start",
                "use its name under /dev/serial/by-id or /dev/serial/by-path",
            )


def _serial(serial: Any) -> str | None:
    port = text(serial, "port")
    return os.path.realpath(port) if port else None


def _tcp(tcp: Any) -> str | None:
    host, port = text(tcp, "host"), tcp.get("port", 502) if isinstance(tcp, dict) else None
    if host is None or not isinstance(port, int):
        return None
    return f"{same_host(host)}:{port}"


def same_host(host: str) -> str:
    """One spelling for each host, without asking the network."""
    plain = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return "127.0.0.1" if plain == "localhost" else plain
    return f"[{address}]" if address.version == 6 else str(address)


# ---------------------------------------------------------------- devices and channels


def devices(data: Plain) -> Iterator[tuple[Path, Plain, Plain]]:
    """Every device with its path and its line."""
    for path, line in items(data, ("lines",)):
        for place, device in below(path, line, "devices"):
            yield place, device, line


def _devices(data: Plain, profiles: Mapping[str, Plain], known: set[str], found: Found) -> None:
    areas = {name: area for _, area in items(data, ("areas",)) if (name := text(area, "id"))}
    area_ids = ids(data, "areas")
    unique([(path, device) for path, device, _ in devices(data)], found)
    asked: dict[tuple[int, str, str], str] = {}
    for path, device, line in devices(data):
        if (name := text(device, "id")) in RESERVED:
            found.error((*path, "id"), f"`{name}` is reserved", "technical alarms are called so")
        refer((*path, "area"), text(device, "area"), area_ids, "area", found)
        if (address := device.get("address")) is not None and isinstance(address, (int, str)):
            same = (id(line), str(address), f"{device.get('driver')} {device.get('params')}")
            if same in asked:
                found.error((*path, "address"), f"device {asked[same]} has address {address} on this line already")
            asked.setdefault(same, name or "?")
        channels = below(path, device, "channels")
        unique(channels, found)
        for place, channel in channels:
            _channel(place, channel, areas.get(text(device, "area") or ""), profiles, known, found)


def _channel(
    path: Path, channel: Plain, area: Plain | None, profiles: Mapping[str, Plain], known: set[str], found: Found
) -> None:
    code, name = text(channel, "unit"), text(channel, "limits")
    if code is not None:
        check_unit(code, (*path, "unit"), found.error)
    if name is not None and name not in known:
        hint = no_default(name) or did_you_mean(name, known) or one_of(sorted(known))
        found.error((*path, "limits"), f"unknown profile `{name}`", hint)
    if (profile := profiles.get(name or "")) is not None:
        _profile_fits((*path, "limits"), name or "", profile, code, area, found)
    calibration = channel.get("calibration")
    date, due = text(calibration, "date"), text(calibration, "due")
    if date is not None and due is not None and due <= date:
        found.error((*path, "calibration", "due"), f"due {due} is not after the calibration of {date}")


def _profile_fits(path: Path, name: str, profile: Plain, code: str | None, area: Plain | None, found: Found) -> None:
    own = text(profile, "unit")
    if code in UNITS and own in UNITS:
        try:
            linear(own or "", code or "")
        except IncompatibleUnits as error:
            found.error(path, f"profile {name} does not fit the channel's unit: {error}")
    for key, ordinary in (("grade", "none"), ("state", "in-operation")):
        wanted = text(profile, key)
        if area is not None and wanted is not None and wanted != (is_ := area.get(key, ordinary)):
            found.warning(path, f"profile {name} is for {key} {wanted}, area {text(area, 'id')} is {is_}")
