"""The local control socket: the command line's way to the daemon, with broker and network away.

One JSON object per line each way. Who asks is told by the kernel (peer credentials), never by the message.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import inspect
import logging
import os
import pwd
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from labmon.alarms.errors import CommandRefused
from labmon.config.site import User

LONGEST = 64 * 1024
"""Bytes of one request."""
IDLE = 30.0
"""Seconds that a connection may say nothing, or take no answer."""
MOST = 50
"""Connections of one system user at a time. Whoever holds so many keeps nobody else out."""
AGAIN = 10.0
"""Seconds between two tries to make a socket that could not be made."""
NAME_SERVICE = 3.0
"""Seconds that looking up a login name may take."""
STAFF = "labmon"
"""The system group of those who may open the socket."""
_LONGEST_ANSWER = 64 * 2**20

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
        self._logins: dict[int, str] = {}
        """As the name service told them last."""
        self._by_uid: Counter[int] = Counter()

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
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind(str(self.path))
            # Before it listens: whatever the umask, nobody else can have connected.
            self.path.chmod(0o660)
            _give_to_staff(self.path)
            sock.setblocking(False)
            self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=LONGEST)
        except BaseException:
            sock.close()
            raise

    async def start_later(self) -> None:
        """Try again until it can be made: without it nobody at the gateway can acknowledge, look or reload."""
        while True:
            await asyncio.sleep(AGAIN)
            with contextlib.suppress(OSError):
                await self.start()
                log.warning("control: the local socket is there now")
                return

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
        uid = _peer(writer.get_extra_info("socket"))
        login = await self._login(uid)
        self._by_uid[uid] += 1
        try:
            if self._by_uid[uid] > MOST:
                writer.write(orjson.dumps({"ok": False, "error": f"{login} has more than {MOST} connections"}) + b"\n")
                return
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
                async with asyncio.timeout(IDLE):
                    await writer.drain()
                await asyncio.sleep(0)  # whoever asks without a pause gets no more turns than a line
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            # What is still to be sent would keep the connection open as long as the other side does not read it.
            writer.transport.abort()
        finally:
            self._by_uid[uid] -= 1
            if not self._by_uid[uid]:
                del self._by_uid[uid]
            writer.close()

    async def _login(self, uid: int) -> str:
        """Login name of a user id. A name service that hangs holds nothing up but this connection, and that shortly."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NAME_SERVICE):
                self._logins[uid] = await asyncio.to_thread(_login, uid)
        return self._logins.get(uid, str(uid))

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


def _peer(sock: socket.socket) -> int:
    """The user id of who is at the other end, from the kernel."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _give_to_staff(path: Path) -> None:
    """Let the group `labmon` open the socket, where the folder that it stands in is this group's."""
    try:
        group = grp.getgrnam(STAFF).gr_gid
    except KeyError:
        return
    if path.parent.stat().st_gid != group or path.stat().st_gid == group:
        return
    try:
        os.chown(path, -1, group)
    except OSError as error:
        log.warning("control: %s cannot be given to the group %s: %s", path, STAFF, error.strerror)


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
        if len(data) > _LONGEST_ANSWER:
            raise ValueError("what answers does not come to an end")
    answer = orjson.loads(data)
    if not isinstance(answer, dict) or "ok" not in answer:
        raise ValueError("what answers is no labmon")
    return answer
