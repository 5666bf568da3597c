"""The daemon as a process: its signals, and no second one of the same site."""

from __future__ import annotations

import asyncio
import logging
import signal

from labmon.acquisition.load import Loaded
from labmon.daemon.control import answers
from labmon.daemon.daemon import Daemon
from labmon.tasks.terminal import on_hang_up

log = logging.getLogger("labmon.daemon")


async def serve(loaded: Loaded) -> int:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP has it read its files again.

    Returns the exit code: 1 when another one has the same site's socket.
    """
    daemon = Daemon(loaded)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, on_hang_up(daemon.stop.set, daemon.reload.signalled))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop.set)
    if loaded.site is not None and answers(socket := loaded.path.parent / loaded.site.socket):
        # Two of them would disturb each other on every serial line.
        log.error("daemon: another one answers on %s; this one does not start", socket)
        return 1
    await daemon.run()
    return 0
