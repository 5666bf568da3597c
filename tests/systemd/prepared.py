"""What the container is given: this checkout, the packages that labmon needs, the code of the commit before."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from io import BytesIO
from pathlib import Path

from nspawn import cache
from systemd_needs import ROOT, need

PYTHON = "3.11"
"""Of the Debian in the container."""
_GLIBC = (5, 12, 17, 24, 26, 27, 28, 31, 34, 35, 36)


def wheels() -> Path:
    """A folder of every package that an installation may ask for, downloaded once for each list of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = ROOT / "requirements.lock"
    wanted = "\n".join([*project["build-system"]["requires"], *project["project"]["dependencies"]])
    name = hashlib.sha256((wanted + (lock.read_text() if lock.exists() else "")).encode()).hexdigest()[:12]
    folder = cache() / f"wheels-{name}"
    with (cache() / "wheels.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            folder.mkdir(exist_ok=True)
            if lock.exists():
                _download(folder, "--require-hashes", "--no-deps", "--requirement", str(lock))
                wanted = "\n".join(project["build-system"]["requires"])
            (folder / "wanted").write_text(wanted)
            _download(folder, "--requirement", str(folder / "wanted"))
            (folder / ".complete").touch()
    return folder


def _download(folder: Path, *what: str) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in _GLIBC]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--implementation=cp",
         f"--python-version={PYTHON}", *platforms, "--dest", str(folder), *what],
        capture_output=True, text=True,
    )  # fmt: skip
    need(None if done.returncode == 0 else f"pip download failed, is there no network? {done.stderr[-500:]}")


def wheel(folder: Path) -> Path:
    """labmon's own, of this checkout."""
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    [built] = folder.glob("labmon-*.whl")
    return built


def changed(wheel: Path, folder: Path, inside: str, text: str, *, alone: bool = False) -> Path:
    """A copy of a wheel with another text in one of its files; `alone`: it asks for no other packages."""
    folder.mkdir()
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as new:
        assert inside in old.namelist()
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("/RECORD"):
                content = b"".join(line for line in content.splitlines(True) if not line.startswith(inside.encode()))
                content += f"{inside},,\n".encode()
            elif alone and entry.filename.endswith("/METADATA"):
                content = b"".join(line for line in content.splitlines(True) if not line.startswith(b"Requires-Dist:"))
            new.writestr(entry, text if entry.filename == inside else content)
    return copy


def package(folder: Path) -> Path:
    """The Debian package of this checkout, by the command of `make deb`."""
    environ = {
        **os.environ,
        "LABMON_BUILD": str(folder / "build"),
        "LABMON_DIST": str(folder),
        "PIP_FIND_LINKS": str(wheels()),
        "PIP_NO_INDEX": "1",
        "COMPRESSION": "-Zgzip -z1",
    }
    _run("sh", str(ROOT / "systemd/build-deb.sh"), environ=environ)
    [built] = folder.glob("labmon_*.deb")
    return built


def commit_before(folder: Path) -> Path:
    """The code of the previous commit; the one of this checkout where git does not know it (then it says so)."""
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    done = subprocess.run([*git, "archive", "HEAD^", "labmon", "drivers", "config"], capture_output=True)
    if done.returncode != 0:
        print(f"the commit before is not to be had, this one stands for it: {done.stderr.decode()}", file=sys.stderr)
        return ROOT
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _run(*command: str, environ: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
