"""A broker for the demonstration: mosquitto where it is, or unpacked without root, else the embedded amqtt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

UNPACK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Found:
    """A broker that can be started: its command, its environment, and which MQTT it speaks."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    protocol: Literal["5", "3.1.1"]


def find_broker(folder: Path, cache: Path) -> Found:
    """The first that works of: mosquitto installed, mosquitto unpacked from its Debian package, amqtt."""
    binary = shutil.which("mosquitto") or next(
        (str(p) for p in (Path("/usr/sbin/mosquitto"), Path("/usr/local/sbin/mosquitto")) if p.exists()), None
    )
    if binary is not None and _runs(binary, {}):
        return _mosquitto(binary, {}, folder, "mosquitto")
    unpacked = _unpacked(cache)
    if unpacked is not None:
        return _mosquitto(unpacked[0], unpacked[1], folder, "mosquitto (unpacked)")
    command = (sys.executable, "-m", "labmon.demo.embedded_broker")
    return Found("amqtt (embedded, MQTT 3.1.1)", command, {}, "3.1.1")


def _mosquitto(binary: str, environment: dict[str, str], folder: Path, name: str) -> Found:
    return Found(name, (binary, "-c", str(folder / "mosquitto.conf")), environment, "5")


def _runs(binary: str, environment: dict[str, str]) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(
            [binary, "-h"], env={**os.environ, **environment}, capture_output=True, timeout=10, check=False
        )
        return b"mosquitto version" in asked.stdout
    return False


def _unpacked(cache: Path) -> tuple[str, dict[str, str]] | None:
    """Mosquitto and what it links to, unpacked from Debian's packages into `cache`; None where that does not work."""
    root = cache / "mosquitto"
    binary = root / "usr/sbin/mosquitto"
    libraries = sorted({str(p.parent) for p in root.rglob("lib*.so*")})
    if not binary.exists():
        if not _download(root):
            return None
        libraries = sorted({str(p.parent) for p in root.rglob("lib*.so*")})
    environment = {"LD_LIBRARY_PATH": ":".join(libraries)}
    return (str(binary), environment) if _runs(str(binary), environment) else None


def _download(root: Path) -> bool:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    root.mkdir(parents=True, exist_ok=True)
    try:
        depends = subprocess.run(
            ["apt-cache", "depends", "--important", "mosquitto"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
        needed = [
            line.split(":", 1)[1].strip() for line in depends.splitlines() if "Depends:" in line and "<" not in line
        ]
        libraries = [
            name for name in needed if name.startswith("lib") and name not in {"libc6", "libssl3", "libsystemd0"}
        ]
        subprocess.run(
            ["apt-get", "download", "mosquitto", *libraries],
            cwd=root, capture_output=True, timeout=UNPACK_SECONDS, check=True,
        )  # fmt: skip
        for package in root.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, root], capture_output=True, timeout=30, check=True)
            package.unlink()
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(root, ignore_errors=True)
        return False
    return (root / "usr/sbin/mosquitto").exists()


class Broker:
    """The broker's process."""

    def __init__(self, found: Found, folder: Path, port: int) -> None:
        self.found = found
        self.folder = folder
        self.port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start and wait until it listens. Raises RuntimeError with its own words when it does not."""
        account = "user root\n" if os.geteuid() == 0 else ""
        (self.folder / "mosquitto.conf").write_text(
            f"{account}listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        )
        command = self.found.command
        if self.found.protocol != "5":
            command = (*command, str(self.port))
        log = (self.folder / "broker.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self.found.environment},
                start_new_session=True,
            )
        for _ in range(1000):
            if self._process.returncode is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            await asyncio.sleep(0.01)
        raise RuntimeError(f"{self.found.name} did not start: {self._tail()}")

    def check(self) -> None:
        """Raises RuntimeError with its own words when it has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            raise RuntimeError(f"{self.found.name} ended with {self._process.returncode}: {self._tail()}")

    def _tail(self) -> str:
        return (self.folder / "broker.log").read_text(errors="replace")[-500:]

    async def stop(self) -> None:
        """End it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 3)
        except TimeoutError:
            process.kill()
            await process.wait()
