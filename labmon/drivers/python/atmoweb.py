"""Memmert AtmoWEB: incubators and ovens that are asked by HTTP.

Why this is not a driver file: the reply is an HTTP message, whose length stands in a header field, or is told by
chunks, or by the end of the connection, which the instrument may close after each answer; and its body is JSON in name
only (braces missing, commas too many, keys without quotes, bare words), of which one value is wanted. The grammar has
neither HTTP nor a JSON that forgives; it has framings of serial lines, and templates of what instruments print.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

from labmon.drivers.call_step import Talk
from labmon.drivers.python_driver import PythonDriver
from labmon.links.errors import Garbled, Refused
from labmon.links.link import Manner
from labmon.model.reading import Raw

HEADER = r"""
labmon-driver: 1
maker: Memmert
models: [ICO, IPP, HCP, other models of 2012 and later with AtmoWEB]
title: Memmert incubator or oven by AtmoWEB
class: incubator
manual:
  document: MemmertControl atmoweb.py (public client); the maker's D33477 (07/2020) was not seen
  revision: as of github uwenji/MemmertControl
  pages: atmoweb.py
  source: github uwenji/MemmertControl; scribd 447086372; fdocuments atmoweb-memmert
faults:
  - Answers are not always valid JSON (missing braces, trailing commas, keys without quotes, bare words).
  - N/A, N/D and unknown stand where there is no value; what tells them apart was not found.
  - The sources give no units; those here are what such controllers display. Compare before anybody relies on them.
  - TempSet and the other setpoints are settable by the same requests; only reading forms are sent.
framings: [text]
timing: {timeout: 3 s}
params:
  host: {type: text, doc: What the field Host of the request says; for a proxy that needs a name., default: atmoweb}
  co2: {type: switch, doc: Whether the unit measures carbon dioxide., default: false}
  humidity: {type: switch, doc: Whether the unit measures humidity., default: false}
  o2: {type: switch, doc: Whether the unit measures oxygen., default: false}
queries:
  temperature:
    every: 30 s
    requests:
      - call: Temp1Read
        fields:
          temperature:
            type: number
            sentinels:
              - {raw: N/A, reason: not-available}
              - {raw: N/D, reason: not-available}
              - {raw: unknown, reason: not-available}
    channels:
      - {id: temperature, name: Temperature, unit: Cel, decimals: 1, range: [-100, 400]}
  humidity:
    every: 30 s
    when: {humidity: true}
    requests:
      - call: HumRead
        fields:
          humidity:
            type: number
            sentinels:
              - {raw: N/A, reason: not-available}
              - {raw: N/D, reason: not-available}
              - {raw: unknown, reason: not-available}
    channels:
      - {id: humidity, name: Relative humidity, unit: "%", decimals: 1, range: [0, 100]}
  co2:
    every: 30 s
    when: {co2: true}
    requests:
      - call: CO2Read
        fields:
          co2:
            type: number
            sentinels:
              - {raw: N/A, reason: not-available}
              - {raw: N/D, reason: not-available}
              - {raw: unknown, reason: not-available}
    channels:
      - {id: co2, name: Carbon dioxide, unit: "%{CO2}", decimals: 1, range: [0, 100]}
  o2:
    every: 30 s
    when: {o2: true}
    requests:
      - call: O2Read
        fields:
          o2:
            type: number
            sentinels:
              - {raw: N/A, reason: not-available}
              - {raw: N/D, reason: not-available}
              - {raw: unknown, reason: not-available}
    channels:
      - {id: o2, name: Oxygen, unit: "%{O2}", decimals: 1, range: [0, 100]}
