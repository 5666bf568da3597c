"""One connection to the broker from CONNECT to its end, over one paho client that is thrown away with it.

paho keeps unsent messages in memory and sends them after a reconnect, whatever window was agreed; an exception in one
of its callbacks ends its thread while it still claims to be connected. So here it has no thread (the event loop reads
and writes its socket), never reconnects, never holds more than the window, and its callbacks only note what happened.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from labmon.mqtt.dial import dial
from labmon.mqtt.errors import ConnectFailed, NotConnected, PublishRefused, SubscribeRefused
from labmon.mqtt.settings import BrokerSettings, Will
from labmon.mqtt.window import Window

log = logging.getLogger(__name__)

PACKET_TOO_LARGE = 0x95
NO_MATCHING_SUBSCRIBERS = 0x10
_AROUND_PAYLOAD = 70_000
"""Bytes of a packet's header, topic and properties, which come on top of the payload."""


@functools.lru_cache(maxsize=64)
def _expiring(seconds: int) -> Properties:
    """For messages that expire. Made once for each value: making one takes twice as long as packing it into a message,
    and paho never changes it.
    """
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties


class _SocketClient(Client):
    """paho on a socket that is connected already: its own way of connecting blocks the event loop."""

    ready: socket.socket
    longest = 2**28
    """Bytes of the longest packet that is taken. What is announced is believed only up to here: paho reserves it."""

    def _create_socket(self) -> Any:
        return self.ready

    def _sock_recv(self, bufsize: int) -> Any:
        if bufsize > self.longest:
            raise _Unusable(f"the broker announces a packet of {bufsize} bytes, at most {self.longest} are taken")
        try:
            return self.ready.recv(bufsize)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLWantWriteError:
            self._call_socket_register_write()
            raise BlockingIOError from None
        except ssl.SSLError as error:
            # With TLS 1.3 a broker judges our certificate after the handshake; paho would only say "connection lost".
            raise _Unusable(_ALERTS.get(error.reason or "", f"TLS: {error.reason or error}")) from None


class _Unusable(Exception):
    """The connection is of no use any more; the text says why."""


_ALERTS = {
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the broker refuses our certificate: it has expired (mqtt: tls: certificate)",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the broker refuses our certificate: it was revoked (mqtt: tls: certificate)",
    "TLSV1_ALERT_UNKNOWN_CA": "the broker refuses our certificate: it does not know who signed it",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker wants a certificate of us (mqtt: tls: certificate, key)",
}


@dataclass(slots=True)
class _Owed:
    """A packet that the broker has still to acknowledge."""

    since: float
    answer: asyncio.Future[ReasonCode | None]


