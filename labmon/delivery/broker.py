"""From a site file's `mqtt` section to what a connection needs."""

from __future__ import annotations

from pathlib import Path

from labmon.config.secrets import read_secret, secret_path
from labmon.config.site import MqttConfig, TlsConfig
from labmon.config.types import Secret
from labmon.mqtt import BrokerSettings, Tls
from labmon.mqtt.certificate import Watched


def broker_settings(
    config: MqttConfig, user: str | None, password: Secret | None, folder: Path, *, ingest: bool = False
) -> BrokerSettings:
    """How to reach the broker as `user`; relative paths count from `folder`. Raises SecretError.

    `ingest` shows the certificate of ingest where the site file names one.
    """
    tls = None
    if config.tls is not None:
        certificate, key = _shown(config.tls, ingest)
        files = (config.tls.ca, certificate, None if key is None else secret_path(key, folder))
        tls = Tls(*(None if file is None else str(folder / file) for file in files))
    return BrokerSettings(
        host=config.host,
        port=config.port,
        tls=tls,
        user=user,
        password=read_secret(password, folder) if password is not None else None,
        protocol=config.protocol,
        keepalive=config.keepalive,
    )


def watched_files(config: MqttConfig, folder: Path, *, ingest: bool = False) -> list[Watched]:
    """The certificates in files that reaching the broker stands on.

    The gateway also looks after the certificate of ingest, where that is on the same machine.
    """
    tls = config.tls
    if tls is None:
        return []
    found = []
    if tls.ca is not None:
        found.append(Watched("authority of the broker", folder / tls.ca, authority=True))
    if (certificate := _shown(tls, ingest)[0]) is not None:
        found.append(Watched("certificate", folder / certificate))
    if not ingest and tls.ingest_certificate is not None:
        found.append(Watched("certificate of ingest", folder / tls.ingest_certificate, elsewhere=True))
    return found


def _shown(tls: TlsConfig, ingest: bool) -> tuple[str | None, Secret | None]:
    if ingest and tls.ingest_certificate is not None:
        return tls.ingest_certificate, tls.ingest_key
    return tls.certificate, tls.key
