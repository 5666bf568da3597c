"""How one frame is delimited, checked and transformed on the wire, and the bytes of a stream cut into such frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from labmon.links.checksum import Checksum
from labmon.links.errors import Garbled
from labmon.links.transform import Transform, restore, transform

LONGEST = 4096
"""Bytes of a frame at most."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """The frame ends at the first of `terminators`, or `after` bytes behind it where a check character follows there.

    An end character such as `!` is a terminator too. Empty lines ahead of the frame are skipped.
    """

    terminators: tuple[bytes, ...]
    after: int = 0

    def __post_init__(self) -> None:
        if not self.terminators or not all(self.terminators):
            raise ValueError("a reply that ends by a terminator needs one that is not empty")


@dataclass(frozen=True, slots=True)
class FixedLength:
    """The frame has `length` bytes, the last of them `terminator` where one is given."""

    length: int
    terminator: bytes = b""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"a reply of {self.length} bytes")


@dataclass(frozen=True, slots=True)
class LengthField:
    """The frame says its length: `size` bytes at offset `at`; its whole length is that number + `plus`.

    `hex` and `decimal` are digits, `big` and `little` binary, a nibble is half of one byte. `plus` counts everything
    that the number does not: what stands before and in the field, checksum, terminator. `most` bounds the whole length.
    """

    at: int
    size: int
    encoding: Literal["hex", "decimal", "big", "little", "high-nibble", "low-nibble"]
    plus: int
    terminator: bytes = b""
    most: int = 1024

    def total(self, frame: bytes) -> int | None:
        """Whole length of the frame that begins `frame`; None while the field is not complete. Raises Garbled."""
        field = frame[self.at : self.at + self.size]
        if len(field) < self.size:
            return None
        if self.encoding in ("big", "little"):
            number = int.from_bytes(field, "big" if self.encoding == "big" else "little")
        elif self.encoding.endswith("nibble"):
            number = field[0] >> 4 if self.encoding == "high-nibble" else field[0] & 0x0F
        else:
            digits = rb"[0-9A-Fa-f]+" if self.encoding == "hex" else rb"[0-9]+"
            if not re.fullmatch(digits, field):
                raise Garbled(f"length field {field!r}")
            number = int(field, 16 if self.encoding == "hex" else 10)
        if number + self.plus > self.most:
            raise Garbled(f"length field {field!r} says more than {self.most} bytes")
        if number + self.plus <= self.at:
            raise Garbled(f"length field {field!r} says less than what stands before it")
        return number + self.plus


@dataclass(frozen=True, slots=True)
class Idle:
    """The frame ends when `pause` seconds pass without a byte, for an instrument that marks its end by nothing else."""

    pause: float
    terminator: bytes = b""


FrameEnd = Terminated | FixedLength | LengthField | Idle


@dataclass(frozen=True, slots=True)
class Check:
    """One checksum in its frame.

    It covers from offset `start` up to itself, less the `uncovered` bytes directly before it (such as the `*` of
    `...*1234`), which belong to no payload either. It stands at the end, before the terminator, or behind it where
    `after` says so (then it covers the terminator too). With `stop` it stands at that offset, a header's own checksum,
    and stays in the payload; a negative `stop` leaves so many bytes before a checksum at the end uncovered.
    """

    checksum: Checksum
    start: int = 0
    uncovered: bytes = b""
    stop: int | None = None
    after: bool = False

    @property
    def inside(self) -> bool:
        """Whether it stands within the frame rather than at its end."""
        return self.stop is not None and self.stop >= 0

    @property
    def width(self) -> int:
        """Bytes that it takes at the end of a frame."""
        return self.checksum.width + len(self.uncovered)

    def made(self, frame: bytes) -> bytes:
        """The checksum of what stands before it."""
        return self.checksum.encode(frame[self.start : self.stop])


class Place(NamedTuple):
    """Where a whole frame stands in a buffer; `payload` is what it holds, None when it is no valid frame."""

    start: int
    stop: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class FrameForm:
    """The form of a frame: where it begins and ends in a stream of bytes, and what of it is payload.

    A frame begins with `starts`, where given; bytes ahead of it are skipped. The payload is the frame without its
    terminator and the checksums at its end; `starts` and checksums within it are part of it, so that offsets in the
    payload are those of the wire (after `transforms` were undone). What is `alone` is a whole reply as it stands, such
    as an EOT in the place of a frame. Holds no state; nothing is longer than LONGEST.
    """

    end: FrameEnd
    checks: tuple[Check, ...] = ()
    starts: bytes = b""
    transforms: tuple[Transform, ...] = ()
    alone: tuple[bytes, ...] = ()

    @property
    def after(self) -> int:
        """Bytes of a frame behind its terminator."""
        declared = self.end.after if isinstance(self.end, Terminated) else 0
        return max(declared, sum(c.width for c in self.checks if c.after))

    # ------------------------------------------------------------------ finding

    def start(self, buffer: bytes, at: int = 0) -> int | None:
        """Where the next frame begins at or after `at`; None when nothing of one is there."""
        if self.starts:
            found = buffer.find(self.starts, at)
            return found if found >= 0 else None
        if isinstance(self.end, Terminated):
            while at < len(buffer) and (empty := _leading(buffer, at, self.end.terminators)):
                at += empty
        return at if at < len(buffer) else None

    def stop(self, buffer: bytes, at: int) -> int | None:
        """Where the frame that begins at `at` ends; None while that is not there. Raises Garbled.

        A frame that ends by a pause has no end here: whoever keeps the time says when it is over.
        """
        end = self.end
        if isinstance(end, Idle):
            return None
        if isinstance(end, Terminated):
            behind = at + max(1, len(self.starts))
            ends = [(found, -len(t)) for t in end.terminators if (found := buffer.find(t, behind)) >= 0]
            if not ends:
                return None
            found, length = min(ends)
            stop = found - length + self.after
        else:
            total = end.length if isinstance(end, FixedLength) else end.total(buffer[at:])
            if total is None:
                return None
            stop = at + total
        return stop if stop <= len(buffer) else None

    def next(self, buffer: bytes, at: int) -> int | None:
        """Where to look on when what begins at `at` is no frame: a header within it, or the line after it."""
        if self.starts:
            return self.start(buffer, at + 1)
        if isinstance(self.end, Terminated) and (stop := self.stop(buffer, at)) is not None:
            return self.start(buffer, stop)
        return None

    def find(self, buffer: bytes) -> Place | None:
        """The first frame in a stream that is whole: for who listens. What is no frame is passed over.

        None: nothing whole is there. Bytes ahead of the place, and a place without payload, are junk. A frame that
        ends by a pause is the listener's to cut (see `opened`).
        """
        junk: Place | None = None
        at = self.start(buffer)
        while at is not None:
            try:
                stop = self.stop(buffer, at)
                if stop is None:
                    return junk
                return Place(at, stop, self.opened(buffer[at:stop]))
            except Garbled:
                following = self.next(buffer, at)
                junk = Place(at, at + 1 if following is None else following, None)
                at = following
        return junk

    # ------------------------------------------------------------------ inside

    def opened(self, frame: bytes) -> bytes:
        """The payload of a whole frame: terminator and checksums verified and cut off. Raises Garbled."""
        core = body = frame[: len(frame) - self.after]
        core = core[: len(core) - self._terminator_length(core)]
        core = self.starts + restore(core[len(self.starts) :], self.transforms)
        for check in self.checks:
            if check.inside:
                assert check.stop is not None
                self._verify(check, core, core[check.stop : check.stop + check.checksum.width])
        for check in reversed(self.checks):
            if not check.inside and not check.after:
                core = self._cut(check, core)
        at = len(body)
        for check in self.checks:
            if check.after:
                self._verify(check, frame[:at], frame[at : at + check.checksum.width])
                at += check.width
        return core

    def _cut(self, check: Check, core: bytes) -> bytes:
        """The frame without the checksum at its end."""
        width = check.checksum.width
        covered, received = core[: max(0, len(core) - width)], core[max(0, len(core) - width) :]
        if not covered.endswith(check.uncovered):
            raise Garbled(f"no {shown(check.uncovered)} before the checksum: {shown(core)}")
        covered = covered[: len(covered) - len(check.uncovered)]
        self._verify(check, covered, received)
        return covered

    @staticmethod
    def _verify(check: Check, before: bytes, received: bytes) -> None:
        covered = before[check.start : check.stop]
        if not check.checksum.agrees(covered, received):
            right = shown(check.checksum.encode(covered))
            raise Garbled(f"checksum {shown(received)} instead of {right} for {shown(covered)}")

    def _terminator_length(self, frame: bytes) -> int:
        end = self.end
        terminators = end.terminators if isinstance(end, Terminated) else (end.terminator,)
        fitting = [len(t) for t in terminators if frame.endswith(t)]
        if not fitting:
            raise Garbled(f"the reply ends in {shown(frame[-8:])} and not in {' or '.join(map(shown, terminators))}")
        return max(fitting)

    def closed(self, payload: bytes, *, inserted: bool = False) -> bytes:
        """The frame of a payload. Checksums within it are written over the bytes at their place, or `inserted` there.

        The frame ends in the first terminator of its end.
        """
        if payload in self.alone:
            return payload
        core = payload
        for check in self.checks:
            if check.inside:
                assert check.stop is not None
                rest = core[check.stop + (0 if inserted else check.checksum.width) :]
                core = core[: check.stop] + check.made(core) + rest
            elif not check.after:
                core += check.uncovered + check.made(core)
        core = core[: len(self.starts)] + transform(core[len(self.starts) :], self.transforms)
        core += self.end.terminators[0] if isinstance(self.end, Terminated) else self.end.terminator
        for check in self.checks:
            if check.after:
                core += check.uncovered + check.made(core)
        return core


def pieces(form: FrameForm, buffer: bytes) -> Sequence[bytes]:
    """Payloads of all whole frames in `buffer`, in their order; junk between them is passed over."""
    found: list[bytes] = []
    while (place := form.find(buffer)) is not None:
        if place.payload is not None:
            found.append(place.payload)
        buffer = buffer[place.stop :]
    return found


def shown(data: bytes) -> str:
    """The beginning of what came, for people: characters in quotes, or hex where some are none."""
    data, more = data[:40], "..." if len(data) > 40 else ""
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data):
        return repr(data.decode("ascii")) + more
    return data.hex(" ").upper() + more


def _leading(rest: bytes, at: int, terminators: tuple[bytes, ...]) -> int:
    """Length of the longest terminator that stands at `at`."""
    return max((len(t) for t in terminators if rest.startswith(t, at)), default=0)
