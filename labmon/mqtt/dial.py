"""Opening the socket to a broker without ever blocking the event loop: name, TCP, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl

from labmon.mqtt.settings import BrokerSettings
from labmon.tasks.names import addresses


async def dial(settings: BrokerSettings) -> socket.socket:
    """A connected, non-blocking socket, with TLS done where the settings ask for it.

    Raises OSError (ssl.SSLError among them). Can be cancelled at any moment and leaves nothing open.
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
