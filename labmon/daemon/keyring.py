"""The PINs of the users, as the commands by MQTT need them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from labmon.config.secrets import PinParameters, SecretError, pin_key, pin_parameters, read_secret
from labmon.config.site import User

log = logging.getLogger("labmon.daemon")


class Keyring:
    """What was taken of them last; changed in place, because the consumers hold it."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, bytes | None] = {}
        """Keys of the PINs by user; None for one without."""
        self.pins: dict[str, PinParameters] = {}
        """How they are derived."""
        self._folder = folder

    def take(self, users: Sequence[User]) -> None:
        """From here on these users, with their PINs as they are now."""
        keys, pins = self._read(users)
        self.keys.clear()
        self.keys |= keys
        self.pins.clear()
        self.pins |= pins

    def stale(self, users: Sequence[User]) -> bool:
        """Whether anything of these users is another than when it was taken."""
        return self._read(users) != (self.keys, self.pins)

    def _read(self, users: Sequence[User]) -> tuple[dict[str, bytes | None], dict[str, PinParameters]]:
        pins = {user.id: self._pin(user) for user in users}
        keys = {user: pin[1] if pin else None for user, pin in pins.items()}
        return keys, {user: pin[0] for user, pin in pins.items() if pin}

    def _pin(self, user: User) -> tuple[PinParameters, bytes] | None:
        """A user's PIN: how its key is derived, and the key. One that cannot be read: no commands by MQTT."""
        if user.pin is None:
            return None
        try:
            text = read_secret(user.pin, self._folder)
            return pin_parameters(text), pin_key(text)
        except (SecretError, ValueError) as error:
            log.error("user %s: no commands by MQTT: %s", user.id, error)
            return None
