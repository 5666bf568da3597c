"""One exchange as bytes under its layout.

    head | received - time | [skipped] | body | [flags]

The body of an exchange whose readings all have a value is one fixed struct of the raw values, then the texts; a value
that is exactly `raw * scale + offset` costs nothing, one that differs by rounding only (a calibration applied after)
one byte, counted in units of the last place. Everything else takes the mixed form, a code per column, in which any
reading fits. What comes out equals what went in, bit for bit: what the formula does not reproduce is stored as it is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from labmon.journal.errors import Unpackable
from labmon.journal.layouts import encode_layout
from labmon.journal.varint import Bytes, signed, text, unsigned
from labmon.model.exchange import Exchange, Layout
from labmon.model.reading import Raw, Reading

NUMBERS: Final = frozenset("hHiIqQfd")

_MIXED, _ALL_BAD, _ULPS, _ONE_FLAGS, _EACH_FLAGS, _SKIPPED = 1, 2, 4, 8, 16, 32
_KNOWN: Final = 63

_RAW_NONE, _RAW_NATIVE, _RAW_INT, _RAW_FLOAT, _RAW_TEXT = range(5)
_NO_VALUE, _FORMULA, _STORED, _NEAR = 0, 8, 16, 24

_DOUBLE = struct.Struct("<d")
_BITS = struct.Struct("<q")


class Packer:
    """Packs and unpacks the exchanges of one layout. Raises ValueError for a layout that cannot be packed."""

    __slots__ = (
        "_bits", "_columns", "_doubles", "_fixed", "_native", "_plain", "_scaling", "_texts", "_types", "_ulps", "body",
        "keys", "layout", "size",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        columns = layout.columns
        for column in columns:
            if column.raw_type not in NUMBERS and column.raw_type not in ("s", "-"):
                raise ValueError(f"{column.key}: unknown raw type {column.raw_type!r}")
            if not (math.isfinite(column.scale) and math.isfinite(column.offset)):
                raise ValueError(f"{column.key}: scale and offset must be finite")
        self.layout = layout
        self.body = encode_layout(layout)
        self.keys = [c.key for c in columns]
        self.size = len(columns)
        self._columns = columns
        # A column without raw value stands in the fixed struct with its value, so that one formula serves all.
        self._fixed = struct.Struct(
            "<" + "".join("d" if c.raw_type == "-" else c.raw_type for c in columns if c.raw_type != "s")
        )
        self._native = [struct.Struct("<" + c.raw_type) if c.raw_type in NUMBERS else None for c in columns]
        self._types = [{"s": str, "-": float, "f": float, "d": float}.get(c.raw_type, int) for c in columns]
        self._scaling = [(1.0, 0.0) if c.raw_type == "-" else (c.scale, c.offset) for c in columns]
        self._texts = [i for i, c in enumerate(columns) if c.raw_type == "s"]
        self._plain = all(c.raw_type in NUMBERS for c in columns)
        self._doubles = struct.Struct(f"<{self.size}d")
        self._bits = struct.Struct(f"<{self.size}q")
        self._ulps = struct.Struct(f"<{self.size}b")

    def pack(self, exchange: Exchange) -> bytes:
        """Pack one exchange of this layout (its time is kept beside, in the entry).

        Raises Unpackable when the readings are not those of the layout's columns at the exchange's time, or when a
        value is not finite: no NaN ever enters the journal as a value.
        """
        readings, time, received, size = exchange.readings, exchange.time, exchange.received, self.size
        if [r.channel for r in readings] != self.keys:
            raise Unpackable(f"{self.layout.query}: the readings are not those of the layout's columns")
        if [r.time for r in readings].count(time) != size or [r.received for r in readings].count(received) != size:
            raise Unpackable(f"{self.layout.query}: readings of one exchange share its time and its reception")
        if not -(2**63) <= time < 2**63:
            raise Unpackable(f"{self.layout.query}: time {time} is beyond 64 bits of nanoseconds")
        values = [r.value for r in readings]
        flags = [r.flags for r in readings]
        head = 0
        tail = b""
        if any(flags):
            head, tail = self._pack_flags(flags)
        packed = None
        if None not in values:
            packed = self._pack_good(values, [r.raw for r in readings])
        if packed is None:
            packed = self._pack_mixed(readings)
        form, body = packed
        between = signed(received - time)
        if exchange.skipped:
            if exchange.skipped < 0:
                raise Unpackable(f"{self.layout.query}: {exchange.skipped} skipped ticks")
            head |= _SKIPPED
            between += unsigned(exchange.skipped)
        return bytes((head | form,)) + between + body + tail

    def _pack_flags(self, flags: list[int]) -> tuple[int, bytes]:
        if min(flags) < 0:
            raise Unpackable(f"{self.layout.query}: negative flags")
        if flags.count(flags[0]) == len(flags):
            return _ONE_FLAGS, unsigned(flags[0])
        return _EACH_FLAGS, b"".join(map(unsigned, flags))

    def _pack_good(self, values: list[Any], raws: list[Any]) -> tuple[int, bytes] | None:
        """The fixed form, or None when a raw value is not of its column's type or a value is far from the formula."""
        try:
            if not all(map(math.isfinite, values)):
                raise Unpackable(f"{self.layout.query}: a value is not finite")
        except (TypeError, OverflowError) as error:
            raise Unpackable(f"{self.layout.query}: a value is not a number ({error})") from None
        texts = b""
        fixed: Sequence[Any] = raws
        inputs: list[Any] = raws
        if not self._plain:
            columns = self._columns
            if any(r is not None for r, c in zip(raws, columns, strict=True) if c.raw_type == "-"):
                return None
            raws = [v if c.raw_type == "-" else r for v, r, c in zip(values, raws, columns, strict=True)]
            fixed = [r for r, c in zip(raws, columns, strict=True) if c.raw_type != "s"]
        if list(map(type, raws)) != self._types:
            return None
        try:
            packed = self._fixed.pack(*fixed)
            # Also finds what an `f` would round, and a raw NaN.
            if self._fixed.unpack(packed) != tuple(fixed):
                return None
            if self._texts:
                texts = b"".join(text(raws[i]) for i in self._texts)
                raws = [float(r) if type(r) is str else r for r in raws]
            inputs = [r * s + o for r, (s, o) in zip(raws, self._scaling, strict=True)]
        except (struct.error, OverflowError, ValueError):
            return None
        wanted, computed = self._doubles.pack(*values), self._doubles.pack(*inputs)
        if wanted == computed:
            return 0, packed + texts
        bits = self._bits.unpack
        try:
            ulps = self._ulps.pack(*[a - b for a, b in zip(bits(wanted), bits(computed), strict=True)])
        except struct.error:
            return None
        return _ULPS, packed + texts + ulps

    def _pack_mixed(self, readings: list[Reading]) -> tuple[int, bytes]:
        if readings:
            reason = readings[0].reason
            if reason is not None and all(r.reason == reason and r.raw is None for r in readings):
                return _ALL_BAD, text(reason)
        codes = bytearray()
        parts: list[bytes] = []
        reasons: dict[str, int] = {}
        for index, reading in enumerate(readings):
            raw_code, raw_part = self._pack_raw(index, reading.raw)
            value_code, value_part = self._pack_value(index, reading, reasons)
            codes.append(raw_code | value_code)
            parts += (raw_part, value_part)
        table = unsigned(len(reasons)) + b"".join(map(text, reasons))
        return _MIXED, bytes(codes) + table + b"".join(parts)

    def _pack_raw(self, index: int, raw: Raw) -> tuple[int, bytes]:
        if raw is None:
            return _RAW_NONE, b""
        if isinstance(raw, str):
            return _RAW_TEXT, text(raw)
        native = self._native[index]
        if native is not None and type(raw) is self._types[index]:
            try:
                packed = native.pack(raw)
                if native.unpack(packed)[0] == raw:
                    return _RAW_NATIVE, packed
            except (struct.error, OverflowError):
                pass
        if isinstance(raw, int):
            return _RAW_INT, signed(raw)
        return _RAW_FLOAT, _DOUBLE.pack(raw)

    def _pack_value(self, index: int, reading: Reading, reasons: dict[str, int]) -> tuple[int, bytes]:
        value = reading.value
        if value is None:
            assert reading.reason is not None
            return _NO_VALUE, unsigned(reasons.setdefault(reading.reason, len(reasons)))
        try:
            wanted = _DOUBLE.pack(value)
        except (struct.error, OverflowError):
            raise Unpackable(f"{reading.channel}: the value is not a number") from None
        if not math.isfinite(value):
            raise Unpackable(f"{reading.channel}: the value is not finite")
        computed = self._formula(index, reading.raw)
        if computed is not None:
            ulps = _BITS.unpack(wanted)[0] - _BITS.unpack(computed)[0]
            if ulps == 0:
                return _FORMULA, b""
            if -128 <= ulps < 128:
                return _NEAR, struct.pack("<b", ulps)
        return _STORED, wanted

    def _formula(self, index: int, raw: Raw) -> bytes | None:
        """The bits of raw * scale + offset, None where there is no finite one."""
        scale, offset = self._scaling[index]
        try:
            computed = float(raw) * scale + offset if raw is not None else math.nan
        except (ValueError, OverflowError):
            return None
        return _DOUBLE.pack(computed) if math.isfinite(computed) else None

    def unpack(self, time: int, packed: bytes) -> Exchange:
        """The exchange again. Raises ValueError for bytes that this packer cannot have made."""
        source = Bytes(packed)
        head = source.byte()
        if head & ~_KNOWN:
            raise ValueError(f"unknown form {head:#x}")
        received = time + source.signed()
        skipped = source.unsigned() if head & _SKIPPED else 0
        if head & _ALL_BAD:
            reason = source.text()
            rows: list[tuple[float | None, str | None, Raw]] = [(None, reason, None)] * self.size
        elif head & _MIXED:
            rows = self._unpack_mixed(source)
        else:
            rows = self._unpack_good(source, bool(head & _ULPS))
        if head & _ONE_FLAGS:
            flags = [source.unsigned()] * self.size
        elif head & _EACH_FLAGS:
            flags = [source.unsigned() for _ in range(self.size)]
        else:
            flags = [0] * self.size
        source.end()
        readings = [
            Reading(key, time, received, value, reason, flag, raw)
            for key, (value, reason, raw), flag in zip(self.keys, rows, flags, strict=True)
        ]
        return Exchange(self.layout, time, received, readings, skipped)

    def _unpack_good(self, source: Bytes, near: bool) -> list[tuple[float | None, str | None, Raw]]:
        raws: list[Any] = list(self._fixed.unpack(source.take(self._fixed.size)))
        for index in self._texts:
            raws.insert(index, source.text())
        values = [
            float(r) * s + o if type(r) is str else r * s + o for r, (s, o) in zip(raws, self._scaling, strict=True)
        ]
        if near:
            ulps = self._ulps.unpack(source.take(self.size))
            bits = self._bits.unpack(self._doubles.pack(*values))
            values = list(self._doubles.unpack(self._bits.pack(*[b + u for b, u in zip(bits, ulps, strict=True)])))
        if not self._plain:
            raws = [None if c.raw_type == "-" else r for r, c in zip(raws, self._columns, strict=True)]
        return [(value, None, raw) for value, raw in zip(values, raws, strict=True)]

    def _unpack_mixed(self, source: Bytes) -> list[tuple[float | None, str | None, Raw]]:
        codes = source.take(self.size)
        reasons = [source.text() for _ in range(source.unsigned())]
        rows: list[tuple[float | None, str | None, Raw]] = []
        for index, code in enumerate(codes):
            raw = self._unpack_raw(index, code & 7, source)
            kind = code & 24
            if kind == _NO_VALUE:
                rows.append((None, reasons[source.unsigned()], raw))
            elif kind == _STORED:
                rows.append((_DOUBLE.unpack(source.take(8))[0], None, raw))
            else:
                computed = self._formula(index, raw)
                if computed is None:
                    raise ValueError("no raw value to compute from")
                ulps = struct.unpack("<b", source.take(1))[0] if kind == _NEAR else 0
                rows.append((_DOUBLE.unpack(_BITS.pack(_BITS.unpack(computed)[0] + ulps))[0], None, raw))
        return rows

    def _unpack_raw(self, index: int, code: int, source: Bytes) -> Raw:
        native = self._native[index]
        if code == _RAW_NATIVE and native is not None:
            raw: Raw = native.unpack(source.take(native.size))[0]
            return raw
        readers: dict[int, Callable[[], Raw]] = {
            _RAW_NONE: lambda: None,
            _RAW_INT: source.signed,
            _RAW_FLOAT: lambda: _DOUBLE.unpack(source.take(8))[0],
            _RAW_TEXT: source.text,
        }
        if code not in readers:
            raise ValueError(f"unknown raw form {code}")
        return readers[code]()


def received_of(time: int, packed: bytes) -> int:
    """When a packed exchange was received, without unpacking the rest."""
    source = Bytes(packed)
    source.byte()
    return time + source.signed()
