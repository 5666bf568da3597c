"""Bodies of entries as bytes: sealed with a checksum, events and configurations as JSON."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from hashlib import sha256

import orjson

from labmon.journal.entries import Configuration, Gap
from labmon.journal.errors import Unpackable
from labmon.model.event import Event

_FRAME = struct.Struct("<qBqq")
_CHECK = struct.Struct("<I")


def seal(seq: int, kind: int, time: int, layout: int | None, body: bytes) -> bytes:
    """The body with a checksum over the whole row: SQLite itself does not notice a flipped bit in a value."""
    return body + _CHECK.pack(zlib.crc32(body, zlib.crc32(_FRAME.pack(seq, kind, time, layout or 0))))


def unseal(seq: int, kind: int, time: int, layout: int | None, stored: bytes) -> bytes:
    """The inverse of seal. Raises ValueError when the row is not what was written, whatever types damage made of it."""
    try:
        body = stored[:-4]
        sound = len(stored) >= 4 and seal(seq, kind, time, layout, body) == stored
    except (struct.error, TypeError) as error:
        raise ValueError("not the row of an entry") from error
    if not sound:
        raise ValueError("checksum does not match")
    return body


def encode_event(event: Event) -> bytes:
    """An event as the body of its entry. Raises Unpackable for one that JSON or the journal's clock cannot hold."""
    if not -(2**63) <= event.time < 2**63:
        raise Unpackable(f"event {event.uid}: time {event.time} is beyond 64 bits of nanoseconds")
    try:
        return orjson.dumps(event.to_dict())
    except (TypeError, ValueError) as error:
        raise Unpackable(f"event {event.uid}: {error}") from error


def decode_event(body: bytes) -> Event:
    """The inverse of encode_event. Raises ValueError."""
    return Event.from_dict(orjson.loads(body))


def encode_gap(gap: Gap, event: Event) -> bytes:
    """A gap, with the event that tells people of it, as the body of its entry."""
    counted = {name: getattr(gap, name) for name in Gap.__slots__}
    return orjson.dumps({"gap": counted, "event": event.to_dict()})


def decode_gap(body: bytes) -> tuple[Gap, Event]:
    """The inverse of encode_gap. Raises ValueError."""
    data = orjson.loads(body)
    return Gap(**data["gap"]), Event.from_dict(data["event"])


def encode_configuration(configuration: Configuration) -> tuple[bytes, dict[bytes, bytes]]:
    """The body of a configuration entry, which names its texts by hash, and the texts (compressed) by hash."""
    texts: dict[bytes, bytes] = {}

    def named(content: str) -> str:
        encoded = content.encode("utf-8", "surrogatepass")
        digest = sha256(encoded)
        texts[digest.digest()] = zlib.compress(encoded)
        return digest.hexdigest()

    body = {
        "labmon": configuration.labmon,
        "by": _readable(configuration.applied_by),
        "site": [_readable(configuration.site_name), named(configuration.site)],
        "drivers": {driver: named(source) for driver, source in sorted(configuration.drivers.items())},
        "profiles": {_readable(path): named(text) for path, text in sorted(configuration.profiles.items())},
    }
    return orjson.dumps(body), texts


def _readable(name: str) -> str:
    """A name of the file system need not be UTF-8; a journal that could not be written for that would be worse."""
    return name.encode("utf-8", "replace").decode()


def configuration_hashes(body: bytes) -> set[bytes]:
    """The hashes of the texts that a configuration entry names."""
    data = orjson.loads(body)
    return {
        bytes.fromhex(name) for name in (data["site"][1], *data["drivers"].values(), *data.get("profiles", {}).values())
    }


def decode_configuration(body: bytes, texts: Mapping[bytes, bytes]) -> Configuration:
    """The inverse of encode_configuration. Raises ValueError when a text is missing or not what was written."""
    data = orjson.loads(body)

    def content(name: str) -> str:
        try:
            encoded = zlib.decompress(texts[bytes.fromhex(name)])
        except (KeyError, zlib.error) as error:
            raise ValueError(f"text {name} is missing or damaged") from error
        if sha256(encoded).hexdigest() != name:
            raise ValueError(f"text {name} is damaged")
        return encoded.decode("utf-8", "surrogatepass")

    drivers = {driver: content(name) for driver, name in data["drivers"].items()}
    profiles = {path: content(name) for path, name in data.get("profiles", {}).items()}
    return Configuration(data["labmon"], data["by"], data["site"][0], content(data["site"][1]), drivers, profiles)
