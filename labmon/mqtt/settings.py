"""What a connection to a broker needs to know."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards the broker, by file names; the system's authorities when `ca` is None."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """A context made of the files as they are now. Raises OSError or ssl.SSLError for those it cannot use."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is, who we are to it, and how patient we are. All times in seconds.

    `protocol` 3.1.1 has no message expiry, no reason codes and no flow control: for the embedded demonstration broker.
    `stall`: a connection on which the broker owes an acknowledgement for so long is given up and made anew.
    `max_payload` bounds one received message, `waiting` and `waiting_bytes` what waits for its handler.
    """

    host: str
    port: int = 1883
    tls: Tls | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["5", "3.1.1"] = "5"
    keepalive: float = 30.0
    connect_timeout: float = 10.0
    stall: float = 20.0
    backoff: tuple[float, float] = (1.0, 10.0)
    max_payload: int = 5 * 2**20
    waiting: int = 1000
    waiting_bytes: int = 32 * 2**20
    receive_window: int = 20
    """How many QoS 1 messages the broker may send before we acknowledge one (Receive Maximum)."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us when the connection breaks."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = True


@dataclass(frozen=True, slots=True)
class MessageProperties:
    """What came with a received message besides topic and payload."""

    qos: int
    retain: bool
    """True for a message that the broker had kept from before the subscription."""
