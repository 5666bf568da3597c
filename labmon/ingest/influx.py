"""InfluxDB 2.x and 3.x by `/api/v2/write`, and what speaks the same (InfluxDB 1.x behind a proxy, VictoriaMetrics).

influxdb-client is used in its synchronous mode only: its batching mode acknowledges before anything is stored and
drops what fails. Only the answer 204 means stored; a login page that answers 200 does not.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NoReturn, cast

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from labmon.ingest.points import Line, LineEncoder, Why, refusals
from labmon.ingest.store import StoreError, Written
from labmon.model.record import RecordRange

_STORED: Final = 204
_REFUSED: Final = {400, 413, 422}
_TOO_LARGE: Final = 413
_LATER: Final = {408, 425, 429}
_LINES_PER_POST: Final = 5000
_NANOSECONDS: Final = cast("WritePrecision", WritePrecision.NS)  # a str, which the client says is none
_CONNECT: Final = 3.0
_MAX_RETRY_AFTER: Final = 3600.0
_MAX_TEXT: Final = 200
_MAX_ANSWER: Final = 4 * 2**20
"""Bytes of one answer. A refusal may name every point that was sent, 5000 of them."""
# Says how many of the points sent were not stored; the words before keep a point's own text from being taken for it.
_DROPPED: Final = re.compile(
    r"partial write: (?P<why>points beyond retention policy|field type conflict: .*) dropped=(?P<dropped>\d+)"
)


class _Refusal(Exception):
    """The server refused something of what was sent; others of the same request may be stored."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        said = _DROPPED.fullmatch(text)
        self.why = f"{status} {said['why'] if said else text}"
        self.dropped = int(said["dropped"]) if said else 0
        """How many points were surely not stored; 0 where the server does not say."""


class InfluxStore:
    """A bucket. Points that the server will never take are found by halving and refused; all others are stored."""

    def __init__(self, *, url: str, org: str, bucket: str, token: str, timeout: float) -> None:
        """Connect to nothing yet. `timeout` (seconds) bounds each request as a whole."""
        self._org, self._bucket, self._token, self._timeout = org, bucket, token, timeout
        self._encoder = LineEncoder()
        self._sockets = _Sockets()
        milliseconds = (int(min(timeout, _CONNECT) * 1000), int(timeout * 1000))
        self._client: Any = InfluxDBClient(url=url, token=token, org=org, timeout=milliseconds)
        pools = self._client.api_client.rest_client.pool_manager
        pools.pool_classes_by_scheme = _tracked_pools(self._sockets.opened)
        self._api = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, record: RecordRange, site: str, gateway: str) -> Written:
        """Store the range. Raises StoreError; what was stored before it stays stored, which harms nothing."""
        refused: list[Why] = []
        lines = self._encoder.lines(record, site, gateway, refused)
        stored = 0
        while chunk := list(islice(lines, _LINES_PER_POST)):
            found = self._store(chunk)
            stored += len(chunk) - len(found)
            refused += found
        return Written(stored, refusals(refused))

    def probe(self) -> None:
        """Whether it takes writes: nothing is written, and that is accepted. Raises StoreError.

        InfluxDB answers to no points at all with 204, before 2.0.9 with 400; either way it has looked at token, bucket
        and rights first.
        """
        with suppress(_Refusal):
            self._post(b"")

    def _store(self, lines: list[Line]) -> list[Why]:
        refused: list[Why] = []
        spans = [(0, len(lines))]
        while spans:
            first, end = spans.pop()
            try:
                self._post("\n".join([line.text for line in lines[first:end]]).encode())
            except _Refusal as refusal:
                count = end - first
                if count == 1 or refusal.dropped == count:
                    refused += [(line.seq, line.channel, refusal.why) for line in lines[first:end]]
                else:
                    middle = first + count // 2
                    spans += [(middle, end), (first, middle)]
        return refused

    def _post(self, body: bytes) -> None:
        limit = _Limit(self._timeout, self._sockets)
        try:
            with limit:
                self._api.write(self._bucket, self._org, body, _NANOSECONDS)
        except ApiException as error:
            self._judge(error)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # ValueError: the client decodes every answer as UTF-8, and a proxy's error page need not be.
            if limit.passed or isinstance(error, urllib3.exceptions.ReadTimeoutError):
                raise StoreError("unavailable", f"no answer within {self._timeout:g} s") from None
            raise StoreError("unavailable", self._one_line(_network_text(error))) from None
        status = self._client.api_client.last_response.status
        if status != _STORED:
            raise StoreError("denied", f"answered {status} where InfluxDB answers {_STORED}: is the URL right?")

    def _judge(self, error: ApiException) -> NoReturn:
        status = error.status or 0
        said = _said(error.body)
        text = self._one_line(said if said is not None else error.reason or "")
        if status in _REFUSED and (said is not None or status == _TOO_LARGE):
            raise _Refusal(status, text or str(status)) from None
        if status == 0:
            # The client's way to say that TLS failed.
            raise StoreError("denied" if "certificate" in text.lower() else "unavailable", f"TLS: {text}") from None
        text = f"{status} {text}".rstrip()
        if status in _LATER or status >= 500:
            raise StoreError("unavailable", text, _retry_after(error)) from None
        raise StoreError("denied", text) from None

    def _one_line(self, text: str) -> str:
        return " ".join(text.replace(self._token, "***").split())[:_MAX_TEXT]

    def abort(self) -> None:
        """Cut the request under way; it and all later ones fail as unavailable."""
        self._sockets.end()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        # The client lets go of its connections, but its last answer still holds them.
        self._sockets.close()


