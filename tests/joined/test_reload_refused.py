"""What a reload does not apply: the old configuration goes on, and whoever asked is told why."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from joined_gateway import room, running
from reload_room import HIGH, command, limit, line, polled, rewrite, states

from labmon.alarms.errors import CommandRefused
from labmon.daemon.fault_alarm import FaultAlarm
from labmon.daemon.lines import Lines
from labmon.model.event import EventKind


async def test_with_any_error_nothing_is_applied_and_every_error_is_told(
    tmp_path: Path, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with room(tmp_path, "probe-1", "probe-2") as made:
        good = made.site.read_text()
        async with running(made.daemon()) as daemon:
            await eventually(lambda: polled(daemon, "probe-1") > 0 and daemon.reload._ready.is_set())

            def spoil(site: Any) -> None:
                limit(site, 9.0)
                line(site, "probe-1")["quiet"] = "a while"
                line(site, "probe-2")["devices"][0]["drivers"] = "x"

            rewrite(made, spoil)
            before = polled(daemon, "probe-1"), daemon.loaded
            found = await command(made)
            assert found.exit_code == 2
            rows = found.stderr.splitlines()
            assert [":".join(row.split(":")[:1]) == str(made.site) for row in rows] == [True, True, False]
            assert "a duration is a number with a unit" in rows[0]
            assert "did you mean `driver`?" in rows[1]
            assert rows[2] == "2 errors; the configuration of before goes on"
            assert json.loads((await command(made, "--json")).stdout)["outcome"] == "invalid"
            made.site.unlink()
            found = await command(made)
            assert (found.exit_code, found.stderr.splitlines()) == (
                2,
                [f"{made.site}:1:1: cannot be read: No such file or directory",
                 "1 error; the configuration of before goes on"],
            )  # fmt: skip
            with caplog.at_level(logging.ERROR, logger="labmon.reload"):
                daemon.reload.signalled()
                await eventually(lambda: "reload by SIGHUP: invalid: 1 error" in caplog.text)
            assert "cannot be read: No such file" in caplog.text
            assert daemon.loaded is before[1]
            await eventually(lambda: polled(daemon, "probe-1") > before[0])
            made.site.write_text(good)
            found = await command(made)
            assert (found.exit_code, found.stdout) == (0, "nothing has changed\n")
        events = [e for e in made.events(EventKind.COMMAND) if e.command == "reload"]
        assert [(e.user, e.detail.partition(":")[0]) for e in events] == [
            ("duty", "invalid"),
            ("duty", "invalid"),
            ("duty", "invalid"),
            ("SIGHUP", "invalid"),
            ("duty", "unchanged"),
        ]
        assert "a duration is a number with a unit" in events[0].detail
        assert not made.events(EventKind.CONFIGURED)
        assert len(made.configurations()) == 1


async def test_what_only_a_restart_can_change_is_refused_before_anything_is_applied(
    tmp_path: Path, eventually: Any
) -> None:
    async with room(tmp_path, "probe-1") as made, running(made.daemon()) as daemon:
        await eventually(lambda: polled(daemon, "probe-1") > 0 and daemon.reload._ready.is_set())

        def change(site: Any) -> None:
            limit(site, 1.0)
            site["gateway"]["id"] = "gw-2"
            site["journal"]["path"] = "other.db"

        rewrite(made, change)
        found = await command(made)
        assert (found.exit_code, found.stderr.splitlines()) == (
            1,
            [
                "only a restart can change the id of the gateway (gateway.id: gw-1 -> gw-2)",
                "only a restart can change the path of the journal (journal.path: journal.db -> other.db)",
                "nothing was applied; the configuration of before goes on",
            ],
        )
        now = polled(daemon, "probe-1")
        await eventually(lambda: polled(daemon, "probe-1") > now + 1)
        assert states(daemon) == {}
        assert daemon.plant.gateway == "gw-1"


async def test_who_may_and_for_which_file(tmp_path: Path, eventually: Any) -> None:
    async with room(tmp_path, "probe-1") as made, running(made.daemon()) as daemon:
        await eventually(lambda: daemon.reload._ready.is_set())

        async def order(user: str, **arguments: str) -> Any:
            return await daemon.reload.order(user, arguments)

        daemon.commands.users["otto"] = daemon.commands.users["duty"].model_copy(update={"role": "operator"})
        for user, login, why in (
            ("otto", "otto", "otto is operator; reload is for engineer, and for root"),
            ("", "guest", "unknown user guest; reload is for engineer, and for root"),
        ):
            with pytest.raises(CommandRefused, match=why):
                await order(user, login=login)
        with pytest.raises(CommandRefused, match=f"this daemon runs {made.site}; another site file needs a restart"):
            await order("duty", login="x", site=str(tmp_path / "other.yaml"))
        assert (await order("", login="root", site=str(made.site)))["outcome"] == "unchanged"
        found = await command(made, str(tmp_path / "other.yaml"))
        assert found.exit_code == 1
        assert "another site file needs a restart" in found.stderr
        await eventually(lambda: len(made.events(EventKind.COMMAND)) == 5)
        told = [(e.user, e.detail) for e in made.events(EventKind.COMMAND)]
        assert told[:2] == [("otto", "refused: otto is operator"), ("guest", "refused: unknown user guest")]
        assert told[3] == ("root", "unchanged: nothing has changed")


async def test_one_at_a_time_and_none_while_the_daemon_stops(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labmon.daemon.lines.END", 3.0)
    async with room(tmp_path, "probe-1") as made, running(made.daemon()) as daemon:
        await eventually(lambda: polled(daemon, "probe-1") > 0 and daemon.reload._ready.is_set())
        rewrite(made, lambda site: limit(site, 7.0))
        answers = await asyncio.gather(*(made.ask("reload") for _ in range(3)))
        assert sorted(answer["outcome"] for answer in answers) == ["applied", "unchanged", "unchanged"]
        hold, ending = asyncio.Event(), asyncio.Event()

        async def end(lines: Lines, line: str) -> None:
            ending.set()
            await hold.wait()

        monkeypatch.setattr(Lines, "end", end)
        rewrite(made, lambda site: line(site, "probe-1").update(quiet="50 ms"))
        asked = asyncio.create_task(daemon.reload.order("duty", {}))
        await ending.wait()
        daemon.stop.set()
        with pytest.raises(CommandRefused, match="the daemon is stopping"):
            await asked
        with pytest.raises(CommandRefused, match="the daemon is stopping"):
            await daemon.reload.order("duty", {})


async def test_a_fault_before_the_alarms_have_it_leaves_the_old_configuration_with_every_line(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room(tmp_path, "same", "changes", "goes") as made, running(made.daemon()) as daemon:
        await eventually(lambda: all(polled(daemon, n) > 0 for n in made.lines) and daemon.reload._ready.is_set())

        def change(site: Any) -> None:
            limit(site, 1.0)
            site["lines"].remove(line(site, "goes"))
            line(site, "changes")["quiet"] = "50 ms"

        rewrite(made, change)

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError("planted")

        with monkeypatch.context() as patched:
            patched.setattr("labmon.alarms.engine.reconfigure", broken)
            found = await command(made)
        assert (found.exit_code, found.stderr) == (
            1,
            "fault in labmon (ZeroDivisionError); the configuration of before goes on\n",
        )
        assert states(daemon).keys() == {"gateway.fault"}
        assert list(daemon.health) == ["line-same", "line-changes", "line-goes"]
        before = {name: polled(daemon, name) for name in made.lines}
        await eventually(lambda: all(polled(daemon, name) > before[name] + 1 for name in made.lines))
        assert states(daemon).keys() == {"gateway.fault"}
        # Another try, without the fault, does it.
        found = await command(made)
        assert found.exit_code == 0
        await eventually(lambda: HIGH.format("same") in states(daemon))
        assert list(daemon.health) == ["line-same", "line-changes"]


@pytest.mark.parametrize("told", [True, False], ids=["told", "cannot be told"])
async def test_a_fault_after_it_costs_what_failed_alone(
    tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    async with room(tmp_path, "same", "one", "two") as made, running(made.daemon()) as daemon:
        await eventually(lambda: all(polled(daemon, n) > 0 for n in made.lines) and daemon.reload._ready.is_set())

        def change(site: Any) -> None:
            limit(site, 1.0)
            for name in ("one", "two"):
                line(site, name)["quiet"] = "50 ms"

        rewrite(made, change)
        start = Lines.start

        def broken(lines: Lines, plan: Any) -> None:
            if plan.id == "line-one":
                raise ZeroDivisionError("planted")
            start(lines, plan)

        with monkeypatch.context() as patched:
            patched.setattr(Lines, "start", broken)
            if not told:
                patched.setattr(FaultAlarm, "fault", lambda *_: 1 // 0)
            found = await command(made)
        assert found.exit_code == 1
        assert (
            "fault in labmon: line line-one (ZeroDivisionError); "
            "the new configuration is in force but for that: restart labmon"
        ) in found.stderr.splitlines()
        await eventually(lambda: polled(daemon, "two") > 2)
        raised = {HIGH.format("same"), HIGH.format("two"), *(["gateway.fault"] if told else [])}
        await eventually(lambda: raised <= states(daemon).keys())
        assert daemon.commands.plant is daemon.plant
        assert len(made.configurations()) == 2
