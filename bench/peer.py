"""The peer: a bare pymodbus client per device in one asyncio loop, polling and decoding, and nothing else.

    python -m bench.peer --every 1 PORT...

Runs until SIGTERM. Phases are spread evenly over the interval; the loop is asyncio's own, as pymodbus comes.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import struct
import time

from pymodbus.client import AsyncModbusTcpClient

from bench.devices import CHANNELS, REGISTERS

WORDS = struct.Struct(f">{REGISTERS}H")
FLOATS = struct.Struct(f">{CHANNELS}f")


async def poll(port: int, phase: float, every: float) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    await client.connect()
    due = time.monotonic() + phase
    while True:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        reply = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
        FLOATS.unpack(WORDS.pack(*reply.registers))
        due += every


async def run(ports: list[int], every: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    polls = [asyncio.create_task(poll(port, every * n / len(ports), every)) for n, port in enumerate(ports)]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *polls], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    for task in polls:
        task.cancel()
    await asyncio.gather(*polls, return_exceptions=True)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--every", type=float, default=1.0)
    arguments.add_argument("ports", type=int, nargs="+")
    options = arguments.parse_args()
    asyncio.run(run(options.ports, options.every))


if __name__ == "__main__":
    main()
