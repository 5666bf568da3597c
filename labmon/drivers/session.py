"""Opening, waking and closing a conversation, as a driver file says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from labmon.drivers import grammar
from labmon.drivers.given import applies
from labmon.drivers.setting import Setting
from labmon.drivers.text_step import Text, Untold, sendable, text_step
from labmon.links.errors import LinkError
from labmon.links.link import Link
from labmon.links.text import Command, Prompted

log = logging.getLogger("labmon.drivers")

CLOSING = 0.4
"""Seconds that all closing of a line takes at most: less than a line gets to end, when labmon stops."""


class Act(Protocol):
    """One step of a session."""

    async def __call__(self, link: Link) -> None:
        """Do it. Raises what the link raises."""
        ...


class CompiledSession:
    """What is sent to open, wake and close the conversation with one device."""

    def __init__(self, session: grammar.Session, setting: Setting) -> None:
        self.after_error = session.after_error
        self._open = acts(session.open, setting)
        self._wake = acts(session.wake, setting)
        self._close = acts(session.close, setting)

    async def open(self, link: Link) -> None:
        """Begin, at a connect. Raises what the link raises."""
        for act in self._open:
            await act(link)

    async def wake(self, link: Link) -> None:
        """Before each asking. Raises what the link raises."""
        for act in self._wake:
            await act(link)

    async def close(self, link: Link) -> None:
        """End it in good order. Raises what the link raises."""
        for act in self._close:
            await act(link)


class Opened(NamedTuple):
    """An open session, and what selects its unit, where others are on the same line."""

    session: CompiledSession
    select: bytes | None = None
    failures: int = 0
    """Failed exchanges in a row since it was opened."""

    async def close(self, link: Link) -> None:
        """End it in good order, at its own unit. Raises what the link raises."""
        if self.select is not None and link.memory.selected != self.select:
            await link.exchange(Command(self.select), 0.0)
            link.memory.selected = self.select
        await self.session.close(link)


LOST = 3
"""Failed exchanges in a row after which an instrument may have had no power: its session is opened again."""
SESSION = "session"
"""Where a device's memory holds its open session."""


async def close_sessions(link: Link) -> None:
    """Close all that is open on a line, within CLOSING seconds, before the line is closed. Never raises for the line.

    What cannot be closed is left: the line goes all the same.
    """
    if not link.is_open:
        return
    held = [memory.pop(SESSION, None) for memory in link.memory.devices.values()]
    try:
        async with asyncio.timeout(CLOSING):
            for opened in held:
                if isinstance(opened, Opened):
                    try:
                        await opened.close(link)
                    except LinkError:
                        continue
    except TimeoutError:
        return
    except Exception:
        log.exception("a session cannot be closed")


def acts(actions: Sequence[grammar.Action], setting: Setting) -> list[Act]:
    """The steps of a device, in their order. Raises ValueError where the file or the device does not allow one."""
    return [_act(action, setting) for action in actions if applies(action.when, setting.params)]


def _act(action: grammar.Action, setting: Setting) -> Act:
    timeout = action.timeout or setting.file.timing.timeout
    if action.break_ is not None:
        return _Break(action.break_)
    if action.wait is not None:
        return _Wait(action.wait)
    if action.flush is not None:
        return _flush
    if action.until is not None:
        every, most = action.every or 0.0, action.at_most or 1
        prompt = sendable(action.until, setting)
        return _Prompt(Prompted(sendable(action.send or "", setting), prompt, every, most), every * most)
    answer: Literal["none"] | None = "none" if action.reply is None else None
    request = grammar.Request.model_construct(send=action.send, reply=action.reply, answer=answer, fields={})
    return _Ask(text_step(request, {}, setting), timeout, setting.file.timing.after_reply)


class _Break:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, link: Link) -> None:
        await link.send_break(self._seconds)


class _Wait:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, link: Link) -> None:
        await asyncio.sleep(self._seconds)


async def _flush(link: Link) -> None:
    await link.flush()


class _Prompt:
    def __init__(self, request: Prompted, timeout: float) -> None:
        self._request = request
        self._timeout = timeout

    async def __call__(self, link: Link) -> None:
        await link.exchange(self._request, self._timeout)


class _Ask:
    def __init__(self, step: Text | Untold, timeout: float, gap: float) -> None:
        self._step = step
        self._timeout = timeout
        self._gap = gap

    async def __call__(self, link: Link) -> None:
        await self._step.ask(link, self._timeout, self._gap)
