"""Regular expressions of driver files: those of `re`, with a limit in time.

A pattern such as `(a+)+b` takes longer than the universe on some replies. `re` cannot be interrupted, and the event
loop would stand still with it: no device of any line would be polled. One that took too long is not tried again for a
while: the same reply comes again, and an instrument may send a hundred lines a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import regex

from labmon.links.errors import Garbled

SECONDS = 0.05
"""More than any sound pattern takes on the longest reply, by a factor of a thousand."""

PAUSE = 0.5
"""Seconds for which a pattern that took too long matches nothing."""


class PatternError(ValueError):
    """A text that is no regular expression."""


class Pattern:
    """One pattern over bytes; `.` is any byte. Raises PatternError."""

    __slots__ = ("_compiled", "_tired_until", "groupindex", "pattern")

    def __init__(self, pattern: bytes) -> None:
        try:
            re.compile(pattern)  # the syntax is that of `re`: two groups of one name are a mistake
            self._compiled: regex.Pattern[bytes] = regex.compile(pattern, regex.DOTALL)
        except (re.error, regex.error, OverflowError, RecursionError) as error:
            raise PatternError(str(error)) from None
        self.pattern = pattern
        self._tired_until = 0.0
        self.groupindex: Mapping[str, int] = self._compiled.groupindex

    def fullmatch(self, data: bytes) -> regex.Match[bytes] | None:
        """The match of all of `data`. Raises Garbled when that takes too long, or did a moment ago."""
        if self._tired_until:
            self._rested(data)
        try:
            return self._compiled.fullmatch(data, timeout=SECONDS)
        except TimeoutError:
            raise self._tired(data) from None

    def search(self, data: bytes) -> regex.Match[bytes] | None:
        """The first match anywhere in `data`. Raises Garbled when that takes too long, or did a moment ago."""
        if self._tired_until:
            self._rested(data)
        try:
            return self._compiled.search(data, timeout=SECONDS)
        except TimeoutError:
            raise self._tired(data) from None

    def _rested(self, data: bytes) -> None:
        if time.monotonic() < self._tired_until:
            raise Garbled(f"the pattern takes too long: not tried on {data[:40]!r}")
        self._tired_until = 0.0

    def _tired(self, data: bytes) -> Garbled:
        self._tired_until = time.monotonic() + PAUSE
        return Garbled(f"the pattern takes too long on {data[:40]!r}")
