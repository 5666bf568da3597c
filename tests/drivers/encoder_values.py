"""The values' half of the other encoder: parts of words, bcd, columns, bytes, and what `repeat` stands for."""

from __future__ import annotations

import copy
import re
import struct
from typing import Any

WIDTHS = {"u8": 1, "i8": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "f32": 4, "u64": 8, "i64": 8,
          "f64": 8, "bool": 2, "bit": 2}  # fmt: skip
MARK = re.compile(r"(\{#\})|#")


def plain(field: dict[str, Any], raw: Any, size: int) -> bytes:
    """The bytes of a value with the highest first."""
    type_ = field.get("as") or field["type"]
    if type_ == "ascii":
        return str(raw).encode() + bytes(size - len(str(raw)))
    if type_ == "bcd":
        number, digits = int(raw), []
        for _ in range(size):
            number, two = divmod(number, 100)
            digits.insert(0, two // 10 * 16 + two % 10)
        return bytes(digits)
    if type_ in ("f32", "f64"):
        return struct.pack("!f" if type_ == "f32" else "!d", raw)
    return (int(raw) % (1 << 8 * size)).to_bytes(size, "big")


def reordered(data: bytes, order: str, text: bool = False) -> bytes:
    """Words and bytes exchanged; done twice it is as it was."""
    if len(data) % 2:
        return data[::-1] if order in ("CDAB", "DCBA") and not text else data
    pairs = [data[n : n + 2] for n in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA") and not text:
        pairs = pairs[::-1]
    if order in ("BADC", "DCBA"):
        pairs = [pair[::-1] for pair in pairs]
    return b"".join(pairs)


def laid(field: dict[str, Any], raw: Any, order: str, before: bytes) -> bytes:
    """What stands in a value's registers (or bytes) once it is laid over what stood there before."""
    type_, size = field["type"], len(before)
    bits = [field["bit"]] * 2 if type_ == "bit" else field.get("part")
    if bits is not None:
        raw = int(str(raw), 16) if type_ == "bcd" else raw
        number = int.from_bytes(reordered(before, order), "big")
        for n in range(bits[1] - bits[0] + 1):
            place = bits[0] + n
            number = number & ~(1 << place) | (int(raw) >> n & 1) << place
        return reordered(number.to_bytes(size, "big"), order)
    if type_ == "ascii" and field.get("chars", "two") != "two":
        letters = str(raw).encode().ljust(size // 2, b"\0")
        high = field["chars"] == "high"
        old = reordered(before, order, text=True)
        pairs = [bytes([c, old[2 * n + 1]]) if high else bytes([old[2 * n], c]) for n, c in enumerate(letters)]
        return reordered(b"".join(pairs), order, text=True)
    if type_ in ("u24", "i24") and size == 4:
        return reordered(reordered(before, order)[:1] + plain(field, raw, 3), order)
    return reordered(plain(field, raw, size), order, text=type_ == "ascii")


def size_of(field: dict[str, Any]) -> int:
    """Bytes of a value in a binary reply."""
    if field["type"] in ("ascii", "bcd"):
        return int(field["length"])
    return 1 if field["type"] in ("bit", "bool") else WIDTHS[field["type"]]


def bytes_laid(field: dict[str, Any], raw: Any, order: str, before: bytes) -> bytes:
    """The same in a binary reply, where a single byte has no order."""
    if field["type"] in ("ascii", "bool") or len(before) == 1:
        order = "ABCD"
    return laid(field, raw, order, before)


def hex_digits(field: dict[str, Any], raw: Any, order: str) -> str:
    """Hex text of a number's bytes."""
    data = reordered(plain(field, raw, WIDTHS[field["as"]]), order).hex()
    return data if field.get("form") == "x" else data.upper()


def delimited(request: dict[str, Any], texts: dict[str, str], starts: str) -> str:
    """A reply in columns; what is not given is empty, columns at the end that are not given are left out."""
    columns = request["columns"]
    delimiter = columns["delimiter"]
    between = delimiter[0] if isinstance(delimiter, list) else delimiter
    cells: dict[int, str] = {}
    for name, field in request["fields"].items():
        if "column" in field and name in texts:
            cells[field["column"]] = texts[name]
    at = {field["beside"].get("first", 0) for field in request["fields"].values() if "beside" in field}
    place = min(at, default=0)
    for name, field in request["fields"].items():
        if "beside" in field and name in texts:
            wanted = field["beside"]["text"]
            cells[place] = wanted[0] if isinstance(wanted, list) else wanted
            cells[place + field["beside"].get("offset", 1)] = texts[name]
            place += field["beside"].get("step", 1)
    for n, piece in enumerate(starts.split(between) if starts else []):
        cells.setdefault(n, piece)
    count = columns.get("count", 0)
    least = count[0] if isinstance(count, list) else count
    size = max(least, max(cells, default=0) + 1)
    return between.join(cells.get(n, "") for n in range(size))


def fixed(request: dict[str, Any], texts: dict[str, str]) -> str:
    """A reply in columns of fixed width, everything at the right of its column."""
    columns = request["columns"]
    ends = [f["to"] for f in request["fields"].values() if "to" in f]
    size = columns["fixed"] if isinstance(columns, dict) else max(ends, default=0)
    line = [" "] * size
    for name, field in request["fields"].items():
        if name in texts:
            text = texts[name].rjust(field["to"] - field["from"]) if "to" in field else texts[name]
            line[field["from"] : field["from"] + len(text)] = text
    return "".join(line)


# ---------------------------------------------------------------- repeat


def numbers(repeat: Any) -> range:
    return range(repeat[0], repeat[1] + 1) if isinstance(repeat, list) else range(1, repeat + 1)


def numbered(part: Any, number: int) -> Any:
    """Every text with `#` as the number, `{#}` as it is."""
    if isinstance(part, dict):
        return {numbered(k, number): numbered(v, number) for k, v in part.items()}
    if isinstance(part, list):
        return [numbered(v, number) for v in part]
    return MARK.sub(lambda m: m[1] or str(number), part) if isinstance(part, str) else part


def length(field: dict[str, Any], in_bytes: bool) -> int:
    if "column" in field or "object" in field:
        return 1
    if "from" in field:
        return int(field.get("to", field["from"]) - field["from"])
    if in_bytes:
        return size_of(field) if "at" in field else 0
    if "at" not in field:
        return 0
    return int(field.get("registers") or (WIDTHS.get(field["type"], 2) + 1) // 2)


def moved(part: dict[str, Any], by: int) -> dict[str, Any]:
    return {k: v + by if k in ("at", "column", "from", "to", "object") else v for k, v in part.items()}


def expanded(part: Any, key: str = "", in_bytes: bool = False) -> Any:
    """A document in which everything that is repeated stands as often."""
    if isinstance(part, list):
        found = []
        for item in part:
            if isinstance(item, dict) and "repeat" in item:
                rest = {k: v for k, v in item.items() if k not in ("repeat", "stride")}
                for n, number in enumerate(numbers(item["repeat"])):
                    one = numbered(copy.deepcopy(rest), number)
                    if key == "requests":
                        step = n * item.get("stride", 0)
                        one = moved(one, step)
                        one["fields"] = {k: moved(f, step) for k, f in one.get("fields", {}).items()}
                    found.append(expanded(one))
            else:
                found.append(expanded(item))
        return found
    if not isinstance(part, dict):
        return part
    result: dict[Any, Any] = {}
    in_bytes = in_bytes or "bytes" in part
    for k, v in part.items():
        if key == "fields" and isinstance(v, dict) and "repeat" in v:
            rest = {a: b for a, b in v.items() if a not in ("repeat", "stride")}
            stride = v.get("stride", length(rest, in_bytes))
            for n, number in enumerate(numbers(v["repeat"])):
                result[numbered(k, number)] = moved(numbered(copy.deepcopy(rest), number), n * stride)
        elif key in ("queries", "params") and isinstance(v, dict) and "repeat" in v:
            rest = {a: b for a, b in v.items() if a != "repeat"}
            for number in numbers(v["repeat"]):
                result[numbered(k, number)] = expanded(numbered(copy.deepcopy(rest), number), k, in_bytes)
        else:
            result[k] = expanded(v, k, in_bytes)
    return result
