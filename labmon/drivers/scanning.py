"""Looking for units and registers on a Modbus line: reading only, one at a time, with pauses, and within bounds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from labmon.drivers import grammar
from labmon.drivers.setting import Setting
from labmon.drivers.steps import FUNCTIONS, pdu_address
from labmon.drivers.watched import Watched
from labmon.drivers.words import registers_of
from labmon.links import modbus, pdu
from labmon.links.errors import LinkError, LinkLost, Refused, Silent
from labmon.links.link import Request

Table = Literal["units", "holding", "input", "coils", "discrete"]
MOST = 1000
"""Requests of one scan."""
PAUSE = 0.02
"""Seconds of silence between two requests of a scan, where the file asks for no more."""
GIVE_UP = 5
"""Registers in a row to which nothing is answered: the unit is not there."""
_NOBODY = (10, 11)
"""Modbus exceptions by which a gateway says that the unit itself did not answer."""
_RANGE = re.compile(r"(\d{1,6})(?:\s*-\s*(\d{1,6}))?")


class ScanRefused(ValueError):
    """This scan is not made; the text says why."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A unit or a register that answered."""

    number: int
    """In the file's convention."""
    word: int | None = None
    """The register's content; 0 or 1 of a bit."""
    told: str = ""
    """What it said instead of a value."""


@dataclass(slots=True)
class Scan:
    """A scan under way, or over."""

    table: Table
    first: int
    last: int
    asked: int = 0
    hits: list[Hit] = field(default_factory=list)
    silent: int = 0
    garbled: int = 0
    lost: str = ""

    @property
    def whole(self) -> bool:
        """Whether all of the range was asked."""
        return self.asked == self.last - self.first + 1


def plan(table: str, range_: str, setting: Setting) -> Scan:
    """What to ask. Raises ScanRefused for a range that is none, too long, or marked with effects in the file."""
    if setting.framing not in get_args(modbus.ModbusFraming):
        raise ScanRefused(f"{setting.framing} has neither units nor registers to scan: that is for Modbus")
    if table not in get_args(Table):
        raise ScanRefused(f"what is {table}? A scan is of {', '.join(get_args(Table))}")
    given = _RANGE.fullmatch(range_.strip())
    if given is None:
        raise ScanRefused(f"{range_} is no range: write it as 1-247")
    first, last = int(given[1]), int(given[2] or given[1])
    if last < first:
        raise ScanRefused(f"{range_} ends before it begins")
    if last - first >= MOST:
        raise ScanRefused(f"{range_} is {last - first + 1} requests; one scan makes {MOST} at most")
    if table == "units":
        if not 1 <= first <= last <= 247:
            raise ScanRefused("unit ids are 1 to 247; 0 would write to all of them")
        return Scan("units", first, last)
    try:
        addresses = range(pdu_address(first, table, setting), pdu_address(last, table, setting) + 1)
    except ValueError as error:
        raise ScanRefused(str(error)) from None
    if addresses.start < 0 or addresses.stop > 0x10000:
        raise ScanRefused(f"registers begin at {setting.value(setting.file.base)} in this file, and there are 65536")
    for where, effect in _marked(table, setting):
        if shared := range(max(where.start, addresses.start), min(where.stop, addresses.stop)):
            offset = first - addresses.start
            raise ScanRefused(
                f"{table} {shared.start + offset} to {shared.stop - 1 + offset} must not be scanned: {effect}"
            )
    return Scan(cast(Table, table), first, last)


def _marked(table: str, setting: Setting) -> Iterator[tuple[range, str]]:
    """Ranges of PDU addresses that the file marks: whatever the device's parameters are."""
    file = setting.file
    for marked in file.no_scan:
        if marked.table == table:
            start = pdu_address(marked.from_, table, setting)
            yield range(start, start + marked.to - marked.from_ + 1), marked.effect
    for request in _requests(file):
        if request.effect is not None and request.read == table:
            blocks = [(request.at, request.count or 1)]
            if request.merge is not None:
                blocks = [(one.at, registers_of(one.type, one.registers)) for one in request.fields.values()]
            for at, count in blocks:
                if isinstance(number := setting.value(at), int):
                    start = pdu_address(number, table, setting)
                    yield range(start, start + count), request.effect


def _requests(file: grammar.DriverFile) -> Iterator[grammar.Request]:
    for query in file.queries.values():
        yield from query.requests
    if file.identity is not None:
        yield from file.identity.requests


async def scan(
    found: Scan,
    setting: Setting,
    link: Watched,
    *,
    timeout: float,
    progress: Callable[[Scan], None] = lambda _: None,
) -> None:
    """Ask one number after the other; what answers goes into `found` as it comes.

    Units are asked for what the file asks first, where that is free of effects: a unit of another kind answers with an
    exception, which tells as well that it is there. Raises nothing for what instruments and line do.
    """
    gap = max(PAUSE, setting.file.timing.after_reply)
    in_a_row = 0
    for number in range(found.first, found.last + 1):
        if in_a_row == GIVE_UP and found.table != "units":
            found.lost = f"unit {setting.address} does not answer"
            return
        request = _request(found, number, setting)
        in_a_row += 1
        try:
            payload = await link.exchange(request, timeout, gap=gap)
        except LinkLost as lost:
            found.lost = lost.reason
            return
        except Silent:
            found.silent += 1
        except Refused as refused:
            in_a_row = 0
            if found.table == "units" and refused.error not in _NOBODY:
                found.hits.append(Hit(number, told=f"exception {refused}"))
        except LinkError:
            found.garbled += 1
        else:
            in_a_row = 0
            if found.table == "units":
                found.hits.append(Hit(number, told="answers"))
            else:
                word = payload[0] & 1 if found.table in ("coils", "discrete") else int.from_bytes(payload, "big")
                found.hits.append(Hit(number, word))
        found.asked += 1
        progress(found)
        await asyncio.sleep(0)


def _request(found: Scan, number: int, setting: Setting) -> Request:
    framing = cast(modbus.ModbusFraming, setting.framing)
    if found.table == "units":
        for one in _requests(setting.file):
            at = setting.value(one.at)
            if one.read in FUNCTIONS and one.effect is None and isinstance(at, int):
                start = pdu_address(at, one.read, setting)
                function = cast(pdu.ReadFunction, FUNCTIONS[one.read])
                return modbus.read(framing, number, function, start, one.count or 1)
        return modbus.device_identification(framing, number)
    function = cast(pdu.ReadFunction, FUNCTIONS[found.table])
    unit = setting.address if isinstance(setting.address, int) else 1
    return modbus.read(framing, unit, function, pdu_address(number, found.table, setting), 1)
