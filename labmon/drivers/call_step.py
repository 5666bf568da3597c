"""A request that is asked in Python: a function of a Python driver, in a thread of its own, bounded in time.

The function is plain, blocking code. Whatever it does (raise, sleep, loop for ever, return nonsense) it holds up
neither its line nor the daemon: when its time is over its line goes on without it, and it is not called again for that
device until it has come to its end.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from labmon.drivers import grammar
from labmon.drivers.given import ParamValue
from labmon.drivers.setting import Setting, sentinels_of
from labmon.drivers.text_field import TextField
from labmon.links.errors import LinkLost, Silent
from labmon.links.link import Link, Manner, Request
from labmon.model.reading import Raw

T = TypeVar("T")

TYPES = ("number", "integer", "word", "text")
"""Types of fields that a function may give."""
TIMES = 4.0
OPENING = 5.0
"""A function may take so many times the timeout, and these seconds."""
_TEXT = 200
"""Characters of a text that are taken over."""


class DriverFault(Exception):
    """A Python driver did not come to its end, or gave what no reply can be."""


class Talk(Protocol):
    """What a function asks through. Nothing of it may be used after the function's end."""

    @property
    def params(self) -> Mapping[str, ParamValue]:
        """Parameters of the device, defaults included."""
        ...

    @property
    def address(self) -> int | str | None:
        """Address of the device."""
        ...

    def exchange(self, request: Request, timeout: float | None = None, *, reconnect: bool = False) -> bytes:
        """Send a request, wait for its reply, return its payload. Raises Silent, Garbled, Refused, LinkLost.

        `timeout` in seconds; left out, the driver's. `reconnect`: the far end may close the connection whenever it has
        answered; that is no loss of the line. Then the connection is opened again and the request, which must have no
        effect, may be sent once more.
        """
        ...


Call = Callable[[Talk], Mapping[str, Raw]]
"""A function of a Python driver: asks, and gives the raw value of each field, None for one that has none."""


class NoBytes:
    """The request of a function, which has no bytes of its own: only the function knows what it asks."""

    size = 0
    manner: Manner | None = None

    def encode(self, transaction: int) -> bytes:
        """None."""
        return b""

    def match(self, buffer: bytes, transaction: int) -> bytes | None:
        """Raises ValueError."""
        raise ValueError("asked by a function, which alone knows its replies")

    def begins(self, buffer: bytes, transaction: int) -> bool:
        """Nothing begins."""
        return False


class Calling:
    """A request that a function asks (labmon.drivers.steps.Step without bytes of its own)."""

    request = NoBytes()
    answered = True

    def __init__(self, request: grammar.Request, fields: Mapping[str, grammar.Field], setting: Setting) -> None:
        name = request.call or ""
        if name not in setting.file.calls:
            raise ValueError(f"there is no function {name}")
        self.name = name
        self.function: Call = setting.file.calls[name]
        self.fields = tuple(
            TextField(n, f.type, None, f.digits, f.codes or {}, sentinels_of(f, setting)) for n, f in fields.items()
        )
        self.setting = setting
        self._under_way: WeakKeyDictionary[Link, threading.Thread] = WeakKeyDictionary()

    async def ask(self, link: Link, timeout: float, gap: float) -> Sequence[Raw]:
        """Call the function. Raises what the link raised in it, what it raised itself, and DriverFault."""
        before = self._under_way.get(link)
        if before is not None and before.is_alive():
            raise DriverFault(f"{self.name} has not come to its end since it was called before")
        loop = asyncio.get_running_loop()
        talk = _Threaded(loop, link, timeout, gap, self.setting)
        done: asyncio.Future[Mapping[str, Raw]] = loop.create_future()

        def settle(found: Any, error: BaseException | None) -> None:
            if not done.done():
                if error is None:
                    done.set_result(found)
                else:
                    done.set_exception(error)

        def work() -> None:
            found: Any = None
            error: BaseException | None = None
            try:
                found = self.function(talk)
            except Exception as raised:  # noqa: BLE001 - handed to whoever called
                error = raised
            except BaseException as raised:  # noqa: BLE001 - a driver ends nothing but itself
                error = DriverFault(f"{type(raised).__name__} in {self.name}")
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, found, error)

        thread = threading.Thread(target=work, name=f"driver {self.name}", daemon=True)
        self._under_way[link] = thread
        thread.start()
        limit = TIMES * timeout + OPENING
        try:
            async with asyncio.timeout(limit):
                return self.taken(await done)
        except TimeoutError:
            raise DriverFault(f"{self.name} did not come to its end within {limit:g} s") from None
        finally:
            await talk.end()

    def decode(self, payload: bytes) -> Sequence[Raw]:
        """Raises ValueError."""
        raise ValueError("asked by a function, which alone knows its replies")

    def encode(self, raws: Mapping[str, Raw]) -> bytes:
        """Raises ValueError."""
        raise ValueError("asked by a function: no simulator can answer it from the header alone")

    def taken(self, found: object) -> Sequence[Raw]:
        """Raw values in the order of the fields. Raises DriverFault for what is none."""
        if not isinstance(found, Mapping):
            raise DriverFault(f"{self.name} gave {type(found).__name__}, not a mapping")
        names = [field.name for field in self.fields]
        if set(found) != set(names):
            raise DriverFault(f"{self.name} gave {sorted(map(str, found))[:10]} where the fields are {sorted(names)}")
        return [self._raw(field, found[field.name]) for field in self.fields]

    def _raw(self, field: TextField, raw: object) -> Raw:
        if raw is None:
            return None
        if isinstance(raw, str):
            text = raw[:_TEXT]
            return field.codes.get(text, text) if field.codes else text
        number = isinstance(raw, (int, float)) and not isinstance(raw, bool) and field.type in ("number", "integer")
        if not number or not isinstance(raw, (int, float)) or (isinstance(raw, int) and abs(raw) >= 2**63):
            raise DriverFault(f"{self.name} gave {raw!r:.40} for {field.name}")
        if field.type == "integer" and isinstance(raw, float) and not (math.isfinite(raw) and raw == int(raw)):
            raise DriverFault(f"{self.name} gave {raw!r:.40} for the integer {field.name}")
        return raw


