"""What a site file refers to, as it is at this moment: passwords, certificates and PINs, in files of their own."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labmon.config.secrets import PinParameters, SecretError, pin_key, pin_parameters, read_secret
from labmon.config.site import Site, User

if TYPE_CHECKING:
    from labmon.mqtt import BrokerSettings

log = logging.getLogger("labmon.daemon")


class Unreachable(Exception):
    """With what there is nobody could even try to reach the broker; the text says why, and names no secret."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How the broker is reached, passwords and all: whether a delivery would be made of the same."""

    settings: BrokerSettings
    certificates: bytes
    """Digest of what their files hold."""
    status_every: float


def reach(site: Site, folder: Path) -> Reach | None:
    """How a site reaches its broker now; None without one. Raises Unreachable."""
    if site.mqtt is None:
        return None
    from labmon.delivery.broker import broker_settings  # a tenth of the start: not before it is wanted

    digest = hashlib.sha256()
    try:
        settings = broker_settings(site.mqtt, site.mqtt.user, site.mqtt.password, folder)
        if settings.tls is not None:
            settings.tls.context()
            for name in (settings.tls.ca, settings.tls.certificate, settings.tls.key):
                digest.update(Path(name).read_bytes() if name else b"")
                digest.update(b"|")
    except SecretError as error:
        raise Unreachable(f"the broker's {error}") from None
    except OSError as error:  # of ssl too
        raise Unreachable(f"the broker's certificates cannot be used: {error}") from None
    return Reach(settings, digest.digest(), site.mqtt.status_every)


def read_pins(site: Site, folder: Path) -> tuple[dict[str, bytes | None], dict[str, PinParameters]]:
    """The keys of the users' PINs (None for one without), and how they are derived."""
    pins = {user.id: _pin(user, folder) for user in site.users}
    keys = {user: pin[1] if pin else None for user, pin in pins.items()}
    return keys, {user: pin[0] for user, pin in pins.items() if pin}


def _pin(user: User, folder: Path) -> tuple[PinParameters, bytes] | None:
    """A user's PIN: how its key is derived, and the key. One that cannot be read: no commands by MQTT."""
    if user.pin is None:
        return None
    try:
        text = read_secret(user.pin, folder)
        return pin_parameters(text), pin_key(text)
    except (SecretError, ValueError) as error:
        log.error("user %s: no commands by MQTT: %s", user.id, error)
        return None
