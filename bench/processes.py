"""The processes of a bench run - simulator, broker, labmon - and what the kernel says that each of them used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
CLOCK = os.sysconf("SC_CLK_TCK")


def end_on_sigterm() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that no child stays."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@dataclass(frozen=True)
class Usage:
    """What a process used up to a moment: CPU seconds (user and system), bytes sent to the disk, resident bytes."""

    at: float
    cpu: float
    written: int
    resident: int

    @classmethod
    def of(cls, pid: int) -> Self:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        cpu = (int(stat[11]) + int(stat[12])) / CLOCK
        return cls(time.monotonic(), cpu, int(io["write_bytes"]), int(stat[21]) * os.sysconf("SC_PAGE_SIZE"))

    def share(self, before: Usage) -> float:
        """CPU since `before`, as a share of one core."""
        return (self.cpu - before.cpu) / (self.at - before.at)


class Process:
    """A child with its output in a file; ended, and waited for, by `end`."""

    def __init__(self, name: str, command: list[str], folder: Path, **more: Any) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.started = time.time_ns()
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(command, stderr=log, cwd=ROOT, **({"stdout": log} | more))

    def usage(self) -> Usage:
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.log.read_text()[-2000:]}")
        return Usage.of(self.child.pid)

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def labmon(name: str, folder: Path, *arguments: str) -> Process:
    """`python -m labmon ...` of this checkout."""
    return Process(name, [sys.executable, "-m", "labmon", *arguments], folder, stdin=subprocess.DEVNULL)


class Simulator(Process):
    """`bench/devices.py`."""

    def __init__(self, folder: Path, devices: int, *, silent: bool = False, every: float = 1.0) -> None:
        command = [sys.executable, str(ROOT / "bench" / "devices.py"), "--devices", str(devices), "--every", str(every)]
        super().__init__(
            "silent" if silent else "devices", command + ["--silent"] * silent, folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ports: list[int] = self._answer()["ports"]

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulator ended: {self.log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        return self._answer()

    def end(self) -> None:
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()
        super().end()


def broker(folder: Path) -> tuple[Process, int]:
    """A mosquitto on loopback and its port. Raises RuntimeError where there is none."""
    binary = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise RuntimeError("mosquitto is not installed: sudo apt-get install mosquitto")
    port = free_ports(1)[0]
    account = "user root\n" if os.geteuid() == 0 else ""
    (folder / "mosquitto.conf").write_text(
        f"{account}listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
    )
    process = Process("mosquitto", [binary, "-c", str(folder / "mosquitto.conf")], folder)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2):
                return process, port
        except OSError:
            process.usage()
            time.sleep(0.02)
    process.end()
    raise RuntimeError(f"mosquitto does not listen: {process.log.read_text()}")


def free_ports(count: int) -> list[int]:
    """Ports of loopback on which nobody listens."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
