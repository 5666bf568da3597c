"""Opening the socket to a broker without ever blocking the event loop: name, TCP, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl

from labmon.mqtt.errors import BrokerNotTrusted
from labmon.mqtt.settings import BrokerSettings
from labmon.tasks.names import addresses


async def dial(settings: BrokerSettings) -> socket.socket:
    """A connected, non-blocking socket, with TLS done where the settings ask for it.

    Raises OSError (BrokerNotTrusted and ssl.SSLError among them). Can be cancelled at any moment, leaves nothing open.
    """
    errors: list[OSError] = []
    for family, address in await addresses(settings.host, settings.port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, address)
            return sock if settings.tls is None else await _secure(sock, settings)
        except OSError as error:
            sock.close()
            errors.append(error)
        except BaseException:
            sock.close()
            raise
    raise errors[0]


async def _secure(sock: socket.socket, settings: BrokerSettings) -> ssl.SSLSocket:
    assert settings.tls is not None
    secured = settings.tls.context().wrap_socket(
        sock, server_hostname=settings.host, do_handshake_on_connect=False, suppress_ragged_eofs=True
    )
    loop = asyncio.get_running_loop()
    fd = secured.fileno()
    try:
        while True:
            ready = asyncio.Event()
            try:
                secured.do_handshake()
            except ssl.SSLCertVerificationError as error:
                raise _explained(error, settings.host) from None
            except ssl.SSLWantReadError:
                loop.add_reader(fd, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(fd)
            except ssl.SSLWantWriteError:
                loop.add_writer(fd, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_writer(fd)
            else:
                return secured
    except BaseException:
        secured.close()
        raise


_EXPIRED = 10
_NOT_BEGUN = 9
_OTHER_NAME = (62, 64)
_UNKNOWN = (18, 19, 20, 21)
"""X509_V_ERR_*, of OpenSSL's x509_vfy.h."""


def _explained(error: ssl.SSLCertVerificationError, host: str) -> BrokerNotTrusted:
    """What is wrong with the broker's certificate, and what to do."""
    code = error.verify_code
    if code == _EXPIRED:
        words = "the broker's certificate has expired, or its authority's: put a new one at the broker"
    elif code == _NOT_BEGUN:
        words = "the broker's certificate is not valid yet: is the gateway's clock right?"
    elif code in _OTHER_NAME:
        words = f"the broker's certificate is not for {host}: correct the host in the site file or the certificate"
    elif code in _UNKNOWN:
        words = "the broker's certificate is not signed by the authority that the site file names (mqtt: tls: ca)"
    else:
        words = f"the broker's certificate is not valid: {error.verify_message}"
    return BrokerNotTrusted(words, expired=code == _EXPIRED)
