"""Who holds a port and why it does not open: with ptys, a child process that holds one, and a user who may not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labmon.links.endpoint import SerialEndpoint
from labmon.links.errors import LinkLost
from labmon.links.holder import Holder, group_name, group_remedy, holders, user_name, why_not_open
from labmon.links.serial_port import open_port

NOBODY = 65534
HOLD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
if sys.argv[2] == "lock":
    fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def port() -> Iterator[str]:
    master, slave = pty.openpty()
    try:
        yield os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


@contextlib.contextmanager
def child_holds(port: str, how: str, folder: Path) -> Iterator[int]:
    script = folder / "terminal.py"
    script.write_text(HOLD)
    with subprocess.Popen(
        [sys.executable, str(script), port, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        yield child.pid
        child.communicate("")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to open everything; where the tests run as another user there is nothing to give up."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def refusal(port: str) -> str:
    with pytest.raises(LinkLost) as lost:
        open_port(SerialEndpoint(port))
    return lost.value.detail


def test_a_busy_port_says_who_holds_it_and_what_to_do(port: str, tmp_path: Path) -> None:
    with child_holds(port, "lock", tmp_path) as pid:
        said = refusal(port)
        assert f"terminal.py (pid {pid}, user {user_name(os.geteuid())})" in said
        assert "in use; held by" in said and "end it, or give labmon another port" in said
        assert "\n" not in said
    assert pid not in [holder.pid for holder in holders(port)]


def test_whoever_has_it_open_without_a_lock_is_found_too(port: str, tmp_path: Path) -> None:
    with child_holds(port, "open", tmp_path) as pid:
        assert pid in [holder.pid for holder in holders(port)]


def test_a_lock_shows_to_users_who_may_not_look_into_the_process(port: str, tmp_path: Path) -> None:
    with child_holds(port, "lock", tmp_path) as pid:
        blind = tmp_path / "proc"  # no /proc/<pid>/fd to be seen
        (blind / str(pid)).mkdir(parents=True)
        (blind / "locks").write_bytes(Path("/proc/locks").read_bytes())
        (blind / str(pid) / "comm").write_text("minicom\n")
        (blind / str(pid) / "cmdline").write_bytes(b"")
        [holder] = [h for h in holders(port, proc=blind) if h.pid == pid]
        assert holder == Holder(pid, "minicom", user_name(os.geteuid()))


def test_a_lock_file_of_a_terminal_program(port: str, tmp_path: Path) -> None:
    lock = tmp_path / f"LCK..{Path(port).name}"
    lock.write_text(f"{os.getppid():>10}\n")
    assert os.getppid() in [holder.pid for holder in holders(port, locks=tmp_path)]
    lock.write_text("  4194304 gone\n")  # beyond the kernel's highest pid
    assert 4194304 not in [holder.pid for holder in holders(port, locks=tmp_path)]


def test_arguments_of_a_holder_are_not_told(port: str, tmp_path: Path) -> None:
    with child_holds(port, "lock", tmp_path):
        assert port not in refusal(port).partition(": ")[2]


def test_a_port_without_permission_names_the_group_and_the_remedy(port: str) -> None:
    Path(port).chmod(0o660)
    group = Path(port).stat().st_gid
    with as_nobody():
        user = user_name(os.geteuid())
        if os.geteuid() == Path(port).stat().st_uid:
            Path(port).chmod(0)
            assert "mode 0000" in refusal(port)
            return
        said = refusal(port)
    assert "permission denied" in said
    assert f"sudo usermod -aG {group_name(group)} {user}, then restart labmon" in said or "udev rule" in said


def test_the_remedy_for_each_kind_of_refusal(tmp_path: Path) -> None:
    node = tmp_path / "ttyUSB0"
    node.touch()
    group = 20 if os.geteuid() == 0 else os.getgid()
    os.chown(node, -1, group)
    node.chmod(0o660)
    name = group_name(group)
    assert f"sudo usermod -aG {name} labmon" in group_remedy(str(node), "labmon", [NOBODY])
    assert "DeviceAllow" in group_remedy(str(node), "labmon", [group])
    node.chmod(0o600)
    assert "install the udev rule" in group_remedy(str(node), "labmon", [group])
    assert stat.S_IMODE(node.stat().st_mode) == 0o600
    assert "DeviceAllow" in why_not_open(str(node), PermissionError(1, "x"))
    assert "plug the adapter in" in refusal(str(tmp_path / "ttyUSB7"))


def test_a_file_lock_elsewhere_is_not_taken_for_one_on_the_port(port: str, tmp_path: Path) -> None:
    path = tmp_path / "other"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert os.getppid() not in [holder.pid for holder in holders(port)]
        assert os.getpid() in [holder.pid for holder in holders(str(path))]
