"""Delivery: what the journal holds goes out over MQTT until the far end has stored it."""
