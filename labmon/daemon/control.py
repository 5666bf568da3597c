"""The local control socket: the command line's way to the daemon, with broker and network away.

One JSON object per line each way. Who asks is told by the kernel (peer credentials), never by the message.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import pwd
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from labmon.alarms.errors import CommandRefused
from labmon.config.site import User

LONGEST = 64 * 1024
"""Bytes of one request."""
IDLE = 30.0

log = logging.getLogger("labmon.control")

Handler = Callable[[str, str, dict[str, Any]], Any]
"""(verb, user, arguments) -> JSON-ready answer, or what is to be awaited for it; raises CommandRefused.

`arguments["login"]` is the system user who asks, as the kernel tells it; `user` who that is in the site file, or empty.
"""


class ControlSocket:
    """Serves the socket until stopped. A socket file left by a killed daemon is replaced."""

    def __init__(self, path: Path, users: Mapping[str, User], handler: Handler) -> None:
        self.path = path
        self.handler = handler
        self.know(users)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    def know(self, users: Mapping[str, User]) -> None:
        """Who may be meant by a login, from now on."""
        self._by_login = {user.system_user: user.id for user in users.values() if user.system_user}

    async def start(self) -> None:
        """Listen. Raises OSError where the socket cannot be made or another daemon answers on it."""
        if self.path.is_socket():
            if answers(self.path):
                raise OSError(f"another daemon answers on {self.path}")
            self.path.unlink()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=LONGEST)
        self.path.chmod(0o660)

    async def stop(self) -> None:
        """Close the socket and every conversation."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self.path.unlink(missing_ok=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        login = _login(writer.get_extra_info("socket"))
        try:
            while True:
                try:
                    async with asyncio.timeout(IDLE):  # not wait_for, which can swallow the end
                        line = await reader.readline()
                except ValueError:
                    writer.write(orjson.dumps({"ok": False, "error": f"request longer than {LONGEST} bytes"}) + b"\n")
                    break
                if not line:
                    break
                writer.write(orjson.dumps(await self._answer(line, login), default=str) + b"\n")
                await writer.drain()
                await asyncio.sleep(0)  # whoever asks without a pause gets no more turns than a line
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            # What is still to be sent would keep the connection open as long as the other side does not read it.
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, line: bytes, login: str) -> dict[str, Any]:
        try:
            request = orjson.loads(line)
            verb = request.pop("verb")
            if not isinstance(verb, str):
                raise TypeError
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return {"ok": False, "error": "a request is one JSON object with a verb"}
        try:
            result = self.handler(verb, self._by_login.get(login, ""), request | {"login": login})
            return {"ok": True, "result": await result if inspect.isawaitable(result) else result}
        except CommandRefused as refused:
            hint = ""
            if login not in self._by_login:
                hint = f" (the system user {login} is nobody in the site file: give a user `system-user: {login}`)"
            return {"ok": False, "error": f"{refused}{hint}"}
        except Exception as error:
            log.error("control: %s failed", verb, exc_info=error)
            return {"ok": False, "error": f"fault in labmon: {type(error).__name__}"}


def _login(sock: socket.socket) -> str:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def answers(path: Path) -> bool:
    """Whether a daemon listens on a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # it is there, and busy
        except OSError:
            return False
        return True


def ask(path: Path, verb: str, timeout: float = 10.0, **arguments: Any) -> Any:
    """Ask the daemon behind a socket. Raises ConnectionError when none answers, CommandRefused with its words."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(str(path))
            sock.sendall(orjson.dumps({"verb": verb, **arguments}) + b"\n")
            answer = _read_line(sock)
        except (OSError, ValueError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise ConnectionError(f"no daemon answers on {path}: {why.lower()}") from error
    if not answer.get("ok"):
        raise CommandRefused(str(answer.get("error")))
    return answer.get("result")


def _read_line(sock: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        chunk = sock.recv(65536)
        if not chunk:
            raise ConnectionError("the daemon hung up")
        data += chunk
    answer = orjson.loads(data)
    if not isinstance(answer, dict) or "ok" not in answer:
        raise ValueError("what answers is no labmon")
    return answer
