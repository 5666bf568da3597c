"""Regular expressions of driver files: those of `re`, with a limit in time.

A pattern such as `(a+)+b` takes longer than the universe on some replies. `re` cannot be interrupted, and the event
loop would stand still with it: no device of any line would be polled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import regex

from labmon.links.errors import Garbled

SECONDS = 0.05
"""More than any sound pattern takes on the longest reply, by a factor of a thousand."""


class PatternError(ValueError):
    """A text that is no regular expression."""


class Pattern:
    """One pattern over bytes; `.` is any byte. Raises PatternError."""

    __slots__ = ("_compiled", "groupindex", "pattern")

    def __init__(self, pattern: bytes) -> None:
        try:
            re.compile(pattern)  # the syntax is that of `re`: two groups of one name are a mistake
            self._compiled: regex.Pattern[bytes] = regex.compile(pattern, regex.DOTALL)
        except (re.error, regex.error, OverflowError, RecursionError) as error:
            raise PatternError(str(error)) from None
        self.pattern = pattern
        self.groupindex: Mapping[str, int] = self._compiled.groupindex

    def fullmatch(self, data: bytes) -> regex.Match[bytes] | None:
        """The match of all of `data`. Raises Garbled when that takes too long."""
        try:
            return self._compiled.fullmatch(data, timeout=SECONDS)
        except TimeoutError:
            raise Garbled(f"the pattern takes too long on {data[:40]!r}") from None

    def search(self, data: bytes) -> regex.Match[bytes] | None:
        """The first match anywhere in `data`. Raises Garbled when that takes too long."""
        try:
            return self._compiled.search(data, timeout=SECONDS)
        except TimeoutError:
            raise Garbled(f"the pattern takes too long on {data[:40]!r}") from None
