"""Another site file for a running daemon: the lines that are the same must not notice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from joined_gateway import Room, room, running
from reload_room import Site, line, polled, rewrite

from labmon.journal.entries import EntryKind
from labmon.journal.reader import Reader
from labmon.model.event import EventKind
from labmon.model.exchange import Exchange


def journaled(made: Room, device: str) -> list[Exchange]:
    reader = Reader.at(made.site.with_name("journal.db"))
    try:
        entries = [e.content for e in reader.entries_after(0, 10**6, 10**9) if e.kind == EntryKind.READINGS]
    finally:
        reader.close()
    return [e for e in entries if isinstance(e, Exchange) and e.layout.columns[0].device == device]


async def test_one_line_changes_one_comes_one_goes_and_the_third_notices_nothing(
    tmp_path: Path, eventually: Any
) -> None:
    async with room(tmp_path, "same", "changes", "goes", "comes") as made:
        # A second: a busy machine delays, and must not be what makes a tick missing here.
        rewrite(made, lambda site: line(site, "same")["devices"][0].update(every={"co2": "1 s"}))
        whole = made.site.read_text()
        rewrite(made, lambda site: site["lines"].pop())
        connections = {name: count_connections(made, name) for name in made.lines}
        async with running(made.daemon()) as daemon:
            await eventually(lambda: all(polled(daemon, name) >= 4 for name in ("same", "changes", "goes")))
            task = next(t for t in asyncio.all_tasks() if t.get_name() == "line line-same")
            made.site.write_text(whole)

            def change(site: Site) -> None:
                site["lines"].remove(line(site, "goes"))
                line(site, "changes")["devices"][0]["every"] = {"co2": "400 ms"}

            rewrite(made, change)
            before = polled(daemon, "same")
            found = await made.ask("reload")
            assert (found["outcome"], found["errors"]) == ("applied", [])
            assert found["lines"] == {
                "untouched": ["line-same"],
                "changed": ["line-changes"],
                "added": ["line-comes"],
                "removed": ["line-goes"],
            }
            assert "line line-changes: changed (interval of changes), restarted" in found["done"]
            assert "1 line untouched" in found["done"]
            await eventually(lambda: all(polled(daemon, name) >= 5 for name in ("changes", "comes")))
            await eventually(lambda: polled(daemon, "same") >= before + 3)
            # The same task, no reconnect, no tick missed and none late enough to count.
            assert task in asyncio.all_tasks()
            assert daemon.health["line-same"].devices["same"].missed_ticks == 0
            assert list(daemon.health) == ["line-same", "line-changes", "line-comes"]
            assert (len(connections["same"]), len(connections["changes"]), len(connections["comes"])) == (1, 2, 1)
            assert len(connections["goes"]) == 1
            assert not made.lines["goes"]._open
            status = await made.ask("status")
            assert [entry["line"] for entry in status["lines"]] == ["line-same", "line-changes", "line-comes"]
        times = [exchange.time / 1e9 for exchange in journaled(made, "same")]
        assert all(exchange.skipped == 0 for exchange in journaled(made, "same"))
        grid = [round(moment - times[1]) for moment in times[1:]]
        assert grid == list(range(len(grid))), f"a tick is missing, or off the grid: {times}"
        assert len(grid) >= 3
        texts = [configuration.site for configuration in made.configurations()]
        assert [configuration.applied_by for configuration in made.configurations()][1] == "duty"
        assert texts == [
            json.dumps(json.loads(whole) | {"lines": json.loads(whole)["lines"][:3]}, indent=1),
            made.site.read_text(),
        ]
        (told,) = made.events(EventKind.CONFIGURED)
        assert told.user == "duty"
        assert "line line-goes: removed" in told.detail


def count_connections(made: Room, name: str) -> list[object]:
    """Every connection that the instrument's port is asked for, from now on."""
    seen: list[object] = []
    opened = made.lines[name]._open

    class Counted(set):  # type: ignore[type-arg]
        def add(self, transport: object) -> None:
            seen.append(transport)
            super().add(transport)

    made.lines[name]._open = Counted(opened)
    return seen
