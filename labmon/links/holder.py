"""Who has a serial port open, and why a port cannot be opened: for the log line, and for whoever looks later."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_INTERPRETERS = ("python", "perl", "ruby", "node", "sh", "bash", "dash")


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """A process that has a port open or locked; `command` and `user` are empty where they may not be seen."""

    pid: int
    command: str = ""
    user: str = ""

    def __str__(self) -> str:
        by = f", user {self.user}" if self.user else ""
        return f"{self.command or 'a process'} (pid {self.pid}{by})"


def holders(port: str, *, proc: Path = Path("/proc"), locks: Path = Path("/run/lock")) -> list[Holder]:
    """Processes that have `port` open, hold a lock on it, or claim it by a lock file. Opens nothing.

    Open files of other users' processes show only to root; locks and lock files show to everybody.
    """
    target = os.path.realpath(port)
    found = {*_open_in(target, proc), *_locked_by(target, proc), *_claimed_by(target, proc, locks)}
    return sorted(_holder(pid, proc) for pid in found)


def _open_in(target: str, proc: Path) -> Iterable[int]:
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(str(fd.readlink()) == target for fd in (process / "fd").iterdir()):
                yield int(process.name)
        except OSError:
            continue  # ended meanwhile, or another user's


def _locked_by(target: str, proc: Path) -> Iterable[int]:
    """Holders of a flock, as `/proc/locks` tells them by device and inode (proc_locks(5))."""
    try:
        node = Path(target).stat()
        text = (proc / "locks").read_text()
    except OSError:
        return
    inode = f"{os.major(node.st_dev):02x}:{os.minor(node.st_dev):02x}:{node.st_ino}"
    for line in text.splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == inode and words[4].isdigit() and words[4] != "0":
            yield int(words[4])


def _claimed_by(target: str, proc: Path, locks: Path) -> Iterable[int]:
    """Whoever left a lock file in the manner of UUCP, as terminal programs do, and still lives."""
    try:
        text = (locks / f"LCK..{Path(target).name}").read_text(errors="replace").split()
    except OSError:
        return
    if text and text[0].isdigit() and (proc / text[0]).exists():
        yield int(text[0])


def _holder(pid: int, proc: Path) -> Holder:
    process = proc / str(pid)
    try:
        command = (process / "comm").read_text().strip()
        owner = process.stat().st_uid
    except OSError:
        return Holder(pid)
    return Holder(pid, _with_script(command, process), user_name(owner))


def _with_script(command: str, process: Path) -> str:
    """An interpreter says little: add the name of what it runs. Arguments are not shown, they may hold secrets."""
    if not command.rstrip("0123456789.").endswith(_INTERPRETERS):
        return command
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")[1:]
    except OSError:
        return command
    if words[:1] == ["-c"]:
        return command
    script = next((word for word in words if word and not word.startswith("-")), "")
    return f"{command} {Path(script).name}" if script else command


def user_name(uid: int) -> str:
    """Login name of a user; the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def caller() -> str:
    """Login name of the person who started this process, also through sudo."""
    return os.environ.get("SUDO_USER") or user_name(os.getuid())


def group_name(gid: int) -> str:
    """Name of a group; the number where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def group_remedy(port: str, user: str, groups: Iterable[int]) -> str:
    """What lets `user`, who is in `groups`, open a port that refuses it."""
    try:
        node = Path(port).stat()
    except OSError:
        return ""
    group, mode = group_name(node.st_gid), stat.S_IMODE(node.st_mode)
    if node.st_gid == 0 or mode & 0o060 != 0o060:
        return f"owner {user_name(node.st_uid)}, group {group}, mode {mode:04o}: install the udev rule, plug it in anew"
    if node.st_gid in set(groups):
        return f"{user} is in its group {group}, so something else forbids it: look at DeviceAllow= of the unit"
    return f"it belongs to group {group}: sudo usermod -aG {group} {user}, then restart labmon"


def why_not_open(port: str, error: OSError) -> str:
    """One line: why this process could not open `port`, and what to do."""
    if error.errno == errno.ENOENT:
        return "no such file or directory: plug the adapter in, or name another port (labmon doctor lists them)"
    if error.errno == errno.EPERM:
        return "operation not permitted: add the port to DeviceAllow= of the unit (labmon doctor)"
    if error.errno == errno.EACCES:
        remedy = group_remedy(port, user_name(os.geteuid()), {*os.getgroups(), os.getegid()})
        return f"permission denied: {remedy}" if remedy else "permission denied"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def in_use(port: str) -> str:
    """One line: who holds a busy port, and what to do."""
    others = holders(port)
    if not others:
        return "in use by a process that does not show here: sudo labmon doctor names it"
    return f"in use; held by {', '.join(map(str, others))}: end it, or give labmon another port"
