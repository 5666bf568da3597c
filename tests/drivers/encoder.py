"""An encoder of its own, which shares nothing with labmon's decoder: it composes the bytes of `composed` examples.

It reads the YAML text of a driver file with its own eyes and knows Modbus, checksums and number formats by itself.
`compose.py` beside it prints the bytes of composed examples, and writes them into a file, for whoever makes one.
"""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Any

from encoder_frames import as_bytes, filled, framed
from encoder_values import WIDTHS, bytes_laid, delimited, expanded, fixed, hex_digits, laid, size_of
from ruamel.yaml import YAML

FUNCTIONS = {"coils": 1, "discrete": 2, "holding": 3, "input": 4}
PREFIXES = {"coils": 0, "discrete": 10000, "input": 30000, "holding": 40000}


def crc16(data: bytes) -> bytes:
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return struct.pack("<H", register)


def lrc(data: bytes) -> int:
    return -sum(data) & 0xFF


def frame(framing: str, unit: int, pdu: bytes) -> bytes:
    if framing == "modbus-rtu":
        body = bytes([unit]) + pdu
        return body + crc16(body)
    if framing == "modbus-ascii":
        body = bytes([unit]) + pdu
        return b":" + (body + bytes([lrc(body)])).hex().upper().encode() + b"\r\n"
    return struct.pack(">HHHB", 1, 0, len(pdu) + 1, unit) + pdu


