"""One try at sending, in a thread that can be cut off: a server that hangs holds neither its channel nor the exit."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


def trust(ca: str | None) -> ssl.SSLContext:
    """TLS with verification of certificate and host name, against `ca` or the system's authorities.

    Raises OSError naming the file when it cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as exc:
        raise OSError(f"the CA file {ca} cannot be used: {exc}") from exc


class Wire:
    """The connection of one attempt. `cut` may be called from another thread, at any moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._cut = False

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect to the first address that answers; each step on the socket then takes `timeout` seconds at most.

        Raises OSError, also after `cut`.
        """
        problem: OSError = OSError(f"no address found for {host}")
        for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, proto)
            try:
                sock.settimeout(timeout)
                self._watch(sock)
                sock.connect(address)
                return sock
            except OSError as exc:
                problem = exc
                sock.close()
        raise problem

    def _watch(self, sock: socket.socket) -> None:
        # A duplicate: TLS detaches the socket it wraps, and the cut must reach the connection even in the handshake.
        with self._lock:
            if self._cut:
                raise ConnectionAbortedError("given up")
            if self._handle is not None:
                self._handle.close()
            self._handle = sock.dup()

    def cut(self) -> None:
        """End the connection; whoever waits on it gets an error at once, and no new one can be made."""
        with self._lock:
            self._cut = True
            if self._handle is not None:
                with contextlib.suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release what `cut` needs."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None


class Attempt(Generic[T]):
    """A blocking call in a thread of its own. `result` is a future of this event loop.

    The thread is a daemon and in no pool: name resolution cannot be interrupted, and an exit does not wait for it.
    """

    def __init__(self, call: Callable[[Wire], T], name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[T] = self._loop.create_future()
        self._wire = Wire()
        self._call = call
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End the attempt's connection; `result` follows at once unless the name of the host is being resolved."""
        self._wire.cut()

    def abandon(self) -> None:
        """Cut, and forget the result."""
        self._wire.cut()
        if not self.result.cancel() and not self.result.cancelled():
            self.result.exception()  # Seen, so that the event loop does not report it.

    def _run(self) -> None:
        value: T | None = None
        problem: Exception | None = None
        try:
            value = self._call(self._wire)
        except Exception as exc:  # noqa: BLE001 - whatever a sender meets is the attempt's result
            problem = exc
        finally:
            self._wire.close()
        # The loop may be gone when an abandoned attempt comes back.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish, value, problem)

    def _finish(self, value: T | None, problem: Exception | None) -> None:
        if self.result.done():
            return
        if problem is not None:
            self.result.set_exception(problem)
        else:
            self.result.set_result(value)  # type: ignore[arg-type]
