"""Ingest: from MQTT into a store, with confirmation; keeps nothing of its own."""
