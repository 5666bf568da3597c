"""The live picture of the demonstration: values with unit and quality, lines, alarms, the last notices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from labmon.demo.mailbox import Mail
from labmon.model.event import AlarmState
from labmon.model.messages import AlarmMessage, LineHealth, Live, LiveChannel
from labmon.model.plant import Channel, Device, Plant
from labmon.model.reading import Quality
from labmon.units import unit

STYLES = {Quality.GOOD: "green", Quality.UNCERTAIN: "yellow", Quality.BAD: "bold red"}
CLASSES = {"action": "bold white on red", "alert": "black on yellow", "technical": "black on cyan"}


@dataclass(slots=True)
class Facts:
    """All that the picture is made of, as it came over MQTT and mail."""

    live: dict[str, Live] = field(default_factory=dict)
    lines: dict[str, LineHealth] = field(default_factory=dict)
    alarms: dict[str, AlarmMessage] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


def picture(plant: Plant, facts: Facts, mails: Sequence[Mail], seconds: float, head: str, width: int) -> RenderableType:
    """The whole picture for a terminal `width` columns wide."""
    return Group(
        Text(f" labmon demo   {head}   {seconds:.0f} s   (Ctrl-C ends it and leaves nothing behind)", style="bold"),
        _values(plant, facts, width),
        _lines(plant, facts),
        _alarms(plant, facts),
        _notices(mails),
        Text("  ".join(f"{name} {count}" for name, count in facts.counters.items()), style="dim"),
        Text(facts.story[-1] if facts.story else "", style="italic"),
    )


def _values(plant: Plant, facts: Facts, width: int) -> RenderableType:
    rows = [(device, key) for device in plant.devices.values() for key in device.channels]
    columns = max(1, min(3, width // 72))
    share = -(-len(rows) // columns)
    grid = Table.grid(padding=(0, 1), expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1)
    grid.add_row(*(_column(plant, facts, rows[n * share : (n + 1) * share]) for n in range(columns)))
    return Panel(grid, title=plant.site_name, border_style="blue")


def _column(plant: Plant, facts: Facts, rows: Sequence[tuple[Device, str]]) -> RenderableType:
    table = Table(box=None, padding=(0, 1), show_header=False, expand=True)
    table.add_column(no_wrap=True, ratio=5)
    table.add_column(no_wrap=True, ratio=5)
    table.add_column(justify="right", no_wrap=True, width=9)
    table.add_column(no_wrap=True, ratio=5)
    before = ""
    for device, key in rows:
        channel, live = plant.channels[key], facts.live.get(device.id)
        latest = live.channels.get(channel.id) if live is not None else None
        name = Text(device.name if device.id != before else "", style="bold")
        table.add_row(name, channel.name, *_value(channel, latest))
        before = device.id
    return table


def _value(channel: Channel, latest: LiveChannel | None) -> tuple[Text, Text]:
    if latest is None:
        return Text("-", style="dim"), Text("no reading yet", style="dim")
    style = STYLES[latest.quality]
    age = time.time() - latest.time / 1e9
    old = f" ({age:.0f} s ago)" if age > 10 else ""
    if latest.value is None:
        return Text("----", style=style), Text((latest.reason or "no reason").split(" (")[0] + old, style=style)
    if channel.states:
        shown = channel.states.get(round(latest.value), f"{latest.value:g}")
        return Text(shown, style=style), Text(old, style="dim")
    symbol = unit(channel.unit).symbol
    mark = "" if latest.quality is Quality.GOOD else " uncertain"
    return Text(f"{latest.value:.{channel.decimals}f}", style=style), Text(f"{symbol}{mark}{old}", style=style)


def _lines(plant: Plant, facts: Facts) -> RenderableType:
    text = Text()
    for line in plant.lines.values():
        health = facts.lines.get(line.id)
        state = health.state if health is not None else "?"
        bad = [] if health is None else [d.device for d in health.devices if d.state not in {"ok", "unknown"}]
        style = "green" if state == "open" and not bad else "bold red"
        text.append(f" {line.id} ", style=style)
        text.append(f"{state}{' ' + ','.join(bad) + ' resting' if bad else ''}  ", style="dim")
    return Panel(text, title="lines", border_style="blue")


def _alarms(plant: Plant, facts: Facts) -> RenderableType:
    table = Table(box=None, padding=(0, 1), show_header=False)
    shown = [a for a in facts.alarms.values() if a.state is not AlarmState.NORM]
    for alarm in sorted(shown, key=lambda a: -(a.since or 0))[:7]:
        cls = alarm.alarm_class.value if alarm.alarm_class else ""
        since = time.strftime("%H:%M:%S", time.localtime((alarm.since or 0) / 1e9))
        table.add_row(
            Text(f" {cls.upper()} ", style=CLASSES.get(cls, "")), alarm.state.value, alarm.alarm, f"since {since}"
        )
    if len(shown) > 7:
        table.add_row("", "", f"and {len(shown) - 7} more", "")
    if not shown:
        table.add_row(Text("none", style="green"))
    return Panel(table, title=f"alarms not normal: {len(shown)}", border_style="red" if shown else "blue")


def _notices(mails: Sequence[Mail]) -> RenderableType:
    table = Table(box=None, padding=(0, 1), show_header=False)
    for mail in list(mails)[-7:]:
        table.add_row(
            time.strftime("%H:%M:%S", time.localtime(mail.at)), Text(mail.subject), Text(f"to {mail.to}", style="dim")
        )
    if not mails:
        table.add_row(Text("none yet", style="dim"))
    return Panel(table, title="last notices", border_style="magenta" if mails else "blue")
