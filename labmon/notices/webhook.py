"""Notices by webhook: one JSON POST per notice, signed where a secret is given."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from labmon.config.site import Person, WebhookChannel
from labmon.config.types import Secret
from labmon.model.plant import Plant
from labmon.notices.attempt import Wire
from labmon.notices.http import HttpConnection
from labmon.notices.notice import Answer, ChannelFailed, Notice, Outcome
from labmon.notices.technical import watched

TIMESTAMP_HEADER = "X-Labmon-Timestamp"
SIGNATURE_HEADER = "X-Labmon-Signature"
_REFUSED = frozenset({400, 406, 409, 411, 413, 415, 422})
"""Statuses that are about this message; all others that are no success are about the endpoint."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=<hex>`: HMAC-SHA256 over the timestamp (Unix seconds, ASCII), a dot, and the body."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def payload(notice: Notice, people: Sequence[Person], plant: Plant) -> dict[str, Any]:
    """The JSON body, format version 1."""
    return {
        "v": 1,
        "id": notice.id,
        "why": notice.kind.value,
        "late": notice.late,
        "earlier": notice.earlier,
        "journaled": notice.journaled,
        "site": plant.site,
        "gateway": watched(notice.event) or plant.gateway,
        "sent": notice.sent,
        "to": [{"id": p.id, "name": p.name} for p in people],
        "subject": notice.subject,
        "text": notice.text,
        "event": notice.event.to_dict(),
    }


class WebhookSender:
    """Sends notices to one HTTP endpoint. A 2xx status is acceptance, for everybody that the notice is for.

    A redirect is followed nowhere: a signed alarm goes to the address that the site file names or is a failure.
    """

    def __init__(self, settings: WebhookChannel, secret: Callable[[Secret], str], plant: Plant) -> None:
        self._settings = settings
        self._secret = secret
        self._plant = plant

    @property
    def timeout(self) -> float:
        """Seconds that one step of a conversation may take."""
        return self._settings.timeout

    def send(self, wire: Wire, notice: Notice, people: Sequence[Person]) -> Mapping[str, Answer]:
        """POST the notice. Raises ChannelFailed."""
        name = f"webhook {urlsplit(self._settings.url).hostname}"
        body = orjson.dumps(payload(notice, people, self._plant))
        try:
            connection = HttpConnection(wire, self._settings.url, self._settings.ca, self._settings.timeout)
        except ValueError as exc:
            raise ChannelFailed(f"{name}: {exc}") from exc
        try:
            connection.request("POST", connection.target, body=body, headers=self._headers(notice, body))
            with connection.getresponse() as response:
                answer = _answer(name, response.status, response.reason[:200])
        except (OSError, http.client.HTTPException) as exc:
            raise ChannelFailed(f"{name}{self._why(exc)}", reached=connection.sock is not None) from exc
        finally:
            connection.close()
        return {person.id: answer for person in people}

    def _why(self, exc: Exception) -> str:
        match exc:
            case TimeoutError():
                return f" does not answer within {self._settings.timeout:g} s"
            case ssl.SSLCertVerificationError():
                return f": its certificate is not valid: {exc.verify_message}"
        return f": {' '.join(str(exc).split())[:200] or type(exc).__name__}"

    def _headers(self, notice: Notice, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "User-Agent": "labmon", "Idempotency-Key": notice.id}
        headers[TIMESTAMP_HEADER] = timestamp = str(int(time.time()))
        if self._settings.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._secret(self._settings.secret), timestamp, body)
        return headers


def _answer(name: str, status: int, reason: str) -> Answer:
    text = f"{status} {reason}".strip()
    if 200 <= status < 300:
        return Answer(Outcome.ACCEPTED, text)
    if status in _REFUSED:
        return Answer(Outcome.REFUSED, text)
    if 300 <= status < 400:
        raise ChannelFailed(f"{name} redirects ({status}): put the address that it has now into the site file")
    raise ChannelFailed(f"{name} answers {text}", reached=True)
