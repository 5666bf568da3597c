"""A real mosquitto as a child process on a free loopback port: stop, kill -9, freeze, restart on the same port."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

_READY = 10.0
_POLL = 0.005


def find_program(name: str) -> str:
    """Path of a program on PATH or in /usr/sbin. A missing one fails the test: it is never skipped in silence."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.fail(f"{name} is not installed: sudo apt-get install mosquitto")
    return found


def free_port() -> int:
    """A port that nobody has now.

    Taken below the range from which the kernel serves outgoing connections, so that it is still free when a killed
    broker comes back on it.
    """
    for _ in range(200):
        port = random.randrange(12_000, 30_000)
        with contextlib.closing(socket.socket()) as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port below the range of outgoing connections")


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for one test, and what it has signed."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, days: int = 2, name: str = "labmon test authority") -> Authority:
        """Make key and certificate of the authority in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        _openssl(
            folder,
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", f"{days}", "-keyout", "ca.key", "-out", "ca.crt", "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"),
        )
        return cls(folder)

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.crt"

    def sign(
        self, name: str, alternatives: str = "DNS:localhost,IP:127.0.0.1", days: int = 2, kind: str = "ec"
    ) -> tuple[Path, Path]:
        """Certificate and key for `name`, valid for so many days from now."""
        curve = ("-pkeyopt", "ec_paramgen_curve:prime256v1") if kind == "ec" else ()
        _openssl(
            self.folder,
            *("req", "-newkey", kind, *curve, "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n")
        _openssl(
            self.folder,
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", f"{days}", "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
        )
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run([find_program("openssl"), *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


class Mosquitto:
    """One broker. `with Mosquitto(tmp_path) as broker:` starts and stops it; nothing of it stays.

    `users` maps names to passwords (without it anonymous clients are served); `acl` is the text of an ACL file;
    `authority` switches the listener to TLS; `settings` are further lines of the configuration, such as
    `max_inflight_messages 5` (the Receive Maximum that it tells) or `max_queued_messages 0`. Nothing is kept on disk.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        authority: Authority | None = None,
        require_certificate: bool = False,
        settings: str = "",
    ) -> None:
        self.folder = folder / f"mosquitto-{random.getrandbits(32):08x}"
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.authority = authority
        self._users = dict(users or {})
        self._acl = acl
        self._require_certificate = require_certificate
        self._settings = settings
        self._program = find_program("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        self._started = False
        self._server_certificate = authority.sign("broker") if authority else None

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What the broker wrote so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start and wait until it takes connections; the port of the first start is kept for every later one."""
        if self.running:
            raise RuntimeError("already running")
        while not self._start_once():
            if self._started or "in use" not in self.log():
                raise RuntimeError(f"mosquitto did not start on port {self.port}:\n{self.log()}")
            self.port = free_port()
        self._started = True

    def _start_once(self) -> bool:
        self._configure()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self.folder / "mosquitto.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _READY
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                return False
            try:
                socket.create_connection((self.host, self.port), timeout=1.0).close()
            except OSError:
                time.sleep(_POLL)
            else:
                return True
        self.kill()
        raise RuntimeError(f"mosquitto took no connection within {_READY} s:\n{self.log()}")

    def stop(self) -> None:
        """Stop it the polite way (clients see the connection closed); nothing happens when it does not run."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill -9: everything that it held in memory is gone."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop it from running while its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill -9 where it still runs, and start on the same port with nothing remembered."""
        self.kill()
        self.start()

    def _configure(self) -> None:
        lines = ["persistence false", "log_dest stderr", "log_type all", f"listener {self.port} {self.host}"]
        if os.geteuid() == 0:
            # Started as root it would become user mosquitto and could not read the files of the test.
            lines.insert(0, "user root")
        if self._server_certificate:
            assert self.authority is not None
            certificate, key = self._server_certificate
            lines += [f"cafile {self.authority.certificate}", f"certfile {certificate}", f"keyfile {key}"]
            lines.append(f"require_certificate {'true' if self._require_certificate else 'false'}")
        lines.append(f"allow_anonymous {'false' if self._users else 'true'}")
        if self._users:
            lines.append(f"password_file {self._write_passwords()}")
        if self._acl is not None:
            path = self.folder / "acl"
            path.write_text(self._acl)
            path.chmod(0o600)
            lines.append(f"acl_file {path}")
        if self._settings:
            lines.append(self._settings)
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def _write_passwords(self) -> Path:
        path = self.folder / "passwords"
        if not path.exists():
            path.write_text("".join(f"{user}:{password}\n" for user, password in self._users.items()))
            path.chmod(0o600)
            subprocess.run([find_program("mosquitto_passwd"), "-U", str(path)], check=True, capture_output=True)
        return path

    def client_context(self) -> ssl.SSLContext:
        """An SSL context that trusts this broker's authority."""
        assert self.authority is not None
        return ssl.create_default_context(cafile=str(self.authority.certificate))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker that serves anonymous clients."""
    with Mosquitto(tmp_path) as running:
        yield running
