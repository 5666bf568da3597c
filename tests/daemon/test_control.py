"""The control socket: who asks is told by the kernel; what is asked may be anything."""

from __future__ import annotations

import asyncio
import getpass
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from labmon.alarms.errors import CommandRefused
from labmon.config.site import User
from labmon.daemon.control import LONGEST, ControlSocket, ask

ME = getpass.getuser()
ANNA = User.model_validate({"id": "duty", "name": "On Duty", "role": "operator", "system-user": ME})
OTTO = User.model_validate({"id": "otto", "name": "Otto", "role": "operator", "system-user": "somebody-else"})


def handler(verb: str, user: str, arguments: Mapping[str, Any]) -> Any:
    if verb == "whoami":
        return user
    if verb == "refuse":
        raise CommandRefused("no")
    if verb == "break":
        raise ZeroDivisionError
    return arguments


@asynccontextmanager
async def serving(folder: Path, *users: User) -> AsyncIterator[Path]:
    path = folder / "run" / "control.sock"
    control = ControlSocket(path, {user.id: user for user in users}, handler)
    await control.start()
    try:
        yield path
    finally:
        await control.stop()
        assert not path.exists()


async def told(path: Path, verb: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(lambda: ask(path, verb, **arguments))


async def said(path: Path, data: bytes) -> list[Any]:
    """What comes back for these bytes, until the daemon closes or all is answered."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        writer.write_eof()
        return [orjson.loads(line) for line in (await asyncio.wait_for(reader.read(), 10)).splitlines()]
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_kernel_tells_who_asks(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA, OTTO) as path:
        assert await told(path, "whoami") == "duty"
        assert await told(path, "whoami", user="otto", login="root") == "duty"
        assert await told(path, "echo", a=1, b=["x"]) == {"a": 1, "b": ["x"], "login": ME}
        assert await told(path, "echo", login="somebody-else") == {"login": ME}


async def test_somebody_whom_the_site_does_not_name_is_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, OTTO) as path:
        assert await told(path, "whoami") == ""
        with pytest.raises(CommandRefused, match=f"the system user {ME} is nobody in the site file"):
            await told(path, "refuse")


async def test_a_refusal_comes_back_in_its_own_words(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA) as path:
        with pytest.raises(CommandRefused, match=r"^no$"):
            await told(path, "refuse")


async def test_a_fault_costs_one_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, ANNA) as path:
        with pytest.raises(CommandRefused, match="fault in labmon: ZeroDivisionError"):
            await told(path, "break")
        assert await told(path, "whoami") == "duty"
    assert "break failed" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{",
        b"[]",
        b"17",
        b"null",
        b'"status"',
        b"{}",
        b'{"verb": 7}',
        b'{"verb": null}',
        b'{"verb": ["status"]}',
        b"\xff\xfe\x00",
        b"\0" * 100,
        b"[" * 5000,
    ],
)
async def test_a_malformed_request_is_answered_and_the_next_one_heard(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path, ANNA) as path:
        bad, good = await said(path, line + b'\n{"verb": "whoami"}\n')
        assert bad == {"ok": False, "error": "a request is one JSON object with a verb"}
        assert good == {"ok": True, "result": "duty"}


async def test_an_oversized_request_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA) as path:
        (answer,) = await said(path, b'{"verb": "' + b"x" * (LONGEST + 10) + b'"}\n')
        assert answer == {"ok": False, "error": f"request longer than {LONGEST} bytes"}
        assert await told(path, "whoami") == "duty"


async def test_many_at_once_and_some_that_say_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA) as path:
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(20)]
        answers = await asyncio.gather(*(told(path, "echo", n=n) for n in range(20)))
        assert [answer["n"] for answer in answers] == list(range(20))
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()


async def test_stopping_does_not_wait_for_who_says_nothing(tmp_path: Path) -> None:
    async with asyncio.timeout(10), serving(tmp_path, ANNA) as path:
        _, writer = await asyncio.open_unix_connection(str(path))
        await told(path, "whoami")
    writer.close()
    await writer.wait_closed()


async def test_only_owner_and_group_may_open_it(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.is_socket()
    async with serving(tmp_path, ANNA) as path:
        assert await told(path, "whoami") == "duty"


async def test_a_second_daemon_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA) as path:
        second = ControlSocket(path, {}, handler)
        with pytest.raises(OSError, match="another daemon answers"):
            await second.start()
        await second.stop()
        assert await told(path, "whoami") == "duty"


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    control = ControlSocket(path, {}, handler)
    with pytest.raises(OSError):
        await control.start()
    await control.stop()
    assert path.read_text() == "precious"
