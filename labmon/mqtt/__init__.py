"""MQTT: one adapter over paho, and the topics."""
