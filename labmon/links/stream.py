"""What comes unasked: whole frames of known form are taken out of what arrives on a line, and all else is handed on.

A frame that may be a stream line as well as the reply that is waited for is neither (design rule 1). A frame is found
by its header, length or line end, its checksum and its form; where frames have no header, the one that was under way
when listening began is not taken, unless its form says how it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labmon.links.errors import Garbled
from labmon.links.frame import LONGEST, FrameForm, Idle, Terminated
from labmon.links.link import Manner


@dataclass(frozen=True, slots=True)
class StreamForm:
    """How one kind of stream frame is known: the frame's form, and what its whole payload must be.

    `prefix` is what each such payload begins with, where that is known. Raises ValueError for a frame whose places
    nothing in a stream tells: one that ends by a pause, or by a length without a header.
    """

    frame: FrameForm
    fits: Callable[[bytes], object]
    """Whether a payload is of this kind: true or false, or a match."""
    prefix: bytes = b""

    def __post_init__(self) -> None:
        if isinstance(self.frame.end, Idle):
            raise ValueError("a pause does not tell where a frame in a stream ends")  # noqa: TRY004
        if not isinstance(self.frame.end, Terminated) and not self.frame.starts:
            raise ValueError("frames that end by their length are found by what they begin with")


Hearer = Callable[[bytes, float], None]
"""Takes the payload of one frame and the monotonic time of its end. Called from the event loop; must not block."""


class _Cut(NamedTuple):
    start: int
    stop: int
    hearer: Hearer
    payload: bytes


class Listener:
    """Cuts what arrives into frames. `kinds` are tried in their order; the first that fits has the frame.

    Bounded: no more than LONGEST bytes are kept. A frame that something else stood in the place of is given up as soon
    as a later one is whole and agrees with its checksum.
    """

    def __init__(self, kinds: Sequence[tuple[StreamForm, Hearer]]) -> None:
        self._kinds = tuple(kinds)
        self._frames = tuple(dict.fromkeys(form.frame for form, _ in kinds))
        self._headed = all(frame.starts for frame in self._frames)
        self.ends = {end for f in self._frames if isinstance(f.end, Terminated) for end in f.end.terminators}
        """What lines end with."""
        self._buffer = b""
        self._in_step = self._headed
        self._old = 0
        self.heard = 0
        """Frames taken."""
        self.unclear = 0
        """Frames not taken because they may be a reply as well."""
        self.junk = 0
        """Bytes that came while no reply was waited for, and were in no frame."""

    def asked(self) -> None:
        """A request is sent: what is kept now may yet become a frame, but is part of no reply."""
        self._old = len(self._buffer)

    def _taken(self, size: int) -> bytes:
        """Take so many bytes off the front; those of them that came after the latest request."""
        front, self._buffer = self._buffer[:size], self._buffer[size:]
        old, self._old = self._old, max(0, self._old - size)
        return front[old:]

    def reset(self) -> None:
        """A new connection: what came before is not continued."""
        self._buffer, self._old = b"", 0
        self._in_step = self._headed

    def hear(self, data: bytes, now: float, may_answer: Callable[[bytes], bool] | None = None) -> tuple[bytes, bool]:
        """Take the stream's frames out; returns what is left for others, and whether an unclear frame was among it.

        `may_answer` says of a frame as it came whether it may be a reply that is waited for. A beginning of a stream
        frame is kept until it is whole.
        """
        self._buffer += data
        rest = b""
        unclear = False
        while True:
            cut, free = self._scan()
            if cut is None:
                break
            frame = self._buffer[cut.start : cut.stop]
            rest += self._taken(cut.start)
            self._taken(len(frame))
            if may_answer is not None and may_answer(frame):
                self.unclear += 1
                unclear = True
                continue
            self.heard += 1
            cut.hearer(cut.payload, now)
        if len(self._buffer) > LONGEST:
            free = len(self._buffer)
            self._in_step = self._headed
        rest += self._taken(free)
        if may_answer is None:
            self.junk += len(rest)
        return rest, unclear

    def release(self) -> bytes:
        """What is kept as the beginning of a frame, now: for a reply that does not end as frames do, such as a prompt.

        What follows of that frame, if it was one, is not taken.
        """
        if self._buffer:
            self._in_step = self._headed
        return self._taken(len(self._buffer))

    @property
    def kept(self) -> bytes:
        """What came after the latest request and is kept as the beginning of a frame."""
        return self._buffer[self._old :]

    def finish(self) -> bytes:
        """What is kept, now: it ends a reply, and whatever follows begins anew."""
        self._in_step = True
        return self._taken(len(self._buffer))

    def _scan(self) -> tuple[_Cut | None, int]:
        """The first frame of the stream that is whole; and how many bytes in front can be part of none."""
        found: _Cut | None = None
        free = len(self._buffer)
        for frame in self._frames:
            cut, kept = self._look(frame)
            free = min(free, kept)
            if cut is not None and (found is None or cut.start < found.start):
                found = cut
        return found, free

    def _look(self, frame: FrameForm) -> tuple[_Cut | None, int]:
        buffer = self._buffer
        kept: int | None = None
        at = frame.start(buffer)
        while at is not None:
            following: int | None
            stop: int | None = None
            try:
                stop = frame.stop(buffer, at)
                if stop is None:
                    kept = at if kept is None else kept
                    # Nothing but a checksum tells that a whole frame behind this one is not a part of it.
                    following = frame.start(buffer, at + 1) if frame.checks and frame.starts else None
                else:
                    payload = frame.opened(buffer[at:stop])
                    if (hearer := self._hearer(frame, payload)) is not None:
                        self._in_step = True
                        return _Cut(at, stop, hearer, payload), at if kept is None else kept
                    following = frame.next(buffer, at)
            except Garbled:
                following = frame.next(buffer, at)
            if kept is None and not frame.starts and (following is not None or stop is not None):
                self._in_step = True  # a line has ended
            at = following
        return None, self._kept(frame) if kept is None else kept

    def _hearer(self, frame: FrameForm, payload: bytes) -> Hearer | None:
        for form, hearer in self._kinds:
            if form.frame == frame and (self._in_step or form.prefix) and form.fits(payload):
                return hearer
        return None

    def _kept(self, frame: FrameForm) -> int:
        """Where a header not yet whole begins: what stands before it is part of no frame."""
        buffer, head = self._buffer, frame.starts
        sizes = range(min(len(head) - 1, len(buffer)), 0, -1)
        return len(buffer) - next((n for n in sizes if buffer.endswith(head[:n])), 0)


class Listen:
    """A request that asks nothing: the next stream frame is its reply (labmon.links.link.Request).

    For who wants one frame: an example, a probe. A line that listens all the time has a `Listener`.
    """

    __slots__ = ("size", "stream")
    manner: Manner | None = None

    def __init__(self, form: StreamForm, size: int = 32) -> None:
        self.stream = form
        self.size = size

    @property
    def form(self) -> FrameForm:
        """The form of its frames."""
        return self.stream.frame

    def encode(self, transaction: int) -> bytes:
        """Nothing is sent."""
        return b""

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The payload of the first frame of this kind. Raises Garbled for whole frames that are none."""
        frame = self.stream.frame
        wrong = False
        while (place := frame.find(buffer)) is not None:
            if place.payload is not None and self.stream.fits(place.payload):
                return place.payload
            wrong, buffer = True, buffer[place.stop :]
        if wrong:
            raise Garbled(f"no frame of the stream: {buffer[:24].hex(' ')}")
        return None

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether `buffer` ends in a frame not yet whole."""
        return self.stream.frame.start(buffer) is not None