def _said(body: str | None) -> str | None:
    """What InfluxDB says of an error (1.x `error`, 2.x `message`, 3.x `error` with `data`); None for anybody else.

    A proxy in between answers in HTML or plain text: that says nothing about the points sent.
    """
    try:
        answer = json.loads(body or "")
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    text = answer.get("message") or answer.get("error")
    if not isinstance(text, str):
        return None
    details = answer.get("data")
    first = details[0] if isinstance(details, list) and details else details
    if isinstance(first, dict) and isinstance(detail := first.get("error_message"), str):
        text = f"{text}: {detail}"
    return text


def _network_text(error: Exception) -> str:
    # The text of urllib3's errors names connection objects; what is of use comes after the last colon of the class.
    text = re.sub(r"<[^>]*>:? ?|\w+\(host='[^']*', port=\d+\):? ?", "", str(error))
    return f"{type(error).__name__}: {text}"


def _retry_after(error: ApiException) -> float | None:
    """Seconds that the server wants to be left alone: a number or a date (RFC 9110, 10.2.3)."""
    headers: Any = error.headers
    text: str | None = headers.get("Retry-After") if headers else None
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), _MAX_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(moment.timestamp() - time.time(), 0.0), _MAX_RETRY_AFTER)


class _Sockets:
    """The sockets that the client has open, so that a request can be ended from outside."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._ended = False

    def opened(self, sock: socket.socket) -> None:
        """Remember a new connection; after `end` it is cut at once."""
        with self._lock:
            self._open.add(sock)
            if self._ended:
                _cut(sock)

    def cut(self) -> None:
        """End every request that waits on a connection."""
        with self._lock:
            for sock in list(self._open):
                _cut(sock)

    def end(self) -> None:
        """End every request, also those that begin later."""
        with self._lock:
            self._ended = True
        self.cut()

    def close(self) -> None:
        """Close every connection; in the thread that uses them."""
        with self._lock:
            for sock in list(self._open):
                sock.close()


class _Limit:
    """Bounds a whole request: urllib3's own timeout begins anew with each byte that drips in."""

    def __init__(self, seconds: float, sockets: _Sockets) -> None:
        self.passed = False
        self._sockets = sockets
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def _pass(self) -> None:
        self.passed = True
        self._sockets.cut()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not the method of an SSLSocket: that one takes the TLS state away under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Bounded(http.client.HTTPResponse):
    """An answer of which no more than _MAX_ANSWER bytes are taken, and nothing is unpacked."""

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        # Nothing was asked to be packed, and some kilobytes can be unpacked to gigabytes: it is not read.
        self._packed = "Content-Encoding" in self.headers
        del self.headers["Content-Encoding"]
        self._whole = not self.chunked and self.length is not None and self.length <= _MAX_ANSWER
        # What is not read to its end leaves a connection on which nothing else can be asked.
        self.will_close = self.will_close or not self._whole

    def read(self, amt: int | None = None) -> bytes:
        """The body, or the beginning of a longer one."""
        if self._whole:
            data = super().read(amt)
        else:
            data = super().read(min(amt or _MAX_ANSWER, _MAX_ANSWER))
            self.close()
        return b"" if self._packed else data


def _tracked_pools(opened: Callable[[socket.socket], None]) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        response_class = _Bounded

        def connect(self) -> None:
            super().connect()
            opened(self.sock)

    class TlsConnection(HTTPSConnection):
        response_class = _Bounded

        def connect(self) -> None:
            super().connect()
            opened(self.sock)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}
