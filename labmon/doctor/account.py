"""As whom labmon runs, and what that user may do with a file: by owner, group and mode, without trying."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labmon.links.holder import user_name

SERVICE = "labmon"
"""User and group of the services."""
READ, WRITE, ENTER = 4, 2, 1


@dataclass(frozen=True, slots=True)
class Account:
    """A user with its groups. `running`: it is the one that the daemon runs as now."""

    name: str
    uid: int
    groups: frozenset[int]
    running: bool = False

    def may(self, path: Path, want: int) -> bool:
        """Whether the modes of `path` and of the folders above let this user do it. Access lists are not looked at.

        Raises OSError where that cannot be seen.
        """
        real = path.resolve()
        return all(self._mode(folder) & ENTER for folder in real.parents) and self._mode(real) & want == want

    def _mode(self, path: Path) -> int:
        found = path.stat()
        if self.uid == 0:
            return READ | WRITE | ENTER
        if found.st_uid == self.uid:
            return found.st_mode >> 6 & 7
        return (found.st_mode >> 3 if found.st_gid in self.groups else found.st_mode) & 7


def account_of(status: Mapping[str, Any] | None, proc: Path) -> Account:
    """Who the daemon runs as; when none runs, the service's user; where there is none, whoever asks."""
    if status is not None:
        try:
            return _of_process(proc / str(status["pid"]))
        except (OSError, ValueError, KeyError):
            pass
    try:
        known = pwd.getpwnam(SERVICE)
    except KeyError:
        return Account(user_name(os.geteuid()), os.geteuid(), frozenset({*os.getgroups(), os.getegid()}))
    return Account(known.pw_name, known.pw_uid, frozenset(os.getgrouplist(known.pw_name, known.pw_gid)))


def _of_process(process: Path) -> Account:
    lines = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    uid, gid = int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1])
    return Account(user_name(uid), uid, frozenset({gid, *map(int, lines["Groups"].split())}), running=True)


def in_group(name: str, group: str) -> bool | None:
    """Whether a user is a member of a group by its name; None where the group does not exist."""
    try:
        found = grp.getgrnam(group)
        primary = pwd.getpwnam(name).pw_gid
    except KeyError:
        return None
    return name in found.gr_mem or primary == found.gr_gid
