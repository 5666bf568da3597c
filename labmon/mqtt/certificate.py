"""When certificates end: read from PEM files and from what the broker showed.

The ssl module tells a certificate's end only for one that it has just verified; a client's own it does not. So the few
bytes in question are read here (RFC 5280, 4.1: the first fields of every certificate), which needs no further package.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_BYTES = 4 * 2**20
"""Of one file of certificates; a system's whole bundle has a quarter of a megabyte."""
_SEQUENCE, _INTEGER, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x02, 0x17, 0x18, 0xA0
_PEM = re.compile(
    r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.S
)


class CertificateError(Exception):
    """A file that holds no certificate that can be read. The text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is read of a certificate: who issued it to whom (DER names, for comparing), and its times in UTC seconds."""

    issuer: bytes
    subject: bytes
    begins: int
    ends: int


def parse(der: bytes) -> Certificate:
    """Read a certificate. Raises ValueError for what is none."""
    whole, _ = _take(der, _SEQUENCE)
    body, _ = _take(whole, _SEQUENCE)
    if body[:1] == bytes([_VERSION]):
        _, body = _take(body, _VERSION)
    _, body = _take(body, _INTEGER)
    _, body = _take(body, _SEQUENCE)  # the algorithm of the signature
    issuer, body = _take(body, _SEQUENCE)
    validity, body = _take(body, _SEQUENCE)
    subject, _ = _take(body, _SEQUENCE)
    begins, validity = _time(validity)
    ends, _ = _time(validity)
    return Certificate(issuer, subject, begins, ends)


def read_certificates(path: Path | str) -> list[Certificate]:
    """All certificates of a PEM file, at least one. Raises CertificateError."""
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a path"
        raise CertificateError(f"{path}: cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise CertificateError(f"{path}: is longer than {MAX_BYTES} bytes")
    found = []
    for block in _PEM.findall(content.decode("latin-1")):
        try:
            found.append(
                parse(ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE-----{block}-----END CERTIFICATE-----"))
            )
        except ValueError:
            raise CertificateError(f"{path}: holds a damaged certificate: put the right file there") from None
    if not found:
        raise CertificateError(f"{path}: holds no certificate in PEM form: put the right file there")
    return found


def expiry(path: Path | str) -> int:
    """When the first certificate of a file (a certificate with its chain) ends, in UTC seconds.

    Raises CertificateError.
    """
    return min(certificate.ends for certificate in read_certificates(path))


def authority_expiry(path: Path | str, server: bytes | None = None) -> int:
    """When an authority's file is of no use any more, in UTC seconds. Raises CertificateError.

    A file may hold the authority of yesterday beside that of tomorrow. Where the server's certificate (DER) is known
    and its issuer is in the file, that one counts; else the one that ends last.
    """
    authorities = read_certificates(path)
    if server is not None:
        try:
            issuer = parse(server).issuer
        except ValueError:
            issuer = b""
        authorities = [a for a in authorities if a.subject == issuer] or authorities
    return max(authority.ends for authority in authorities)


def day(moment: int) -> str:
    """A moment as people read it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the DER element at the beginning, which must have this tag, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError("not a certificate")
    length, start = data[1], 2
    if length >= 0x80:
        start += length - 0x80
        if length == 0x80 or start > 6 or len(data) < start:
            raise ValueError("not a certificate")
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("a certificate that is cut off")
    return data[start : start + length], data[start + length :]


def _time(data: bytes) -> tuple[int, bytes]:
    utc = data[:1] == bytes([_UTC_TIME])
    content, rest = _take(data, _UTC_TIME if utc else _GENERALIZED_TIME)
    text = content.decode("ascii")
    if utc:
        text = ("19" if text >= "50" else "20") + text
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()), rest


# ---------------------------------------------------------------- ahead of time

AHEAD = 30 * 86400
"""Seconds before its end from which a certificate is told of."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A file of certificates that somebody has to renew. One that is `elsewhere` need not be on this machine."""

    what: str
    path: Path
    authority: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of a server's certificate."""

    name: str
    certificate: bytes | None = None
    """As it was last accepted (DER)."""
    expired: bool = False
    """Whether one was refused since, because its time is over."""


def ending(watched: Iterable[Watched], server: Server | None, now: float) -> list[str]:
    """One line for each certificate that has ended, ends soon or cannot be read; nothing for the others."""
    shown = server.certificate if server is not None else None
    lines = []
    for one in watched:
        name = f"{one.what} {one.path}"
        try:
            ends = authority_expiry(one.path, shown) if one.authority else expiry(one.path)
        except CertificateError as error:
            if not (one.elsewhere and not one.path.exists()):
                lines.append(f"{one.what} {error}")
        else:
            lines += _told(name, ends, now, "put a new one there")
    if server is not None and server.expired:
        lines.append(f"certificate of {server.name} has expired, or its authority's: put a new one at the broker")
    elif shown is not None and server is not None:
        lines += _told(f"certificate of {server.name}", parse(shown).ends, now, "put a new one at the broker")
    return lines


def _told(name: str, ends: int, now: float, remedy: str) -> list[str]:
    if ends - now > AHEAD:
        return []
    return [f"{name} {'ended' if ends <= now else 'ends'} on {day(ends)}: {remedy}"]


async def look(watched: Sequence[Watched], server: Server | None, now: float) -> list[str]:
    """The same as `ending`, in a thread: a file may be on a disk that hangs."""
    return await asyncio.to_thread(ending, watched, server, now)
