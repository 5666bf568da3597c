"""What must hold between the broker, the stores and the notices of a site file; plain data, as in `checks`."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from labmon.config.checks import Found, Plain, ids, items, one, refer, same_host, text, unique
from labmon.config.errors import Path
from labmon.config.site import NOTICE_CHANNEL, STORE

_SECRET_NAME = re.compile(r"token|key|secret|passw|pwd|auth|sig", re.I)


def check_delivery(data: Plain, found: Found) -> None:
    """Check how a site's records and notices leave the gateway."""
    _mqtt(data.get("mqtt"), found)
    _stores(data, found)
    _notices(data, found)


def is_local(host: str) -> bool:
    """Whether a host is this machine itself, so that nobody listens on the way."""
    try:
        return ipaddress.ip_address(same_host(host).strip("[]")).is_loopback
    except ValueError:
        return False


def _mqtt(mqtt: Any, found: Found) -> None:
    if not isinstance(mqtt, dict):
        return
    for user, password in ((f"{who}user", f"{who}password") for who in ("", "ingest-", "watch-")):
        if password in mqtt and user not in mqtt:
            found.error(("mqtt", password), f"{password} without {user}")
    tls, host = mqtt.get("tls"), text(mqtt, "host")
    for key, certificate in (("key", "certificate"), ("ingest-key", "ingest-certificate")):
        if isinstance(tls, dict) and key in tls and certificate not in tls:
            found.error(("mqtt", "tls", key), f"{key} without {certificate}")
    if host is None or is_local(host):
        return
    if "tls" not in mqtt and {"password", "ingest-password", "watch-password"} & mqtt.keys():
        found.warning(("mqtt",), f"passwords go to {host} without encryption", "add tls")
    if mqtt.get("protocol") == "3.1.1":
        found.warning(("mqtt", "protocol"), "3.1.1 is for the embedded demonstration broker", "leave it out")


def _stores(data: Plain, found: Found) -> None:
    stores = items(data, ("stores",))
    if stores and "mqtt" not in data:
        found.error(("stores",), "stores are fed through the broker, and there is no mqtt section")
    for path, store in stores:
        one(path, store, "influxdb", "sqlite", STORE, found)
        url = text(store.get("influxdb"), "url")
        if url is not None and (host := _plain_http(url)) is not None:
            found.warning((*path, "influxdb", "url"), f"the token goes to {host} without encryption", "use https")
        _open_secret((*path, "influxdb", "url"), url, "use `token`", found)


def _plain_http(url: str) -> str | None:
    """Host of a URL that is neither encrypted nor local."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme == "http" and parts.hostname and not is_local(parts.hostname) else None


def _open_secret(path: Path, url: str | None, hint: str, found: Found) -> None:
    """Warn of a URL that seems to hold a secret: the text of the site file goes into the journal."""
    try:
        query = urlsplit(url or "").query
    except ValueError:
        return
    if _SECRET_NAME.search(re.sub("=[^&;]*", "=", query)):
        found.warning(path, "the URL seems to hold a secret, and the site file is no place for one", hint)


def _notices(data: Plain, found: Found) -> None:
    channels, people = items(data, ("notices", "channels")), items(data, ("notices", "people"))
    unique(channels, found)
    unique(people, found)
    for path, channel in channels:
        one(path, channel, "email", "webhook", NOTICE_CHANNEL, found)
        _email((*path, "email"), channel.get("email"), found)
        hint = "let the far end check the signature that `secret` makes"
        _open_secret((*path, "webhook", "url"), text(channel.get("webhook"), "url"), hint, found)
    by_mail = {text(c, "id") for _, c in channels if "email" in c}
    unreachable = {text(p, "id") for _, p in people if "email" not in p}
    routes = items(data, ("notices", "routes"))
    for path, route in routes:
        _route(path, route, data, found)
        if set(_texts(route, "by")) & by_mail:
            for index, name in enumerate(_texts(route, "to")):
                if name in unreachable:
                    found.error((*path, "to", index), f"`{name}` has no email, and this route goes by mail")
    taken = {name for _, route in routes for name in _texts(route, "classes")}
    if channels and "action" not in taken:
        found.warning(("notices",), "no route takes action alarms: nobody is told of them")


def _route(path: Path, route: Plain, data: Plain, found: Found) -> None:
    # A route may name what a section that is missing would hold: an absent section holds nothing.
    channels = ids(data, "notices", "channels") or set()
    people = ids(data, "notices", "people") or set()
    known = {"areas": ids(data, "areas"), "to": people, "by": channels}
    words = {"areas": "area", "to": "person", "by": "notice channel"}
    for key, names in known.items():
        for index, name in enumerate(_texts(route, key)):
            refer((*path, key, index), name, names, words[key], found)
    for key in ("classes", "areas", "to", "by"):
        if route.get(key) == []:
            found.error((*path, key), "is empty: the route leads nowhere")


def _email(path: Path, email: Any, found: Found) -> None:
    if not isinstance(email, dict):
        return
    if "password" in email and "user" not in email:
        found.error((*path, "password"), "password without user")
    host = text(email, "host")
    if "password" in email and email.get("tls") == "none" and host is not None and not is_local(host):
        found.warning((*path, "tls"), f"the password goes to {host} without encryption", "use starttls or tls")


def _texts(item: Plain, key: str) -> list[str]:
    """The texts of a list, each at its index; what is no text stands as an empty one, which refers to nothing."""
    entries = item.get(key)
    return [e if isinstance(e, str) else "" for e in entries] if isinstance(entries, list) else []
