"""The broker: reached, trusted, logged in, allowed to publish; and when the certificates end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

from labmon.config.secrets import SecretError
from labmon.config.site import MqttConfig, Site
from labmon.delivery.broker import broker_settings, watched_files
from labmon.doctor.case import PATIENCE, Case
from labmon.doctor.finding import Finding, fault, ok, warning
from labmon.doctor.network import connect, why
from labmon.mqtt import BrokerSettings, Connection, MqttError
from labmon.mqtt.certificate import AHEAD, CertificateError, authority_expiry, day, expiry, parse
from labmon.mqtt.topics import Topics, client_id

PROBE = "doctor"
"""Id of an alarm that no site has. Nothing is retained for it: that is what is published."""


def broker(case: Case) -> Iterator[Finding]:
    """Each step towards the broker, up to the first that fails."""
    site = case.site
    if site is None or site.mqtt is None:
        return
    config = site.mqtt
    name = f"{config.host}:{config.port}"
    try:
        connect(config.host, config.port, PATIENCE)
    except OSError as error:
        what, remedy = why(error)
        yield fault(f"{name}: {what}", remedy)
        return
    try:
        settings = broker_settings(config, config.user, config.password, case.folder)
    except SecretError as error:
        yield fault(f"{name}: {error}", "see secrets, above")
        return
    if config.tls is None and not config.host.startswith(("127.", "localhost", "::1")):
        yield warning(f"{name}: without TLS, passwords and readings can be read on the way", "give it `tls` and a port")
    prefix = f"labmon/{site.site.id}/{site.gateway.id}"
    yield from asyncio.run(_asked(settings, prefix, name, config))


async def _asked(settings: BrokerSettings, prefix: str, name: str, config: MqttConfig) -> list[Finding]:
    connection = Connection(settings, f"{client_id(prefix, 'doctor')}-{token_hex(4)}")
    found: list[Finding] = []
    try:
        await connection.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await _told_once(connection)
        except TimeoutError:
            return [fault(f"{name}: no answer to CONNECT", _remedy(""))]
        if not connection.connected:
            return [fault(f"{name}: {connection.last_error}", _remedy(connection.last_error))]
        as_whom = f"as {config.user}" if config.user else "without a name"
        found.append(ok(f"{name}: connected {as_whom}{', with TLS' if settings.tls else ''}"))
        found += _server(connection, name)
        found.append(await _publish(connection, prefix, name))
    finally:
        await connection.stop()
    return found


async def _told_once(connection: Connection) -> None:
    """Return as soon as the first try has an end, good or bad."""
    while not (connection.connected or connection.last_error):  # noqa: ASYNC110 - a failed try wakes nobody
        await asyncio.sleep(0.02)


def _remedy(error: str) -> str:
    low = error.lower()
    if "0x87" in low or "0x86" in low or "not authori" in low or "bad user" in low:
        return "compare `user` and `password` under mqtt: with the broker's password file"
    if "our certificate" in low or "certificate of us" in low:
        return "put a new certificate and key where mqtt: tls: names them"
    if "certificate" in low:
        return "see what it says; authority and host stand under mqtt: in the site file"
    if "wrong version number" in low or "ssl" in low or "tls" in low:
        return "is it the port with TLS? Compare port and `tls` under mqtt:"
    return "look at the broker's log; `tls` under mqtt: must be there if, and only if, that port has it"


async def _publish(connection: Connection, prefix: str, name: str) -> Finding:
    """Remove a retained message that does not exist: the access list is asked, and nothing is changed."""
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.publish(Topics(prefix).alarm(PROBE), b"", retain=True)
    except TimeoutError:
        return fault(f"{name}: does not acknowledge what is published", "look at the broker's log and its disk")
    except MqttError as error:
        return fault(f"{name}: {error}", f"let this user write below {prefix}/ in the broker's access list")
    return ok(f"{name}: takes what is published below {prefix}/")


def _server(connection: Connection, name: str) -> Iterator[Finding]:
    shown = connection.peer_certificate
    if shown is not None:
        with contextlib.suppress(ValueError):
            yield _told(f"certificate of {name}", parse(shown).ends, "put a new one at the broker")


def certificates(case: Case) -> Iterator[Finding]:
    """The certificates in files: the broker's authority and our own, mail's and webhooks' authorities."""
    site = case.site
    if site is None:
        return
    for watched in watched_files(site.mqtt, case.folder) if site.mqtt is not None else []:
        if watched.elsewhere and not watched.path.exists():
            continue
        yield _file(watched.what, watched.path, watched.authority)
    for way, ca in _authorities(site):
        yield _file(f"authority of {way}", case.folder / ca, True)


def _authorities(site: Site) -> Iterator[tuple[str, str]]:
    for channel in site.notices.channels:
        far = channel.email or channel.webhook
        if far is not None and far.ca is not None:
            yield f"notice channel {channel.id}", far.ca


def _file(what: str, path: Path, authority: bool) -> Finding:
    name = f"{what} {path}"
    try:
        ends = authority_expiry(path) if authority else expiry(path)
    except CertificateError as error:
        return fault(f"{what} {error}", "put a certificate in PEM form there, readable for labmon")
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:
        return fault(f"{name}: {error}", "put the right file there")
    return _told(name, ends, "put a new one there")


def _told(name: str, ends: int, remedy: str) -> Finding:
    left = (ends - time.time()) / 86400
    if left <= 0:
        return fault(f"{name} ended on {day(ends)}", remedy)
    if left * 86400 <= AHEAD:
        return warning(f"{name} ends in {left:.0f} days, on {day(ends)}", remedy)
    return ok(f"{name} ends in {left:,.0f} days")
