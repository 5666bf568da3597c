"""Why something in the network cannot be reached, and what to do: in words."""

from __future__ import annotations

import os
import socket
import ssl


def why(error: BaseException) -> tuple[str, str]:
    """What went wrong and the remedy, one line each."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}", certificate_remedy(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or text}", "is it the port with TLS? Compare port and `tls` in the site file"
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}", "check the name in the site file, and DNS of this machine"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there", "start it, or correct host and port in the site file"
    if isinstance(error, TimeoutError):
        return "no answer in time", "check that it runs, the network in between, and firewalls"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower(), "check cable, network and routes from this machine"
    return text, "look at its own log"


def certificate_remedy(text: str) -> str:
    """What to do about a certificate that is not accepted, by what OpenSSL says of it."""
    text = text.lower()
    if "expired" in text:
        return "put a new certificate at the server; if it is new, look at the clock of this machine"
    if "not yet valid" in text:
        return "look at the clock of this machine"
    if "mismatch" in text or "not valid for" in text:
        return "name the server in the site file as its certificate names it"
    return "name the authority that signed it as `ca` in the site file"


def connect(host: str, port: int, timeout: float) -> None:
    """Connect and close again. Raises OSError."""
    socket.create_connection((host, port), timeout).close()


def connect_tls(host: str, port: int, context: ssl.SSLContext, timeout: float) -> bytes:
    """Connect, shake hands and close again; the server's certificate (DER). Raises OSError."""
    with (
        socket.create_connection((host, port), timeout) as sock,
        context.wrap_socket(sock, server_hostname=host) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""
