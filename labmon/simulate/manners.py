"""What an instrument hears and says around the requests of its queries: opening, waking, closing, being selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from labmon.drivers import grammar
from labmon.drivers.given import applies
from labmon.drivers.setting import Setting
from labmon.drivers.text_step import sendable, text_step

AWAKE = 2.0
"""Seconds after which an instrument that is not asked sleeps again."""
KNOCKS = 2
"""How often an instrument that sleeps is called before it answers."""


class Manners:
    """The conversation of one device as its file says it. `frames`: what it hears -> what it says to that, or nothing.

    Until its session is open (where the file has one), while it sleeps, and while another unit is selected, it answers
    nothing else.
    """

    def __init__(self, file: grammar.DriverFile, setting: Setting) -> None:
        session = file.session
        self.opening = _said(session.open if session is not None else [], setting)
        self.waking = _said(session.wake if session is not None else [], setting)
        self.closing = _said(session.close if session is not None else [], setting)
        self.select = None if file.select is None else sendable(file.select, setting)
        self.frames: dict[bytes, bytes] = {**self.closing, **self.waking, **self.opening}
        if self.select is not None:
            self.frames[self.select] = b""
        self.characters = file.frame is not None and file.frame.echo == "characters"
        """Whether it repeats each character as it comes."""
        self._opened: set[bytes] = set()
        self._selected = False
        self._knocks = 0
        self._awake_for = 0.0

    def restart(self) -> None:
        """As just switched on: closed, asleep, not selected."""
        self._opened.clear()
        self._selected = False
        self._knocks, self._awake_for = 0, 0.0

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self._awake_for = max(0.0, self._awake_for - seconds)
        if not self._awake_for:
            self._knocks = 0

    def hears(self, frame: bytes, known: bool) -> bool:
        """Whether a request is for it and it is ready for it. `known`: it is one that a unit of this address has."""
        if self.select is not None:
            if frame == self.select:
                self._selected = True
            elif not known:
                self._selected = False  # what another one is told
            if not self._selected:
                return False
        if frame in self.frames:
            return True
        return known and self._opened >= self.opening.keys() and (not self.waking or self._awake_for > 0)

    def answer(self, frame: bytes) -> bytes | None:
        """What it says to a frame of the conversation; None for silence, and for one that is a question."""
        if frame not in self.frames:
            self._awake_for = AWAKE if self.waking else 0.0
            return None
        if frame in self.closing and frame not in self.opening:
            self._opened.clear()
        if frame in self.opening:
            self._opened.add(frame)
        if frame in self.waking:
            self._knocks += 1
            if self._knocks < KNOCKS and not self._awake_for:
                return None
            self._awake_for = AWAKE
        return self.frames[frame] or None


def _said(actions: Sequence[grammar.Action], setting: Setting) -> dict[bytes, bytes]:
    """What is sent -> what must be said to it."""
    found: dict[bytes, bytes] = {}
    for action in actions:
        if action.send is None or not applies(action.when, setting.params):
            continue
        if action.until is not None:
            found[sendable(action.send, setting)] = sendable(action.until, setting)
            continue
        answer: Literal["none"] | None = "none" if action.reply is None else None
        request = grammar.Request.model_construct(send=action.send, reply=action.reply, answer=answer, fields={})
        step = text_step(request, {}, setting)
        found[step.request.encode(0)] = step.framed(step.encode({}))
    return found
