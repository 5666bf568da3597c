"""A mosquitto with the shipped configuration."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from servers.mosquitto import Authority, Mosquitto

from labmon.config.shipped import shipped

SHIPPED = shipped("config") / "mosquitto"
PASSWORDS = {
    "gateway-gw1": "one",
    "gateway-gw2": "two",
    "ingest": "three",
    "viewer": "four",
    "desk": "five",
    "watch": "six",
}
_BY_CERTIFICATE = ("#cafile ", "#require_certificate ", "#use_identity_as_username ")
_BY_PASSWORD = ("password_file ",)


class AsShipped(Mosquitto):
    """Only port, paths and the user that it runs as are those of the test.

    With `by_certificate` the lines for client certificates are in force, as config/mosquitto/README.md says.
    """

    def __init__(self, folder: Path, authority: Authority, *, by_certificate: bool = False, **options: Any) -> None:
        self._by_certificate = by_certificate
        super().__init__(folder, authority=authority, **options)

    def _configure(self) -> None:
        assert self.authority is not None
        certificate, key = self.authority.sign("broker", days=90)
        for source, name in ((certificate, "broker.crt"), (key, "broker.key"), (self.authority.certificate, "ca.crt")):
            shutil.copy(source, self.folder / name)
        self._users = PASSWORDS
        self._write_passwords()
        acl = (SHIPPED / "acl").read_text()
        block = acl[acl.index("user gateway-gw1") : acl.index("# Ingest")]
        (self.folder / "acl").write_text(acl + "\n" + block.replace("gw1", "gw2"))
        (self.folder / "acl").chmod(0o600)
        lines = []
        for line in (SHIPPED / "mosquitto.conf").read_text().splitlines():
            if self._by_certificate and line.startswith(_BY_CERTIFICATE):
                line = line[1:]
            elif self._by_certificate and line.startswith(_BY_PASSWORD):
                continue
            lines.append(line)
        conf = "\n".join(lines) + "\n"
        assert conf.count("/etc/mosquitto/labmon/") == 5 - self._by_certificate
        assert conf.count("listener 8883\n") == 1
        conf = conf.replace("/etc/mosquitto/labmon/", f"{self.folder}/")
        conf = conf.replace("listener 8883\n", f"listener {self.port} {self.host}\n")
        if os.geteuid() == 0:
            conf += "user root\n"
        (self.folder / "mosquitto.conf").write_text(conf)
