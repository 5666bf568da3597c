"""A connection to the broker that is always there or always coming back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from types import TracebackType

from labmon.mqtt.errors import BrokerNotTrusted, ConnectFailed, NotConnected, SubscribeRefused, in_words
from labmon.mqtt.inbox import Handler, Inbox
from labmon.mqtt.session import Session
from labmon.mqtt.settings import BrokerSettings, Will
from labmon.tasks.kept import kept

log = logging.getLogger(__name__)

_STEADY = 10.0
"""Seconds after which a connection counts as a good one and the back-off begins anew."""


_REASONS = 20
"""Different reasons for being without a connection that are logged until there is one."""


class Connection:
    """One MQTT client: starts without a broker, comes back by itself, and keeps nothing from before.

    Every connection has a fresh paho client, a clean start and session expiry 0: what was not acknowledged when a
    connection broke is not sent again by anybody but its owner, who got NotConnected. `client_id` must belong to this
    process alone. At most `window` QoS 1 messages are under way, fewer where the broker's Receive Maximum says so.
    """

    def __init__(self, settings: BrokerSettings, client_id: str, *, will: Will | None = None, window: int = 20) -> None:
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._window_size = window
        self._session: Session | None = None
        self._opening: Session | None = None
        self._inbox = Inbox(settings)
        self._on_connect: list[Callable[[], None]] = []
        self._on_disconnect: list[Callable[[str], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._since = float("inf")
        self._up = asyncio.Event()
        self._reported: set[str] = set()
        self.refused: dict[str, str] = {}
        """Subscriptions that the broker refuses, with its reason."""
        self.connects = 0
        self.last_error = ""
        """Why there is no connection; empty while there is one."""
        self.peer_certificate: bytes | None = None
        """The broker's certificate (DER) as it was last accepted."""
        self.peer_expired = False
        """Whether the broker's certificate was refused at the last try because its time is over."""

    async def __aenter__(self) -> Connection:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def connected(self) -> bool:
        """Whether there is a connection on which subscriptions are made and messages are taken."""
        return self._session is not None and not self._session.closed.done()

    @property
    def lost(self) -> int:
        """Received messages that were dropped because handlers were too slow or the message too large."""
        return self._inbox.lost

    @property
    def failed(self) -> int:
        """Received messages whose handler raised."""
        return self._inbox.failed

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Have `callback` called after each connect, when the subscriptions stand. It must not block."""
        self._on_connect.append(callback)

    def on_disconnect(self, callback: Callable[[str], None]) -> None:
        """Have `callback` called with the reason after each loss of the connection."""
        self._on_disconnect.append(callback)

    async def wait_connected(self) -> None:
        """Return as soon as there is a connection."""
        await self._up.wait()

    async def start(self) -> None:
        """Begin to connect; returns at once, whether or not there is a broker."""
        if self._tasks:
            raise RuntimeError("already started")
        self._tasks = [
            kept(f"mqtt {self._client_id}", self._run),
            kept(f"mqtt inbox {self._client_id}", self._inbox.run),
        ]

    async def stop(self, timeout: float = 1.0) -> None:
        """End within `timeout` seconds whatever the broker does; publishers that wait get NotConnected."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._up.clear()
        session, self._session = self._session, None
        if session is not None:
            await session.farewell(timeout)

    async def subscribe(self, filter_: str, handler: Handler, qos: int = 1) -> None:
        """Have `handler(topic, payload, properties)` called for what matches; kept over every reconnect.

        Handlers run one at a time, in the order of arrival; a coroutine is awaited. Filters of one connection must not
        overlap: a broker may deliver once for each of them.

        Without a connection the subscription is made with the next one. Raises SubscribeRefused when the broker says
        no now (it is tried again at each connect).
        """
        self._inbox.handlers[filter_] = (handler, qos)
        if (session := self._session) is not None:
            with contextlib.suppress(NotConnected):  # then it is made with the next connection
                await self._subscribe(session, filter_, qos)

    async def publish(
        self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, expiry: float | None = None
    ) -> bool:
        """Return when the broker has acknowledged (QoS 1), or when it is written to the socket (QoS 0).

        That is not yet stored by anybody; False says that nobody listens (QoS 1, MQTT 5). `expiry` in seconds, from
        which on the broker forgets it (MQTT 5 only). Raises NotConnected, at once when there is no connection, and
        PublishRefused; then it is never sent later.
        """
        if (session := self._session) is None:
            raise NotConnected(self.last_error or "not connected yet")
        return await session.publish(topic, payload, qos, retain, expiry)

    async def _run(self) -> None:
        low, high = self._settings.backoff
        delay = low
        while True:
            self._since = float("inf")
            reason = await self._one_connection()
            if reason is not None:
                self._report(reason)
            if time.monotonic() - self._since > _STEADY:
                delay = low
            # Many gateways lose the same broker in the same moment; they shall not come back in one.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, high)

    async def _one_connection(self) -> str | None:
        """Connect and stay until the connection is lost; returns why."""
        session = Session(self._settings, self._client_id, self._will, self._window_size, self._inbox.put)
        try:
            self.peer_certificate = await session.open() or self.peer_certificate
            self.peer_expired = False
            await self._subscribe_all(session)
            if session.closed.done():
                return session.closed.result()
            self._established(session)
            reason = await asyncio.shield(session.closed)
        except TimeoutError:
            return f"no answer within {self._settings.connect_timeout:g} s"
        except BrokerNotTrusted as error:
            self.peer_expired = error.expired
            return str(error)
        except (OSError, ConnectFailed, NotConnected) as error:
            return in_words(error)
        except Exception as error:
            # Whatever it is, the daemon goes on and tries again.
            log.error("fault while connecting to the broker", exc_info=error)
            return f"fault in labmon: {error!r}"
        finally:
            if session is not self._session:
                session.close("not wanted any more")
        self._session = None
        self._up.clear()
        for callback in self._on_disconnect:
            self._call(callback, reason)
        return reason

    async def _subscribe_all(self, session: Session) -> None:
        async with asyncio.timeout(self._settings.connect_timeout):
            done: set[str] = set()
            while waiting := self._inbox.handlers.keys() - done:  # more may come while we wait
                filter_ = waiting.pop()
                done.add(filter_)
                try:
                    await self._subscribe(session, filter_, self._inbox.handlers[filter_][1])
                except SubscribeRefused as error:
                    log.error("subscription refused: %s", error)

    async def _subscribe(self, session: Session, filter_: str, qos: int) -> None:
        try:
            await session.subscribe(filter_, qos)
        except SubscribeRefused as error:
            self.refused[filter_] = str(error)
            raise
        self.refused.pop(filter_, None)

    def _established(self, session: Session) -> None:
        self._session = session
        self._since = time.monotonic()
        self.connects += 1
        self.last_error = ""
        self._reported.clear()
        self._up.set()
        log.info("broker %s:%d connected as %s", self._settings.host, self._settings.port, self._client_id)
        for callback in self._on_connect:
            self._call(callback)

    def _report(self, reason: str) -> None:
        """One log line for each new reason, not for each try."""
        if reason not in self._reported and len(self._reported) < _REASONS:
            self._reported.add(reason)  # two may take turns: a broker's alert is sometimes overtaken by its reset
            log.warning("broker %s:%d not connected: %s", self._settings.host, self._settings.port, reason)
        self.last_error = reason

    def _call(self, callback: Callable[..., None], *arguments: str) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            log.error("fault in a callback of the broker connection", exc_info=error)
