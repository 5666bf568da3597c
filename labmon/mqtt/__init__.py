"""MQTT: one adapter over paho, and the topics."""

from labmon.mqtt.connection import Connection
from labmon.mqtt.errors import ConnectFailed, MqttError, NotConnected, PublishRefused, SubscribeRefused
from labmon.mqtt.inbox import Handler
from labmon.mqtt.settings import BrokerSettings, MessageProperties, Tls, Will

__all__ = [
    "BrokerSettings",
    "ConnectFailed",
    "Connection",
    "Handler",
    "MessageProperties",
    "MqttError",
    "NotConnected",
    "PublishRefused",
    "SubscribeRefused",
    "Tls",
    "Will",
]
