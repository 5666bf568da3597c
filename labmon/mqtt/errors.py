"""How MQTT can fail, as the rest of labmon sees it."""

from __future__ import annotations

import os
import ssl


class MqttError(Exception):
    """Anything that went wrong between labmon and the broker."""


class NotConnected(MqttError):
    """There is no connection, or it was lost before the broker took the message. It will not be sent later."""


class ConnectFailed(MqttError):
    """The broker was reached and refused, or did not answer as a broker."""


class BrokerNotTrusted(OSError):
    """The broker's certificate does not stand up to the check. `expired` when its time is over."""

    def __init__(self, text: str, *, expired: bool) -> None:
        super().__init__(text)
        self.expired = expired


class PublishRefused(MqttError):
    """The broker took the message and refused it (0x87: the access list forbids the topic)."""

    def __init__(self, topic: str, code: int, text: str) -> None:
        super().__init__(f"{topic}: refused with {code:#04x} {text}")
        self.topic = topic
        self.code = code


class SubscribeRefused(MqttError):
    """The broker refused a subscription."""

    def __init__(self, filter_: str, code: int, text: str) -> None:
        super().__init__(f"{filter_}: refused with {code:#04x} {text}")
        self.filter = filter_
        self.code = code


def in_words(error: Exception) -> str:
    """Why there is no connection, in words: without numbers of errors and names of calls."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno).lower() if error.errno > 0 else error.strerror or str(error)
    return str(error) or type(error).__name__
