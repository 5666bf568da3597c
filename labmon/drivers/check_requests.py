"""One request of a driver file: its block, its fields in it, its reply's form, and whether it may write."""

from __future__ import annotations

from collections.abc import Callable

from labmon.config.errors import Path, did_you_mean, one_of
from labmon.drivers import grammar
from labmon.drivers.call_step import TYPES
from labmon.drivers.check_fields import check_field
from labmon.drivers.check_places import check_places
from labmon.drivers.conditions import fields_of
from labmon.drivers.course import changed
from labmon.drivers.given import applies
from labmon.drivers.setting import Setting
from labmon.drivers.steps import pdu_address, steps, word_field
from labmon.drivers.template import TemplateError
from labmon.drivers.text_step import sendable
from labmon.drivers.words import WordField, bits_of, registers_of

Report = Callable[..., None]

_MOST = {"coils": 2000, "discrete": 2000, "holding": 125, "input": 125}


def check_request(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    """Report what is wrong with one request, for a device with these settings."""
    is_text = setting.framing in ("text", "binary")
    if request.wait is not None:
        return
    if request.call is not None:
        _call(path, request, setting, report)
        return
    if request.listen is not None and not is_text:
        report((*path, "listen"), "only a device that speaks text or binary is listened to", at_key=True)
        return
    if is_text is not (request.send is not None or request.listen is not None):
        report(path, f"a device that speaks {setting.framing} is asked with {'send' if is_text else 'read or write'}")
        return
    if request.read == "identification" and not request.fields:
        report((*path, "read"), "name the objects that are wanted under `fields`")
        return
    fine = True
    for name, field in request.fields.items():
        fine &= check_field((*path, "fields", name), field, request, setting, report)
    if not fine:
        return
    for index, condition in enumerate(request.until.conditions if request.until is not None else []):
        missing = [name for name in fields_of(condition) if name not in request.fields]
        if missing:
            known = one_of(sorted(request.fields))
            report((*path, "until", "conditions", index), f"no field {missing[0]} in this reply", known)
            return
    if request.send is not None:
        _text(path, request, setting, report)
    elif request.listen is not None:
        _form(path, request, setting, report)
    elif request.write is not None:
        _write(path, request, setting, report)
    elif request.read != "identification":
        _block(path, request, setting, report)


def _call(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    calls = setting.file.calls
    if request.call not in calls:
        hint = did_you_mean(request.call or "", calls) if calls else "a driver file asks by read, write and send"
        report((*path, "call"), f"there is no function {request.call}", hint)
    if not request.fields:
        report((*path, "call"), "name what the function gives under `fields`")
    for name, field in request.fields.items():
        if field.type not in TYPES:
            place = (*path, "fields", name, "type")
            report(place, f"{field.type} is no type of this reply", f"types here: {', '.join(TYPES)}")


def _text(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    check_send(path, request.send or "", changed(request), setting, report)
    try:
        sendable(request.send or "", setting)
    except ValueError as error:
        report((*path, "send"), str(error))
        return
    _form(path, request, setting, report)


def _form(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    try:
        steps(request, setting)
        check_places(path, request, setting, report)
    except TemplateError as error:
        form = next(key for key in ("reply", "pattern", "columns", "bytes") if getattr(request, key) is not None)
        report((*path, form), str(error))
    except ValueError as error:
        report(path, str(error))


def check_send(path: Path, send: str, changed: bool, setting: Setting, report: Report) -> None:
    """Report a `send` that changes the instrument, or is taken to, and that `writes` does not allow."""
    if changed and send not in [w.send for w in setting.file.writes]:
        report(
            (*path, "send"),
            f"{send!r} changes the instrument, but is not declared under `writes`",
            "declare it with its effect; if it only asks, and nothing is read, say `changes: false`",
            at_key=True,
        )


def _write(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    coils = request.write in ("coil", "coils")
    first = int(setting.value(request.at))
    size = 1 if coils else registers_of(request.type, None)
    allowed = {
        n
        for w in setting.file.writes
        if (start := w.coil if coils else w.holding) is not None
        for n in range(start, start + w.count)
    }
    for number in range(first, first + size * len(request.values or [0])):
        if number not in allowed:
            report(
                (*path, "write"),
                f"{'coil' if coils else 'register'} {number} is written, but not declared under `writes`",
                "writes are denied unless declared with their effect",
                at_key=True,
            )
            break
    _made(path, request, setting, report)


def _block(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    table, count, start = request.read or "", request.count or 0, 0
    if request.merge is None:
        try:
            start = pdu_address(request.at, table, setting)
        except ValueError as error:
            report((*path, "at"), str(error))
            return
    most = count if request.merge is None else request.merge.most
    if most > _MOST[table] and (request.merge is None or "most" in request.merge.model_fields_set):
        report((*path, *(("count",) if request.merge is None else ("merge", "most"))), _one_reads(table))
        return
    taken: dict[int, list[tuple[int, str]]] = {}
    for name, field in request.fields.items():
        if not applies(field.when, setting.params):
            continue
        at = (*path, "fields", name)
        try:
            word = word_field(name, field, table, setting)
        except ValueError as error:
            report((*at, "at"), str(error))
            continue
        whole = start <= word.address and word.address + word.registers <= start + count
        if not whole and request.merge is None:
            report((*at, "at"), f"{word.type} at {setting.value(field.at)} is not wholly within the {count} read")
            continue
        _overlap(at, word, start, table, taken, report)
    _made(path, request, setting, report)


def _one_reads(table: str) -> str:
    return f"one request reads at most {_MOST[table]}"


def _overlap(
    path: Path,
    word: WordField,
    start: int,
    table: str,
    taken: dict[int, list[tuple[int, str]]],
    report: Report,
) -> None:
    """Report a field that shares bits with another; `taken` holds the bits of each byte and whose they are."""
    bits = bits_of(word, start) if table not in ("coils", "discrete") else {word.address: 1}
    for position, mask in bits.items():
        others = [name for used, name in taken.get(position, []) if used & mask]
        if others:
            report((*path, "at"), f"overlaps field {others[0]}")
            return
    for position, mask in bits.items():
        taken.setdefault(position, []).append((mask, word.name))


def _made(path: Path, request: grammar.Request, setting: Setting, report: Report) -> None:
    try:
        steps(request, setting)
    except ValueError as error:
        report(path, str(error))
