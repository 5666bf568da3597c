"""The mailbox of the demonstration: a real SMTP server on loopback that keeps what staff would get."""

from __future__ import annotations

import email
import email.policy
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiosmtpd.controller import Controller

KEPT = 200


@dataclass(frozen=True, slots=True)
class Mail:
    """One notice as it arrived."""

    at: float
    to: str
    subject: str
    text: str


class Mailbox:
    """Takes mail on 127.0.0.1; the last 200 are kept, all are counted."""

    def __init__(self, port: int) -> None:
        self.mails: deque[Mail] = deque(maxlen=KEPT)
        self.count = 0
        self._controller = Controller(self, hostname="127.0.0.1", port=port, ready_timeout=10.0)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep one mail."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = message.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        self.count += 1
        self.mails.append(Mail(time.time(), ", ".join(envelope.rcpt_tos), str(message["subject"] or ""), text))
        return "250 kept"

    def start(self) -> None:
        """Listen."""
        self._controller.start()

    def stop(self) -> None:
        """Stop listening."""
        self._controller.stop(no_assert=True)  # also when it could not start
