"""What a probe or a scan found: as JSON, and as a page for people."""

from __future__ import annotations

import math
import struct
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labmon.cli.paper import printable
from labmon.cli.words import many

if TYPE_CHECKING:
    from rich.text import Text

    from labmon.cli.driver_target import Target
    from labmon.drivers.probing import OrderView, Probe, QueryProbe
    from labmon.drivers.scanning import Scan
    from labmon.drivers.setting import Setting
    from labmon.drivers.watched import Seen

_BYTES = 16
"""In one line of hex: with its lead it fits 80 columns."""
_DIM, _GOOD, _BAD, _DOUBT = "dim", "green", "bold red", "yellow"


# ---------------------------------------------------------------- as JSON


def told(target: Target, found: Probe) -> dict[str, Any]:
    """Everything about a probe. Bytes in hex, times in seconds."""
    return {
        "driver": target.driver.id,
        "title": target.driver.title,
        "endpoint": str(target.endpoint),
        "framing": target.framing,
        "address": target.setting.address,
        "good": found.good,
        "identity": {
            "asked": bool(found.identity_exchanges),
            "found": found.identity,
            "variant": found.variant or None,
            "error": found.identity_error or None,
            "exchanges": [_exchange(seen, target.framing) for seen in found.identity_exchanges],
        },
        "settings": found.settings,
        "settings-error": found.guard_error or None,
        "clock-ahead": found.clock_ahead,
        "clock-error": found.clock_error or None,
        "queries": [_query(target, query, found.setting or target.setting) for query in found.queries],
        "lost": found.lost or None,
    }


def _exchange(seen: Seen, framing: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "sent": seen.sent.hex(" ").upper(),
        "got": seen.got.hex(" ").upper(),
        "seconds": seen.seconds,
        "error": seen.error or None,
    }
    if framing in ("text", "modbus-ascii"):
        row |= {"sent-text": seen.sent.decode("latin-1"), "got-text": seen.got.decode("latin-1")}
    return row


def _query(target: Target, one: QueryProbe, setting: Setting) -> dict[str, Any]:
    from labmon.drivers.given import applies
    from labmon.drivers.probing import outcomes, timing

    times = timing(one.times)
    channels_ = target.driver.file.queries[one.name].channels
    said = {channel.id: channel for channel in channels_ if applies(channel.when, setting.params)}
    query = target.driver.query(one.name, setting)
    specs = {spec.id: spec for spec in query.channels}
    channels = []
    for name, outcome in outcomes(query, one.answer) if one.answer is not None else ():
        range_ = said[name].range if name in said else None
        unit = specs[name].unit
        channels.append(
            {
                "id": name,
                "value": outcome.value,
                "reason": outcome.reason,
                "unit": unit,
                "state": _state(specs[name].states, outcome.value),
                "decimals": specs[name].decimals,
                "range": range_,
                "warned": bool(outcome.flags),
            }
        )
    return {
        "query": one.name,
        "not-asked": one.effects,
        "exchanges": [_exchange(seen, target.framing) for seen in one.exchanges],
        "error": one.error or None,
        "asked": one.asked,
        "failures": one.failures,
        "raws": {name: None if _nan(raw) else raw for name, raw in one.raws.items()},
        "channels": channels,
        "orders": [_order(view) for view in one.orders],
        "seconds": None if times is None else dict(zip(("min", "median", "max"), times, strict=True)),
        "time": None if one.answer is None else one.answer.time,
        "key": None if one.answer is None else one.answer.key,
    }


def _nan(raw: object) -> bool:
    return isinstance(raw, float) and not math.isfinite(raw)


def _state(states: Mapping[int, str], value: float | None) -> str | None:
    return states.get(int(value)) if value is not None and value == int(value) else None


def _order(view: OrderView) -> dict[str, Any]:
    return {
        "channel": view.channel,
        "type": view.type,
        "bytes": view.data,
        "declared": view.declared,
        "values": {order: None if _nan(value) else value for order, value in view.values.items()},
        "in-range": dict(view.within),
        "telling": view.telling,
    }


# ---------------------------------------------------------------- as a page


