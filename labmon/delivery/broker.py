"""From a site file's `mqtt` section to what a connection needs."""

from __future__ import annotations

from pathlib import Path

from labmon.config.secrets import read_secret, secret_path
from labmon.config.site import MqttConfig
from labmon.config.types import Secret
from labmon.mqtt import BrokerSettings, Tls


def broker_settings(config: MqttConfig, user: str | None, password: Secret | None, folder: Path) -> BrokerSettings:
    """How to reach the broker as `user`; relative paths count from `folder`. Raises SecretError."""
    tls = None
    if config.tls is not None:
        key = config.tls.key
        files = (config.tls.ca, config.tls.certificate, None if key is None else secret_path(key, folder))
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
