"""Identifiers: what a site, area, line, device or channel may be called, and how keys are made of them."""

from __future__ import annotations

import re
import secrets
import time

ID_PATTERN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
ID = re.compile(ID_PATTERN)


def is_id(text: str) -> bool:
    """Say whether `text` can be the id of a site, area, line, device or channel."""
    return len(text) <= 64 and ID.fullmatch(text) is not None


def channel_key(device: str, channel: str) -> str:
    """Key of a channel within a site: `<device>.<channel>`; ids hold no dot, so the parts are always recoverable."""
    return f"{device}.{channel}"


def new_uid() -> str:
    """Make a unique id of 26 characters that sorts by the millisecond of its making."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"
