"""Looking up host names without ever blocking, starving or holding up anything."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from typing import Any

Address = tuple[Any, ...]


async def addresses(host: str, port: int) -> list[tuple[int, Address]]:
    """Address family and socket address of each address of `host`, at least one. Raises OSError.

    Each look-up has a daemon thread of its own, for it cannot be interrupted: a resolver that hangs holds up no other
    name, not the event loop, and not the end of the process. (The event loops' own ways share a few threads, which
    are waited for at the end.)
    """
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
