"""Frames of text and binary instruments by hand, for the independent encoder: placeholders, checksums, terminators.

It shares nothing with labmon: checksums are computed bit by bit from their definitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Value = Callable[[Any], Any]
"""A value of the file, or the parameter's that it refers to."""
PLACEHOLDER = re.compile(r"\{(?P<name>[a-z0-9-]+)(?:\+(?P<plus>\d+|0x[0-9A-Fa-f]+))?(?::(?P<form>[a-zA-Z0-9-]+))?\}")
BYTES = {"byte": (1, "big"), "word": (2, "big"), "word-little": (2, "little")}


def filled(template: str, lookup: Callable[[str], Any], binary: bool) -> str:
    """A request's text with its placeholders filled in; in a binary one they become hex."""

    def fill(found: re.Match[str]) -> str:
        value = lookup(found["name"])
        if found["plus"]:
            value = int(value) + int(found["plus"], 0)
        form = found["form"]
        if form in BYTES:
            size, endian = BYTES[form]
            raw = int(value).to_bytes(size, endian)  # type: ignore[arg-type]
            return raw.hex(" ") if binary else raw.decode("latin-1")
        text = f"{int(value):{form}}" if form else str(value)
        return text.encode().hex(" ") if binary else text

    return PLACEHOLDER.sub(fill, template)


def as_bytes(text: str, binary: bool) -> bytes:
    return bytes.fromhex(text) if binary else text.encode("latin-1")


def reflect(number: int, width: int) -> int:
    return int(f"{number:0{width}b}"[::-1], 2)


def crc(data: bytes, width: int, poly: int, init: int, reflected: bool, xor_out: int) -> int:
    """Bit by bit, as the catalogues define it: reflected input and output, polynomial unreflected."""
    register = init
    top = 1 << (width - 1)
    for byte in data:
        register ^= (reflect(byte, 8) if reflected else byte) << (width - 8)
        for _ in range(8):
            register = (register << 1) ^ poly if register & top else register << 1
            register &= (1 << width) - 1
    return (reflect(register, width) if reflected else register) ^ xor_out


def xor(data: bytes) -> int:
    result = 0
    for byte in data:
        result ^= byte
    return result


CRCS = {
    # name: width, polynomial, init, reflected, final xor
    "crc8": (8, 0x07, 0x00, False, 0x00),
    "crc16-modbus": (16, 0x8005, 0xFFFF, True, 0x0000),
    "crc16-ccitt": (16, 0x1021, 0xFFFF, False, 0x0000),
    "crc16-x25": (16, 0x1021, 0xFFFF, True, 0xFFFF),
}


def number_of(check: dict[str, Any], covered: bytes) -> tuple[int, int]:
    """A checksum's number and its bytes."""
    name = check["name"]
    if name in CRCS:
        width, poly, init, reflected, xor_out = CRCS[name]
        number = crc(
            covered,
            width,
            check.get("poly", poly),
            check.get("init", init),
            check.get("reflected", reflected),
            check.get("xor-out", xor_out),
        )
        size = width // 8
    else:
        size = 2 if name == "sum16" else 1
        number = {
            "xor": lambda: xor(covered),
            "inverted-xor": lambda: xor(covered) ^ 0xFF,
            "sum6": lambda: sum(covered) % 64,
            "sum8": lambda: sum(covered) % 256,
            "sum16": lambda: sum(covered) % 65536,
            "lrc": lambda: -sum(covered) % 256,
        }[name]()
    if check.get("inverted"):
        number ^= 63 if name == "sum6" else (1 << 8 * size) - 1
    return number, size


def written(check: dict[str, Any], covered: bytes) -> bytes:
    """A checksum as it stands on the wire."""
    number, size = number_of(check, covered)
    encoding = check.get("encoding", "hex-upper")
    if encoding in ("raw", "raw-little"):
        data = number.to_bytes(size, "big" if encoding == "raw" else "little")
    elif encoding == "six-bits":
        bits = f"{number:018b}"[-6 if check["name"] == "sum6" else -12 if size == 1 else 0 :]
        data = bytes(check["plus"] + int(bits[n : n + 6], 2) for n in range(0, len(bits), 6))
    elif encoding == "decimal":
        data = f"{number:0{3 if size == 1 else 5}d}".encode()
    else:
        data = f"{number:0{2 * size}{'x' if encoding == 'hex-lower' else 'X'}}".encode()
    return bytes(byte | 0x80 for byte in data) if check.get("high-bit") else data


def framed(
    body: bytes,
    kind: str,
    end: bytes,
    settings: dict[str, Any],
    applies: Callable[[dict[str, Any]], bool],
    binary: bool,
) -> bytes:
    """A request or reply with its checksums and its end."""
    checks = settings.get("checksum", [])
    checks = [checks] if isinstance(checks, dict) else checks
    frame, behind = body, b""
    for check in checks:
        if not applies(check) or check.get("of", "both") not in ("both", kind):
            continue
        stop = check.get("stop")
        uncovered = as_bytes(check.get("uncovered", ""), binary)
        if stop is not None and stop >= 0:
            value = written(check, frame[check.get("start", 0) : stop])
            # A request is written without it; a reply has its place (`..`).
            rest = frame[stop:] if kind == "request" else frame[stop + len(value) :]
            frame = frame[:stop] + uncovered + value + rest
        elif check.get("place") == "after-end":
            covered = (frame + end)[check.get("start", 0) : stop]
            behind += uncovered + written(check, covered)
        else:
            frame += uncovered + written(check, frame[check.get("start", 0) : stop])
    return frame + end + behind
