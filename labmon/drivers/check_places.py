"""Where the fields of text and binary replies stand: none on what another one reads, none beyond the reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from labmon.config.errors import Path
from labmon.drivers import grammar
from labmon.drivers.check_fields import kind_of
from labmon.drivers.given import applies
from labmon.drivers.reply import byte_field
from labmon.drivers.setting import Setting
from labmon.drivers.text_step import checks
from labmon.drivers.words import bits_of

Report = Callable[..., None]


def check_places(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    """Report fields of a reply in bytes or columns that share a place, or stand where the reply has ended."""
    fields = {n: f for n, f in request.fields.items() if applies(f.when, setting.params)}
    kind = kind_of(request, setting)
    if kind == "bytes" and request.bytes is not None:
        _bytes((*path, "fields"), fields, setting, report)
    elif kind == "delimited":
        columns: dict[int, str] = {}
        for name, field in fields.items():
            if field.column is None or field.part is not None:
                continue
            if field.column in columns:
                report((*path, "fields", name, "column"), f"is the column of field {columns[field.column]}")
            columns.setdefault(field.column, name)
    elif kind == "fixed":
        taken: list[tuple[int, int, str]] = []
        for name, field in fields.items():
            first, last = field.from_ or 0, field.to if field.to is not None else 1 << 16
            other = next((n for low, high, n in taken if first < high and low < last), None)
            if other is not None and field.part is None:
                report((*path, "fields", name, "from"), f"overlaps field {other}")
            taken.append((first, last, name))


def _bytes(path: Path, fields: Mapping[str, grammar.Field], setting: Setting, report: Report) -> None:
    room = _room(setting)
    taken: dict[int, list[tuple[int, str]]] = {}
    for name, field in fields.items():
        made = byte_field(name, field, int(setting.value(field.at)), setting)
        if room is not None and made.address + made.registers > room:
            report(
                (*path, name, "at"),
                f"{field.type} at {made.address} is not wholly within the {room} bytes of the reply",
                "those of `reply-size` less its end and its checksums",
            )
            continue
        bits = bits_of(made, 0)
        others = [other for at, mask in bits.items() for used, other in taken.get(at, []) if used & mask]
        if others:
            report((*path, name, "at"), f"overlaps field {others[0]}")
            continue
        for at, mask in bits.items():
            taken.setdefault(at, []).append((mask, name))


def _room(setting: Setting) -> int | None:
    """Bytes of every reply in which fields can stand; None where the file does not say it."""
    frame = setting.file.frame
    if frame is None or frame.reply_size is None or frame.transforms:
        return None
    end = setting.literal(frame.reply_ends[0]) if frame.reply_ends else b""
    last = sum(one.width for one in checks(setting, "reply") if not one.inside)
    return frame.reply_size - len(end) - last
