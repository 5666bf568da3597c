"""What must hold between the watch of a site file and its other parts; plain data, as in `checks`."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from labmon.config.checks import Found, Plain, text
from labmon.config.site import JournalConfig, MqttConfig, WatchConfig
from labmon.config.types import parse_duration

RESERVED = {"notices": "the watch's own alarms begin with watch.notices"}
REFRESHES = 3
"""So many messages in a row must be missing before a gateway is called silent."""


def check_watch(data: Plain, folder: FilePath, found: Found) -> None:
    """Check the section `watch`, where there is one."""
    watch, mqtt = data.get("watch"), data.get("mqtt")
    if "watch" not in data:
        _refresh(mqtt, found)
    if not isinstance(watch, dict):
        return
    if "mqtt" not in data:
        found.error(("watch",), "gateways are seen through the broker, and there is no mqtt section")
    _gateways(watch.get("gateways"), found)
    own_id = text(data.get("gateway"), "id")
    if "gateways" not in watch and own_id in RESERVED:
        found.error(("gateway", "id"), f"`{own_id}` is reserved where there is a watch", RESERVED[own_id])
    _delays(watch, mqtt if isinstance(mqtt, dict) else {}, found)
    journal = data.get("journal")
    own = str(watch.get("path", WatchConfig().path))
    gateways = str((journal if isinstance(journal, dict) else {}).get("path", JournalConfig().path))
    if os.path.realpath(folder / own) == os.path.realpath(folder / gateways):
        found.error(("watch", "path"), "is the gateway's journal", "the watch has a file of its own")
    if not _tells_technical(data):
        found.warning(("watch",), "no route takes technical alarms: nobody is told of a silent gateway")


def _gateways(gateways: Any, found: Found) -> None:
    if not isinstance(gateways, list):
        return
    if not gateways:
        found.error(("watch", "gateways"), "is empty: nothing is watched", "leave it out for the gateway of this file")
    for index, name in enumerate(gateways):
        if name in gateways[:index]:
            found.error(("watch", "gateways", index), f"`{name}` is named a second time")
        if isinstance(name, str) and name in RESERVED:
            found.error(("watch", "gateways", index), f"`{name}` is reserved", RESERVED[name])


def _delays(watch: Plain, mqtt: Plain, found: Found) -> None:
    silent = _seconds(watch, "silent-after", WatchConfig().silent_after)
    every = _seconds(mqtt, "status-every", MqttConfig.model_fields["status_every"].default)
    if silent is not None and every is not None and silent < REFRESHES * every:
        found.error(
            ("watch", "silent-after"),
            f"is too short: a gateway says every {every:g} s that it is there; at least {REFRESHES * every:g} s",
            "or a shorter mqtt: status-every, at the gateways too",
        )


def _refresh(mqtt: Any, found: Found) -> None:
    every = _seconds(mqtt, "status-every", 0.0) if isinstance(mqtt, dict) else None
    if every is not None and WatchConfig().silent_after < REFRESHES * every:
        told = f"`labmon watch` would take the gateway for silent in between: it waits {WatchConfig().silent_after:g} s"
        found.warning(("mqtt", "status-every"), told, "give it watch: silent-after")


def _seconds(section: Mapping[str, Any], key: str, default: float) -> float | None:
    """A duration as the file has it; None where it is not one, which the model reports."""
    if key not in section:
        return default
    try:
        return parse_duration(section[key])
    except ValueError:
        return None


def _tells_technical(data: Plain) -> bool:
    notices = data.get("notices")
    routes = notices.get("routes") if isinstance(notices, dict) else None
    taken = [r.get("classes") for r in routes if isinstance(r, dict)] if isinstance(routes, list) else []
    return any("technical" in classes for classes in taken if isinstance(classes, list))
