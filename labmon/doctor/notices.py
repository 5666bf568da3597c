"""The notice channels: mail as far as the login, webhooks as far as the connection. Nobody is sent anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from smtplib import SMTPException
from urllib.parse import urlsplit

from labmon.config.secrets import SecretError, read_secret
from labmon.config.site import EmailChannel, WebhookChannel
from labmon.config.types import Secret
from labmon.doctor.case import PATIENCE, Case
from labmon.doctor.finding import Finding, fault, ok, warning
from labmon.doctor.network import connect, connect_tls, why
from labmon.notices.attempt import Wire, trust
from labmon.notices.email import EmailSender
from labmon.notices.notice import ChannelFailed


def notices(case: Case) -> Iterator[Finding]:
    """Each channel, and whether there is one to fall back on."""
    if case.site is None:
        return
    config = case.site.notices
    for channel in config.channels:
        if channel.email is not None:
            yield _email(channel.id, channel.email, case.folder)
        elif channel.webhook is not None:
            yield _webhook(channel.id, channel.webhook)
    if not config.routes:
        yield warning("no route: nobody is told of any alarm", "give the site file `notices: routes:`")
    elif len(config.channels) == 1:
        yield warning("one channel only: when it fails nobody can be told of it", "give the site a second one")


def _email(id_: str, config: EmailChannel, folder: Path) -> Finding:
    name = f"{id_}: mail server {config.host}:{config.port}"

    def secret(reference: Secret) -> str:
        return read_secret(reference, folder)

    quick = config.model_copy(update={"timeout": min(config.timeout, PATIENCE)})
    wire = Wire()
    try:
        said = EmailSender(quick, secret, "doctor.invalid").probe(wire)
    except SecretError as error:
        return fault(f"{name}: {error}", "see secrets, above")
    except ChannelFailed as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, SMTPException):
            what, remedy = why(error.__cause__)
            return fault(f"{name}: {what}", remedy)
        return fault(f"{id_}: {error}", _mail_remedy(str(error)))
    finally:
        wire.close()
    return ok(f"{name}: {said}")


def _mail_remedy(said: str) -> str:
    low = said.lower()
    if "login" in low:
        return "compare `user` and `password` of the channel with the mail server's"
    if "starttls" in low or "ssl" in low:
        return "set `tls` of the channel to what that port has: none, starttls or tls"
    return "check that it runs, host and port in the site file, the network in between, and firewalls"


def _webhook(id_: str, config: WebhookChannel) -> Finding:
    parts = urlsplit(config.url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = f"{id_}: webhook {host}:{port}"
    try:
        if secure:
            connect_tls(host, port, trust(config.ca), PATIENCE)
        else:
            connect(host, port, PATIENCE)
    except OSError as error:
        what, remedy = why(error)
        return fault(f"{name}: {what}", remedy)
    return ok(f"{name}: takes a connection{' with TLS' if secure else ''} (nothing was posted)")
