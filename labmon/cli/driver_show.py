"""`labmon driver show`: one driver on a page."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from labmon.cli.driver_options import driver_or_exit, folders_option
from labmon.cli.words import many

if TYPE_CHECKING:
    from rich.text import Text

_SEEN = {
    "recorded": "recorded from a real unit",
    "printed": "its manual prints bytes, no unit was recorded",
    "no": "not yet seen on hardware",
}


@click.command("show")
@click.argument("driver", metavar="FILE-or-ID")
@folders_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show_driver(driver: str, folders: tuple[Path, ...], as_json: bool) -> None:
    """One driver: its channels with units, what is asked, what it costs the line, effects, faults, proof."""
    from labmon.cli.paper import show
    from labmon.drivers.portrait import portrait

    found = portrait(driver_or_exit(driver, folders))
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        show(_page(found))


def _page(found: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    manual = found["manual"]
    for line in _wrapped(found["title"], 0):
        yield Text(line, style="bold")
    yield from _row("id", found["id"])
    yield from _row("models", ", ".join(found["models"]))
    yield from _row("class", found["class"])
    yield from _row("manual", f"{manual['document']}, revision {manual['revision']}, p. {manual['pages']}")
    yield from _row("speaks", ", ".join(found["framings"]))
    if found["serial"]:
        yield from _row("serial", f"{found['serial']} as delivered")
    if found["address"]:
        yield from _row("address", _address(found["address"]))
    yield from _row("seen", f"{_SEEN[found['seen']]} ({_origins(found['examples'])})")
    if found["not-shown"]:
        yield from _row("proof", f"{many(found['not-shown'], 'branch', 'branches')} without an example (driver check)")
    for name, param in found["params"].items():
        yield from _row("param", f"{name}: {_param(param)}")
    if found["single-reader"]:
        yield from _row("EFFECT", "a second reader takes data away from the first: only one may ask", "yellow")
    for write in found["writes"]:
        yield from _row("WRITES", write, "yellow")
    for fault in found["faults"]:
        yield from _row("fault", fault)
    if found["identity"]:
        yield Text()
        yield from _identity(found["identity"])
    if found["guard"]:
        yield Text()
        yield from _guard(found["guard"])
    if found["clock"]:
        yield Text()
        yield from _clock(found["clock"])
    for query in found["queries"]:
        yield Text()
        yield from _query(query)
    yield Text()
    yield from _load(found)


def _row(name: str, text: str, style: str = "", indent: int = 2) -> Iterator[Text]:
    from rich.text import Text

    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    lead = " " * indent + f"{name:8}"
    for number, line in enumerate(_wrapped(text, len(lead) + 1)):
        yield Text.assemble(
            (lead if number == 0 else " " * len(lead), "dim" if not style else f"bold {style}"), " ", (line, style)
        )


def _wrapped(text: str, lead: int) -> list[str]:
    """Lines that fit the terminal after `lead` characters; a word is never broken, so that it can be copied."""
    wide = max(20, min(shutil.get_terminal_size().columns, 120) - lead)
    return textwrap.wrap(text, wide, break_long_words=False, break_on_hyphens=False) or [""]


def _address(address: dict[str, Any]) -> str:
    what = f"matches {address['pattern']}" if "pattern" in address else f"{address['from']} to {address['to']}"
    default = f", as delivered {address['default']}" if "default" in address else ""
    return f"{what}{default}" + (f"; {address['doc']}" if "doc" in address else "")


def _param(param: dict[str, Any]) -> str:
    choices = f" ({', '.join(_plain(choice) for choice in param['choices'])})" if "choices" in param else ""
    need = "required" if param["required"] else f"default {_plain(param['default'])}" if "default" in param else ""
    return f"{param['doc'].rstrip('.')}{choices}{'; ' + need if need else ''}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _origins(counts: dict[str, int]) -> str:
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"examples: {told}" if told else "no example"


def _identity(identity: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    yield Text.assemble(("identity", "bold"), "  asked at each connect")
    for request in identity["requests"]:
        yield from _request(request)
    yield from _row("shows", ", ".join(identity["shows"]))
    for name, pattern in identity["expects"].items():
        yield from _row("expects", f"{name} like {pattern}")
    for words in identity["wrong-when"]:
        yield from _row("refused", f"when {words}")
    for name, value in identity["self-test"].items():
        yield from _row("proves", f"{name} is {value}, else the byte order is another")
    if identity["variants"]:
        yield from _row("variants", ", ".join(identity["variants"]))


def _guard(guard: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    from labmon.drivers.telling import span

    when = f"  {guard['when']}" if guard["when"] else ""
    yield Text.assemble(("settings", "bold"), f"  asked at each connect and every {span(guard['every'])}{when}")
    for request in guard["requests"]:
        yield from _request(request)
    if guard["watches"]:
        yield from _row("tells", f"a change of {', '.join(guard['watches'])}")
    for words in guard["expects"]:
        yield from _row("expects", f"{words}, else no channel has a value")


def _clock(clock: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    from labmon.drivers.telling import span

    when = f"  {clock['when']}" if clock["when"] else ""
    yield Text.assemble(("clock", "bold"), f"  compared at each connect and every {span(clock['every'])}{when}")
    for request in clock["requests"]:
        yield from _request(request)
    set_ = "set where the site file says so" if clock["can-be-set"] else "never set from here"
    yield from _row("tells", f"when it is off by more than {span(clock['at-most'])}; {set_}")


def _query(query: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    from labmon.drivers.telling import span

    kind = "  stored samples, each read once" if query["kind"] == "record" else ""
    if query["silence"]:
        kind = f"  comes by itself; silent after {span(query['silence'])}"
    when = f"  {query['when']}" if query["when"] else ""
    yield Text.assemble((f"query {query['query']}", "bold"), f"  every {span(query['every'])}{kind}{when}")
    if query["doc"]:
        yield from _row("", query["doc"])
    for request in query["requests"]:
        yield from _request(request)
    if query["records"]:
        yield from _row(
            "records", f"{query['records']['way']}; the same when {' and '.join(query['records']['key'])} are"
        )
        for words in query["records"]["there-when"]:
            yield from _row("", f"there is one when {words}")
    if query["wire-time"] is not None:
        share = f"{query['line-share'] * 100:.2g} % of the line"
        yield from _row("wire", f"{span(query['wire-time'])} a poll, {share} ({query['bytes']} bytes)")
    elif query["bytes"] is not None:
        yield from _row("wire", f"{query['bytes']} bytes a poll")
    wide = max(len(channel["id"]) for channel in query["channels"])
    units = max(len(_unit(channel)) for channel in query["channels"])
    for channel in query["channels"]:
        lead = f"  {channel['id']:{wide}}  {_unit(channel):{units}}  "
        for number, line in enumerate(_wrapped(_channel(channel), len(lead))):
            yield Text(f"{lead if number == 0 else ' ' * len(lead)}{line}")


def _request(request: dict[str, Any]) -> Iterator[Text]:
    when = f" ({request['when']})" if request["when"] else ""
    yield from _row("asks", f"{request['what']}{when}")
    if request["effect"]:
        yield from _row("EFFECT", request["effect"], "yellow")


def _unit(channel: dict[str, Any]) -> str:
    if channel["unit-param"]:
        return f"by {channel['unit-param']}"
    return str(channel["symbol"] or {"1": "-"}.get(channel["units"][0], channel["units"][0]))


def _channel(channel: dict[str, Any]) -> str:
    parts = [channel["name"]]
    if channel["particle-size"] and f"{channel['particle-size']:g}" not in channel["name"]:
        parts.append(f"{channel['particle-size']:g} um and larger")
    if channel["range"]:
        parts.append(f"{channel['range'][0]:g} to {channel['range'][1]:g}")
    if channel["states"]:
        parts.append(", ".join(f"{number} {name}" for number, name in channel["states"].items()))
    if channel["computed"]:
        parts.append("computed")
    if channel["when"]:
        parts.append(channel["when"])
    return "; ".join(parts)


def _load(found: dict[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    times = [query["line-share"] for query in found["queries"] if query["line-share"] is not None]
    said = "Over TCP, or at a speed that is not known: no wire time to count."
    if times:
        said = (
            f"All queries at their own rates take {sum(times) * 100:.2g} % of a line set as delivered. "
            "The time that the instrument takes to answer comes on top; labmon driver probe measures it."
        )
    for line in _wrapped(said, 0):
        yield Text(line, style="dim")
