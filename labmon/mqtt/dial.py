"""Opening the socket to a broker without ever blocking the event loop: name, TCP, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from typing import Any

from labmon.mqtt.settings import BrokerSettings

Address = tuple[Any, ...]


async def dial(settings: BrokerSettings) -> socket.socket:
    """A connected, non-blocking socket, with TLS done where the settings ask for it.

    Raises OSError (ssl.SSLError among them). Can be cancelled at any moment and leaves nothing open.
    """
    errors: list[OSError] = []
    for family, address in await _resolve(settings.host, settings.port):
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


async def _resolve(host: str, port: int) -> list[tuple[int, Address]]:
    """Addresses of `host`. A resolver that hangs keeps a daemon thread, never the event loop nor the end of it."""
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [(socket.AF_INET if literal.version == 4 else socket.AF_INET6, (host, port))]
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[int, Address]]] = loop.create_future()

    def settle(found: list[tuple[int, Address]] | None, error: OSError | None) -> None:
        if answer.done():
            return
        if error is None and found:
            answer.set_result(found)
        else:
            answer.set_exception(error or OSError(f"{host} has no address"))

    def ask() -> None:
        found: list[tuple[int, Address]] | None = None
        failed: OSError | None = None
        try:
            found = [(int(info[0]), info[4]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError as error:
            failed = error
        except UnicodeError as error:
            failed = OSError(f"{host}: {error}")
        # The loop may have ended while the resolver hung.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found, failed)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await answer


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
