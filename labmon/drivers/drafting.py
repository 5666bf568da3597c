"""The first draft of a driver file: commented, right in itself, with a place for what is still to be said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import get_args

from labmon.drivers.grammar_fields import WordType
from labmon.drivers.words import registers_of
from labmon.units import UNITS

TABLES = ("holding", "input", "coils", "discrete")


@dataclass(frozen=True, slots=True)
class Point:
    """One channel of a draft; the last four are for Modbus alone."""

    id: str
    unit: str
    table: str = ""
    at: int = 0
    type: str = ""
    scale: str = "1"

    @property
    def registers(self) -> int:
        """Registers (or bits) that it takes."""
        return 1 if self.table in ("coils", "discrete") else registers_of(self.type, None)


@dataclass(slots=True)
class Draft:
    """What is known of an instrument when its file is begun."""

    maker: str
    model: str
    title: str
    class_: str
    document: str
    revision: str
    pages: str
    framing: str
    serial: str = "9600 8N1"
    address: int | str | None = None
    base: int | str = 0
    order: str = "ABCD"
    end: str = "\r"
    send: str = ""
    reply: str = ""
    every: str = "10 s"
    points: list[Point] = field(default_factory=list)
    sent: str = ""
    """Bytes of the first request as a manual prints them."""
    got: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    """What the manual says that they mean."""


def point(text: str, *, modbus: bool) -> Point:
    """A channel as it is given on the command line. Raises ValueError that says how to write it.

    Modbus: `temperature Cel input 1 i16 0.1` (id, unit, table, number, type, and what to multiply with if not by 1).
    Text: `temperature Cel`.
    """
    words = text.split()
    if modbus and not 5 <= len(words) <= 6:
        raise ValueError(f"{text!r}: write ID UNIT TABLE NUMBER TYPE [SCALE], as in: temperature Cel input 1 i16 0.1")
    if not modbus and len(words) != 2:
        raise ValueError(f"{text!r}: write ID UNIT, as in: temperature Cel")
    if words[1] not in UNITS:
        from labmon.units import unit

        unit(words[1])  # says what was meant
    if not modbus:
        return Point(words[0], words[1])
    name, code, table, number, type_ = words[:5]
    if table not in TABLES:
        raise ValueError(f"{text!r}: {table} is no table; they are {', '.join(TABLES)}")
    if not number.isdigit():
        raise ValueError(f"{text!r}: {number} is no register number")
    if type_ not in get_args(WordType):
        raise ValueError(f"{text!r}: {type_} is no type; they are {', '.join(get_args(WordType))}")
    scale = words[5] if len(words) == 6 else "1"
    try:
        float(scale)
    except ValueError:
        raise ValueError(f"{text!r}: {scale} is no number to multiply with") from None
    return Point(name, code, table, int(number), type_, scale)


def draft_text(draft: Draft) -> str:
    """The file. Not checked: that is the loader's."""
    return "\n".join([*_head(draft), *_wire(draft), *_query(draft), *_examples(draft)]) + "\n"


