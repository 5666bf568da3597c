"""Delivery: what the journal holds goes out over MQTT until the far end has stored it."""

from labmon.delivery.gateway import Delivery, Surroundings
from labmon.delivery.log import cursor_name

__all__ = ["Delivery", "Surroundings", "cursor_name"]
