"""Layouts as bodies of journal entries."""

from __future__ import annotations

from typing import Final

import orjson

from labmon.model.exchange import Column, Layout

FORMAT: Final = 1
"""Version of the packing (packing.py) of the exchanges under a layout."""


def encode_layout(layout: Layout) -> bytes:
    """A layout as the body of its journal entry."""
    columns = [
        [c.key, c.area, c.device, c.channel, c.kind, c.unit, c.raw_type, float(c.scale), float(c.offset)]
        for c in layout.columns
    ]
    return orjson.dumps({"packing": FORMAT, "query": layout.query, "columns": columns})


def decode_layout(body: bytes) -> Layout:
    """The inverse of encode_layout. Raises ValueError on another packing or form."""
    data = orjson.loads(body)
    if not isinstance(data, dict) or data.get("packing") != FORMAT:
        raise ValueError("a layout of an unknown packing")
    return Layout(data["query"], tuple(Column(*column) for column in data["columns"]))
