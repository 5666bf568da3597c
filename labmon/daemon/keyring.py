"""The PINs of the users, as the commands by MQTT need them."""

from __future__ import annotations

from pathlib import Path

from labmon.config.secrets import PinParameters
from labmon.config.site import Site
from labmon.daemon.reach import read_pins


class Keyring:
    """What was taken of them last; changed in place, because the consumers hold it."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, bytes | None] = {}
        """Keys of the PINs by user; None for one without."""
        self.pins: dict[str, PinParameters] = {}
        """How they are derived."""
        self._folder = folder

    def take(self, site: Site) -> None:
        """From here on this site's users, with their PINs as they are now."""
        keys, pins = read_pins(site, self._folder)
        self.keys.clear()
        self.keys |= keys
        self.pins.clear()
        self.pins |= pins

    def stale(self, site: Site) -> bool:
        """Whether anything of this site's users is another than when it was taken."""
        return read_pins(site, self._folder) != (self.keys, self.pins)
