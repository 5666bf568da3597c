"""A real systemd, booted in a throw-away container: every boot begins with the same fresh Debian and leaves nothing.

The container shares the network of this machine, so that what listens on its loopback address can be reached.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from systemd_needs import need, need_program

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,udev,kmod,procps,python3,python3-venv"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT = 30.0
HALT = 15.0
_POLL = 0.02


def cache() -> Path:
    """Where what is dear to make is kept between runs, outside the checkout."""
    found = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labmon-tests"
    found.mkdir(parents=True, exist_ok=True)
    return found


def debian() -> Path:
    """A fresh Debian as documented for a gateway, made once. Skips (in CI: fails) where that cannot be."""
    need(None if os.geteuid() == 0 else "a container needs root: sudo make test")
    need_program("systemd-nspawn", "systemd-container")
    program = need_program("debootstrap", "debootstrap")
    tree = cache() / SUITE
    if (tree / ".made-of").exists() and (tree / ".made-of").read_text() == PACKAGES:
        return tree
    subprocess.run(["rm", "-rf", "--one-file-system", tree], check=True)
    done = subprocess.run(
        [program, "--variant=minbase", f"--include={PACKAGES}", SUITE, tree], capture_output=True, text=True
    )
    need(None if done.returncode == 0 else f"debootstrap failed, is there no network? {done.stdout[-500:]}")
    (tree / ".made-of").write_text(PACKAGES)
    return tree


class Container:
    """`with Container(tree, {...}) as box:` boots it and powers it off. `binds` maps paths inside to paths here."""

    def __init__(
        self, tree: Path, folder: Path, binds: Mapping[str, Path], environ: Mapping[str, str] | None = None
    ) -> None:
        self._tree = tree
        self._log = folder / "console"
        self._binds = dict(binds)
        self._environ = {"PATH": PATH, "LANG": "C.UTF-8", **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._first = ""
        self._lock = -1

    def __enter__(self) -> Container:
        # Two at once would share the path of their control groups.
        self._lock = os.open(cache() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._boot()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(HALT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        for side in ("systemd", "unified", ""):
            for name in ("payload", "supervisor"):
                group = Path("/sys/fs/cgroup", side, name)
                if group.is_dir():
                    subprocess.run(["find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False,
                                   capture_output=True)  # fmt: skip
        os.close(self._lock)

    def _boot(self) -> None:
        binds = [f"--bind-ro={there}:{here}" for here, there in self._binds.items()]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["systemd-nspawn", "--register=no", "--keep-unit", "--quiet", "--console=pipe", "--volatile=overlay",
                 "--resolv-conf=off", "--timezone=off", "--system-call-filter=@clock", "--machine=labmon-gateway",
                 *binds, "-D", self._tree, "-b"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.wait(self._booted, BOOT, "the container boots")

    def _booted(self) -> bool:
        assert self._process is not None
        pid = self._process.pid
        assert self._process.poll() is None, f"the container ended:\n{self.console()}"
        self._first = Path(f"/proc/{pid}/task/{pid}/children").read_text().partition(" ")[0]
        if not self._first:
            return False
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def console(self) -> str:
        """What the container said while it booted."""
        return self._log.read_text(errors="replace")

    def run(
        self, command: str, *, check: bool = True, user: str = "root", timeout: float = 60.0, said: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A shell command inside, with none of our environment; by another `user` with that one's rights."""
        environ = [f"{name}={value}" for name, value in self._environ.items()]
        shell = ["sh", "-c", command] if user == "root" else ["runuser", "-u", user, "--", "sh", "-c", command]
        done = subprocess.run(
            ["nsenter", "-t", self._first, "-a", "env", "-i", *environ, *shell],
            input=said, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def says(self, command: str, *, user: str = "root") -> str:
        """What a command that must succeed writes to stdout."""
        return self.run(command, user=user).stdout.strip()

    def write(self, path: str, text: str, mode: str = "") -> None:
        """A file inside."""
        self.run(
            f"mkdir -p $(dirname {path}) && cat > {path}" + (f" && chmod {mode} {path}" if mode else ""), said=text
        )

    def shows(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        asked = " ".join(f"-p {shlex.quote(name)}" for name in properties)
        return dict(line.split("=", 1) for line in self.says(f"systemctl show {unit} {asked}").splitlines())

    def mark(self) -> str:
        """The present end of the log."""
        return self.says("journalctl --sync; journalctl --lines=0 --show-cursor").rpartition("cursor: ")[2]

    def log(self, unit: str = "labmon", since: str = "") -> str:
        """What a service logged since the container booted, or since a mark.

        What its process writes and what systemd says of it may stand in another order than it was said.
        """
        after = f"--after-cursor='{since}'" if since else ""
        return self.says(f"journalctl --sync; journalctl --no-pager --quiet --output=cat --unit={unit} {after}")

    def wait(self, condition: Callable[[], object], deadline: float, what: str) -> None:
        """Poll until it is true; a failure shows the console."""
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, f"not within {deadline:g} s: {what}\n{self.console()[-2000:]}"
            time.sleep(_POLL)
