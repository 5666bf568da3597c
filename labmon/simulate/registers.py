"""The Modbus side of a simulated instrument: tables of registers and bits, as far as its driver file knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from labmon.drivers.steps import Identification, Step, Words
from labmon.model.reading import Raw

TABLES = {1: "coils", 2: "discrete", 3: "holding", 4: "input"}
_BITS = ("coils", "discrete")
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class Asked(Protocol):
    """A query or identity: its steps, and the raw values that they are answered with now."""

    steps: tuple[Step, ...]


Written = Literal["kept", "done", "refused"]
"""What comes of a write: it is kept, it did something and is not, or it may not be."""
Sources = Callable[[], Sequence[tuple[Sequence[Step], Mapping[str, Raw]]]]


class Registers:
    """Answers PDUs. `sources` gives all steps with the raw values of now; `written` hears of every write.

    What no block of the file covers is an illegal address; writes reach what the file declares as written, and nothing
    else.
    """

    def __init__(self, sources: Sources, written: Callable[[str, int, int], Written]) -> None:
        self._sources = sources
        self._written = written
        self._kept: dict[tuple[str, int], int] = {}
        self._tables: dict[str, dict[int, int]] = {}

    def forget(self) -> None:
        """Values have moved: make the tables anew when they are next read."""
        self._tables.clear()

    def restart(self) -> None:
        """What was written is gone."""
        self._kept.clear()
        self.forget()

    def kept(self, table: str) -> dict[int, int]:
        """What was written to a table, by address."""
        return {address: value for (kept, address), value in self._kept.items() if kept == table}

    def answer(self, body: bytes) -> bytes:
        """The reply's PDU."""
        function = body[0]
        if function in TABLES and len(body) == 5:
            return self._read(function, int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"))
        if function in (5, 6) and len(body) == 5:
            return self._write_one(function, int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body)
        if function in (15, 16) and len(body) >= 7:
            return self._write_several(function, body)
        if function == 0x2B and len(body) >= 4:
            return self._identification(body)
        return _exception(function, ILLEGAL_FUNCTION)

    def _read(self, function: int, start: int, count: int) -> bytes:
        table = self._table(TABLES[function])
        if not count or any(address not in table for address in range(start, start + count)):
            return _exception(function, ILLEGAL_ADDRESS)
        values = [table[address] for address in range(start, start + count)]
        if function in (1, 2):
            word = sum(bool(value) << n for n, value in enumerate(values))
            data = word.to_bytes((count + 7) // 8, "little")
        else:
            data = b"".join(value.to_bytes(2, "big") for value in values)
        return bytes([function, len(data)]) + data

    def _write_one(self, function: int, address: int, value: int, body: bytes) -> bytes:
        table = "coils" if function == 5 else "holding"
        if function == 5 and value not in (0, 0xFF00):
            return _exception(function, ILLEGAL_VALUE)
        done = self._keep(table, address, (value >> 8 and 1) if function == 5 else value)
        return body if done else _exception(function, ILLEGAL_ADDRESS)

    def _write_several(self, function: int, body: bytes) -> bytes:
        start, count, data = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[6:]
        if function == 15:
            values = [data[n // 8] >> n % 8 & 1 for n in range(count)] if len(data) == (count + 7) // 8 else []
        else:
            whole = len(data) == 2 * count
            values = [int.from_bytes(data[2 * n : 2 * n + 2], "big") for n in range(count)] if whole else []
        if len(values) != count or not count or body[5] != len(data):
            return _exception(function, ILLEGAL_VALUE)
        table = "coils" if function == 15 else "holding"
        for n, value in enumerate(values):
            if not self._keep(table, start + n, value):
                return _exception(function, ILLEGAL_ADDRESS)
        return body[:5]

    def _keep(self, table: str, address: int, value: int) -> bool:
        what = self._written(table, address, value)
        if what == "refused":
            return False
        if what == "kept":
            self._kept[table, address] = value
        self.forget()
        return True

    def _table(self, name: str) -> dict[int, int]:
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = {}
            for steps, raws in self._sources():
                _fill(table, name, steps, raws)
            table |= {address: value for (kept, address), value in self._kept.items() if kept == name}
        return table

    def _identification(self, body: bytes) -> bytes:
        for steps, raws in self._sources():
            for one in steps:
                if isinstance(one, Identification):
                    return body[:3] + one.encode(raws)
        return _exception(body[0], ILLEGAL_FUNCTION)


def _exception(function: int, code: int) -> bytes:
    return bytes([function | 0x80, code])


def _fill(table: dict[int, int], name: str, steps: Sequence[Step], raws: Mapping[str, Raw]) -> None:
    for one in steps:
        if not isinstance(one, Words) or one.table != name:
            continue
        data = one.encode(raws)
        for n in range(one.count):
            if name in _BITS:
                table[one.address + n] = data[n // 8] >> n % 8 & 1
            else:
                table[one.address + n] = int.from_bytes(data[2 * n : 2 * n + 2], "big")