def page(found: Mapping[str, Any]) -> Iterator[Text]:
    """The same for people, 80 columns wide."""
    from rich.text import Text

    yield Text(found["title"], style="bold")
    address = f", address {found['address']}" if found["address"] is not None else ""
    yield Text(f"{found['driver']} at {found['endpoint']}, {found['framing']}{address}")
    identity = found["identity"]
    if identity["asked"]:
        yield Text()
        yield Text("identity", style="bold")
        yield from _exchanges(identity["exchanges"])
        if identity["found"] is not None:
            yield from _wrapped("says", identity["found"], _BAD if identity["error"] else _GOOD)
        if identity["error"]:
            yield from _wrapped("NOT IT", identity["error"], _BAD)
        if identity["variant"]:
            yield from _wrapped("variant", identity["variant"], _GOOD)
    yield from _guards(found)
    for query in found["queries"]:
        yield Text()
        yield from _query_page(query)
    if found["lost"]:
        yield from _wrapped("LOST", found["lost"], _BAD)


def _guards(found: Mapping[str, Any]) -> Iterator[Text]:
    if found["settings"]:
        yield from _wrapped("set to", ", ".join(f"{name} {raw}" for name, raw in found["settings"].items()), "")
    if found["settings-error"]:
        yield from _wrapped("SETTINGS", found["settings-error"], _BAD)
    if found["clock-ahead"] is not None:
        seconds = found["clock-ahead"]
        said = f"{abs(seconds):.1f} s {'ahead of' if seconds >= 0 else 'behind'} this machine's"
        yield from _wrapped("clock", said, _BAD if found["clock-error"] else "")
    if found["clock-error"]:
        yield from _wrapped("CLOCK", found["clock-error"], _BAD)


