"""How the broker is reached: whether a delivery is made of what the site file and its secrets say now."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labmon.config.site import Site

if TYPE_CHECKING:
    from labmon.mqtt import BrokerSettings


@dataclass(frozen=True, slots=True)
class Reach:
    """How the broker is reached, passwords and all: whether a delivery is made of the same."""

    settings: BrokerSettings
    certificates: bytes
    """Digest of what the files held."""
    status_every: float


def reached(site: Site, folder: Path) -> Reach | None:
    """How a site reaches its broker. Raises SecretError, OSError."""
    if site.mqtt is None:
        return None
    from labmon.delivery.broker import broker_settings

    settings = broker_settings(site.mqtt, site.mqtt.user, site.mqtt.password, folder)
    digest = hashlib.sha256()
    if settings.tls is not None:
        settings.tls.context()
        for name in (settings.tls.ca, settings.tls.certificate, settings.tls.key):
            digest.update(Path(name).read_bytes() if name else b"")
            digest.update(b"|")
    return Reach(settings, digest.digest(), site.mqtt.status_every)
