"""The same peers on a real pty and a real socket, in real time."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Any

from hostile_wire import HANG_UP
from links.peers import PtyPeer, TcpPeer

from labmon.links.transport import Receiver, Transport


class RealWire:
    """A real transport and its peer (see hostile_world.Wire). The peer only speaks: what is written is heard here."""

    far_end: Callable[[bytes], None]
    hand_over: Callable[[Any, float], bytes]

    def __init__(self, transport: Transport, peer: PtyPeer | TcpPeer) -> None:
        self._transport = transport
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._coming: list[tuple[float, int, Any]] = []
        self._count = 0
        self._plugged = True

    @property
    def is_open(self) -> bool:
        return self._transport.is_open

    @property
    def echo_missing(self) -> bool:
        return self._transport.echo_missing

    async def open(self, receiver: Receiver) -> None:
        if not self._plugged and isinstance(self._peer, PtyPeer):
            self._peer.plug_in()
            self._plugged = True
        connections = self._peer.connections if isinstance(self._peer, TcpPeer) else 0
        await self._transport.open(receiver)
        while isinstance(self._peer, TcpPeer) and self._peer.connections == connections:
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self._transport.close()

    def write(self, data: bytes) -> None:
        self._transport.write(data)
        self.far_end(data)

    def pending(self) -> bool:
        return self._transport.pending()

    def abandon(self) -> None:
        self._transport.abandon()

    def arrive(self, piece: Any, at: float) -> None:
        # A loop's timers are not kept in order within its resolution (uvloop: a millisecond): the pieces must be.
        self._count += 1
        heapq.heappush(self._coming, (at, self._count, piece))
        self._timers.add(self._loop.call_at(at, self._due, at))

    def _due(self, at: float) -> None:
        while self._coming and self._coming[0][0] <= at:
            self._arrived(heapq.heappop(self._coming)[2])

    def _arrived(self, piece: Any) -> None:
        if piece is HANG_UP:
            self._plugged = not isinstance(self._peer, PtyPeer)
            self._peer.hang_up()
        elif self._plugged and (data := self.hand_over(piece, self._loop.time())):
            self._peer.send(data)

    def silence(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._coming.clear()

    def stand_still(self, seconds: float) -> None:
        time.sleep(seconds)