def words(type_: str, order: str, raw: Any, registers: int | None = None) -> bytes:
    """The register bytes of one value, as they travel."""
    size = 2 * (registers or (WIDTHS.get(type_, 2) + 1) // 2)
    return laid({"type": type_}, raw, order, bytes(size))


class Composer:
    """Composes the exchanges of one example."""

    def __init__(self, document: dict[str, Any], example: dict[str, Any]) -> None:
        self.document = document
        self.example = example
        self.framing = example.get("framing", document["framings"][0])
        self.address = example.get("address", document.get("address", {}).get("default"))
        self.params = {n: p["default"] for n, p in document.get("params", {}).items() if "default" in p}
        self.params.update(example.get("params", {}))
        self.raws = example.get("raws", {})

    def value(self, given: Any) -> Any:
        return self.params.get(given["param"]) if isinstance(given, dict) else given

    def applies(self, part: dict[str, Any]) -> bool:
        for name, wanted in (part.get("when") or {}).items():
            given = self.params.get(name)
            if given is None or (wanted != "*" and given not in (wanted if isinstance(wanted, list) else [wanted])):
                return False
        return True

    def exchanges(self) -> list[tuple[bytes, bytes]]:
        beside = [part for part in ("identity", "guard", "clock") if part in self.example]
        if "set-clock" in self.example:
            source = self.document["clock"]["set"]
            self.params.update(moment(self.example["set-clock"]))
        elif beside:
            source = self.document[beside[0]]
        else:
            source = self.document["queries"][self.example["query"]]
        return [self.exchange(r) for r in self.requests(source) if self.applies(r)]

    def requests(self, source: dict[str, Any]) -> list[dict[str, Any]]:
        """What is asked for one record: the check, the index that shows the newest, then the query's own requests."""
        record = source.get("record") or {}
        requests = list((record.get("check") or {}).get("requests", []))
        index = record.get("index")
        if index is not None:
            shown = self.value(index["newest"] if "newest" in index else index.get("first", 0))
            if "write" in index:
                requests.append({"write": index["write"], "at": index["at"], "value": shown})
            else:
                self.params["index"] = shown
        return requests + source["requests"]

    def exchange(self, request: dict[str, Any]) -> tuple[bytes, bytes]:
        if "send" in request or "listen" in request:
            return self.text(request)
        if request.get("read") == "identification":
            asked, answer = self.identification(request)
        elif "write" in request:
            asked = answer = struct.pack(">BHH", 6, self.pdu(request["at"], "holding"), self.value(request["value"]))
        else:
            table = request["read"]
            start = self.pdu(request["at"], table)
            asked = struct.pack(">BHH", FUNCTIONS[table], start, request["count"])
            data = self.block(request, table, start)
            answer = bytes([FUNCTIONS[table], len(data)]) + data
        return frame(self.framing, self.address, asked), frame(self.framing, self.address, answer)

    def pdu(self, given: Any, table: str) -> int:
        base = self.value(self.document.get("base", 0))
        return self.value(given) - (PREFIXES[table] + 1 if base == "modicon" else base)

    def block(self, request: dict[str, Any], table: str, start: int) -> bytes:
        fields = {n: f for n, f in request.get("fields", {}).items() if n in self.raws and self.applies(f)}
        if table in ("coils", "discrete"):
            bits = [0] * request["count"]
            for name, field in fields.items():
                bits[self.pdu(field["at"], table) - start] = int(self.raws[name])
            bits += [0] * (-len(bits) % 8)
            return bytes(sum(bits[i + n] << n for n in range(8)) for i in range(0, len(bits), 8))
        registers = [b"\0\0"] * request["count"]
        for name, field in fields.items():
            at = self.pdu(field["at"], table) - start
            order = self.value(field.get("order", self.document.get("order", "ABCD")))
            if field["type"] in ("u8", "i8"):
                # Half of a register: counted in the number that the register is.
                endian = "little" if order in ("BADC", "DCBA") else "big"
                number = int.from_bytes(registers[at], endian)
                shift = 8 if field.get("byte") == "high" else 0
                low, high = field.get("part", [0, 7])
                mask = (1 << high - low + 1) - 1
                number = number & ~(mask << shift + low) | (int(self.raws[name]) & mask) << shift + low
                registers[at] = number.to_bytes(2, endian)
            else:
                count = field.get("registers") or (WIDTHS.get(field["type"], 2) + 1) // 2
                data = laid(field, self.raws[name], order, b"".join(registers[at : at + count]))
                for n in range(count):
                    registers[at + n] = data[2 * n : 2 * n + 2]
        return b"".join(registers)

    def identification(self, request: dict[str, Any]) -> tuple[bytes, bytes]:
        highest = max(f["object"] for f in request["fields"].values())
        level = 3 if highest >= 0x80 else 2 if highest >= 3 else 1
        head = bytes([0x2B, 0x0E, level])
        body = b""
        objects = sorted((f["object"], self.raws[n]) for n, f in request["fields"].items() if n in self.raws)
        for number, text in objects:
            body += bytes([number, len(text)]) + text.encode()
        return head + b"\0", head + bytes([1, 0, 0, len(objects)]) + body

    def text(self, request: dict[str, Any]) -> tuple[bytes, bytes]:
        settings = self.document["frame"]
        binary = self.framing == "binary"
        end = self.value(settings.get("end", ""))
        reply_end = self.value(settings["reply-ends"][0]) if "reply-ends" in settings else end
        if {"reply-size", "reply-idle"} & set(settings):
            reply_end = ""
        if "listen" in request:  # nothing is asked
            head = as_bytes(filled(settings.get("reply-starts", ""), self.placeholder, binary), binary)
            body = self.bytes_of(request) if binary else self.reply_of(request).encode("latin-1")
            return b"", self.finish(head + body[len(head) :] if binary else body, "reply", reply_end)
        sent = filled(self.value(settings.get("starts", "")) + request["send"], self.placeholder, binary)
        asked = self.finish(as_bytes(sent, binary), "request", end)
        if request.get("answer") == "none":
            return asked, b""
        if binary or "bytes" in request:
            body = self.bytes_of(request)
        elif "columns" in request:
            body = self.columns_of(request).encode("latin-1")
        elif "pattern" in request:
            body = self.pattern_of(request).encode("latin-1")
        else:
            body = self.reply_of(request).encode("latin-1")
        echo = asked if settings.get("echo", "none") not in ("none", False) else b""
        return asked, echo + self.finish(body, "reply", reply_end)

    def reply_of(self, request: dict[str, Any]) -> str:
        """The text of a reply, from its template; brackets of parameters and address are filled in first."""
        named = {name: self.placeholder(name) for name in ("address", *self.params)}
        reply = re.sub(
            r"\{([a-z0-9-]+)(:[0-9a-zA-Z]+)?\}",
            lambda m: (
                filled(m[0], named.__getitem__, False) if m[1] in named and m[1] not in request["fields"] else m[0]
            ),
            request["reply"],
        )
        reply = re.sub(r"\[([^\[\]]*)\]", lambda m: self.section(request, m[1]), reply)
        reply = re.sub(r"\{([a-z0-9-]+)\}", lambda m: self.written(request["fields"][m[1]], self.raws[m[1]]), reply)
        return re.sub(r"\\(.)", r"\1", reply)

    def pattern_of(self, request: dict[str, Any]) -> str:
        """A reply that a simple expression matches: literal text, backslashes, and a group for each field."""
        text = self.value(request["pattern"])
        for name, field in request["fields"].items():
            group = re.escape(f"(?P<{name.replace('-', '_')}>")
            inner = r"(?:\[[^]]*\]|\\.|[^()\\[])*"
            text = re.sub(rf"{group}{inner}\)", self.written(field, self.raws[name]), text)
        return re.sub(r"\\(.)", r"\1", text)

    def columns_of(self, request: dict[str, Any]) -> str:
        fields = {n: f for n, f in request["fields"].items() if n in self.raws and self.applies(f)}
        texts = {n: self.written(f, self.raws[n]) for n, f in fields.items()}
        if request["columns"] == "fixed" or "fixed" in request["columns"]:
            return fixed(request, texts)
        return delimited(request, texts, filled(request.get("starts", ""), self.placeholder, False))

    def bytes_of(self, request: dict[str, Any]) -> bytes:
        """The bytes of a binary reply: what is always the same, and the fields laid over it."""
        fields = {n: dict(f) for n, f in request.get("fields", {}).items() if self.applies(f)}
        body = bytearray()
        for piece in re.split(r"(\{[a-z0-9-]+\})", request.get("reply", "")):
            if piece[1:-1] in fields:
                fields[piece[1:-1]]["at"] = len(body)
                body += bytes(size_of(fields[piece[1:-1]]))
            else:
                body += bytes.fromhex(filled(piece, self.placeholder, True).replace("..", "00"))
        starts = bytes.fromhex(filled(request.get("starts", ""), self.placeholder, True))
        least = request["bytes"] if type(request.get("bytes")) is int else 0
        least = max([least, len(starts), *(self.value(f["at"]) + size_of(f) for f in fields.values())])
        body += bytes(max(0, least - len(body)))
        body[: len(starts)] = starts
        for name, field in fields.items():
            if name in self.raws:
                at, size = self.value(field["at"]), size_of(field)
                body[at : at + size] = bytes_laid(
                    field, self.raws[name], self.order(field), bytes(body[at : at + size])
                )
        missing = [self.value(f["at"]) for n, f in fields.items() if f.get("optional") and n not in self.raws]
        return bytes(body[: min(missing, default=len(body))])

    def order(self, field: dict[str, Any]) -> str:
        order: str = self.value(field.get("order", self.document.get("order", "ABCD")))
        return order

    def placeholder(self, name: str) -> Any:
        return self.address if name == "address" else self.params[name]

    def section(self, request: dict[str, Any], inner: str) -> str:
        names = re.findall(r"\{([a-z0-9-]+)\}", inner)
        there = all(n in self.raws and self.applies(request["fields"][n]) for n in names)
        return inner if there else ""

    def finish(self, body: bytes, kind: str, end: str) -> bytes:
        binary = self.framing == "binary"
        return framed(body, kind, as_bytes(end, binary), self.document["frame"], self.applies, binary)

    def written(self, field: dict[str, Any], raw: Any) -> str:
        """A value as the instrument would print it; a text in `raws` stands as it is."""
        if isinstance(raw, str):
            return raw
        if field["type"] == "number":
            text = printed(raw, field.get("form", ""))
            return text.replace(".", ",") if field.get("comma") else text
        if "as" in field:
            return hex_digits(field, raw, self.order(field))
        if "part" in field:
            raw = raw << field["part"][0]
        if field["type"] == "hex":
            digits = f"{raw:0{field.get('digits', 1)}x}"
            return digits if field.get("form") == "x" else digits.upper()
        if field["type"] == "time":
            return time.strftime(self.value(field["form"]), time.gmtime(raw))
        if "codes" in field:
            return next(text for text, code in field["codes"].items() if code == raw)
        return f"{raw:0{field.get('digits', 1)}d}"


def printed(number: float, form: str) -> str:
    """`+06.2f` by hand: sign, zero padding, width, decimals."""
    parts = re.fullmatch(r"(\+?)(0?)(\d*)(?:\.(\d+))?f", form)
    assert parts, f"a number in a composed text example needs a form, or give it as text: {form!r}"
    digits = f"{abs(number):.{int(parts[4] or 6)}f}"
    sign = "-" if number < 0 else parts[1]
    room = int(parts[3] or 0) - len(sign) - len(digits)
    return sign + "0" * room + digits if parts[2] else " " * room + sign + digits


def moment(unix: int) -> dict[str, int]:
    """The parameters that a request which sets a clock may use, by the calendar of the C library."""
    t = time.gmtime(unix)
    high, low = struct.unpack(">HH", struct.pack(">I", unix))
    names = ("year", "month", "day", "hour", "minute", "second")
    parts = dict(zip(names, t[:6], strict=True)) | {"unix": unix, "unix-high": high, "unix-low": low}
    parts |= {"month-day": t.tm_mon * 256 + t.tm_mday, "minute-second": t.tm_min * 256 + t.tm_sec}
    return {f"now-{name}": value for name, value in parts.items()}


def compose(document: dict[str, Any], example: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return Composer(expanded(document), example).exchanges()


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    return loaded