def _query_page(query: Mapping[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    yield Text(f"query {query['query']}", style="bold")
    if query["not-asked"]:
        for effect in query["not-asked"]:
            yield from _wrapped("EFFECT", effect, _DOUBT)
        yield Text("  not asked; --allow-effects asks it once")
        return
    yield from _exchanges(query["exchanges"])
    if query["error"]:
        yield from _wrapped("ERROR", query["error"], _BAD)
    yield from _channels(query["channels"])
    yield from _orders(query["orders"])
    if query["key"] is not None:
        yield Text(f"  record   {printable(query['key'])}")
    times = query["seconds"]
    if times is not None:
        from labmon.drivers.telling import span

        said = ", ".join(f"{name} {span(times[name])}" for name in ("min", "median", "max"))
        yield Text(f"  timing   {said}, asked {many(query['asked'], 'time')}", style=_DIM)
    for reason, count in query["failures"].items():
        yield from _wrapped("FAILED", f"{count} of {query['asked']} times: {reason}", _BAD)


def _exchanges(rows: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    from labmon.drivers.telling import quoted

    for row in rows:
        for name in ("sent", "got"):
            if f"{name}-text" in row:
                yield from _folded(name, quoted(row[f"{name}-text"]))
            else:
                yield from _hex(name, row[name])


def _hex(name: str, text: str) -> Iterator[Text]:
    from rich.text import Text

    words = text.split() or ["nothing"]
    for at in range(0, len(words), _BYTES):
        yield Text.assemble((f"  {name if at == 0 else '':8}", _DIM), f" {' '.join(words[at : at + _BYTES])}")


def _wrapped(name: str, text: str, style: str) -> Iterator[Text]:
    from rich.text import Text

    for number, line in enumerate(textwrap.wrap(printable(text), 68, break_long_words=False) or [""]):
        yield Text(f"  {name if number == 0 else '':8} {line}", style=style)


def _folded(name: str, text: str) -> Iterator[Text]:
    from rich.text import Text

    wide = 66
    for at in range(0, max(1, len(text)), wide):
        yield Text.assemble((f"  {name if at == 0 else '':8}", _DIM), f" {text[at : at + wide]}")


def _channels(rows: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    from rich.text import Text

    from labmon import units

    wide = max((len(row["id"]) for row in rows), default=0)
    for row in rows:
        symbol = units.unit(row["unit"]).symbol
        if row["value"] is None:
            yield Text.assemble(f"  {row['id']:{wide}}  ", (printable(f"no value: {row['reason']}"), _DOUBT))
            continue
        value = row["state"] or f"{row['value']:.{row['decimals']}f}"
        range_ = f"   {row['range'][0]:g} to {row['range'][1]:g} is possible" if row["range"] else ""
        warning = ("   with a warning of the instrument", _DOUBT) if row["warned"] else ""
        yield Text.assemble(f"  {row['id']:{wide}}  ", (f"{value} {symbol}".rstrip(), "bold"), (range_, _DIM), warning)


def _orders(rows: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    from rich.text import Text

    for row in rows:
        names = {"BADC": "swapped", "ABCD": "as is"} if len(row["values"]) == 2 else {}
        yield Text(f"  {row['channel']}: {row['type']} in {row['bytes']}", style=_DIM)
        for order, value in row["values"].items():
            here = order == row["declared"]
            inside = row["in-range"].get(order)
            style = _GOOD if here and inside is not False else _BAD if here else ""
            said = "" if inside is None else "  in range" if inside else "  not possible"
            shown = "no number" if value is None else f"{value:.0f}" if row["type"][0] in "ui" else f"{value:.7g}"
            yield Text.assemble(
                f"    {names.get(order, order):8} ", (f"{shown:>14}", style), said,
                "  <- as the file says" if here else "",
            )  # fmt: skip
        others = [order for order, inside in row["in-range"].items() if inside and order != row["declared"]]
        if not row["telling"]:
            yield Text("    the same in every order: ask again when it is another value", style=_DOUBT)
        elif row["in-range"].get(row["declared"]) is False and others:
            yield Text(f"    another order fits better: {' or '.join(others)}", style=_BAD)


# ---------------------------------------------------------------- a scan


def scan_told(target: Target, found: Scan) -> dict[str, Any]:
    """Everything about a scan; neighbouring registers also as f32 in the four orders."""
    words = {hit.number: hit.word for hit in found.hits if hit.word is not None}
    return {
        "endpoint": str(target.endpoint),
        "framing": target.framing,
        "address": None if found.table == "units" else target.setting.address,
        "what": found.table,
        "first": found.first,
        "last": found.last,
        "asked": found.asked,
        "whole": found.whole,
        "silent": found.silent,
        "garbled": found.garbled,
        "lost": found.lost or None,
        "found": [
            {"number": hit.number, "told": hit.told}
            if found.table == "units"
            else {"number": hit.number, "value": hit.word} | _pair(found.table, hit.number, words)
            for hit in found.hits
        ],
    }


def _pair(table: str, number: int, words: Mapping[int, int]) -> dict[str, Any]:
    if table not in ("holding", "input"):
        return {}
    word, following = words[number], words.get(number + 1)
    row: dict[str, Any] = {"hex": f"{word:04X}", "signed": word - 0x10000 if word & 0x8000 else word, "f32": None}
    if following is not None:
        a, b = struct.pack(">H", word), struct.pack(">H", following)
        orders = {"ABCD": a + b, "CDAB": b + a, "BADC": a[::-1] + b[::-1], "DCBA": b[::-1] + a[::-1]}
        floats = {order: struct.unpack(">f", data)[0] for order, data in orders.items()}
        row["f32"] = {order: value if math.isfinite(value) else None for order, value in floats.items()}
    return row


def scan_page(found: Mapping[str, Any]) -> Iterator[Text]:
    """The same for people, 80 columns wide."""
    from rich.text import Text

    what = "units" if found["what"] == "units" else f"{found['what']} of unit {found['address']}"
    yield Text(f"{found['endpoint']}, {found['framing']}: {what} {found['first']} to {found['last']}", style="bold")
    if found["what"] == "units":
        for row in found["found"]:
            yield Text(f"  unit {row['number']:3}  {row['told']}")
    elif found["found"]:
        yield from _registers(found["found"])
    rest = [f"{found['asked']} asked, {len(found['found'])} found"]
    if found["silent"]:
        rest.append(f"{found['silent']} without an answer")
    if found["garbled"]:
        rest.append(f"{found['garbled']} garbled")
    yield Text(", ".join(rest), style="bold")
    if found["lost"]:
        yield Text(f"ended early: {found['lost']}", style=_BAD)


def _registers(rows: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    from rich.text import Text

    if "hex" not in rows[0]:
        for row in rows:
            yield Text(f"  {row['number']:6}  {'on' if row['value'] else 'off'}")
        return
    yield Text(
        f"  {'number':>6} {'hex':>5} {'u16':>6} {'i16':>6}" + "".join(f" {f'f32 {o}':>11}" for o in _ORDERS), style=_DIM
    )
    for row in rows:
        floats = row["f32"] or {}
        shown = "".join(f" {_float(floats.get(order)):>11}" for order in _ORDERS) if floats else ""
        yield Text(f"  {row['number']:6} {row['hex']:>5} {row['value']:6} {row['signed']:6}{shown}")


_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


def _float(value: float | None) -> str:
    """A number; nothing where it is too large or too small to be a measured value."""
    if value is None or (value != 0 and not 1e-4 <= abs(value) < 1e7):
        return "."
    return f"{value:.6g}"
