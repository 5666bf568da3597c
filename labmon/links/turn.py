"""What one exchange does beyond a write and the reply: characters one by one, repetitions, the pause that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from labmon.links.errors import Garbled
from labmon.links.link import Manner


class Turn:
    """One exchange of a `Manner`. `begin` sends; `received` hears what came; `end` must be called when it is over.

    `write` sends bytes, `paused` is called when a pause has passed within what came. Nothing is sent after `end`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        manner: Manner,
        frame: bytes,
        write: Callable[[bytes], None],
        paused: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._manner = manner
        self._frame = frame
        self._write = write
        self._paused = paused
        self._echoed = 0
        self._pause: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self.sent = 0
        """How often the request was sent."""

    def begin(self) -> None:
        """Send the request, or its first character."""
        self.sent = 1
        if self._manner.paced:
            self._write(self._frame[:1])
            return
        self._write(self._frame)
        if self._manner.every and self._manner.most > 1:
            self._again = self._loop.call_later(self._manner.every, self._repeat)

    def _repeat(self) -> None:
        self.sent += 1
        self._again = None
        if self.sent < self._manner.most:
            self._again = self._loop.call_later(self._manner.every, self._repeat)
        self._write(self._frame)

    def received(self, data: bytes) -> None:
        """Bytes came. Raises Garbled for a character that is not the echo of the one sent."""
        if self._manner.paced and self._echoed < len(self._frame):
            for byte in data:
                if self._echoed == len(self._frame):
                    break
                if byte != self._frame[self._echoed]:
                    raise Garbled(f"character {self._echoed + 1} of the request came back as {bytes([byte])!r}")
                self._echoed += 1
                if self._echoed < len(self._frame):
                    self._write(self._frame[self._echoed : self._echoed + 1])
        if self._manner.pause:
            self.heard()

    def heard(self) -> None:
        """A pause begins anew."""
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self._loop.call_later(self._manner.pause, self._paused)

    def end(self) -> None:
        """It is over."""
        for timer in (self._pause, self._again):
            if timer is not None:
                timer.cancel()
