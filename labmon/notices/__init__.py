"""Notices: messages to people about alarm occurrences, from a durable outbox."""
