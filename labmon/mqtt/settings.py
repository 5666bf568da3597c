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
        """A context made of the files as they are now. Raises TlsFileError for those it cannot use."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise TlsFileError(f"authorities {self.ca}: {_why(error)}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            try:
                # Without a password callback OpenSSL would ask on the terminal for that of an encrypted key.
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            except (OSError, ValueError) as error:
                files = f"certificate {self.certificate} with key {self.key or self.certificate}"
                raise TlsFileError(f"{files}: {_why(error)}") from None
        return context


class TlsFileError(OSError):
    """A file for TLS that cannot be used; the text names it."""


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not this certificate's"
        return f"not in PEM form, damaged, or encrypted ({error.reason or 'not understood'})"
    return getattr(error, "strerror", None) or "not understood"


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
