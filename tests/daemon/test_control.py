"""The control socket: who asks is told by the kernel; what is asked may be anything."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from labmon.alarms.errors import CommandRefused
from labmon.config.site import User
from labmon.daemon.control import LONGEST, MOST, ControlSocket, ask
from labmon.tasks.threads import Threads

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
    asyncio.get_running_loop().set_default_executor(Threads())  # as in the daemon's process
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


async def test_it_belongs_to_the_group_of_staff_where_its_folder_does(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    groups = [g for g in os.getgroups() if g != os.getgid()] if os.getuid() else [54321]
    if not groups:
        assert "CI" not in os.environ, "CI must run this as root, or with a second group"
        pytest.skip("neither root nor in a second group: no folder can be given to a group")
    monkeypatch.setattr("labmon.daemon.control.grp.getgrnam", lambda name: SimpleNamespace(gr_gid=groups[0]))
    async with serving(tmp_path, ANNA) as path:
        assert path.stat().st_gid == os.getgid(), "not given away where the folder is somebody else's"
    os.chown(folder, -1, groups[0])
    async with serving(tmp_path, ANNA) as path:
        assert path.stat().st_gid == groups[0]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


ASKS = """
import json, os, socket, sys
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect(sys.argv[1])
except PermissionError:
    sys.exit("no entry")
sock.sendall(json.dumps({"verb": sys.argv[2]}).encode() + b"\\n")
print(sock.makefile().readline())
"""


@pytest.mark.skipif(os.getuid() != 0 and "CI" not in os.environ, reason="becoming other users needs root")
async def test_only_the_group_of_staff_comes_in_and_is_who_the_kernel_says(monkeypatch: Any) -> None:
    """Real user ids: one in the group and in the site file, one in the group alone, one in neither."""
    staff, known, unknown, outsider = 54321, 54322, 54323, 54324
    monkeypatch.setattr("labmon.daemon.control.grp.getgrnam", lambda name: SimpleNamespace(gr_gid=staff))
    names = {known: "anna", 0: "root"}

    def name_of(uid: int) -> Any:
        if uid not in names:
            raise KeyError(uid)
        return SimpleNamespace(pw_name=names[uid])

    monkeypatch.setattr("labmon.daemon.control.pwd.getpwuid", name_of)
    anna = User.model_validate({"id": "duty", "name": "On Duty", "role": "operator", "system-user": "anna"})
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        os.chmod(folder, 0o755)
        (Path(folder) / "run").mkdir(mode=0o755)
        os.chown(Path(folder) / "run", 0, staff)

        async def asks(path: Path, uid: int, group: int | None, verb: str) -> tuple[int, str]:
            # The interpreter of the machine: that of the tests may stand where others cannot read.
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/python3", "-I", "-c", ASKS, path, verb, stdout=-1, stderr=-1,
                user=uid, group=uid, extra_groups=[] if group is None else [group], cwd="/",
            )  # fmt: skip
            out, err = await process.communicate()
            assert process.returncode is not None
            return process.returncode, (out + err).decode()

        async with serving(Path(folder), anna) as path:
            assert orjson.loads((await asks(path, known, staff, "whoami"))[1]) == {"ok": True, "result": "duty"}
            assert orjson.loads((await asks(path, unknown, staff, "whoami"))[1]) == {"ok": True, "result": ""}
            refused = orjson.loads((await asks(path, unknown, staff, "refuse"))[1])["error"]
            assert f"the system user {unknown} is nobody in the site file" in refused
            assert await asks(path, outsider, None, "whoami") == (1, "no entry\n")


async def test_one_user_cannot_hold_all_connections(tmp_path: Path) -> None:
    async with serving(tmp_path, ANNA) as path:
        idle = [await asyncio.open_unix_connection(str(path)) for _ in range(MOST)]
        for reader, writer in idle:
            writer.write(b'{"verb": "whoami"}\n')
            assert orjson.loads(await reader.readline())["ok"]
        with pytest.raises(CommandRefused, match=f"{ME} has more than {MOST} connections"):
            await told(path, "whoami")
        idle[0][1].close()
        await idle[0][1].wait_closed()
        for _ in range(500):
            with contextlib.suppress(CommandRefused):
                assert await told(path, "whoami") == "duty"
                break
        else:
            pytest.fail("a connection that has ended still counts")
        for _, writer in idle[1:]:
            writer.close()
            await writer.wait_closed()


async def test_a_name_service_that_hangs_holds_up_only_who_asks(tmp_path: Path, monkeypatch: Any) -> None:
    release = threading.Event()
    monkeypatch.setattr("labmon.daemon.control.NAME_SERVICE", 0.05)
    async with serving(tmp_path, ANNA) as path:
        assert await told(path, "whoami") == "duty"
        monkeypatch.setattr("labmon.daemon.control.pwd.getpwuid", lambda uid: release.wait(10))
        assert await told(path, "whoami") == "duty", "as it was told before"
        release.set()


async def test_a_peer_that_answers_without_end_is_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("labmon.daemon.control._LONGEST_ANSWER", 100_000)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        writer.close()

    path = tmp_path / "s"
    async with await asyncio.start_unix_server(endless, path):
        with pytest.raises(ConnectionError, match="does not come to an end"):
            await told(path, "whoami")


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