class Session:
    """One connection. `closed` is a future that is done, with the reason, as soon as it is of no use any more."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        will: Will | None,
        window: int,
        on_message: Callable[[Session, MQTTMessage], None],
    ) -> None:
        self._settings = settings
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._owed: dict[int, _Owed] = {}
        self._unwritten: dict[int, _Owed] = {}
        self._subscribing: dict[int, _Owed] = {}
        self._writing = False
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None
        self._window = Window(window)
        self._max_packet: int | None = None
        self._v5 = settings.protocol == "5"
        self._client = self._make_client(client_id, will)

    def _make_client(self, client_id: str, will: Will | None) -> _SocketClient:
        client = _SocketClient(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self._v5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.suppress_exceptions = True
        client.longest = self._settings.max_payload + _AROUND_PAYLOAD
        client.max_inflight_messages = 65535  # the window is ours
        if self._settings.user is not None:
            client.username_pw_set(self._settings.user, self._settings.password)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._noted(self._on_connect)
        client.on_disconnect = self._noted(self._on_disconnect)
        client.on_publish = self._noted(self._on_publish)
        client.on_subscribe = self._noted(self._on_subscribe)
        client.on_message = self._noted(lambda _client, _data, message: self._on_message(self, message))
        client.on_socket_register_write = self._noted(self._want_write)
        client.on_socket_unregister_write = self._noted(self._want_no_write)
        client.on_socket_close = self._noted(lambda *_: self._forget_socket())
        return client

    def _noted(self, callback: Callable[..., None]) -> Callable[..., None]:
        """A callback that cannot raise into paho: a fault in it ends this connection, and the next one begins anew."""

        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                log.error("fault in a callback of the broker connection", exc_info=error)
                self._loop.call_soon(self.close, f"fault in labmon: {error!r}")

        return guarded

    async def open(self) -> bytes | None:
        """Dial, CONNECT, and wait for the broker's agreement; returns its certificate (DER) where there is TLS.

        Raises OSError, ConnectFailed, TimeoutError.
        """
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                self._client.ready = await dial(self._settings)
                self._fd = self._client.ready.fileno()
                self._loop.add_reader(self._fd, self._read)
                keepalive = max(1, round(self._settings.keepalive))
                if self._v5:
                    self._client.connect(
                        "broker", keepalive=keepalive, clean_start=True, properties=self._connect_properties()
                    )
                else:
                    self._client.connect("broker", keepalive=keepalive)
                if self._client.socket() is not self._client.ready:
                    self._client.ready.close()
                    raise ConnectFailed("this version of paho-mqtt opens its socket in a way that labmon does not know")
                await self._connected
        except BaseException as error:
            self.close(f"not connected: {error}")
            raise
        self._tick()
        ready = self._client.ready
        return ready.getpeercert(binary_form=True) if isinstance(ready, ssl.SSLSocket) else None

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        properties.ReceiveMaximum = self._settings.receive_window
        properties.MaximumPacketSize = self._settings.max_payload + _AROUND_PAYLOAD
        return properties

    # What paho reports. These run inside its loop_read, loop_write and loop_misc, in the event loop.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties) -> None:
        if self._connected.done():
            return
        if reason.is_failure:
            self._connected.set_exception(ConnectFailed(f"{reason.value:#04x} {reason}"))
            return
        self._window.limit(getattr(properties, "ReceiveMaximum", 65535))
        self._max_packet = getattr(properties, "MaximumPacketSize", None)
        self._connected.set_result(None)

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        who = "the broker said" if flags.is_disconnect_packet_from_server else "connection lost:"
        self._loop.call_soon(self.close, f"{who} {reason}")

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        # paho numbers QoS 0 from the same counter and reports it here too, when it is written.
        owed = (self._unwritten if self._writing else self._owed).pop(mid, None)
        if owed is None:
            return
        if not self._writing:
            self._window.release()
        if not owed.answer.done():
            owed.answer.set_result(reason)

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        owed = self._subscribing.pop(mid, None)
        if owed is not None and not owed.answer.done():
            owed.answer.set_result(reasons[0])

    # The socket.

    def _want_write(self, *_: Any) -> None:
        if self._fd >= 0:
            self._loop.add_writer(self._fd, self._write)

    def _want_no_write(self, *_: Any) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        self._guard(self._read_packets)

    def _read_packets(self) -> None:
        self._client.loop_read()
        # What TLS has decrypted already makes no file descriptor readable.
        while (sock := self._client.socket()) is not None and isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._client.loop_read()

    def _write(self) -> None:
        self._guard(self._write_packets)

    def _write_packets(self) -> None:
        self._writing = True
        try:
            self._client.loop_write()
        finally:
            self._writing = False

    def _guard(self, step: Callable[[], object]) -> None:
        """Run a step of paho. It raises on broken packets; then the connection is of no use."""
        try:
            step()
        except _Unusable as error:
            self.close(str(error))
        except Exception as error:  # noqa: BLE001
            self.close(f"not understood: {error!r}")

    def _tick(self) -> None:
        if self.closed.done():
            return
        now = time.monotonic()
        oldest = min((o.since for group in (self._owed, self._subscribing) for o in group.values()), default=now)
        if now - oldest > self._settings.stall:
            self.close(f"the broker acknowledged nothing for {now - oldest:.0f} s")
            return
        self._guard(self._client.loop_misc)
        self._timer = self._loop.call_later(min(1.0, self._settings.stall / 4), self._tick)

    def _forget_socket(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1

    def close(self, reason: str) -> None:
        """Close the socket at once, without a farewell (the will is published). Whoever waits gets NotConnected."""
        if self.closed.done():
            return
        self.closed.set_result(reason)
        if self._timer is not None:
            self._timer.cancel()
        self._forget_socket()
        if (sock := self._client.socket() or getattr(self._client, "ready", None)) is not None:
            sock.close()
        error = NotConnected(reason)
        if not self._connected.done():
            self._connected.set_exception(ConnectFailed(reason))
            self._connected.exception()
        self._window.fail(error)
        for group in (self._owed, self._unwritten, self._subscribing):
            for owed in group.values():
                if not owed.answer.done():
                    owed.answer.set_exception(NotConnected(reason))
                    owed.answer.exception()
            group.clear()

    async def farewell(self, timeout: float) -> None:
        """Say DISCONNECT, so that the will is not published, and close. Takes at most `timeout` seconds."""
        if not self.closed.done():
            self._client.disconnect()
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self.closed)
            except TimeoutError:
                pass
        self.close("stopped")

    # What the connection is for.

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool, expiry: float | None) -> bool:
        """Publish within the window; False when the broker says that nobody listens. Raises as Connection.publish."""
        if self._max_packet is not None and len(payload) + len(topic.encode()) + 64 > self._max_packet:
            raise PublishRefused(topic, PACKET_TOO_LARGE, f"{len(payload)} bytes, the broker takes {self._max_packet}")
        if qos:
            await self._window.acquire()
        if self.closed.done():
            raise NotConnected(self.closed.result())
        properties = _expiring(max(1, round(expiry))) if self._v5 and expiry is not None else None
        owed = _Owed(time.monotonic(), self._loop.create_future())
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            if qos:
                self._window.release()
            raise NotConnected(f"not taken by the client: {info.rc.name}")
        (self._owed if qos else self._unwritten)[info.mid] = owed
        reason = await owed.answer
        if reason is not None and reason.is_failure:
            raise PublishRefused(topic, reason.value, str(reason))
        return reason is None or reason.value != NO_MATCHING_SUBSCRIBERS

    async def subscribe(self, filter_: str, qos: int) -> None:
        """Subscribe and wait for the broker's word. Raises NotConnected, SubscribeRefused."""
        if self.closed.done():
            raise NotConnected(self.closed.result())
        if self._v5:
            rc, mid = self._client.subscribe(filter_, options=SubscribeOptions(qos=qos))
        else:
            rc, mid = self._client.subscribe(filter_, qos)
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise NotConnected(f"not taken by the client: {rc.name}")
        owed = self._subscribing[mid] = _Owed(time.monotonic(), self._loop.create_future())
        reason = await owed.answer
        if reason is not None and reason.is_failure:
            raise SubscribeRefused(filter_, reason.value, str(reason))

    def unsubscribe(self, filter_: str) -> None:
        """Ask for no more messages of this filter."""
        if not self.closed.done():
            self._client.unsubscribe(filter_)

    def acknowledge(self, message: MQTTMessage) -> None:
        """Tell the broker that a received message is dealt with; later messages may come."""
        if message.qos and not self.closed.done():
            self._client.ack(message.mid, message.qos)
