"""The answer to `labmon status` as a page for people. Alarms first; nothing is cut, and no alarm is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from labmon.cli.words import age, local, many, size, span

MANY = 40
"""Devices from which on those that answer are only counted, unless all are asked for."""
FRESH = 30 * 10**9
"""Nanoseconds that a reading may be on its way to a store."""
_CLASSES = {"action": "bold white on red", "alert": "black on yellow", "technical": "black on cyan"}
_STATES = {"open": "green", "ok": "green", "suspect": "yellow", "resting": "bold red", "dead": "bold red"}
_BAD = "bold red"
_DIM = "dim"

Found = Mapping[str, Any]


def headline(found: Found) -> str:
    """One line: whether all is well, and what is not."""
    wrong = troubles(found)
    return f"labmon {found['site']}/{found['gateway']}: {', '.join(wrong) if wrong else 'all is well'}"


def troubles(found: Found) -> list[str]:
    """What is not well, in a few words each; empty when all is."""
    alarms, journal, broker = found["alarms"], found["journal"], found["broker"]
    lost = [line["line"] for line in found["lines"] if line["state"] != "open"]
    wrong = [many(len(alarms), "alarm") + " not normal"] if alarms else []
    wrong += [f"line {', '.join(lost)} lost"] if lost else []
    wrong += [f"journal {journal['state']}"] if journal["state"] != "ok" else []
    wrong += ["clock not trusted"] if found["clock"] and not found["clock"]["trusted"] else []
    wrong += ["broker not connected"] if broker is not None and not broker["connected"] else []
    wrong += [f"store {store['store']} refuses" for store in found["stores"] if store["error"]]
    wrong += [f"notices by {way['channel']} fail" for way in found["notices"] if way["error"]]
    return wrong


def picture(found: Found, *, every_device: bool = False) -> Iterator[Text]:
    """Line by line, each as long as it has to be."""
    yield from _head(found)
    yield Text()
    yield from _alarms(found)
    yield Text()
    yield from _lines(found, every_device)
    yield Text()
    yield from _journal(found)
    yield from _delivery(found)
    yield from _notices(found)


def _row(name: str, *parts: str | tuple[str, str]) -> Text:
    return Text.assemble((f"{name:10}", "bold"), *parts)


def _head(found: Found) -> Iterator[Text]:
    applied = found["applied"]
    yield Text.assemble(
        (f"labmon {found['version']} at {found['site']}/{found['gateway']}", "bold"),
        f" ({found['site_name']})",
        (f"  up {span(found['uptime'])}, pid {found['pid']}, started by {found['started_by']}", _DIM),
    )
    yield _row(
        "site file",
        f"{found['configuration'][:12]}, applied {local(applied['time'])} by {applied['by']}  ",
        (applied["file"], _DIM),
    )
    said = {
        "changed": "it was changed since: labmon check it, then apply it",
        "gone": "it is not there any more: restore it before the next start",
        "unreadable": "it can no longer be read: restore its owner and mode before the next start",
    }.get(applied["file_now"])
    if said:
        yield _row("", (said, "yellow"))
    yield _row("clock", local(found["time"]), *_clock(found["clock"] or {}, found["time"]))


def _clock(clock: Found, now: int) -> Iterator[str | tuple[str, str]]:
    if clock:
        yield f", {clock['state']} for {age(clock['since'], now)}"
    if clock.get("why"):
        yield (
            f"; the site file trusts it: {clock['why']}"
            if clock["trusted"]
            else (f": {clock['why']}: readings are marked", "yellow")
        )
    if last := clock.get("last_step"):
        yield (f", stepped {many(clock['steps'], 'time')}, last by {last['seconds']:+.1f} s", "yellow")


def _alarms(found: Found) -> Iterator[Text]:
    alarms = found["alarms"]
    if not alarms:
        yield _row("ALARMS", ("none", "green"))
        return
    waiting = sum(alarm["state"] in {"UNACK", "RTNUN"} for alarm in alarms)
    yield _row("ALARMS", (f"{len(alarms)} not normal, {waiting} not acknowledged", _BAD))
    rank = {"action": 0, "alert": 1, "technical": 2}
    for alarm in sorted(alarms, key=lambda a: (rank.get(a["class"], 3), -a["since"])):
        yield Text.assemble(
            "  ",
            (f" {alarm['class'].upper():9} ", _CLASSES.get(alarm["class"], "")),
            f" {alarm['state']:6} ",
            (alarm["alarm"], "bold"),
            f"  for {age(alarm['since'], found['time'])}",
        )
        yield Text(f"{'':14}{alarm['text']}")
        yield Text(f"{'':14}occurrence {alarm['occurrence']}, since {local(alarm['since'])}", style=_DIM)


def _lines(found: Found, every_device: bool) -> Iterator[Text]:
    lines, now = found["lines"], found["time"]
    lost = sum(line["state"] != "open" for line in lines)
    devices = [(line, name, row) for line in lines for name, row in line["devices"].items()]
    yield _row(
        "LINES",
        f"{len(lines)}, ",
        (f"{lost} lost", _BAD) if lost else ("all open", "green"),
        f"; {many(len(devices), 'device')}, {found['polled']:,} readings, {found['bad']:,} of them without a value, "
        f"{many(found['missed'], 'tick')} missed",
    )
    every_device = every_device or len(devices) < MANY
    wide = max((len(name) for _, name, _ in devices), default=0)
    well = 0
    for line in lines:
        troubled = line["state"] != "open" or any(row["state"] != "ok" for row in line["devices"].values())
        if troubled or every_device:
            yield from _line(line, now)
        for name, row in line["devices"].items():
            if row["state"] == "ok" and line["state"] == "open" and not every_device:
                well += 1
            else:
                yield _device(name, row, line["state"] == "open", wide, now)
    if well:
        yield Text(f"  and {many(well, 'device')} ok (--all shows them)", style=_DIM)


def _line(line: Found, now: int) -> Iterator[Text]:
    state = line["state"]
    yield Text.assemble(
        "  ",
        (line["line"], "bold"),
        "  ",
        (state if state == "open" else state.upper(), _STATES.get(state, _BAD)),
        f" for {age(line['since'], now)}" if line["since"] is not None else "",
        f"  {line['endpoint']}",
        (f"  {many(line['exchanges'], 'exchange')}{_failures(line['failures'])}", _DIM),
        (f", lost {many(line['losses'], 'time')}" if line["losses"] else "", _DIM),
    )
    if line["detail"]:
        yield Text(f"    {line['detail']}", style=_BAD)


def _device(name: str, row: Found, open_: bool, wide: int, now: int) -> Text:
    state = row["state"] if open_ else "not asked"
    value = f"answered {age(row['last_good'], now)} ago" if row["last_good"] is not None else "no answer yet"
    failed = _failures(row["failures"])
    return Text.assemble(
        f"    {name:{wide}}  ",
        (f"{state:9}", _STATES.get(state, _BAD)),
        f"  {value}",
        (f"{failed}, {row['failures_in_a_row']} in a row" if row["failures_in_a_row"] else failed, ""),
        (f"  {row['identity'] or row['driver']}", _DIM),
    )


def _failures(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f", {sum(counts.values()):,} failed ({by_reason})"


def _journal(found: Found) -> Iterator[Text]:
    journal, now = found["journal"], found["time"]
    state = journal["state"]
    room = "size and free disk not known: the disk does not answer"
    if journal["used"] is not None:
        room = f"{size(journal['used'])} of {size(journal['size'])}, disk {size(journal['free'])} free"
    yield _row(
        "JOURNAL",
        (state if state == "ok" else f"{state.upper()} for {age(journal['since'], now)}", _STATES.get(state, _BAD)),
        f", {room}, last commit {age(journal['committed'], now)} ago, {many(journal['last'], 'entry', 'entries')}",
        f", {many(journal['backlog'], 'exchange')} in memory" if journal["backlog"] else "",
    )
    if journal["reason"]:
        yield _row("", (journal["reason"], _BAD))
    if journal["read_only"]:
        yield _row("", ("the file system is read-only", _BAD))
    if found["lost"]["exchanges"]:
        yield _row("", (f"{found['lost']['exchanges']:,} exchanges lost for want of room (a gap counts them)", _BAD))


def _delivery(found: Found) -> Iterator[Text]:
    broker, now = found["broker"], found["time"]
    if broker is None:
        yield _row("DELIVERY", ("no broker in the site file", _DIM))
        return
    said = ("connected", "green") if broker["connected"] else (f"NOT CONNECTED: {broker['error']}", _BAD)
    yield _row("DELIVERY", f"broker {broker['endpoint']} ", said)
    for store in found["stores"]:
        yield _row("", *_store(store, broker["connected"], now))
    waiting = found["to_publish"]
    if waiting["alarms"] or waiting["events"]:
        old = f", oldest {age(waiting['oldest_event'], now)}" if waiting["oldest_event"] is not None else ""
        yield _row(
            "",
            f"to publish: {many(waiting['alarms'] or 0, 'alarm state')}, {many(waiting['events'] or 0, 'event')}{old}",
        )


def _store(store: Found, connected: bool, now: int) -> Iterator[str | tuple[str, str]]:
    yield f"store {store['store']}: "
    if store["behind"] is None:
        yield "not known while the journal cannot be read"
    elif store["oldest"] is None:
        yield "up to date"
    elif connected and now - store["oldest"] < FRESH:
        yield f"up to date, {many(store['behind'], 'entry', 'entries')} on the way"
    else:
        yield (f"{store['behind']:,} entries behind, oldest {age(store['oldest'], now)}", "yellow")
    if store["quarantined"]:
        yield (f", {store['quarantined']:,} in quarantine", _BAD)
    if store["error"]:
        yield (f": {store['error']}", _BAD)


def _notices(found: Found) -> Iterator[Text]:
    if not found["notices"]:
        yield _row("NOTICES", ("no notice channel in the site file: nobody is told of alarms", "yellow"))
    for number, way in enumerate(found["notices"]):
        waits = "nothing waits"
        if way["waiting"]:
            old = f", oldest {age(way['oldest'], found['time'])}" if way["oldest"] is not None else ""
            waits = f"{many(way['waiting'], 'message')} waiting{old}"
        yield _row(
            "NOTICES" if number == 0 else "",
            f"{way['channel']} ({way['by']}): ",
            (waits, "yellow" if way["waiting"] else ""),
            (f"; {way['error']}", _BAD) if way["error"] else "",
        )
