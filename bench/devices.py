"""Simulated Modbus TCP devices for the bench: one process, one port each, 20 float32 in one block of 40 registers.

    python bench/devices.py --devices 100 [--silent]

Prints one JSON line with the ports, then answers commands on stdin with one JSON line each: `reset` (forget what was
counted), `report` (what was counted since, and the CPU time that it took). It ends with its stdin. The first channel of
a device is the number of requests that the device answered, so that a store can be held against it. `--silent` devices
accept and never answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import resource
import struct
import sys
import time

import uvloop

CHANNELS = 20
REGISTERS = 2 * CHANNELS
REQUEST = struct.Struct(">HHHBBHH")
HEAD = struct.Struct(">HHHBBB")
SHAPES = 64


class Device:
    """One instrument: its values, and when it was asked."""

    def __init__(self, number: int, silent: bool) -> None:
        self.silent = silent
        self.answered = 0
        self.shapes = [
            struct.pack(f">{CHANNELS - 1}f", *(20.0 + c + math.sin(number + c + s / 10) for c in range(1, CHANNELS)))
            for s in range(SHAPES)
        ]
        self.asked: list[float] = []

    def answer(self, request: bytes) -> bytes:
        transaction, protocol, _, unit, function, start, count = REQUEST.unpack(request)
        if protocol or function != 3 or start or count != REGISTERS:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 2)
        self.asked.append(time.monotonic())
        if self.silent:
            return b""
        self.answered += 1
        data = struct.pack(">f", float(self.answered)) + self.shapes[self.answered % SHAPES]
        return HEAD.pack(transaction, 0, 3 + len(data), unit, function, len(data)) + data


class Conversation(asyncio.Protocol):
    """One connection to one device; requests may come glued or cut."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while len(self.waiting) >= REQUEST.size:
            request, self.waiting = self.waiting[: REQUEST.size], self.waiting[REQUEST.size :]
            if reply := self.device.answer(request):
                self.transport.write(reply)


def report(devices: list[Device], every: float) -> dict[str, object]:
    """What was asked since the reset. A gap of more than one and a half intervals is at least one missed poll."""
    gaps = sorted(b - a for d in devices for a, b in zip(d.asked, d.asked[1:], strict=False))
    counts = [len(d.asked) for d in devices]
    return {
        "requests": sum(counts),
        "least": min(counts),
        "most": max(counts),
        "missed": sum(round(gap / every) - 1 for gap in gaps if gap > 1.5 * every),
        "interval_p50": gaps[len(gaps) // 2] if gaps else None,
        "interval_p99": gaps[int(len(gaps) * 0.99)] if gaps else None,
        "interval_max": gaps[-1] if gaps else None,
        "answered": [d.answered for d in devices],
    }


async def serve(count: int, silent: bool, every: float) -> None:
    loop = asyncio.get_running_loop()
    devices = [Device(n, silent) for n in range(count)]
    servers = [await loop.create_server(lambda d=d: Conversation(d), "127.0.0.1", 0) for d in devices]
    print(json.dumps({"ports": [s.sockets[0].getsockname()[1] for s in servers]}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    cpu = time.process_time()
    while command := (await reader.readline()).decode().strip():
        if command == "reset":
            for device in devices:
                device.asked.clear()
            cpu = time.process_time()
            print("{}", flush=True)
        else:
            spent = time.process_time() - cpu
            print(json.dumps(report(devices, every) | {"cpu": spent}), flush=True)
    for server in servers:
        server.close()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--devices", type=int, default=100)
    arguments.add_argument("--silent", action="store_true")
    arguments.add_argument("--every", type=float, default=1.0)
    options = arguments.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options.devices, options.silent, options.every))


if __name__ == "__main__":
    main()
