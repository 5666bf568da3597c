"""`python -m planted ...` is `labmon ...` with faults planted in it, for which no real peer can be found.

`PLANT` names a folder. As long as it holds a file of one of these names, a query of the
instrument with the unit id 66

- `block` blocks the event loop for ever;
- `stick` hangs for ever, whatever is done to its task;
- `stick-once` does so too, and takes the file away.

A query that is caught so leaves a file `<name>.caught`. Names of hosts that begin with `hangs` are looked up for ever.
A turn of a line may take a second or two, so that no test waits long for one that is stuck.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import labmon.daemon.polling
from labmon.cli import main
from labmon.drivers.query import CompiledQuery

FOLDER = Path(os.environ["PLANT"])
UNIT = 66
"""Of the instrument whose queries are caught."""

make = CompiledQuery.__init__
ask = CompiledQuery.ask
look_up = socket.getaddrinfo


def planted_make(query: Any, name: str, grammar: Any, setting: Any) -> None:
    make(query, name, grammar, setting)
    query.planted = setting.address == UNIT and name == "values"


async def planted_ask(query: Any, link: Any) -> Any:
    if query.planted:
        for name in ("block", "stick", "stick-once"):
            if (FOLDER / name).exists():
                await caught(name)
    return await ask(query, link)


async def caught(name: str) -> None:
    if name == "stick-once":
        (FOLDER / name).unlink()
    (FOLDER / f"{name}.caught").touch()
    while True:
        try:
            if name == "block":
                time.sleep(3600)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def planted_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
    if str(host).startswith("hangs"):
        (FOLDER / f"{host}.caught").touch()
        threading.Event().wait()
    return look_up(host, *arguments, **options)


CompiledQuery.__init__ = planted_make  # type: ignore[method-assign]
CompiledQuery.ask = planted_ask  # type: ignore[method-assign]
socket.getaddrinfo = planted_look_up
labmon.daemon.polling.FLOOR = 1.0
labmon.daemon.polling.OPEN = 0.5
labmon.daemon.polling.make_link = partial(labmon.daemon.polling.make_link, open_timeout=0.5)  # type: ignore[assignment]

if __name__ == "__main__":
    main()
