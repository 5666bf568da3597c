"""Requests of serial text and simple binary protocols: how the reply ends, what it must look like, its checksums.

Such a protocol rarely says which request a reply belongs to. What protects here is, in this order: what the reply must
begin with (an echoed address or mnemonic), a pattern that the whole reply must match, and the settling of the link.
"""

from __future__ import annotations

import re
from typing import Literal

from labmon.links.errors import Garbled, Refused
from labmon.links.frame import (
    Check,
    FixedLength,
    FrameEnd,
    FrameForm,
    Idle,
    LengthField,
    Terminated,
    shown,
)
from labmon.links.link import Manner
from labmon.links.pattern import Pattern
from labmon.links.transform import Transform, received, sent

__all__ = [
    "Check",
    "Command",
    "FixedLength",
    "Idle",
    "LengthField",
    "Prompted",
    "ReplyEnd",
    "Terminated",
    "TextRequest",
]

ReplyEnd = FrameEnd
Echo = Literal["none", "line", "characters"]
_LINE_ENDS = b"\r\n"


class TextRequest:
    """One text or binary request and its reply.

    `request` is sent with its checksums (`request_check`) and `terminator`. With `echo` the instrument repeats what it
    was sent, as a line or each character before the next is sent; the repetition is checked and removed, whatever came
    before it is not the reply. A reply begins with `begins_with`, where given: bytes ahead of it are skipped. `expect`
    must match the whole payload, else the reply is Garbled; a payload that `error` matches wholly is Refused with the
    group `code`, or all of it. A reply not ended by a terminator is Refused also when the bytes so far match `error`
    wholly (a short error answer).

    What comes and is one of `alone` is a whole reply by itself, without terminator and checksums.

    The payload is the reply without echo, terminator and checksums at its end; `begins_with` is part of it. Two
    different replies at once are Garbled: nobody can tell which one is ours; so are bytes behind a reply that only its
    length ends. A reply that ends by a pause is over when that has passed; one in which a pause longer than
    `between` comes before its end is incomplete. `reply_size` is an estimate for the timeout's floor.
    """

    __slots__ = ("_echo", "_error", "_expect", "_form", "_frame", "_line", "_sent", "manner", "size")

    def __init__(
        self,
        request: bytes,
        end: ReplyEnd,
        *,
        terminator: bytes = b"",
        starts: bytes = b"",
        request_check: Check | tuple[Check, ...] | None = None,
        reply_check: Check | tuple[Check, ...] | None = None,
        begins_with: bytes = b"",
        transforms: tuple[Transform, ...] = (),
        echo: bool | Echo = False,
        between: float = 0.0,
        expect: re.Pattern[bytes] | Pattern | None = None,
        error: re.Pattern[bytes] | Pattern | None = None,
        reply_size: int = 32,
        alone: tuple[bytes, ...] = (),
    ) -> None:
        out = FrameForm(FixedLength(1, terminator), _checks(request_check), starts, transforms)
        bare = FrameForm(FixedLength(1), out.checks, starts, transforms)
        self._frame = sent(out.closed(starts + request, inserted=True), transforms)
        # What stands before the terminator: instruments end the repeated line in their own way.
        self._line = not terminator.strip(_LINE_ENDS) and bool(terminator)
        self._sent = sent(bare.closed(starts + request, inserted=True), transforms) if self._line else self._frame
        if not self._frame:
            raise ValueError("a request of no bytes")
        self._form = _form(end, _checks(reply_check), begins_with, transforms, alone)
        self._echo = echo not in (False, "none")
        self._expect = expect
        self._error = error
        length = end.length if isinstance(end, FixedLength) else reply_size
        self.size = len(self._frame) * (2 if self._echo else 1) + length
        self.manner: Manner | None = None
        if isinstance(end, Idle):
            self.manner = Manner(pause=end.pause, over=self._over, paced=echo == "characters")
        elif between or echo == "characters":
            self.manner = Manner(pause=between, paced=echo == "characters")

    @property
    def form(self) -> FrameForm:
        """The form of its replies."""
        return self._form

    def encode(self, transaction: int) -> bytes:
        """The request's bytes; text has no transaction id."""
        return self._frame

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """The reply's payload. Raises Garbled as soon as a whole reply is there that cannot be ours, and Refused."""
        rest = self._without_echo(buffer)
        if rest is None:
            return None
        form = self._form
        if rest in form.alone:
            return self._judged(rest)
        payloads: list[bytes] = []
        refusal: Refused | None = None
        wrong: Garbled | None = None
        following = form.start(rest)
        while (at := following) is not None:
            try:
                stop = form.stop(rest, at)
                if stop is None:
                    if not isinstance(form.end, (Terminated, Idle)):
                        self._refuse_if_error(rest[at:])
                    break
                payloads.append(self._payload(rest[at:stop]))
                following = form.start(rest, stop)
            except Refused as error:
                refusal = error
                break
            except Garbled as error:
                # A line is what it is; after a header that only looked like one, the real one may follow.
                wrong = wrong or error
                following = form.next(rest, at)
        if any(payload != payloads[0] for payload in payloads) or (payloads and refusal):
            raise Garbled("two different replies")
        if payloads and following is not None and isinstance(form.end, FixedLength) and not form.starts:
            raise Garbled(f"bytes behind the reply: {rest[following:][:24].hex(' ')}")
        if refusal is not None:
            raise refusal
        if payloads:
            return payloads[0]
        if wrong is not None:
            raise wrong
        return None

    def _over(self, buffer: bytes) -> bytes | None:
        """The payload of a reply that ends by a pause, when that has passed. Raises Garbled and Refused."""
        rest = self._without_echo(buffer)
        at = None if rest is None else self._form.start(rest)
        if rest is not None and rest in self._form.alone:
            return self._judged(rest)
        if rest is None or at is None:
            return None
        return self._payload(rest[at:])

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether `buffer` ends in a reply not yet ended."""
        rest = self._without_echo(buffer) or b""
        head = self._form.starts
        return self._form.start(rest) is not None or any(rest.endswith(head[:n]) for n in range(1, len(head)))

    def _without_echo(self, buffer: bytes) -> bytes | None:
        buffer = received(buffer, self._form.transforms)
        if not self._echo:
            return buffer
        repeated = received(self._sent, self._form.transforms)
        at = buffer.find(repeated)
        if at < 0:
            return None
        rest = buffer[at + len(repeated) :]
        # CR sent, CR LF repeated.
        return rest.lstrip(_LINE_ENDS) if self._line else rest

    def _payload(self, frame: bytes) -> bytes:
        """Cut terminator and checksums off, verify all, and judge the content."""
        return self._judged(self._form.opened(frame))

    def _judged(self, payload: bytes) -> bytes:
        """The payload, if it is what must come. Raises Garbled and Refused."""
        self._refuse_if_error(payload)
        if self._expect is not None and not self._expect.fullmatch(payload):
            raise Garbled(f"unexpected reply of {len(payload)} bytes: {shown(payload)}")
        return payload

    def _refuse_if_error(self, payload: bytes) -> None:
        if self._error is None or (found := self._error.fullmatch(payload)) is None:
            return
        code: bytes = found["code"] if "code" in self._error.groupindex else found[0]
        raise Refused(code.decode("ascii", "backslashreplace"))


class Command:
    """What is sent and never answered: a selection, a command without a reply. Its payload is empty."""

    __slots__ = ("_frame", "size")
    manner = Manner(answered=False)

    def __init__(self, frame: bytes) -> None:
        if not frame:
            raise ValueError("a request of no bytes")
        self._frame = frame
        self.size = len(frame)

    def encode(self, transaction: int) -> bytes:
        """The bytes to send."""
        return self._frame

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """Always there, and empty."""
        return b""

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Nothing begins."""
        return False


