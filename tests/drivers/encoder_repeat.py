"""`repeat` of a driver file written out by hand, for the independent encoder: plain dicts and lists in and out."""

from __future__ import annotations

import copy
import re
from typing import Any

PLACES = ("at", "column", "from", "to", "object")
LENGTHS = {"u32": 2, "i32": 2, "f32": 2, "u24": 2, "i24": 2, "u64": 4, "i64": 4, "f64": 4}
BYTES = {"u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "f32": 4, "u64": 8, "i64": 8, "f64": 8}


def numbered(part: Any, number: int) -> Any:
    """A part with every `#` replaced, but that of the unit `{#}`."""
    if isinstance(part, str):
        return re.sub(r"(?<!\{)#|#(?!\})", str(number), part)
    if isinstance(part, dict):
        return {numbered(k, number) if isinstance(k, str) else k: numbered(v, number) for k, v in part.items()}
    return [numbered(v, number) for v in part] if isinstance(part, list) else part


def numbers(repeat: Any) -> range:
    return range(repeat[0], repeat[1] + 1) if isinstance(repeat, list) else range(1, repeat + 1)


def moved(part: dict[str, Any], by: int) -> dict[str, Any]:
    part = {k: v + by if k in PLACES and isinstance(v, int) else v for k, v in part.items()}
    if isinstance(part.get("fields"), dict):
        part["fields"] = {name: moved(field, by) for name, field in part["fields"].items()}
    return part


def own_length(part: dict[str, Any], in_bytes: bool) -> int:
    if "column" in part or "object" in part:
        return 1
    if "from" in part and "to" in part:
        return int(part["to"]) - int(part["from"])
    if "at" not in part or "type" not in part:
        return 0
    known = part.get("length", part.get("registers"))
    return int(known) if known else (BYTES if in_bytes else LENGTHS).get(str(part["type"]), 1)


def copies(part: dict[str, Any], in_bytes: bool, *, move: bool) -> list[tuple[int, dict[str, Any]]]:
    stride = part.get("stride", own_length(part, in_bytes)) if move else 0
    plain = {k: v for k, v in part.items() if k not in ("repeat", "stride")}
    return [
        (number, numbered(moved(copy.deepcopy(plain), n * stride), number))
        for n, number in enumerate(numbers(part["repeat"]))
    ]


def expanded(part: Any, key: str = "", in_bytes: bool = False) -> Any:
    """A part of a file with everything in it that says `repeat` written out."""
    if isinstance(part, dict):
        in_bytes = "bytes" in part if "fields" in part else in_bytes
        found: dict[Any, Any] = {}
        for name, value in part.items():
            if isinstance(value, dict) and "repeat" in value and key in ("fields", "queries", "params"):
                for number, one in copies(value, in_bytes, move=key == "fields"):
                    found[numbered(name, number)] = expanded(one, str(name), in_bytes)
            elif key == "bits" and "#" in str(name) and isinstance(value, list):
                for number, bit in enumerate(range(value[0], value[1] + 1), 1):
                    found[numbered(name, number)] = bit
            else:
                found[name] = expanded(value, str(name), in_bytes)
        return found
    if isinstance(part, list):
        out = []
        for value in part:
            if isinstance(value, dict) and "repeat" in value:
                out += [expanded(one, "", in_bytes) for _, one in copies(value, in_bytes, move=key == "requests")]
            else:
                out.append(expanded(value, "", in_bytes))
        return out
    return part