examples:
  - query: temperature
    doc: Valid JSON.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"Temp1Read\": 37.02}"
    readings: {temperature: 37.02}
  - query: temperature
    doc: No braces, no quotes, a comma too many, and no length.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.0 200 OK\r\n\r\nTemp1Read: 36.9,\r\n"
    readings: {temperature: 36.9}
  - query: temperature
    doc: In chunks.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"Temp1R\r\nb\r\nead\": -18.5}\r\n0\r\n\r\n"
    readings: {temperature: -18.5}
  - query: temperature
    doc: No value.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"Temp1Read\": \"N/A\"}"
    readings: {temperature: not-available (N/A)}
  - query: temperature
    doc: No value.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"Temp1Read\": N/D}"
    readings: {temperature: not-available (N/D)}
  - query: temperature
    doc: No value.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"Temp1Read\": unknown}"
    readings: {temperature: not-available (unknown)}
  - query: temperature
    doc: A word that is not known.
    origin: {composed: from what the public client takes apart}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"Temp1Read\": open}"
    readings: {temperature: implausible (open)}
  - query: temperature
    doc: No such page.
    origin: {composed: by hand}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    fails: refused
  - query: temperature
    doc: Cut short.
    origin: {composed: by hand}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"Temp1R"
    fails: silent
  - query: temperature
    doc: Something else answers.
    origin: {composed: by hand}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "220 mail.plant.example\r\n"
    fails: garbled
  - query: temperature
    doc: Another key.
    origin: {composed: by hand}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?Temp1Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"HumRead\": 95}"
    fails: garbled
  - query: humidity
    doc: Relative humidity.
    origin: {composed: from what the public client takes apart}
    params: {humidity: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?HumRead= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"HumRead\": 95}"
    readings: {humidity: 95}
  - query: co2
    doc: Carbon dioxide.
    origin: {composed: from what the public client takes apart}
    params: {co2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?CO2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"CO2Read\":5.1,}"
    readings: {co2: 5.1}
  - query: o2
    doc: Oxygen.
    origin: {composed: from what the public client takes apart}
    params: {o2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?O2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\nO2Read=20.7"
    readings: {o2: 20.7}
  - query: humidity
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {humidity: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?HumRead= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"HumRead\": N/A}"
    readings: {humidity: not-available (N/A)}
  - query: humidity
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {humidity: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?HumRead= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"HumRead\": N/D}"
    readings: {humidity: not-available (N/D)}
  - query: humidity
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {humidity: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?HumRead= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"HumRead\": unknown}"
    readings: {humidity: not-available (unknown)}
  - query: co2
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {co2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?CO2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"CO2Read\": N/A}"
    readings: {co2: not-available (N/A)}
  - query: co2
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {co2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?CO2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"CO2Read\": N/D}"
    readings: {co2: not-available (N/D)}
  - query: co2
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {co2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?CO2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"CO2Read\": unknown}"
    readings: {co2: not-available (unknown)}
  - query: o2
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {o2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?O2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"O2Read\": N/A}"
    readings: {o2: not-available (N/A)}
  - query: o2
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {o2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?O2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"O2Read\": N/D}"
    readings: {o2: not-available (N/D)}
  - query: o2
    doc: No value.
    origin: {composed: from what the public client takes apart}
    params: {o2: true}
    raws: {}
    exchanges:
      - sent: "GET /atmoweb?O2Read= HTTP/1.1\r\nHost: atmoweb\r\nAccept: */*\r\n\r\n"
        got: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"O2Read\": unknown}"
    readings: {o2: not-available (unknown)}
"""

_VALUE = r"""["']?\s*[:=]\s*(?:"(?P<quoted>[^"\r\n]{0,60})"|(?P<bare>[^,}\]\r\n"]{0,60}))"""
_NUMBER = re.compile(r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE][+-]?\d{1,3})?")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,6})[ \t]*\r\n", re.I)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.I)


class Get:
    """One HTTP GET. The payload is the reply's body.

    It is whole by its length or last chunk; where it says neither, when `wanted` is in it, or the connection ends.
    """

    def __init__(self, target: str, host: str, wanted: re.Pattern[bytes] | None = None) -> None:
        self._wanted = wanted
        self._sent = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n".encode("ascii")
        self.size = len(self._sent) + 300
        self.manner: Manner | None = None
        self._heard = b""

    def encode(self, transaction: int) -> bytes:
        """The request's bytes."""
        return self._sent

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The body, once it is whole. Raises Garbled for what is no HTTP, and Refused for a status other than 200."""
        self._heard = buffer
        start = b"HTTP/1."
        if buffer[: len(start)] != start[: len(buffer)]:
            raise Garbled(f"no HTTP: {buffer[:24]!r}")
        head, end, body = buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        status = head[9:12].decode("ascii", "replace")
        if status != "200":
            raise Refused(status, head.split(b"\r\n", 1)[0].decode("latin-1")[9:60])
        fields = head + b"\r\n"
        if found := _LENGTH.search(fields):
            length = int(found[1])
            return body[:length] if len(body) >= length else None
        if _CHUNKED.search(fields):
            return _unchunked(body)
        return body if self._wanted is not None and self._wanted.search(body) else None

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether more may come; a whole message without a length is ended by the connection alone."""
        return buffer.startswith(b"HTTP/1."[: len(buffer)])

    def closed(self) -> bytes | None:
        """The body of a message that says no length, when the connection has ended; None for one that was cut."""
        head, end, body = self._heard.partition(b"\r\n\r\n")
        fields = head + b"\r\n"
        if not end or _LENGTH.search(fields) or _CHUNKED.search(fields):
            return None
        return body


def _unchunked(body: bytes) -> bytes | None:
    """The content of whole chunks; None while the last one is missing. Raises Garbled."""
    content = b""
    while True:
        size, end, rest = body.partition(b"\r\n")
        if not end:
            return None
        try:
            length = int(size.split(b";", 1)[0], 16)
        except ValueError:
            raise Garbled(f"no chunk: {size[:24]!r}") from None
        if length == 0:
            return content
        if not 0 < length < 100_000:
            raise Garbled(f"a chunk of {length} bytes")
        if len(rest) < length + 2:
            return None
        content, body = content + rest[:length], rest[length + 2 :]


def value_of(key: str, body: str) -> Raw:
    """The value of a key in what is almost JSON: a number, or a text such as N/A. Raises Garbled where none is."""
    found = re.search(rf"""(?<![A-Za-z0-9_]){re.escape(key)}{_VALUE}""", body)
    if found is None:
        raise Garbled(f"no {key} in {body[:60]!r}")
    text = (found["quoted"] if found["quoted"] is not None else found["bare"]).strip()
    return float(text) if _NUMBER.fullmatch(text) else text


def read(key: str, field: str, talk: Talk) -> Mapping[str, Raw]:
    """Ask for one key."""
    # A value is whole when something stands after it.
    wanted = re.compile(key.encode() + rb"""["']?\s*[:=][^,}\]\r\n]{1,60}[,}\]\r\n]""")
    body = talk.exchange(Get(f"/atmoweb?{key}=", str(talk.params["host"]), wanted), reconnect=True)
    return {field: value_of(key, body.decode("latin-1"))}


KEYS = {"Temp1Read": "temperature", "HumRead": "humidity", "CO2Read": "co2", "O2Read": "o2"}
CALLS: dict[str, Callable[[Talk], Mapping[str, Raw]]] = {k: partial(read, k, field) for k, field in KEYS.items()}
DRIVER = PythonDriver(HEADER, CALLS)