class _Threaded:
    """The talk of a function that runs in a thread: each exchange is done where the line is."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, link: Link, timeout: float, gap: float, setting: Setting
    ) -> None:
        self.params = dict(setting.params)
        self.address = setting.address
        self._loop, self._link, self._timeout, self._gap = loop, link, timeout, gap
        self._over = False
        self._running: set[asyncio.Task[Any]] = set()

    def exchange(self, request: Request, timeout: float | None = None, *, reconnect: bool = False) -> bytes:
        """See Talk."""
        wanted = self._timeout if timeout is None else min(float(timeout), self._timeout)
        return self._done(self._exchange(request, wanted, reconnect))

    def _done(self, what: Coroutine[Any, Any, T]) -> T:
        if self._over:
            what.close()
            raise DriverFault("the time for this asking is over")
        try:
            return asyncio.run_coroutine_threadsafe(what, self._loop).result()
        except RuntimeError:
            what.close()  # the loop is closed
            raise

    async def _exchange(self, request: Request, timeout: float, reconnect: bool) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        if self._over or self._running:
            raise DriverFault("one exchange at a time, and none after the end of the asking")
        self._running.add(task)
        try:
            return await exchanged(self._link, request, timeout, self._gap, reconnect=reconnect)
        finally:
            self._running.discard(task)

    async def end(self) -> None:
        """Nothing is sent any more; an exchange under way has ended when this returns."""
        self._over = True
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def exchanged(link: Link, request: Request, timeout: float, gap: float, *, reconnect: bool) -> bytes:
    """One exchange; with `reconnect` also over a connection that the far end closes after each answer."""
    if not reconnect:
        return await link.exchange(request, timeout, gap=gap)
    if not link.is_open:
        await link.open()
    for last in (False, True):
        try:
            return await link.exchange(request, timeout, gap=gap)
        except LinkLost:
            # What ends with the connection has come whole.
            whole = getattr(request, "closed", None)
            if whole is not None and (payload := whole()) is not None:
                return bytes(payload)
            if last:
                raise
            await link.open()
    raise AssertionError


class PlayedTalk:
    """The far end of an example, for a function that asks: its replies, one after another."""

    def __init__(
        self,
        exchanges: Sequence[tuple[bytes, bytes]],
        params: Mapping[str, ParamValue],
        address: int | str | None,
    ) -> None:
        self.params = dict(params)
        self.address = address
        self.problems: list[str] = []
        """Requests that were not those of the example."""
        self._exchanges = list(exchanges)
        self._at = 0

    @property
    def left(self) -> int:
        """Exchanges that were not asked for yet."""
        return len(self._exchanges) - self._at

    def exchange(self, request: Request, timeout: float | None = None, *, reconnect: bool = False) -> bytes:
        """See Talk. Raises ValueError where the example shows no more."""
        if not self.left:
            raise ValueError("asks more than the example shows")
        sent, got = self._exchanges[self._at]
        self._at += 1
        if request.encode(1) != sent:
            self.problems.append(f"exchange {self._at}: labmon sends {request.encode(1).decode('latin-1')!r}")
        if not got:
            raise Silent("nothing came")
        payload = request.match(got, 1)
        if payload is None and reconnect and (closed := getattr(request, "closed", None)) is not None:
            payload = closed()
        if payload is None:
            raise Silent(f"incomplete: {got[:60]!r}")
        return payload
