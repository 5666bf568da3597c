"""`make bench`: one table of everything that is measured here, each row beside its limit or its peer in the same run.

    python -m bench.table [--quick] [--large]

`--quick`: one short run of each, to see that it works. `--large`: also 1000 devices.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from bench import start, whole_path
from bench.processes import ROOT, end_on_sigterm


def machine() -> str:
    models = [line.partition(":")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    model = models[0].strip() if models else platform.machine()
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{os.cpu_count()} cores ({model}), {system}, {platform.python_implementation()} {platform.python_version()}"


def building_blocks() -> None:
    """Journal and alarm engine alone, in tables of their own."""
    for name, arguments in (("journal", ["--seconds", "20", "--devices", "100"]), ("alarms", [])):
        print(f"\n{name} alone (bench/{name}.py)")
        sys.stdout.flush()
        subprocess.run([sys.executable, str(ROOT / "bench" / f"{name}.py"), *arguments], check=True, cwd=ROOT,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--large", action="store_true")
    options = arguments.parse_args()
    end_on_sigterm()
    seconds, windows, starts = (5.0, 1, 1) if options.quick else (30.0, 3, 5)
    print(machine())
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, load before: {' '.join(Path('/proc/loadavg').read_text().split()[:3])}")
    print(f"medians of {windows} windows of {seconds:g} s and of {starts} starts [least-most]\n")
    print(f"{'':52} {'labmon':>28}   limit, or peer in the same run")
    sizes = [100, 1000] if options.large else [100]
    for devices in sizes:
        whole_path.show(whole_path.rows(whole_path.run(devices, seconds, windows, 5.0 if options.quick else 10.0)))
        sys.stdout.flush()
    whole_path.show(start.rows(start.measure(100, starts), 100))
    if not options.quick:
        building_blocks()
    print(f"\nload after: {' '.join(Path('/proc/loadavg').read_text().split()[:3])}")


if __name__ == "__main__":
    main()