class Prompted:
    """What is sent again every `every` seconds, `most` times at most, until what comes ends with `prompt`.

    All answers to it are answers to the same question, so any may be taken; when it had to be sent more than once
    others may still come, and the link settles before its next exchange.
    """

    __slots__ = ("_frame", "_prompt", "manner", "size")

    def __init__(self, frame: bytes, prompt: bytes, every: float, most: int) -> None:
        if not frame or not prompt:
            raise ValueError("a request or a prompt of no bytes")
        self._frame = frame
        self._prompt = prompt
        self.manner = Manner(every=every, most=most)
        self.size = len(frame) + 8

    def encode(self, transaction: int) -> bytes:
        """The bytes to send."""
        return self._frame

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """What came, as soon as it ends with the prompt."""
        return buffer if buffer.endswith(self._prompt) else None

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Whether anything came: it may yet become the prompt."""
        return bool(buffer)


def _checks(given: Check | tuple[Check, ...] | None) -> tuple[Check, ...]:
    return () if given is None else (given,) if isinstance(given, Check) else given


def _form(
    end: ReplyEnd, checks: tuple[Check, ...], starts: bytes, transforms: tuple[Transform, ...], alone: tuple[bytes, ...]
) -> FrameForm:
    after = end.after if isinstance(end, Terminated) else 0
    if after and not any(c.after for c in checks):
        # The end says that what follows it is the last checksum.
        if not checks or checks[-1].width != after:
            raise ValueError(f"{after} bytes after the terminator need a checksum of that width")
        last = checks[-1]
        checks = (*checks[:-1], Check(last.checksum, last.start, last.uncovered, last.stop, after=True))
    return FrameForm(end, checks, starts, transforms, alone)
