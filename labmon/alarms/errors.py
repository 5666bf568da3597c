"""What the alarm engine refuses."""

from __future__ import annotations


class CommandRefused(Exception):
    """A command that cannot be carried out. The text says why, for the person who gave it; nothing has changed."""


class StateError(ValueError):
    """A saved alarm state that cannot be read; the text says what is wrong with it."""