def _q(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _head(draft: Draft) -> Iterator[str]:
    yield "# What each key means: docs/drivers.md, docs/driver-reference.md. What is wrong here: labmon driver check."
    yield "labmon-driver: 1"
    yield f"maker: {_q(draft.maker)}"
    yield f"models: [{_q(draft.model)}]          # every model for which the manual's table holds"
    yield f"title: {_q(draft.title)}"
    yield f"class: {_q(draft.class_)}"
    yield "manual:                    # where the numbers below come from, so that a colleague can look them up"
    yield f"  document: {_q(draft.document)}"
    yield f"  revision: {_q(draft.revision)}"
    yield f"  pages: {_q(draft.pages)}"
    yield "# faults:                  # what the manual leaves open, and what the instrument does wrong"
    yield "#   - The manual does not say how long the sensor warms up."


def _wire(draft: Draft) -> Iterator[str]:
    modbus = draft.framing != "text"
    yield f"framings: [{draft.framing}]"
    if draft.framing != "modbus-tcp":
        baud, _, rest = draft.serial.partition(" ")
        rest = rest or "8N1"
        yield (
            f"serial: {{baud: {baud}, bits: {rest[:1]}, parity: {rest[1:2]}, stop: {rest[2:]}}}"
            "   # as delivered; a site file may say otherwise"
        )
    if not modbus:
        yield "frame:"
        yield f"  end: {_q(draft.end)}                # what ends a command, and a reply where no reply-ends is given"
        yield '  # error: "ERR (?P<code>[0-9]+)"      # the reply by which the instrument refuses a command'
    elif draft.address is not None:
        yield f"address: {{default: {draft.address}, from: 1, to: 247}}"
    if modbus:
        yield f"base: {draft.base}                    # the manual's number of the first register: 0, 1, modicon"
        yield f"order: {draft.order}                # order of bytes and words: probe shows a value in all four"
    yield "timing: {timeout: 1 s}     # after-reply: pause that the instrument needs before the next request"


def _query(draft: Draft) -> Iterator[str]:
    yield "queries:"
    yield "  values:"
    yield f"    every: {draft.every}"
    yield "    requests:"
    yield from _modbus(draft.points) if draft.framing != "text" else _text(draft)
    yield "    channels:"
    for number, one in enumerate(draft.points):
        yield f"      - id: {one.id}"
        yield f"        name: {_q(one.id.replace('-', ' ').capitalize())}"
        yield f"        unit: {_q(one.unit)}"
        if one.scale != "1":
            yield f"        scale: {one.scale}             # value = raw * scale + offset"
        if number:
            continue
        yield "        # range: [-40, 80]       # physically possible; beyond it the reading is bad"
        yield "        # bad-when:              # the status that says that the value must not be used"
        yield "        #   - {field: status, set: 0, reason: not-ready}"


def _modbus(points: Sequence[Point]) -> Iterator[str]:
    yield "      # A word that is no value is a sentinel of its field: sentinels: [{raw: 0x8000, reason: no-sensor}]"
    for block in _blocks(points):
        first, last = block[0], block[-1]
        yield f"      - read: {first.table}"
        yield f"        at: {first.at}"
        yield f"        count: {last.at + last.registers - first.at}"
        yield "        fields:"
        for one in block:
            bit = ", bit: 0" if one.type == "bit" and one.table in ("holding", "input") else ""
            yield f"          {one.id}: {{at: {one.at}, type: {one.type}{bit}}}"


def _blocks(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Neighbours without a gap are read together; a gap may hold what must not be read."""
    ordered = sorted(points, key=lambda one: (one.table, one.at))
    block = ordered[:1]
    for before, one in pairwise(ordered):
        if one.table == before.table and one.at == before.at + before.registers:
            block.append(one)
        else:
            yield block
            block = [one]
    yield block


def _text(draft: Draft) -> Iterator[str]:
    yield f"      - send: {_q(draft.send)}"
    yield f"        reply: {_q(draft.reply)}     # {{field}}, [what may be missing], a space is one or more"
    yield "        fields:"
    for one in draft.points:
        yield f"          {one.id}: {{type: number}}"


def _examples(draft: Draft) -> Iterator[str]:
    if not draft.sent:
        yield "# Without an example of each query this file does not load into service. Two ways to one:"
        yield "# - from a unit: labmon driver probe THIS-FILE --port /dev/... --record"
        yield "# - from the manual's printed bytes, below; labmon driver test then plays it"
        yield "# examples:"
        yield "#   - query: values"
        yield f"#     origin: {{printed: {_q(f'{draft.document}, p. {draft.pages}')}}}"
        yield "#     exchanges:"
        yield '#       - {sent: "...", got: "..."}'
        yield f"#     readings: {{{', '.join(f'{one.id}: 0.0' for one in draft.points)}}}"
        return
    yield "examples:"
    yield "  - query: values"
    yield f"    origin: {{printed: {_q(f'{draft.document}, p. {draft.pages}')}}}"
    yield "    exchanges:"
    yield f"      - sent: {_q(draft.sent)}"
    yield f"        got: {_q(draft.got)}"
    yield "    readings:                # what the manual says that these bytes mean"
    for name, value in draft.values.items():
        yield f"      {name}: {value:.15g}"
