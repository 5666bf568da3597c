"""Requests of serial text and simple binary protocols: how the reply ends, what it must look like, its checksum.

A text protocol rarely says which request a reply belongs to. What protects here is, in this order: what the reply must
begin with (an echoed address or mnemonic), a pattern that the whole reply must match, and the settling of the link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from labmon.links.checksum import Checksum
from labmon.links.errors import Garbled, Refused
from labmon.links.pattern import Pattern

_LINE_ENDS = b"\r\n"


@dataclass(frozen=True, slots=True)
class Terminated:
    """The reply ends at the first of `terminators`, or `after` bytes behind it where a check character follows there.

    An end character such as `!` is a terminator too. Empty lines ahead of the reply are skipped.
    """

    terminators: tuple[bytes, ...]
    after: int = 0

    def __post_init__(self) -> None:
        if not self.terminators or not all(self.terminators):
            raise ValueError("a reply that ends by a terminator needs one that is not empty")


@dataclass(frozen=True, slots=True)
class FixedLength:
    """The reply has `length` bytes, the last of them `terminator` where one is given."""

    length: int
    terminator: bytes = b""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"a reply of {self.length} bytes")


@dataclass(frozen=True, slots=True)
class LengthField:
    """The reply says its length: `size` bytes at offset `at`; its whole length is that number + `plus`.

    `hex` and `decimal` are digits, `big` and `little` binary. `plus` counts everything that the number does not:
    what stands before and in the field, checksum, terminator. `most` bounds the whole length.
    """

    at: int
    size: int
    encoding: Literal["hex", "decimal", "big", "little"]
    plus: int
    terminator: bytes = b""
    most: int = 1024

    def total(self, frame: bytes) -> int | None:
        """Whole length of the reply that begins `frame`; None while the field is not complete. Raises Garbled."""
        field = frame[self.at : self.at + self.size]
        if len(field) < self.size:
            return None
        if self.encoding in ("big", "little"):
            number = int.from_bytes(field, "big" if self.encoding == "big" else "little")
        else:
            digits = rb"[0-9A-Fa-f]+" if self.encoding == "hex" else rb"[0-9]+"
            if not re.fullmatch(digits, field):
                raise Garbled(f"length field {field!r}")
            number = int(field, 16 if self.encoding == "hex" else 10)
        if number + self.plus > self.most:
            raise Garbled(f"length field {field!r} says more than {self.most} bytes")
        return number + self.plus


ReplyEnd = Terminated | FixedLength | LengthField


@dataclass(frozen=True, slots=True)
class Check:
    """A checksum in its frame: the last bytes before the terminator, or after it where the reply's end says so.

    It covers everything from offset `start` up to itself (a terminator before it included), less the `uncovered`
    bytes directly before it (such as the `*` of `...*1234`), which belong to no payload either.
    """

    checksum: Checksum
    start: int = 0
    uncovered: bytes = b""


class TextRequest:
    """One text or binary request and its reply.

    `request` is sent with its checksum (`request_check`) and `terminator` appended. With `echo` the instrument repeats
    what it was sent; the repetition is checked and removed, whatever came before it is not the reply. A reply begins
    with `begins_with`, where given: bytes ahead of it are skipped. `expect` must match the whole payload, else the
    reply is Garbled; a payload that `error` matches wholly is Refused with the group `code`, or all of it. A reply not
    ended by a terminator is Refused also when the bytes so far match `error` wholly (a short error answer).

    The payload is the reply without echo, terminator and checksum; `begins_with` is part of it. Two different replies
    at once are Garbled: nobody can tell which one is ours. `reply_size` is an estimate for the timeout's floor.
    """

    __slots__ = ("_begins_with", "_echo", "_end", "_error", "_expect", "_frame", "_reply_check", "_sent", "size")

    def __init__(
        self,
        request: bytes,
        end: ReplyEnd,
        *,
        terminator: bytes = b"",
        request_check: Check | None = None,
        reply_check: Check | None = None,
        begins_with: bytes = b"",
        echo: bool = False,
        expect: Pattern | re.Pattern[bytes] | None = None,
        error: Pattern | re.Pattern[bytes] | None = None,
        reply_size: int = 32,
    ) -> None:
        if request_check is not None:
            covered = request[request_check.start :]
            request += request_check.uncovered + request_check.checksum.encode(covered)
        self._sent = request
        self._frame = request + terminator
        if not self._frame:
            raise ValueError("a request of no bytes")
        after = end.after if isinstance(end, Terminated) else 0
        if after and (reply_check is None or reply_check.checksum.width != after):
            raise ValueError(f"{after} bytes after the terminator need a checksum of that width")
        self._end = end
        self._reply_check = reply_check
        self._begins_with = begins_with
        self._echo = echo
        self._expect = expect
        self._error = error
        self.size = len(self._frame) * (2 if echo else 1) + (end.length if isinstance(end, FixedLength) else reply_size)

    def encode(self, transaction: int) -> bytes:
        """The request's bytes; text has no transaction id."""
        return self._frame

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The reply's payload. Raises Garbled as soon as a whole reply is there that cannot be ours, and Refused."""
        rest = self._without_echo(buffer)
        if rest is None:
            return None
        payloads: list[bytes] = []
        refusal: Refused | None = None
        wrong: Garbled | None = None
        following = self._start(rest, 0)
        while (at := following) is not None:
            try:
                stop = self._stop(rest, at)
                if stop is None:
                    break
                payloads.append(self._payload(rest[at:stop]))
                following = self._start(rest, stop)
            except Refused as error:
                refusal = error
                break
            except Garbled as error:
                # A line is what it is; after a header that only looked like one, the real one may follow.
                wrong = wrong or error
                following = self._next(rest, at)
        if any(payload != payloads[0] for payload in payloads) or (payloads and refusal):
            raise Garbled("two different replies")
        if refusal is not None:
            raise refusal
        if payloads:
            return payloads[0]
        if wrong is not None:
            raise wrong
        return None

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether `buffer` ends in a reply not yet ended."""
        rest = self._without_echo(buffer) or b""
        head = self._begins_with
        return self._start(rest, 0) is not None or any(rest.endswith(head[:n]) for n in range(1, len(head)))

    def _without_echo(self, buffer: bytes) -> bytes | None:
        if not self._echo:
            return buffer
        at = buffer.find(self._sent)
        # Instruments end the repeated line in their own way (CR sent, CR LF repeated).
        return None if at < 0 else buffer[at + len(self._sent) :].lstrip(_LINE_ENDS)

    def _start(self, rest: bytes, at: int) -> int | None:
        """Where the next reply begins at or after `at`; None when nothing of one is there."""
        if self._begins_with:
            found = rest.find(self._begins_with, at)
            return found if found >= 0 else None
        if isinstance(self._end, Terminated):
            while at < len(rest) and (empty := _leading(rest, at, self._end.terminators)):
                at += empty
        return at if at < len(rest) else None

    def _next(self, rest: bytes, at: int) -> int | None:
        if self._begins_with:
            return self._start(rest, at + 1)
        if isinstance(self._end, Terminated) and (stop := self._stop(rest, at)) is not None:
            return self._start(rest, stop)
        return None

    def _stop(self, rest: bytes, at: int) -> int | None:
        """Where the reply that begins at `at` ends; None while it is incomplete."""
        end = self._end
        if isinstance(end, Terminated):
            ends = [(found, -len(t)) for t in end.terminators if (found := rest.find(t, at + 1)) >= 0]
            if not ends:
                return None
            found, length = min(ends)
            stop = found - length + end.after
        else:
            total = end.length if isinstance(end, FixedLength) else end.total(rest[at:])
            if total is None or len(rest) < at + total:
                self._refuse_if_error(rest[at:])
                return None
            stop = at + total
        return stop if stop <= len(rest) else None

    def _payload(self, frame: bytes) -> bytes:
        """Cut terminator and checksum off, verify both, and judge the content."""
        end = self._end
        check = self._reply_check
        if isinstance(end, Terminated) and end.after:
            body, received = frame[: -end.after], frame[-end.after :]
            payload = body[: -self._terminator_length(body)]
        else:
            payload = frame[: len(frame) - self._terminator_length(frame)]
            width = check.checksum.width if check else 0
            body, received = payload[: len(payload) - width], payload[len(payload) - width :]
            payload = body
        if check is not None:
            if not body.endswith(check.uncovered):
                raise Garbled(f"no {check.uncovered!r} before the checksum: {frame[:40]!r}")
            covered = body[check.start : len(body) - len(check.uncovered)]
            if not check.checksum.agrees(covered, received):
                raise Garbled(f"checksum {received!r} does not fit {covered[:40]!r}")
            payload = payload.removesuffix(check.uncovered) if check.uncovered else payload
        self._refuse_if_error(payload)
        if self._expect is not None and not self._expect.fullmatch(payload):
            raise Garbled(f"unexpected reply {payload[:40]!r}")
        return payload

    def _terminator_length(self, frame: bytes) -> int:
        end = self._end
        terminators = end.terminators if isinstance(end, Terminated) else (end.terminator,)
        fitting = [len(t) for t in terminators if frame.endswith(t)]
        if not fitting:
            raise Garbled(f"the reply does not end in {end}: {frame[-8:]!r}")
        return max(fitting)

    def _refuse_if_error(self, payload: bytes) -> None:
        if self._error is None or (found := self._error.fullmatch(payload)) is None:
            return
        code = found["code"] if "code" in self._error.groupindex else found[0]
        raise Refused(code.decode("ascii", "backslashreplace"))


def _leading(rest: bytes, at: int, terminators: tuple[bytes, ...]) -> int:
    """Length of the longest terminator that stands at `at`."""
    return max((len(t) for t in terminators if rest.startswith(t, at)), default=0)
